"""Owns how a vault is put together from its rooms: the whole dependency injection.

It must not know HTTP or the command line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from kms import open_keys
from kms.keys import KeyService, Registry
from kms.settings import KmsSettings
from vault.audit.append import AuditLog, Receipt
from vault.audit.auditing import Auditing
from vault.errors import NotInitialised
from vault.floor import Floor
from vault.model import Micros, ScopeId, TenantId
from vault.people.opening import People, open_people
from vault.people.passwords import Hasher
from vault.records.disposal.disposals import Disposals
from vault.records.disposal.keeping import Keeping
from vault.records.documents.documents import Documents
from vault.records.documents.reading import Reading
from vault.records.documents.scanning import Scanner
from vault.records.inbox.inbox import Inbox
from vault.records.inbox.proposals import Proposals
from vault.records.inbox.quarantine import Quarantine
from vault.records.inbox.transfers import Transfers
from vault.records.patients.identities import Identities
from vault.records.patients.likeness import Likenesses
from vault.records.patients.merging import Merging
from vault.records.patients.patients import Patients
from vault.records.tickets import Tickets
from vault.rendering.renderer import Renderer
from vault.sealing.faults import key_faults
from vault.sealing.index import BlindIndex
from vault.sealing.scopes import ScopeKeys
from vault.settings import MIB, VaultSettings
from vault.storage import migrate
from vault.storage.blobs import BlobStore
from vault.storage.db import Database, open_databases
from vault.storage.keyring import Keyring, SqlRegistry
from vault.storage.schema import installation
from vault.storage.stores import open_blobs
from vault.upkeep.manifest import KEEP_DAYS
from vault.upkeep.patrol import Patrol


def now_micros() -> Micros:
    """The wall clock, UTC."""
    return Micros(time.time_ns() // 1000)


@dataclass(frozen=True, slots=True)
class Installation:
    """What was decided once, when the vault was founded."""

    tenant: TenantId
    system_scope: ScopeId
    log_scope: ScopeId
    inbox_scope: ScopeId
    created_at: Micros


@dataclass(frozen=True, slots=True)
class Vault:
    """An open vault: every room, ready."""

    settings: VaultSettings
    installation: Installation
    clock: Callable[[], Micros]
    keys: KeyService
    db: Database
    keyring_db: Database
    keyring: Keyring
    blobs: BlobStore
    scopes: ScopeKeys
    log: AuditLog
    auditing: Auditing
    people: People
    patients: Patients
    merging: Merging
    documents: Documents
    inbox: Inbox
    quarantine: Quarantine
    transfers: Transfers
    reading: Reading
    keeping: Keeping
    disposals: Disposals
    renderer: Renderer
    patrol: Patrol
    floor: Floor
    """Who has the floor among the threads that serve: see there."""

    def close(self) -> None:
        """Let everything go in the reverse order; idempotent."""
        self.patrol.stop()
        self.transfers.close()
        self.documents.drawn.close()
        self.renderer.close()
        self.people.close()
        self.auditing.close()
        self.scopes.close()
        self.db.close()
        self.keyring_db.close()
        self.keys.close()


def _installation(db: Database) -> Installation:
    with db.read() as connection:
        row = connection.execute(select(installation)).mappings().one_or_none()
    if row is None:
        raise NotInitialised("The database holds no vault yet: run `coffre init`.")
    return Installation(**row)


def open_vault(
    settings: VaultSettings,
    clock: Callable[[], Micros] = now_micros,
    keys_from: Callable[[KmsSettings, Registry], KeyService] = open_keys,
    names: tuple[str, ...] = (),
    hasher: Hasher | None = None,
) -> Vault:
    """Open every room in order; after any fork, never before one. ``names``: the practice's, of which no password may be made.

    The token may be away: the vault then opens and refuses, and works again when the token is back.
    Raises NotInitialised, BadSettings, StorageUnavailable.
    """
    # Where a row comes over a line, or a body, whoever waits for it must not keep the others from waiting for theirs.
    is_here = settings.database.url.startswith("sqlite") and settings.blobs.url.startswith("file")
    floor = Floor(is_shared=is_here)
    db, keyring_db = open_databases(settings.database, floor)
    migrate.upgrade(db, keyring_db)
    founded = _installation(db)
    keyring = Keyring(keyring_db)
    with key_faults():
        keys = keys_from(settings.kms, SqlRegistry(keyring_db))
    scopes = ScopeKeys(keyring, keys, founded.tenant)
    log = AuditLog(
        db=db, keyring=keyring_db, tenant=founded.tenant, open_key=lambda: scopes.open(founded.log_scope), clock=clock
    )
    people = open_people(db=db, scopes=scopes, log=log, installation=founded, clock=clock, hasher=hasher, context=names)
    blobs = open_blobs(settings.blobs)
    renderer = Renderer(settings.limits.renderings)
    tickets: Tickets[Receipt] = Tickets(clock)
    likenesses = Likenesses(BlindIndex(keys, founded.tenant), people.roster.names_in)
    patients = Patients(
        db=db,
        scopes=scopes,
        keys=keys,
        log=log,
        tenant=founded.tenant,
        relations=people.relations,
        clock=clock,
        tickets=tickets,
        likenesses=likenesses,
    )
    documents = Documents(
        db=db,
        scopes=scopes,
        keys=keys,
        log=log,
        tenant=founded.tenant,
        relations=people.relations,
        blobs=blobs,
        renderer=renderer,
        limits=settings.limits,
        scanner=Scanner(settings.scan),
        clock=clock,
        tickets=tickets,
        likenesses=likenesses,
        aside=founded.inbox_scope,
        floor=floor,
    )
    inbox = Inbox(
        rooms=documents.rooms,
        scope=founded.inbox_scope,
        renderer=renderer,
        limits=settings.limits,
        tickets=tickets,
        proposals=Proposals(keys, founded.tenant, patients),
        drawn=documents.drawn,
    )
    people.sessions.on_end = documents.drawn.forget
    auditing = Auditing(
        log=log,
        keys=keys,
        names=people.roster,
        relations=people.relations,
        identities=Identities(db, scopes, founded.tenant),
    )
    keeping = Keeping(documents.rooms)
    return Vault(
        settings=settings,
        installation=founded,
        clock=clock,
        keys=keys,
        db=db,
        keyring_db=keyring_db,
        keyring=keyring,
        blobs=blobs,
        scopes=scopes,
        log=log,
        auditing=auditing,
        people=people,
        patients=patients,
        merging=Merging(db=db, log=log, relations=people.relations, patients=patients, clock=clock),
        documents=documents,
        inbox=inbox,
        quarantine=Quarantine(rooms=documents.rooms, scope=founded.inbox_scope, days=settings.scan.quarantine_days),
        # At most half of the turns: a line that is cut, and may come back, keeps its turn.
        transfers=Transfers(limit_bytes=settings.limits.document_mib * MIB, most=max(1, settings.limits.uploads // 2)),
        reading=Reading(documents.rooms, patients, tickets),
        keeping=keeping,
        disposals=Disposals(
            rooms=documents.rooms, keyring=keyring, keeping=keeping, forget=auditing.forget, backup_days=KEEP_DAYS
        ),
        renderer=renderer,
        patrol=Patrol(
            documents.rooms,
            blobs,
            days=settings.blobs.scrub_days,
            replica=open_blobs(copy) if (copy := settings.blobs.replica()) else None,
        ),
        floor=floor,
    )
