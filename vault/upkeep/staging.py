"""Owns a backup laid out beside where vaults live: opened, judged by its token, brought up to what was erased since.

A restore does all of it before anything stands in its place; a drill does all of it and throws it away. It must not know which.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, delete, func, select

from kms.errors import KmsError
from kms.keys import KeyState, Mark
from kms.lifecycle import Lifecycle
from kms.token import TokenKeys
from vault.audit import note
from vault.audit.append import AuditLog, Transaction
from vault.audit.checkpoint import Checkpoints, origin_of
from vault.audit.events import Action, Event, Note, Outcome, Purpose, System
from vault.audit.marks import Marks
from vault.audit.note import Checkpoint
from vault.audit.reading import Reader
from vault.audit.search import PAGE_LIMIT, Filters, Search
from vault.audit.verify import Verdict, Verification
from vault.errors import Conflict, KeysUnavailable, NotFound, Tampered
from vault.model import Actor, PatientId, TenantId
from vault.records.disposal import erasing
from vault.settings import BlobSettings, DatabaseSettings, VaultSettings
from vault.storage import snapshot
from vault.storage.db import Database
from vault.storage.keyring import SqlRegistry
from vault.storage.schema import (
    audit_entries,
    links,
    log_marks,
    log_salts,
    patients,
    scopes,
    sessions,
)
from vault.upkeep import manifest
from vault.upkeep.depot import Depot
from vault.upkeep.manifest import Manifest

if TYPE_CHECKING:
    from vault.opening import Vault

DATABASE: Final = "coffre.db"
KEYRING: Final = "keyring.db"
ERASED: Final = "erased"
PART = 500
_RESTORE: Final = System("restore")


@dataclass(frozen=True, slots=True)
class Settled:
    """What was erased after the backup was made, and is erased again."""

    patients: int
    subjects: int
    """Patients whose part of the log is unreadable, as the log itself says from now on."""


def lay_out(depot: Depot, made: Manifest, keyring: Path, directory: Path) -> None:
    """Copies of both databases in ``directory``. Raises StorageFull, StorageUnavailable."""
    snapshot.copy_file(depot.place(made.id) / made.database.file, directory / DATABASE)
    snapshot.copy_of(keyring, directory / KEYRING)


def settings_for(settings: VaultSettings, directory: Path, bodies: BlobSettings) -> VaultSettings:
    """The vault laid out in ``directory``: this token, those databases, bodies from ``bodies``."""
    database = DatabaseSettings(f"sqlite:///{directory / DATABASE}", f"sqlite:///{directory / KEYRING}")
    return replace(settings, database=database, blobs=bodies)


def must_be_as_new(keyring: Path, made: Manifest) -> None:
    """Raises Conflict for a keyring of another vault, or older than the backup: patients made since would look erased."""
    with snapshot.reading(keyring) as connection:
        size = connection.execute(select(log_marks.c.size).where(log_marks.c.log == made.tenant)).scalar_one_or_none()
    if size is None or size < made.log_size:
        raise Conflict("that keyring is another vault's, or older than the backup; leave --keyring away to use the newest copy")


# --- the token --------------------------------------------------------------------------------------------------------


def must_hold_keys(vault: Vault) -> None:
    """Raises KeysUnavailable unless the token opens what the backup holds."""
    try:
        _must_be_on_the_token(vault)
    except KmsError as error:
        raise KeysUnavailable(f"the token does not answer: {error}; nothing was changed", cause=error.code) from error
    founded = vault.installation
    try:
        for scope in (founded.system_scope, founded.log_scope, founded.inbox_scope):
            with vault.scopes.open(scope):
                pass
    except (NotFound, Tampered, KeysUnavailable) as error:
        raise _wrong_token("its keys do not open this backup") from error


def _must_be_on_the_token(vault: Vault) -> None:
    if not isinstance(vault.keys, TokenKeys):
        return
    life, used = Lifecycle(vault.keys, SqlRegistry(vault.keyring_db)), vault.keyring.scopes_by_master()
    for record in life.records():
        is_needed = record.state is KeyState.ACTIVE or (record.use.value == "kek" and record.number in used)
        if is_needed and (faults := life.check(record)):
            raise _wrong_token(f"{record.use.value} key {record.number}: {faults[0]}")


def _wrong_token(why: str) -> KeysUnavailable:
    return KeysUnavailable(
        f"this token does not hold the keys of this backup ({why}); nothing was changed. Put the token's own backup back, "
        "or restore with --without-token and bring the recovery cards",
        cause="wrong_token",
    )


def signers(vault: Vault, tenant: TenantId) -> list[note.Verifier]:
    """The log's keys that this token really holds: what they signed was signed here. Raises KeysUnavailable."""
    if not isinstance(vault.keys, TokenKeys):
        return vault.auditing.checkpoints.verifiers()
    life = Lifecycle(vault.keys, SqlRegistry(vault.keyring_db))
    try:
        held = [record for record in life.records() if record.use.is_signing and record.canary and not life.check(record)]
    except KmsError as error:
        raise KeysUnavailable(f"the token does not answer: {error}; nothing was changed", cause=error.code) from error
    return [note.verifier(origin_of(tenant), record.canary) for record in held]


# --- what was erased since --------------------------------------------------------------------------------------------


def forget_again(connection: Connection, gone: list[PatientId]) -> None:
    """Patients whose key is gone stand as erased, with nothing but their id; everybody signs in anew."""
    for start in range(0, len(gone), PART):
        part = gone[start : start + PART]
        erasing.mark(connection, part, ERASED)
    connection.execute(delete(sessions))
    connection.execute(delete(links))


def erased_since(db: Database, keyring: Database) -> list[PatientId]:
    """Patients whom the database knows and whose key the (newer) keyring has no more."""
    with keyring.read() as connection:
        known = {row.id for row in connection.execute(select(scopes.c.id))}
    with db.read() as connection:
        rows = connection.execute(select(patients.c.id, patients.c.scope).where(patients.c.state != ERASED)).all()
    return [PatientId(row.id) for row in rows if row.scope not in known]


def settle(vault: Vault, made: Manifest, by: Actor | System, before: int = 0) -> Settled:
    """Apply again what was erased since, end every session, and tell of the restore, in one transaction.

    ``before``: patients that were marked already while there was no token. Raises LogUnavailable, StorageUnavailable.
    """
    gone = erased_since(vault.db, vault.keyring_db)
    silent = list(_silent(vault.log))
    settled = Settled(len(gone) + before, len(silent))

    def work(tx: Transaction) -> None:
        forget_again(tx.connection, gone)
        for blind, count in silent:
            told = Note(purpose=Purpose.PATRQT, code=blind.hex(), count=count)
            tx.record(Event(Action.AUDIT_SUBJECT_ERASED, Outcome.SUCCESS, _RESTORE, note=told))
        changed = (f"erased_{settled.patients}",) if settled.patients else ()
        restored = Note(count=made.documents, bytes=made.sealed_bytes, code=made.id, changed=changed)
        tx.record(Event(Action.SYSTEM_RESTORE, Outcome.SUCCESS, by, note=restored))

    vault.log.transact(work)
    return settled


def _silent(log: AuditLog, page: int = PAGE_LIMIT) -> Iterator[tuple[bytes, int]]:
    """Patients whose salt is gone without the (older) log telling of it: their index value, and in how many entries."""
    with log.keyring.read() as connection:
        known = {row.blind for row in connection.execute(select(log_salts.c.blind))}
    column = audit_entries.c.patient_index
    query = select(column, func.count()).where(column.is_not(None)).group_by(column)
    with log.db.read() as connection:
        unknown = {blind: count for blind, count in connection.execute(query) if blind is not None and blind not in known}
    if unknown:
        before: int | None = None
        more = True
        while more:
            rows, more = Search(log).newest(Filters(actions=(Action.AUDIT_SUBJECT_ERASED,)), before=before, limit=page)
            for record in Reader(log).open(rows):
                unknown.pop(bytes.fromhex(str((record.note or {}).get("code", ""))), None)
            before = rows[-1].position if rows else None
    yield from sorted(unknown.items())


# --- the log's copy ---------------------------------------------------------------------------------------------------


class _CopyMarks(Marks):
    """A copy stands behind what keyring and token remember of the log, and that is no fault of it."""

    def in_keyring(self) -> tuple[Checkpoint, str] | None:
        return None

    def in_token(self) -> Mark | None:
        return None


def verdict_on(vault: Vault, made: Manifest) -> Verdict:
    """Verify the log's copy against the checkpoints in it, and against the one that the manifest was signed with.

    Raises Tampered, KeysUnavailable, StorageUnavailable.
    """
    checkpoints = Checkpoints(vault.log, vault.keys)
    checkpoints.marks = _CopyMarks(vault.log, vault.keys, checkpoints.origin)
    if made.is_log_whole:
        checkpoints.must_extend(made.checkpoint)
    return Verification(vault.log, checkpoints).run()


def reopened(depot: Depot, made: Manifest, trusted: list[note.Verifier]) -> None:
    """Raises Tampered unless one of ``trusted`` signed the manifest."""
    manifest.opened(depot.manifest_text(made.id), manifest.BACKUP, trusted)
