"""Owns reading the log back: rows in order, and their groups opened. It must not know filters, formats or who asks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import CursorResult, Row, Select, select

from vault.audit import canonical
from vault.audit.append import AuditLog
from vault.audit.entries import Entry
from vault.audit.events import Action, Outcome, Severity, action_of
from vault.audit.groups import SALT_BYTES, Fields, Group, Opened, PatientKeys, commitment
from vault.audit.tree import leaf_hash
from vault.errors import Tampered
from vault.model import Micros, PatientId
from vault.storage.schema import audit_entries

PAGE = 2_000
"""Rows read at once: each page is a read transaction of its own, so that a long export holds no lock."""

MET = 8_192
"""Patients whose keys one pass keeps."""
_Read = dict[str, Any]
Unsealed = tuple[bytes, _Read, _Read | None, _Read | None, _Read | None, _Read | None]
"""Leaf hash, leaf, actor, subject, client, note; a group that was erased, has expired or is withheld is None."""

_scan = json.JSONDecoder().raw_decode
"""``json.loads`` guesses the encoding of every record anew."""
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_SEVERITIES = {severity.value: severity for severity in Severity}
COLUMNS = [audit_entries.c[name] for name in Entry._fields]
SEALED = [
    audit_entries.c[name]
    for name in ("position", "leaf", "patient_index", "actor_sealed", "subject_sealed", "client_sealed", "note_sealed")
]
"""What evidence is made of: half of a row's columns, read in half of the time."""


@dataclass(slots=True)  # not frozen: an export makes millions, and frozen costs three times as much to make
class Record:
    """One entry, opened. A group that was erased, has expired or is withheld is None."""

    position: int
    leaf: bytes
    hash: bytes
    """The leaf hash."""
    id: str
    at: Micros
    action: Action
    outcome: Outcome
    severity: Severity
    actor: Fields | None = field(repr=False)
    subject: Fields | None = field(repr=False)
    client: Fields | None = field(repr=False)
    note: Fields | None = field(repr=False)
    patient: PatientId | None
    """Whose entry it is, where the log still knows."""
    flags: int
    op: str
    ref: str
    source: str


class Reader:
    """Pages of entries, opened with the log's keys."""

    def __init__(self, log: AuditLog, *, is_one_pass: bool = False) -> None:
        """``is_one_pass``: the patients once met are not looked up again. Never for a reader that outlives an erasure."""
        self._log = log
        self._met: dict[bytes, tuple[PatientId, PatientKeys]] | None = {} if is_one_pass else None

    def rows(self, query: Select[*tuple[object, ...]]) -> list[Entry]:
        """The rows of a query over COLUMNS."""
        with self._log.db.read() as connection:
            return entries_of(connection.execute(query))

    def scan(self, start: int, end: int) -> Iterator[list[Entry]]:
        """Rows of positions [start, end), in order, a page at a time."""
        column = audit_entries.c.position
        while start < end:
            query = select(*COLUMNS).where((column >= start) & (column < end)).order_by(column).limit(PAGE)
            page = self.rows(query)
            if not page:
                return
            yield page
            start = page[-1].position + 1

    def open(self, entries: Iterable[Entry]) -> list[Record]:
        """Open a page's groups. Raises Tampered where a group is not the one that was sealed to its entry."""
        page = list(entries)
        patients = self.patients(page)
        return [self._record(entry, patients.get(entry.patient_index or b"")) for entry in page]

    def unsealed(self, entry: Entry, patient: PatientKeys | None) -> Unsealed:
        """One entry opened and read. Raises Tampered."""
        hashed = leaf_hash(entry.leaf)
        opened = self._log.keys().open_all(sealed_groups(entry), entry.position, hashed, entry.patient_index, patient)
        # One call of the JSON reader for the five objects. The leaf is authentic: every group was sealed to its hash.
        parts = b",".join([entry.leaf, *[b"null" if data is None else data[SALT_BYTES:] for data in opened]])
        (skeleton, actor, subject, client, note), _ = _scan((b"[" + parts + b"]").decode())
        return hashed, skeleton, actor, subject, client, note

    def _record(self, entry: Entry, known: tuple[PatientId, PatientKeys] | None) -> Record:
        hashed, skeleton, actor, subject, client, note = self.unsealed(entry, known[1] if known else None)
        return Record(
            position=entry.position,
            leaf=entry.leaf,
            hash=hashed,
            id=skeleton["id"],
            at=skeleton["t"],
            action=action_of(skeleton["action"]),
            outcome=_OUTCOMES[skeleton["outcome"]],
            severity=_SEVERITIES[skeleton["sev"]],
            actor=actor,
            subject=subject,
            client=client,
            note=note,
            patient=known[0] if known else None,
            flags=entry.flags,
            op=skeleton.get("op", ""),
            ref=skeleton.get("ref", ""),
            source=skeleton.get("src", ""),
        )

    def opened(self, entry: Entry, patient: PatientKeys | None, hashed: bytes) -> Opened:
        """Salt ‖ JSON of each group; ``hashed`` is the leaf hash. Raises Tampered."""
        return self._log.keys().open_all(sealed_groups(entry), entry.position, hashed, entry.patient_index, patient)

    def groups(self, entry: Entry, patient: PatientKeys | None) -> dict[Group, bytes]:
        """The groups that can be read, each compared with the commitment in the leaf. Raises Tampered."""
        skeleton = canonical.decode(entry.leaf)
        opened: dict[Group, bytes] = {}
        for group, data in zip(Group, self.opened(entry, patient, leaf_hash(entry.leaf)), strict=True):
            if data is None:
                continue
            if commitment(group.value, data) != skeleton[f"c_{group.value}"]:
                raise Tampered(f"log group {group} of entry {entry.position}", kind="group", index=entry.position)
            opened[group] = data
        return opened

    def patients(self, page: Iterable[Entry]) -> dict[bytes, tuple[PatientId, PatientKeys]]:
        """The patients of a page's entries, by index value; of a reader for one pass, those met before too."""
        return self.known({entry.patient_index for entry in page if entry.patient_index})

    def known(self, wanted: set[bytes]) -> dict[bytes, tuple[PatientId, PatientKeys]]:
        """The same, from index values."""
        if self._met is None:
            return self._log.references.by_blind(wanted)
        if len(self._met) > MET:
            self._met.clear()
        self._met.update(self._log.references.by_blind(wanted - self._met.keys()))
        return self._met


def sealed_groups(entry: Entry) -> Opened:
    """The four sealed groups of a row, in the order of ``Group``."""
    return entry.actor_sealed, entry.subject_sealed, entry.client_sealed, entry.note_sealed


def entries_of(result: CursorResult[*tuple[object, ...]]) -> list[Entry]:
    """The rows of a statement over COLUMNS, straight from the driver: a row of SQLAlchemy's own costs half as much again."""
    return [Entry._make(row) for row in result.cursor.fetchall()]


def entry_of(row: Row[*tuple[object, ...]]) -> Entry:
    """A row of COLUMNS as an Entry."""
    return Entry(*row)  # type: ignore[arg-type]  # COLUMNS are Entry's fields in order
