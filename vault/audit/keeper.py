"""Owns what the log does by itself in a serving process: start and stop events, heartbeats, checkpoints.

It must not know requests.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import Connection, insert, select, update

from kms.errors import PinRefused
from vault.audit.append import AuditLog, Transaction
from vault.audit.checkpoint import Checkpoints
from vault.audit.events import Action, Event, Note, Outcome, System
from vault.errors import KeysUnavailable, VaultError
from vault.storage.schema import audit_runs

CHECKPOINT_S: Final = 1.0
"""At most one checkpoint in this time."""
HEARTBEAT_S: Final = 600.0
"""Silence longer than this is itself a finding."""
LOOK_S: Final = 300.0
"""How often the detectors look at the last half hour."""
PURGE_S: Final = 86_400.0
"""How often what has expired is emptied."""
HOUR_S: Final = 3_600.0
RETRY_S: Final = 30.0
"""How long the keeper lets a faulty token or database rest."""
STALE_US: Final = 3 * 600 * 1_000_000
"""A run on another host that was not seen for this long has ended without saying so."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process that serves: how others see whether it is still alive."""

    id: str
    source: str
    host: str
    process: str


def this_run(source: str) -> Run:
    """The run of this process: host name, and process id with its start time."""
    return Run(uuid4().hex, source, platform.node()[:64], process_mark(os.getpid()))


def process_mark(process: int) -> str:
    """Process id and start time (clock ticks since boot, proc(5) field 22); the id alone where there is no /proc."""
    try:
        started = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return str(process)
    return f"{process}.{started}"


def is_alive(mark: str) -> bool:
    """Whether the process of a mark still runs on this host."""
    process = int(mark.partition(".")[0])
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return process_mark(process) == mark


@dataclass(slots=True)
class _Chore:
    """Something done every so often. One that failed is tried again at the next tick."""

    every_s: float
    act: Callable[[], object]
    waited_s: float = 0.0

    def tick(self, seconds: float) -> None:
        self.waited_s += seconds
        if self.waited_s >= self.every_s:
            self.act()
            self.waited_s = 0.0


class Keeper:
    """Keeps the log of one serving process: ``start`` after the vault is open, ``stop`` before it closes."""

    def __init__(
        self,
        log: AuditLog,
        checkpoints: Checkpoints,
        run: Run,
        report: Callable[[VaultError], None],
        *,
        detect: Callable[[], object] = lambda: None,
        purge: Callable[[], object] = lambda: None,
        hourly: Callable[[], object] = lambda: None,
    ) -> None:
        """``report`` is told of what went wrong in the background (token away, disk full).

        ``detect`` looks for alerts, ``purge`` empties what has expired, ``hourly`` is another room's.
        """
        self._chores = [
            _Chore(HEARTBEAT_S, lambda: self._log.transact(self._beat)),
            _Chore(LOOK_S, detect),
            _Chore(PURGE_S, purge, waited_s=PURGE_S - LOOK_S),
            _Chore(HOUR_S, hourly, waited_s=HOUR_S - LOOK_S),
        ]
        self._log = log
        self._checkpoints = checkpoints
        self._run = run
        self._report = report
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_started = False
        self._is_token_away = False

    def start(self) -> None:
        """Write the start, and what an earlier run failed to say; then keep going in the background.

        Where the log can't be written yet (token away), that is reported and done as soon as it can: the server must come up.
        """
        self._try_to_start()
        self._thread = threading.Thread(target=self._keep, name="log-keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write the stop, sign a last checkpoint; idempotent. What can't be done any more is reported: closing must go on."""
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join()
        self._thread = None
        try:
            if not self._has_started:
                self._log.transact(self._started)
            self._log.transact(self._stopped)
            self._checkpoints.make(keep=True)
        except VaultError as error:
            self._report(error)

    def _try_to_start(self) -> None:
        try:
            self._log.transact(self._started)
            self._has_started = True
            self._checkpoints.look_back()
        except VaultError as error:
            self._report(error)

    def _started(self, tx: Transaction) -> None:
        now = self._log.clock()
        by = System(self._run.source)
        for run in self._dead(tx.connection, now):
            tx.connection.execute(update(audit_runs).where(audit_runs.c.run == run).values(stopped_at=now))
            tx.record(Event(Action.SYSTEM_UNCLEAN_START, Outcome.SUCCESS, by, note=Note(code=run)))
        row = {"run": self._run.id, "source": self._run.source, "host": self._run.host, "process": self._run.process}
        tx.connection.execute(insert(audit_runs).values(**row, started_at=now, seen_at=now))
        tx.record(Event(Action.SYSTEM_START, Outcome.SUCCESS, by, note=Note(code=self._run.id)))

    def _dead(self, connection: Connection, now: int) -> list[str]:
        """Runs that ended without a stop: their process is gone from this host, or they were not seen for a while."""
        columns = audit_runs.c
        query = select(columns.run, columns.host, columns.process, columns.seen_at).where(columns.stopped_at.is_(None))
        rows = connection.execute(query).all()
        return [
            row.run
            for row in rows
            if (row.host == self._run.host and not is_alive(row.process))
            or (row.host != self._run.host and row.seen_at < now - STALE_US)
        ]

    def _stopped(self, tx: Transaction) -> None:
        now = self._log.clock()
        tx.connection.execute(update(audit_runs).where(audit_runs.c.run == self._run.id).values(stopped_at=now, seen_at=now))
        tx.record(Event(Action.SYSTEM_STOP, Outcome.SUCCESS, System(self._run.source), note=Note(code=self._run.id)))

    def _beat(self, tx: Transaction) -> None:
        tx.connection.execute(update(audit_runs).where(audit_runs.c.run == self._run.id).values(seen_at=self._log.clock()))
        tx.record(Event(Action.LOG_HEARTBEAT, Outcome.SUCCESS, System(self._run.source), note=Note(code=self._run.id)))

    def tick(self, seconds: float) -> None:
        """What is due now that ``seconds`` more have passed. Raises VaultError: the next tick tries again."""
        for chore in self._chores:
            chore.tick(seconds)
        if self._log.is_dirty:
            self._checkpoints.make()

    def turn(self, seconds: float) -> float:
        """One turn of the background; gives how long to rest. Says in the log, once each, that the token left or is back."""
        try:
            self.tick(seconds)
            if self._is_token_away:
                self._tell_of_token(Action.HSM_RECOVERED, "")
        except VaultError as error:
            self._report(error)
            if isinstance(error, KeysUnavailable) and not self._is_token_away:
                cause = str(error.details.get("cause", error.code))
                self._tell_of_token(Action.HSM_LOGIN_FAILED if cause == PinRefused.code else Action.HSM_UNAVAILABLE, cause)
            return RETRY_S
        return CHECKPOINT_S

    def _tell_of_token(self, action: Action, cause: str) -> None:
        """The log's own key stays in memory, so that this can be written meanwhile; what fails is reported, and tried again."""
        try:
            self._log.record(Event(action, Outcome.SUCCESS, System(self._run.source), note=Note(code=cause or None)))
            self._is_token_away = action is not Action.HSM_RECOVERED
        except VaultError as error:
            self._report(error)

    def _keep(self) -> None:
        wait = CHECKPOINT_S
        while not self._stopping.wait(wait):
            if self._has_started:
                wait = self.turn(wait)
            else:
                self._try_to_start()
