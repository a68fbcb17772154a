"""Owns the verification of the log inside the vault: every leaf, tile, group and checkpoint, in one pass.

It must not know who asks. It names the first bad index and the kind of fault. Old databases put back show against the token's
mark; what it can't see (history rewritten with the token) needs something kept outside: an earlier checkpoint, a witness.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select

from vault.audit import canonical, tiles
from vault.audit.absences import Absences, Horizon
from vault.audit.append import AuditLog
from vault.audit.checkpoint import Checkpoints
from vault.audit.entries import Entry, entry_at
from vault.audit.events import Action
from vault.audit.groups import Fields, Group, PatientKeys, counted_as, fields_of, flags_told
from vault.audit.note import Checkpoint, NoteRejected, open_checkpoint
from vault.audit.reading import Reader, sealed_groups
from vault.audit.retention import Retention
from vault.audit.tree import TILE_WIDTH, Frontier, Tile, leaf_hash
from vault.errors import KeysUnavailable, Tampered
from vault.storage.schema import audit_counters, audit_tiles

SEARCH = 10_000
"""How far around a misplaced row its own place is looked for."""


class Fault(StrEnum):
    """What is wrong with the log."""

    EDITED = "edited"
    """An entry's leaf is not what was written."""
    MISSING = "missing"
    """An entry is gone, whether or not those after it were renumbered."""
    SWAPPED = "swapped"
    """Two entries stand in each other's place."""
    GROUP = "group"
    """A sealed part is not the one that the leaf commits to."""
    COLUMNS = "columns"
    """A search column does not say what the entry says: searches would lie."""
    TILE = "tile"
    """A stored tree hash is not that of the entries under it."""
    TRUNCATED = "truncated"
    """The last entries are gone."""
    REWRITTEN = "rewritten"
    """The entries agree with each other, not with a signed checkpoint."""
    CHECKPOINT = "checkpoint"
    """A stored checkpoint is not signed by this installation."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The first fault."""

    index: int
    kind: Fault


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found."""

    size: int
    root: bytes
    first_bad: Finding | None
    signed_size: int
    """Entries covered by the newest signed checkpoint; later ones have no outside anchor yet."""
    withheld: int
    """Groups that are no longer readable: expired or erased."""
    first_at: int
    last_at: int
    marked_size: int | None = None
    """Entries that the token's own mark vouches for; None where it keeps none, or is away."""

    @property
    def is_whole(self) -> bool:
        return self.first_bad is None


class _Fault(Exception):  # carries the finding to the end of the pass
    def __init__(self, index: int, kind: Fault) -> None:
        super().__init__(kind)
        self.finding = Finding(index, kind)


class Verification:
    """One pass over the whole log; memory grows with the number of people and patients only."""

    def __init__(self, log: AuditLog, checkpoints: Checkpoints, advance: Callable[[int], None] = lambda _: None) -> None:
        """``advance`` is told how many more entries were verified."""
        self._log = log
        self._checkpoints = checkpoints
        self._advance = advance
        self._reader = Reader(log)
        self._frontier = Frontier()
        self._counters: dict[bytes, int] = {}
        self._absences = Absences(Horizon())
        self._withheld = 0
        self._marked: Checkpoint | None = None
        self._first_at = 0
        self._last_at = 0

    def run(self) -> Verdict:
        """Verify everything that stands in the database now. Raises LogUnavailable, KeysUnavailable, StorageUnavailable."""
        signed: list[Checkpoint] = []
        finding: Finding | None = None
        end = self._size()
        try:
            signed = self._signed()
            with self._log.db.read() as connection:  # after the heads: others go on writing and signing meanwhile
                end = tiles.size_of(connection)
                counted = {row.subject: row[1] for row in connection.execute(select(audit_counters))}
            self._absences.horizon = self._horizon()
            self._pass(end, signed)
            self._explain()
            self._count(counted)
        except _Fault as fault:
            finding = fault.finding
        root = self._frontier.root() if finding is None else b""
        covered = signed[-1].size if signed else 0
        marked = self._marked.size if self._marked else None
        return Verdict(end, root, finding, covered, self._withheld, self._first_at, self._last_at, marked)

    def _size(self) -> int:
        with self._log.db.read() as connection:
            return tiles.size_of(connection)

    def _signed(self) -> list[Checkpoint]:
        """Every stored checkpoint and the keyring's mark, signatures verified, and the token's mark; smallest first."""
        trusted = self._checkpoints.verifiers()
        try:
            mark = self._checkpoints.marks.in_keyring()
            notes = [*[each.note for each in self._checkpoints.all()], *([mark[1]] if mark else [])]
            heads = {open_checkpoint(text, trusted, self._checkpoints.origin) for text in notes}
            with suppress(KeysUnavailable):  # the token's word is missing while it is away: ``marked_size`` says so
                self._marked = self._checkpoints.marks.head()
            heads |= {self._marked} if self._marked else set()
            return sorted(heads, key=lambda head: (head.size, head.root))
        except (NoteRejected, Tampered) as error:
            raise _Fault(0, Fault.CHECKPOINT) from error

    def _horizon(self) -> Horizon:
        """What the last purge said; its entry opens, or it is the first fault."""
        try:
            return Retention(self._log).done()
        except (Tampered, ValueError, KeyError) as error:
            raise _Fault(0, Fault.GROUP) from error

    def _pass(self, end: int, signed: list[Checkpoint]) -> None:
        heads = iter([head for head in signed if head.size])
        head, good = next(heads, None), 0
        for page in self._reader.scan(0, end):
            patients = self._reader.patients(page)
            for entry in page:
                known = patients.get(entry.patient_index) if entry.patient_index else None
                self._entry(entry, known[1] if known else None)
                while head is not None and head.size == self._frontier.size:
                    if head.root != self._frontier.root():
                        raise _Fault(good, Fault.REWRITTEN)
                    good, head = head.size, next(heads, None)
            self._advance(len(page))
        if head is not None or self._frontier.size < end:
            raise _Fault(self._frontier.size, Fault.TRUNCATED)

    def _entry(self, entry: Entry, patient: PatientKeys | None) -> None:
        index = self._frontier.size
        if entry.position != index:
            raise _Fault(index, Fault.MISSING)
        try:
            skeleton = canonical.decode(entry.leaf)
            opened = self._reader.groups(entry, patient)
            at = int(skeleton["t"])
        except (Tampered, ValueError, KeyError) as error:
            raise _Fault(index, self._what_happened(entry, patient)) from error
        self._withheld += len(Group) - len(opened)
        self._absent(entry, patient)
        if (at, skeleton["action"], skeleton["outcome"]) != (entry.at, entry.action, entry.outcome):
            raise _Fault(index, Fault.COLUMNS)
        if at < self._last_at:
            raise _Fault(index, Fault.EDITED)
        self._first_at, self._last_at = self._first_at or at, at
        groups = {group: fields_of(data) for group, data in opened.items()}
        self._absences.tell(entry.action, groups.get(Group.NOTE))
        self._columns(entry, groups)
        for tile in self._frontier.append(leaf_hash(entry.leaf)):
            self._tile(tile)

    def _absent(self, entry: Entry, patient: PatientKeys | None) -> None:
        for group, sealed in zip(Group, sealed_groups(entry), strict=True):
            if sealed is None:
                self._absences.missing(entry.position, entry.action, group)
        if entry.patient_index is not None and patient is None:
            self._absences.unknown(entry.position, entry.patient_index)

    def _explain(self) -> None:
        """Every part that is gone was erased or has expired, and the log says so."""
        unexplained = self._absences.unexplained()
        if unexplained is not None:
            raise _Fault(unexplained, Fault.GROUP)

    def _what_happened(self, entry: Entry, patient: PatientKeys | None) -> Fault:
        """Why a row does not open at its place: it was written elsewhere, its leaf was edited, or one group was."""
        if any(self._opens(entry, patient, group, entry.position) for group in Group):
            return Fault.GROUP
        for position in range(max(0, entry.position - SEARCH), entry.position + SEARCH):
            if self._opens(entry, patient, Group.ACTOR, position):
                return self._moved(entry.position, position)
        return Fault.EDITED

    def _moved(self, index: int, origin: int) -> Fault:
        """A row written at ``origin`` stands at ``index``: swapped with the one there, or drawn nearer by a deletion."""
        with self._log.db.read() as connection:
            other = entry_at(connection, origin)
        return Fault.SWAPPED if other and self._opens(other, None, Group.ACTOR, index) else Fault.MISSING

    def _opens(self, entry: Entry, patient: PatientKeys | None, group: Group, position: int) -> bool:
        keys = self._log.keys()
        sealed = dict(zip(Group, sealed_groups(entry), strict=True))[group]
        if sealed is None:
            return False
        try:
            keys.open(group, sealed, keys.context(group, position, leaf_hash(entry.leaf), entry.patient_index), patient)
        except Tampered:
            return False
        return True

    def _columns(self, entry: Entry, groups: dict[Group, Fields]) -> None:
        """The search columns say what the groups say; the counters go up by one."""
        blind = self._log.keys().blind
        expected: list[tuple[bytes | None, bytes | None]] = []
        actor = groups.get(Group.ACTOR)
        if actor is not None:
            expected.append((entry.actor_index, blind("actor", f"{actor['kind']} {actor['ref']}")))
            self._one_more(blind("count", counted_as(actor)), actor, entry)
        subject = groups.get(Group.SUBJECT)
        if subject is not None:
            for kind in ("patient", "document", "person"):
                column = getattr(entry, f"{kind}_index")
                expected.append((column, blind(kind, str(subject[kind])) if kind in subject else None))
            if entry.patient_index and "n" in subject:
                self._one_more(entry.patient_index, subject, entry)
        note = groups.get(Group.NOTE)
        if note is not None:
            is_alert = entry.action == Action.AUDIT_ALERT_RAISED.value
            expected.append((entry.detector_index, blind("detector", str(note.get("code", ""))) if is_alert else None))
            if entry.flags != flags_told(entry.action, note):
                raise _Fault(entry.position, Fault.COLUMNS)
        if any(column != value for column, value in expected):
            raise _Fault(entry.position, Fault.COLUMNS)

    def _one_more(self, counter: bytes, fields: Fields, entry: Entry) -> None:
        if self._counters.get(counter) not in {None, int(fields["n"]) - 1}:
            raise _Fault(entry.position, Fault.MISSING)
        self._counters[counter] = int(fields["n"])

    def _count(self, counted: dict[bytes, int]) -> None:
        """The counters that the writer keeps have not gone further than the entries."""
        for counter, count in self._counters.items():
            if counted.get(counter, 0) > count:
                raise _Fault(self._frontier.size, Fault.TRUNCATED)

    def _tile(self, tile: Tile) -> None:
        columns = audit_tiles.c
        query = select(columns.hashes).where((columns.level == tile.level) & (columns.position == tile.position))
        with self._log.db.read() as connection:
            stored = connection.execute(query).scalar_one_or_none()
        if stored != b"".join(tile.hashes):
            raise _Fault(tile.position * TILE_WIDTH ** (tile.level + 1), Fault.TILE)
