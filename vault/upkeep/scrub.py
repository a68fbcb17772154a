"""Owns the check of every stored version: in order, at a pace, resumable, told in the log. It judges none itself.

Without keys it compares sizes, headers and digests of the sealed bytes; with keys it opens everything, and releases nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, insert, select

from vault.audit.append import Receipt
from vault.audit.events import Action, Event, Note, Outcome, System
from vault.model import Actor, BlobId, DocumentId, Micros
from vault.records.documents import catalogue
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.rooms import Rooms
from vault.storage.blobs import BlobStore
from vault.storage.schema import scrubs
from vault.upkeep.inspection import Finding, Kind
from vault.upkeep.repair import Care

PAGE = 100
SAVE_SECONDS = 5.0
RESUME_HOURS = 24
"""An interrupted scrub older than this starts anew: too much may have changed behind it."""
YOUNG_SECONDS = 3600
"""A blob without a row may belong to an upload under way; an older one is what a crash left."""
_START = (DocumentId(""), 0)
_NAME = "scrub"
_HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Pace:
    """Where a scrub stands."""

    after: tuple[DocumentId, int]
    is_keyless: bool
    checked: int
    bytes: int
    findings: tuple[Finding, ...]
    started_at: Micros


@dataclass(frozen=True, slots=True)
class Report:
    """How a scrub ended."""

    checked: int
    bytes: int
    """Sealed bytes that were read."""
    findings: tuple[Finding, ...]
    repaired: tuple[Finding, ...]
    unreferenced: int
    """Blobs that no row names: what crashes left, until the sweep takes them."""
    is_keyless: bool
    is_resumed: bool


class Scrub:
    """One check of everything."""

    def __init__(
        self,
        rooms: Rooms,
        blobs: BlobStore,
        *,
        by: Actor | System,
        replica: BlobStore | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``replica``: where a good copy of a lost or damaged blob may be found."""
        self._rooms = rooms
        self._blobs = blobs
        self._by = by
        self._replica = replica
        self._monotonic = monotonic
        self._sleep = sleep

    def size(self) -> int:
        """How many versions there are to look at."""
        with self._rooms.db.read() as connection:
            return catalogue.count_versions(connection)[0]

    def run(
        self,
        *,
        is_keyless: bool = False,
        is_anew: bool = False,
        rate_mib: float | None = None,
        advance: Callable[[int], None] = lambda _count: None,
    ) -> Report:
        """Look at every version; goes on where an interrupted run stopped, unless ``is_anew``.

        ``rate_mib``: MiB a second at most. Raises KeysUnavailable, StorageUnavailable, LogUnavailable; run again to go on.
        """
        pace = None if is_anew else self._interrupted(is_keyless=is_keyless)
        is_resumed = pace is not None
        pace = pace or Pace(_START, is_keyless, 0, 0, (), self._rooms.clock())
        receipt = self._tell(Outcome.GRANTED, pace)
        care = Care(self._rooms, self._blobs, by=self._by, replica=self._replica, receipt=None if is_keyless else receipt)
        advance(pace.checked)
        repaired: list[Finding] = []
        begun, saved, read = self._monotonic(), self._monotonic(), 0
        for stored in self._versions(pace.after):
            seen = care.look_at(stored)
            if seen.repaired is not None:
                repaired.append(seen.repaired)
            read += stored.sealed_size
            pace = _next(pace, stored, seen.finding)
            advance(1)
            if self._monotonic() - saved > SAVE_SECONDS:
                self._save(pace)
                saved = self._monotonic()
            if rate_mib:
                self._sleep(max(0.0, read / (rate_mib * 1024 * 1024) - (self._monotonic() - begun)))
        unreferenced = sum(1 for _ in unreferenced_blobs(self._rooms, self._blobs, older_than_s=YOUNG_SECONDS))
        self._tell(Outcome.FAILED if pace.findings else Outcome.SUCCESS, pace)
        self._forget()
        return Report(pace.checked, pace.bytes, pace.findings, tuple(repaired), unreferenced, is_keyless, is_resumed)

    def _versions(self, after: tuple[DocumentId, int]) -> Iterator[StoredVersion]:
        """All of them, a short read transaction for each page."""
        while True:
            with self._rooms.db.read() as connection:
                page = catalogue.every_version(connection, after, PAGE)
            if not page:
                return
            yield from page
            after = (page[-1].document, page[-1].version)

    def _tell(self, outcome: Outcome, pace: Pace) -> Receipt:
        code = "keyless" if pace.is_keyless else "opened"
        note = Note(count=pace.checked, bytes=pace.bytes, code=f"findings_{len(pace.findings)}" if pace.findings else code)
        return self._rooms.log.record(Event(Action.DOCUMENT_INTEGRITY_CHECK, outcome, self._by, note=note))

    # --- going on after an interruption ---------------------------------------------------------------------------------------

    def _interrupted(self, *, is_keyless: bool) -> Pace | None:
        with self._rooms.db.read() as connection:
            row = connection.execute(select(scrubs).where(scrubs.c.name == _NAME)).one_or_none()
        if row is None or bool(row.is_keyless) != is_keyless or self._rooms.clock() - row.seen_at > RESUME_HOURS * _HOUR:
            return None
        findings = tuple(Finding(DocumentId(d), v, Kind(k)) for d, v, k in json.loads(row.findings))
        after = (DocumentId(row.document), row.version)
        return Pace(after, is_keyless, row.checked, row.bytes, findings, Micros(row.started_at))

    def _save(self, pace: Pace) -> None:
        values = {
            "name": _NAME,
            "document": pace.after[0],
            "version": pace.after[1],
            "is_keyless": int(pace.is_keyless),
            "checked": pace.checked,
            "bytes": pace.bytes,
            "findings": json.dumps([(f.document, f.version, f.kind.value) for f in pace.findings]),
            "started_at": pace.started_at,
            "seen_at": self._rooms.clock(),
        }

        def work(connection: Connection) -> None:
            connection.execute(delete(scrubs).where(scrubs.c.name == _NAME))
            connection.execute(insert(scrubs).values(**values))

        self._rooms.db.write(work)

    def _forget(self) -> None:
        def work(connection: Connection) -> None:
            connection.execute(delete(scrubs).where(scrubs.c.name == _NAME))

        self._rooms.db.write(work)


def _next(pace: Pace, stored: StoredVersion, finding: Finding | None) -> Pace:
    return replace(
        pace,
        after=(stored.document, stored.version),
        checked=pace.checked + 1,
        bytes=pace.bytes + stored.sealed_size,
        findings=pace.findings if finding is None else (*pace.findings, finding),
    )


def unreferenced_blobs(rooms: Rooms, blobs: BlobStore, *, older_than_s: float) -> Iterator[tuple[BlobId, int]]:
    """Blobs that no row names and that are older than ``older_than_s``: (id, bytes)."""
    young = rooms.clock() - round(older_than_s * 1_000_000)
    page: list[tuple[BlobId, int]] = []

    def unknown() -> list[tuple[BlobId, int]]:
        with rooms.db.read() as connection:
            known = catalogue.known_blobs(connection, [blob for blob, _ in page])
        return [(blob, size) for blob, size in page if blob not in known]

    for entry in blobs.list():
        if entry.written_at > young:
            continue
        page.append((entry.blob, entry.size))
        if len(page) == PAGE:
            yield from unknown()
            page.clear()
    yield from unknown()
