"""Owns which alerts stand open: those raised, less those closed, as the log itself says. It must not know rights or screens.

Neither needs to be opened for that: id, time and what an entry refers to stand in the leaf. The log only grows, so that each
look goes on where the last one ended, however old the log is.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import Connection, select, update

from vault.audit import paths, tiles
from vault.audit.append import AuditLog
from vault.audit.detect import Detector
from vault.audit.events import Action
from vault.audit.reading import COLUMNS, PAGE, Reader, entries_of
from vault.errors import Conflict, NotFound
from vault.model import EventId
from vault.storage.schema import audit_entries

UNNAMED: Final = b""
"""``detector_index`` of an alert that an earlier program raised: the migration has no key to say more."""


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert that nobody has judged."""

    position: int
    detector: Detector | None
    """None where nobody can read it any more."""


class Standing:
    """The open alerts of one log. Thread-safe."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._seen = 0
        self._raised: dict[EventId, Raised] = {}
        self._closed: set[EventId] = set()

    def raised(self, detector: Detector | None = None) -> list[Raised]:
        """Those open now, newest first; of one detector where it is given."""
        with self._lock:
            self._catch_up()
            found = [each for each in self._raised.values() if detector in {None, each.detector}]
        return sorted(found, key=lambda each: -each.position)

    def must_be_open(self, alert: EventId) -> None:
        """Raises NotFound for what is no alert, Conflict for one that was closed."""
        with self._lock:
            self._catch_up()
            if alert in self._closed:
                raise Conflict(f"alert {alert} is closed")
            if alert not in self._raised:
                raise NotFound(f"alert {alert}")

    def _catch_up(self) -> None:
        name_unnamed(self._log)
        detectors = {self._log.keys().blind("detector", each.value): each for each in Detector}
        actions = [Action.AUDIT_ALERT_RAISED.value, Action.AUDIT_ALERT_CLOSED.value]
        ways = paths.ways(paths.Wanted(actions=actions))
        with self._log.db.read() as connection:
            size = tiles.size_of(connection)
            if size < self._seen:  # rewound under us
                self._seen, self._raised, self._closed = 0, {}, set()
            while rows := entries_of(connection.execute(self._after(ways, size).rows(PAGE))):
                for entry in rows:
                    leaf = json.loads(entry.leaf)
                    if entry.action == Action.AUDIT_ALERT_RAISED.value:
                        detector = detectors.get(entry.detector_index or UNNAMED)
                        self._raised[EventId(leaf["id"])] = Raised(entry.position, detector)
                    else:
                        self._close(EventId(leaf["ref"]))
                self._seen = rows[-1].position + 1
            self._seen = size

    def _after(self, ways: list[paths.Way], size: int) -> paths.Stretch:
        return paths.Stretch(ways, self._seen, size, self._log.db.is_sqlite)

    def _close(self, alert: EventId) -> None:
        self._raised.pop(alert, None)
        self._closed.add(alert)


def name_unnamed(log: AuditLog) -> None:
    """Say of the alerts of an earlier program which detector raised them, so that they are found by it."""
    column = audit_entries.c.detector_index
    reader = Reader(log)
    while True:
        rows = reader.rows(select(*COLUMNS).where(column == UNNAMED).limit(PAGE))
        if not rows:
            return
        codes = {record.position: (record.note or {}).get("code") for record in reader.open(rows)}
        named = {at: log.keys().blind("detector", str(code)) if code else None for at, code in codes.items()}
        log.db.write(partial(_name, named))


def _name(named: dict[int, bytes | None], connection: Connection) -> None:
    for position, value in named.items():
        where = (audit_entries.c.position == position) & (audit_entries.c.detector_index == UNNAMED)
        connection.execute(update(audit_entries).where(where).values(detector_index=value))
