"""Owns what the parts of a document's life share: the rooms they work in, and the record made of a row. It decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection

from kms.keys import KeyService, KeyUse, Purpose
from vault.audit.append import AuditLog
from vault.floor import Floor
from vault.model import Document, DocumentId, Micros, PatientId, PersonId, Scan, ScopeId, TenantId
from vault.records.documents.bodies import Bodies, Deposited, Hit
from vault.records.documents.catalogue import NOBODY, StoredVersion
from vault.records.documents.descriptions import Description, Place, open_description
from vault.records.patients.access import Gate
from vault.sealing.binding import bind
from vault.sealing.faults import key_faults
from vault.sealing.scopes import ScopeKeys
from vault.storage import standing
from vault.storage.db import Database


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The keyed fingerprints of one body: equal bytes are recognised, a guess can't be confirmed."""

    mac: int
    """The number of the active MAC key."""
    value: bytes
    """The fingerprint under it, for a new row."""
    known: frozenset[bytes]
    """Under which a twin may stand: also those of older MAC keys, while a rotation has not moved every row."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """Where documents live."""

    db: Database
    scopes: ScopeKeys
    keys: KeyService
    log: AuditLog
    bodies: Bodies
    gate: Gate
    tenant: TenantId
    clock: Callable[[], Micros]
    new_id: Callable[[], str]
    aside: ScopeId | None = None
    """Under which what is infected is sealed and set apart; None: it is refused."""
    floor: Floor = field(default_factory=Floor)

    def description(self, stored: StoredVersion) -> Description:
        """The opened description of a row. Raises Tampered, NotFound (erased), KeysUnavailable."""
        with self.scopes.open(stored.scope) as scope_key:
            return open_description(scope_key, self.tenant, place_of(stored), stored.description_sealed)

    def fingerprint(self, sha256: bytes) -> Fingerprint:
        """The fingerprints of a body. Raises KeysUnavailable."""
        with self.fingerprinted(sha256) as (prints, _):
            return prints

    @contextmanager
    def fingerprinted(self, sha256: bytes) -> Iterator[tuple[Fingerprint, Connection]]:
        """The same, and the snapshot in which the MAC keys in use were looked up: a twin is looked for in it too.

        Only while a rotation of the MAC key goes on is the token asked within it.
        """
        with key_faults():
            active = self.keys.active(KeyUse.MAC)
        value = self._print(sha256, active)
        with self.db.read() as connection:
            macs = standing.versions(connection, standing.VERSIONS)
            others = [self._print(sha256, mac) for mac in macs if mac != active]
            yield Fingerprint(active, value, frozenset({value, *others})), connection

    def twin_prints(self, stored: StoredVersion, sha256: str, macs: tuple[int, ...]) -> frozenset[bytes]:
        """Under which fingerprints a twin of a stored version may stand, ``macs`` being all MAC keys in use."""
        others = [self._print(bytes.fromhex(sha256), mac) for mac in macs if mac != stored.mac]
        return frozenset({stored.fingerprint, *others})

    def _print(self, sha256: bytes, mac: int) -> bytes:
        with key_faults():
            return self.keys.mac(Purpose.FINGERPRINT, bind("coffre/fingerprint/v1", self.tenant, sha256), number=mac)


def first_row(
    body: Deposited | Hit,
    prints: Fingerprint,
    *,
    document: DocumentId,
    patient: PatientId = NOBODY,
    version: int = 1,
    state: str,
    scope: ScopeId,
    description_sealed: bytes,
    at: Micros,
    by: PersonId,
    channel: str,
    is_urgent: bool = False,
) -> StoredVersion:
    """The row of a body that has just become durable: the newest of its document, seen by nobody yet."""
    return StoredVersion(
        document=document,
        patient=patient,
        version=version,
        current=version,
        state=state,
        first_deposited_at=at,
        blob=body.blob,
        scope=scope,
        data_key_sealed=body.data_key_sealed,
        description_sealed=description_sealed,
        size=body.sealed.size,
        sealed_size=body.sealed.sealed_size,
        sealed_sha256=body.sealed.sealed_sha256,
        fingerprint=prints.value,
        mac=prints.mac,
        deposited_at=at,
        deposited_by=by,
        channel=channel,
        integrated_at=None,
        is_handover=False,
        is_urgent=is_urgent,
    )


def place_of(stored: StoredVersion) -> Place:
    """What the description of a row is bound to."""
    return Place(stored.document, stored.version, stored.patient, stored.deposited_by)


def document_of(stored: StoredVersion, description: Description) -> Document:
    """The record that people see, from a row and its opened description."""
    return Document(
        id=stored.document,
        patient=stored.patient,
        version=stored.version,
        type=description.type,
        act_date=description.act_date,
        file_name=description.file_name,
        media_type=description.media_type,
        size=stored.size,
        sha256=description.sha256,
        sealed_sha256=stored.sealed_sha256.hex(),
        deposited_by=stored.deposited_by,
        deposited_at=stored.deposited_at,
        channel=stored.channel,
        integrated_at=stored.integrated_at,
        is_handover=stored.is_handover,
        is_urgent=stored.is_urgent,
        scan=Scan(description.scan),
    )
