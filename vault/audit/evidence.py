"""Owns what goes into an evidence bundle: which entries, which proofs, which fences show that none was left out.

It must not know files or who asks. A *fence* is the entry just before or after what was asked: counters run without gap
from fence to fence, so that a withheld one leaves a hole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, select

from vault.audit import canonical, paths, tiles, tree
from vault.audit.append import AuditLog, Receipt
from vault.audit.checkpoint import Signed
from vault.audit.entries import entry_at
from vault.audit.formats.bundle import FORMAT, Item, encoded, line
from vault.audit.groups import Group
from vault.audit.reading import PAGE, SEALED, Reader
from vault.audit.search import Filters, Search
from vault.errors import NotFound
from vault.model import Actor
from vault.storage.schema import audit_entries


class Kind(StrEnum):
    """What a bundle claims to be complete for, and how that can be checked."""

    WHOLE = "whole"
    """Every entry: the root follows from the leaves."""
    PERIOD = "period"
    """Every entry between two moments: indexes follow each other from fence to fence."""
    PATIENT = "patient"
    """Every entry about one patient in a period: the patient's counter follows."""
    ACTOR = "actor"
    """Every entry of one person in a period: the person's counter follows."""
    SELECTION = "selection"
    """Entries picked by other filters: each is proven, their completeness can't be."""


def kind_of(filters: Filters) -> Kind:
    """What a bundle of these filters can prove."""
    asked = set(filters.described()) - {"since", "until"}
    if not asked:
        return Kind.WHOLE if filters.since is None and filters.until is None else Kind.PERIOD
    if asked <= {"patient", "reference"}:
        return Kind.PATIENT
    return Kind.ACTOR if asked == {"actor"} else Kind.SELECTION


def request_of(filters: Filters, reference: str | None) -> dict[str, str | int]:
    """What was asked, as the manifest says it and the log commits to it; a patient by log reference only."""
    asked = {name: value for name, value in filters.described().items() if name not in {"patient", "reference"}}
    if reference:
        asked["reference"] = reference
    return {"kind": kind_of(filters).value, **asked}


def request_word(request: dict[str, str | int]) -> str:
    """The digest of a request, for the note of the export's own event: nobody can relabel the bundle."""
    return "request " + sha256(canonical.encode(request)).hexdigest()


def single_proof(log: AuditLog, head: Signed, position: int) -> str:
    """One entry as a C2SP tlog-proof: leaf and opened groups as extra data, path, checkpoint."""
    reader = Reader(log)
    with log.db.read() as connection:
        row = entry_at(connection, position)
        if row is None:
            raise NotFound(f"entry {position}")
        path = tree.inclusion_proof(position, head.checkpoint.size, tiles.Nodes(connection, head.checkpoint.size))
    known = reader.patients([row]).get(row.patient_index) if row.patient_index else None
    hashed = tree.leaf_hash(row.leaf)
    item = position, row.leaf, hashed, reader.opened(row, known[1] if known else None, hashed), None, False
    lines = [
        "c2sp.org/tlog-proof@v1",
        f"extra {encoded(line(item).strip().encode())}",
        f"index {position}",
        *map(encoded, path),
    ]
    return "\n".join(lines) + "\n\n" + head.note


@dataclass(frozen=True, slots=True)
class Evidence:
    """One bundle: the entries below ``head`` that ``filters`` let through, and the export's own."""

    log: AuditLog
    filters: Filters
    request: dict[str, str | int]
    receipt: Receipt
    head: Signed

    def manifest(self, actor: Actor, verifiers: list[str]) -> dict[str, object]:
        """The first member: who asked for what. ``verifiers`` are for information; trust comes from elsewhere."""
        return {
            "format": FORMAT,
            "origin": self.head.checkpoint.origin,
            "made_at": self.receipt.at,
            "by": {"ref": actor.person, "role": actor.role.value},
            "request": self.request,
            "export_index": self.receipt.position,
            "size": self.head.checkpoint.size,
            "keys": verifiers,
            "groups": [group.value for group in Group],
        }

    def items(self) -> Iterator[list[Item]]:
        """The entries in order of position, a page at a time; the export's own entry is always among them."""
        kind = Kind(str(self.request["kind"]))
        if kind is Kind.WHOLE:
            yield from self._pages(0, self.head.checkpoint.size, [], proven=False)
            return
        search = Search(self.log)
        ways = search.ways(self.filters)
        own = self.receipt.position
        with self.log.db.read() as connection:
            start, end = search.bounds(connection, self.filters, self.head.checkpoint.size)
            before, after = self._fences(connection, kind, ways, start, end)
        if before is not None:
            yield [self._fence(before, kind)]
        yield from self._pages(start, end, [*ways, paths.at(own)] if ways else [], proven=True)
        if after is not None and after < own:
            yield [self._fence(after, kind)]
        if own >= end:
            yield [self._single(own)]
        if after is not None and after > own:
            yield [self._fence(after, kind)]

    def _fences(
        self, connection: Connection, kind: Kind, ways: list[paths.Way], start: int, end: int
    ) -> tuple[int | None, int | None]:
        """Positions of the nearest entries of the same kind outside [start, end)."""
        if kind is Kind.SELECTION:
            return None, None
        if kind is Kind.PERIOD:
            return (start - 1 if start else None), (end if end < self.head.checkpoint.size else None)
        search, limit = Search(self.log), self.head.checkpoint.size
        before = connection.execute(search.stretch(ways, 0, start, is_newest_first=True).positions(1)).scalar_one_or_none()
        after = connection.execute(search.stretch(ways, end, limit).positions(1)).scalar_one_or_none()
        return before, after

    def _pages(self, start: int, end: int, ways: list[paths.Way], *, proven: bool) -> Iterator[list[Item]]:
        reader, search = Reader(self.log, is_one_pass=True), Search(self.log)
        while start < end:
            with self.log.db.read() as connection:
                rows = connection.execute(search.stretch(ways, start, end).rows(PAGE, SEALED)).cursor.fetchall()
                if not rows:
                    return
                nodes = tiles.Nodes(connection, self.head.checkpoint.size) if proven else None
                yield self._items(rows, reader, nodes)
            start = rows[-1][0] + 1

    def _items(self, rows: Sequence[Sequence[Any]], reader: Reader, nodes: tiles.Nodes | None) -> list[Item]:
        """``rows`` are those of reading.SEALED, straight from the driver."""
        patients = reader.known({blind for _, _, blind, *_ in rows if blind})
        open_all, leaf_hash = self.log.keys().open_all, tree.leaf_hash
        made: list[Item] = []
        for position, leaf, blind, *sealed in rows:
            known = patients.get(blind) if blind else None
            hashed = leaf_hash(leaf)
            opened = open_all(sealed, position, hashed, blind, known[1] if known else None)
            made.append((position, leaf, hashed, opened, None if nodes is None else self._proof(position, nodes), False))
        return made

    def _proof(self, position: int, nodes: tiles.Nodes) -> tuple[bytes, ...]:
        return tuple(tree.inclusion_proof(position, self.head.checkpoint.size, nodes))

    def _single(self, position: int) -> Item:
        with self.log.db.read() as connection:
            query = select(*SEALED).where(audit_entries.c.position == position)
            rows = connection.execute(query).cursor.fetchall()
            if not rows:
                raise NotFound(f"entry {position}")
            return self._items(rows, Reader(self.log), tiles.Nodes(connection, self.head.checkpoint.size))[0]

    def _fence(self, position: int, kind: Kind) -> Item:
        """An entry outside of what was asked: only the group that carries the counter is shown."""
        position, leaf, hashed, opened, proof, _ = self._single(position)
        shown = {Kind.PATIENT: (1,), Kind.ACTOR: (0,)}.get(kind, ())
        actor, subject = (opened[n] if n in shown else None for n in (0, 1))
        return position, leaf, hashed, (actor, subject, None, None), proof, True
