"""Owns the check that never ends: the serving process compares every stored body within so many days, gently, and begins anew.

No key is used: sizes, headers and digests of the sealed bytes (``coffre documents verify`` opens them too). Where it stands is
a row of the database, so that restarts lose nothing and several processes take turns. It must not know requests.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import uuid4

from sqlalchemy import Connection, delete, func, insert, select

from vault.audit.events import Action, Event, Note, Outcome, System
from vault.errors import VaultError
from vault.model import DocumentId, Micros
from vault.records.documents import catalogue
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.rooms import Rooms
from vault.storage.blobs import BlobStore
from vault.storage.schema import document_versions, patrols
from vault.upkeep.inspection import Finding, Kind
from vault.upkeep.repair import Care
from vault.upkeep.sweep import Sweep
from vault.upkeep.whereabouts import whereabouts

TURN_S = 600.0
"""How often what is due is looked at."""
FIRST_TURN_S = 60.0
"""After a start the server has better things to do."""
HOLD_US = 2 * 600 * 1_000_000
"""A process that says nothing for so long has given the patrol up."""
PAGE = 20
"""Versions between two savings of the place."""
RATE_BYTES = 32 * 1024 * 1024
"""A second at most: a fifth of what a slow disk reads, so that nobody at work notices."""
DAY_US = 86_400 * 1_000_000
LATE = 2
"""A round that takes so many times its days is late."""
MOST_FINDINGS = 1000
"""Kept in the row; the log has them all."""
_NAME = "blobs"
_START = (DocumentId(""), 0)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the patrol stands."""

    after: tuple[DocumentId, int]
    checked: int
    bytes: int
    findings: tuple[tuple[Finding, Micros], ...]
    """What was not well when it was last looked at, and the beginning of the round that saw it."""
    started_at: Micros
    seen_at: Micros
    ended_at: Micros | None
    holder: str
    held_until: Micros


class Patrol:
    """``start`` after the vault is open in a process that serves, ``stop`` before it closes."""

    def __init__(
        self,
        rooms: Rooms,
        blobs: BlobStore,
        *,
        days: int,
        replica: BlobStore | None = None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        """``days``: within how many every version is looked at; 0 for never. ``pause`` waits for some seconds."""
        self._rooms = rooms
        self._days = days
        self._me = uuid4().hex
        self._blobs = blobs
        self._tidied_at = 0
        self._care = Care(rooms, blobs, by=System("upkeep"), replica=replica, receipt=None)
        self._stopping = threading.Event()
        self._pause = pause or self._stopping.wait
        self._thread: threading.Thread | None = None

    def start(self, report: Callable[[VaultError], None]) -> None:
        """Go round in the background; ``report`` hears of trouble."""
        if self._days:
            self._thread = threading.Thread(target=self._go_on, args=(report,), name="patrol", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Finish the version under way; idempotent."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def watch(self) -> Watch:
        """What is known of the stored documents. Raises StorageUnavailable."""
        return watch(self._rooms, self._days)

    def _go_on(self, report: Callable[[VaultError], None]) -> None:
        wait = FIRST_TURN_S
        while not self._stopping.wait(wait):
            wait = TURN_S
            try:
                self.turn()
            except VaultError as error:  # token, store or database away: the next turn goes on from what was saved
                report(error)

    def turn(self) -> int:
        """Look at what is due now; gives how many versions that were. Raises VaultError."""
        standing = self._take()
        looked = 0
        if standing is not None:
            self._tidy()
        while standing is not None and not self._stopping.is_set():
            page = self._due(standing)
            if not page:
                if self._is_round_over(standing):
                    self._end_round(standing)
                return looked
            for stored in page:
                standing = self._after(standing, stored)
                looked += 1
                self._pause(stored.sealed_size / RATE_BYTES)
                if self._stopping.is_set():
                    break
            if not self._save(standing):
                return looked
        return looked

    def _tidy(self) -> None:
        """Once a day, what crashes left in the place of uploads under way."""
        now = self._rooms.clock()
        if now - self._tidied_at >= DAY_US:
            Sweep(self._rooms, self._blobs, by=System("upkeep")).leftovers()
            self._tidied_at = now

    def _after(self, standing: Standing, stored: StoredVersion) -> Standing:
        finding = self._care.look_at(stored).finding
        place = (stored.document, stored.version)
        others = tuple(each for each in standing.findings if (each[0].document, each[0].version) != place)
        return replace(
            standing,
            after=place,
            checked=standing.checked + 1,
            bytes=standing.bytes + stored.sealed_size,
            findings=others if finding is None else (*others, (finding, standing.started_at)),
        )

    # --- what is due

    def _share(self, standing: Standing) -> float:
        """How much of this round's time has passed."""
        return (self._rooms.clock() - standing.started_at) / (self._days * DAY_US)

    def _is_round_over(self, standing: Standing) -> bool:
        return self._share(standing) >= 1

    def _due(self, standing: Standing) -> list[StoredVersion]:
        """The next versions that should have been looked at by now; every one that is left once the time is over."""
        with self._rooms.db.read() as connection:
            share, due = self._share(standing), PAGE
            if share < 1:
                due = min(PAGE, round(_count(connection) * share) - standing.checked)
            return catalogue.every_version(connection, standing.after, due) if due > 0 else []

    def _end_round(self, standing: Standing) -> None:
        """Tell, and begin the next one. What was found in an earlier round and not in this one stands nowhere any more."""
        now = self._rooms.clock()
        findings = tuple(each for each in standing.findings if each[1] == standing.started_at)
        note = Note(count=standing.checked, bytes=standing.bytes, code=f"patrol_{len(findings)}")
        outcome = Outcome.FAILED if findings else Outcome.SUCCESS
        self._rooms.log.record(Event(Action.DOCUMENT_INTEGRITY_CHECK, outcome, System("upkeep"), note=note))
        self._save(replace(standing, after=_START, checked=0, bytes=0, findings=findings, started_at=now, ended_at=now))

    # --- one process at a time

    def _take(self) -> Standing | None:
        """The patrol, for this process until it says nothing for a while; None where another one goes round."""

        def work(connection: Connection) -> Standing | None:
            now = self._rooms.clock()
            found = standing_of(connection) or Standing(_START, 0, 0, (), now, now, None, self._me, now)
            if found.holder != self._me and found.held_until > now:
                return None
            return self._write(connection, found)

        return self._rooms.db.write(work)

    def _save(self, standing: Standing) -> bool:
        """Keep the place; False where another process has taken over meanwhile."""

        def work(connection: Connection) -> bool:
            found = standing_of(connection)
            if found is None or found.holder != self._me:
                return False
            self._write(connection, standing)
            return True

        return self._rooms.db.write(work)

    def _write(self, connection: Connection, standing: Standing) -> Standing:
        now = self._rooms.clock()
        mine = replace(standing, seen_at=now, holder=self._me, held_until=Micros(now + HOLD_US))
        findings = [(each.document, each.version, each.kind.value, at) for each, at in mine.findings[:MOST_FINDINGS]]
        connection.execute(delete(patrols).where(patrols.c.name == _NAME))
        connection.execute(
            insert(patrols).values(
                name=_NAME,
                document=mine.after[0],
                version=mine.after[1],
                checked=mine.checked,
                bytes=mine.bytes,
                findings=json.dumps(findings),
                started_at=mine.started_at,
                seen_at=mine.seen_at,
                ended_at=mine.ended_at,
                holder=mine.holder,
                held_until=mine.held_until,
            )
        )
        return mine


def _count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(document_versions)).scalar_one())


def standing_of(connection: Connection) -> Standing | None:
    """Where the patrol stands; None before its first turn."""
    row = connection.execute(select(patrols).where(patrols.c.name == _NAME)).one_or_none()
    if row is None:
        return None
    findings = tuple((Finding(DocumentId(d), v, Kind(k)), Micros(at)) for d, v, k, at in json.loads(row.findings))
    ended_at = None if row.ended_at is None else Micros(row.ended_at)
    return Standing(
        (DocumentId(row.document), row.version),
        row.checked,
        row.bytes,
        findings,
        Micros(row.started_at),
        Micros(row.seen_at),
        ended_at,
        row.holder,
        Micros(row.held_until),
    )


@dataclass(frozen=True, slots=True)
class Watch:
    """What the patrol says of the stored documents, for a status line; names nobody and no document but those not well."""

    days: int
    """0: nobody goes round."""
    total: int
    checked: int
    findings: tuple[Finding, ...]
    started_at: Micros | None
    ended_at: Micros | None
    is_late: bool

    @property
    def ok(self) -> bool:
        return not self.findings and not self.is_late


def watch(rooms: Rooms, days: int) -> Watch:
    """What is known of the stored documents. Raises StorageUnavailable."""
    with rooms.db.read() as connection:
        standing, total = standing_of(connection), _count(connection)
        findings = tuple(finding for finding, _ in standing.findings) if standing else ()
        there = whereabouts(connection, findings)
    if standing is None:
        return Watch(days, total, 0, (), None, None, is_late=False)
    is_late = bool(days and total) and rooms.clock() - standing.started_at > LATE * days * DAY_US
    findings = tuple(each for each in findings if (each.document, each.version) in there)  # what was destroyed harms nobody
    return Watch(days, total, standing.checked, findings, standing.started_at, standing.ended_at, is_late)
