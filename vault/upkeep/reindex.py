"""Owns bringing everything that stands under an older MAC key under the active one: search values and fingerprints.

It must not know why the key changed. It runs while the practice works: whatever stands under either key is found meanwhile
(vault/storage/standing.py), each batch is one transaction, and what is left is read from the rows themselves. Only what can be
made anew stands under this key: recovery codes, counters and places stand under a scope's (``Roster.keyed_hash``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, delete, select, update

from kms.keys import KeyService, KeyUse, Purpose, Secret
from vault.errors import Busy, NotFound, Tampered
from vault.model import DocumentId, PatientId, PersonId, ScopeId, TenantId
from vault.records.documents.descriptions import Place, open_description
from vault.records.documents.quarantined import open_apart
from vault.records.inbox.drafts import open_draft
from vault.records.patients import patient_rows
from vault.records.patients.patient_rows import open_identity
from vault.sealing.binding import bind
from vault.sealing.faults import key_faults
from vault.sealing.index import BlindIndex, Entry
from vault.sealing.scopes import ScopeKeys
from vault.storage import standing
from vault.storage.db import Database
from vault.storage.schema import QUARANTINED, document_versions, documents, patient_index, patients

BATCH = 50
"""Patients, with their documents, in one transaction: some 20 ms of it, so that clinicians' own writes never wait long."""
SETTLE_SECONDS = 2.5
"""Other processes notice a new active key within 2 s (kms/ledger.py); what they write before stands under the old one."""
BUDGET_SECONDS = 60
"""How long to wait where a key process says that enough keys were opened: its budget is not ours to break."""
ERASED = "erased"
Report = Callable[[int], None]
Paced = Callable[[int, int, int], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reindexed:
    """How a re-indexing ended."""

    mac: int
    """The active MAC key."""
    patients: int
    versions: int
    """How many were brought under it by this run."""
    failed: tuple[tuple[str, str], ...]
    """What can't be opened and so can't be found anew, with the error's code; it stands as it stood."""
    left: dict[int, int]
    """The proof: how many patients and versions stand under each other MAC key, counted in the tables at the end."""

    @property
    def is_complete(self) -> bool:
        return not self.left


class Reindexing:
    """Brings search values and fingerprints under the active MAC key. Safe to stop at any moment, and to repeat."""

    def __init__(
        self,
        db: Database,
        scopes: ScopeKeys,
        keys: KeyService,
        tenant: TenantId,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._scopes = scopes
        self._keys = keys
        self._tenant = tenant
        self._index = BlindIndex(keys, tenant)
        self._sleep = sleep
        self._monotonic = monotonic

    def standing(self) -> dict[int, dict[str, int]]:
        """How many ``patients`` and ``versions`` stand under each MAC key."""
        found = dict[int, dict[str, int]]()
        with self._db.read() as connection:
            for name, column in (("patients", standing.PATIENTS), ("versions", standing.VERSIONS)):
                for mac, count in standing.counts(connection, column).items():
                    found.setdefault(mac, {})[name] = count
        return found

    def remaining(self) -> int:
        """How much does not stand under the active MAC key."""
        return sum(self._left(self._active()).values())

    def run(self, report: Report = lambda _count: None, *, per_second: int | None = None) -> Reindexed:
        """Re-index until nothing is left but failures; ``report`` is told each batch's size.

        Raises KeysUnavailable, StorageUnavailable, StorageFull: what was done stays done; run it again.
        """
        active, begun, done = self._active(), self._monotonic(), [0, 0]

        def paced(people: int, versions: int, seen: int) -> None:
            done[0] += people
            done[1] += versions
            report(seen)
            if per_second:
                self._sleep(max(0.0, sum(done) / per_second - (self._monotonic() - begun)))

        failed = self._pass(active, paced)
        if sum(done):
            self._sleep(SETTLE_SECONDS)
            failed = self._pass(active, paced)
        return Reindexed(active, done[0], done[1], tuple(failed.items()), self._left(active))

    def _active(self) -> int:
        with key_faults():
            return self._keys.active(KeyUse.MAC)

    def _left(self, active: int) -> dict[int, int]:
        return {mac: sum(counts.values()) for mac, counts in self.standing().items() if mac != active}

    def _pass(self, active: int, paced: Paced) -> dict[str, str]:
        """Once over everything: patients with their documents, so that each key is opened once; then what nobody owns."""
        failed = self._patients(active, paced)
        return failed | self._inbox(active, paced)

    def _patients(self, active: int, paced: Paced) -> dict[str, str]:
        after, failed, columns = "", dict[str, str](), patients.c
        chosen = select(columns.id, columns.scope, columns.state, columns.identity_sealed).order_by(columns.id).limit(BATCH)
        while rows := self._next(chosen.where(columns.mac != active, columns.id > after)):
            entries = self._made(rows, self._entry, lambda row: f"patient {row.id}", failed)
            theirs = self._next(_described().where(document_versions.c.mac != active, documents.c.patient.in_(_ids(rows))))
            prints = self._made(theirs, partial(self._fingerprint, active=active), _name_of, failed)
            patients_done = self._db.write(partial(_replace_entries, entries, active))
            paced(patients_done, self._db.write(partial(_replace_prints, prints, active)), len(rows) + len(theirs))
            after = rows[-1].id
        return failed

    def _inbox(self, active: int, paced: Paced) -> dict[str, str]:
        """Drafts, and whatever came in meanwhile."""
        after, failed, columns = ("", 0), dict[str, str](), document_versions.c
        chosen = _described().order_by(columns.document, columns.version).limit(BATCH)
        while rows := self._next(chosen.where(columns.mac != active, _beyond(after))):
            prints = self._made(rows, partial(self._fingerprint, active=active), _name_of, failed)
            paced(0, self._db.write(partial(_replace_prints, prints, active)), len(rows))
            after = (rows[-1].document, rows[-1].version)
        return failed

    def _made(
        self, rows: Sequence[Any], make: Callable[[Any], T], name_of: Callable[[Any], str], failed: dict[str, str]
    ) -> list[tuple[Any, T]]:
        """What ``make`` gives for each row; a row that can't be opened is named in ``failed``, and the others go on."""
        made = list[tuple[Any, T]]()
        for row in rows:
            try:
                made.append((row, self._patiently(make, row)))
            except (Tampered, NotFound) as error:
                failed[name_of(row)] = error.code
        return made

    def _patiently(self, make: Callable[[Any], T], row: Any) -> T:
        while True:
            try:
                return make(row)
            except Busy:
                self._sleep(BUDGET_SECONDS)

    def _entry(self, row: Any) -> Entry | None:
        """Under what somebody is found; None where they were erased. Raises Tampered, NotFound, KeysUnavailable."""
        if row.state == ERASED:
            return None
        with self._scopes.open(ScopeId(row.scope)) as key:
            identity = open_identity(key, self._tenant, PatientId(row.id), row.identity_sealed)
        return self._index.entry(identity)

    def _next(self, statement: Any) -> Sequence[Any]:
        with self._db.read() as connection:
            return connection.execute(statement).all()

    def _fingerprint(self, row: Any, active: int) -> bytes:
        """The fingerprint under the active key; empty where the patient was erased, so that nothing is known by it."""
        if row.state == ERASED:
            return b""
        with self._scopes.open(ScopeId(row.scope)) as key:
            sha256 = self._sha256(key, row)
        with key_faults():
            message = bind("coffre/fingerprint/v1", self._tenant, bytes.fromhex(sha256))
            return self._keys.mac(Purpose.FINGERPRINT, message, number=active)

    def _sha256(self, key: Secret, row: Any) -> str:
        """What the sealed description says of the body; one that waits in the inbox has no patient yet."""
        document = DocumentId(row.document)
        if row.document_state == QUARANTINED:
            return open_apart(key, self._tenant, document, row.description_sealed).sha256
        if row.patient is None:
            return open_draft(key, self._tenant, document, row.description_sealed).sha256
        place = Place(document, row.version, PatientId(row.patient), PersonId(row.deposited_by))
        return open_description(key, self._tenant, place, row.description_sealed).sha256


def _described() -> Any:
    columns = document_versions.c
    wanted = (columns.document, columns.version, columns.scope, columns.description_sealed, columns.deposited_by)
    joined = document_versions.join(documents, documents.c.id == columns.document)
    joined = joined.outerjoin(patients, patients.c.id == documents.c.patient)
    state = documents.c.state.label("document_state")
    return select(*wanted, documents.c.patient, state, patients.c.state).select_from(joined)


def _beyond(after: tuple[str, int]) -> ColumnElement[bool]:
    columns = document_versions.c
    return (columns.document > after[0]) | ((columns.document == after[0]) & (columns.version > after[1]))


def _ids(rows: Sequence[Any]) -> list[str]:
    return [row.id for row in rows]


def _name_of(row: Any) -> str:
    return f"document {row.document}/{row.version}"


def _replace_entries(fresh: Sequence[tuple[Any, Entry | None]], active: int, connection: Connection) -> int:
    """Whoever was corrected since is left: the correction made values of its own, and a second pass looks again."""
    changed = 0
    for row, entry in fresh:
        if entry is not None:
            changed += patient_rows.reindex(connection, PatientId(row.id), row.identity_sealed, entry)
            continue
        connection.execute(delete(patient_index).where(patient_index.c.patient == row.id))
        changed += connection.execute(update(patients).where(patients.c.id == row.id).values(mac=active)).rowcount
    return changed


def _replace_prints(fresh: Sequence[tuple[Any, bytes]], active: int, connection: Connection) -> int:
    """A version's bytes never change, so its fingerprint holds whatever happened to its description meanwhile."""
    columns, changed = document_versions.c, 0
    for row, value in fresh:
        same = (columns.document == row.document) & (columns.version == row.version)
        changed += connection.execute(update(document_versions).where(same).values(fingerprint=value, mac=active)).rowcount
    return changed
