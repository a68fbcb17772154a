"""Owns how long the vault was there for people, counted from what its own log says. It must not know requests.

A serving process writes its start, its stop and a heartbeat every ten minutes, and the next start tells of a run that ended
without a stop. From these follow three kinds of time: up, down, and not known; the last is never counted as either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sqlalchemy import Connection, func, select

from vault.audit.events import Action, action_of
from vault.audit.keeper import HEARTBEAT_S
from vault.model import Micros
from vault.storage.db import Database
from vault.storage.schema import audit_entries

SECOND: Final = 1_000_000
YEAR_DAYS: Final = 365
ALLOWED_MINUTES: Final = 525
"""99.9 % of a year leaves 525.6 minutes."""
SILENCE: Final = int(1.5 * HEARTBEAT_S) * SECOND
"""A heartbeat may be late by half; a longer silence says nothing about what happened in it."""

MARKS: Final = (Action.SYSTEM_START, Action.SYSTEM_STOP, Action.SYSTEM_UNCLEAN_START, Action.LOG_HEARTBEAT)
_RUNNING: Final = {Action.SYSTEM_START: 1, Action.SYSTEM_STOP: -1, Action.SYSTEM_UNCLEAN_START: -1, Action.LOG_HEARTBEAT: 0}

Mark = tuple[int, Action]
"""When (microseconds UTC) and what."""


@dataclass(frozen=True, slots=True)
class Availability:
    """What is known of a period; seconds."""

    since: Micros
    until: Micros
    up_s: int
    down_s: int
    """The log itself says that nobody served: between a stop and the next start, or long after a last heartbeat."""
    unknown_s: int
    """Around an unclean stop, and silences that no event explains."""

    @property
    def days(self) -> int:
        """How long was measured."""
        return (self.until - self.since) // (86_400 * SECOND)

    @property
    def down_minutes(self) -> int:
        """Minutes down for certain."""
        return round(self.down_s / 60)

    @property
    def at_most_minutes(self) -> int:
        """Minutes down if everything that is not known was down."""
        return round((self.down_s + self.unknown_s) / 60)

    @property
    def percent(self) -> float:
        """The share of the period that is known to be up."""
        whole = self.up_s + self.down_s + self.unknown_s
        return 100 * self.up_s / whole if whole else 100.0


def judged(marks: Iterable[Mark], since: int, until: int, *, running: int = 0) -> Availability:
    """Count the time between ``since`` and ``until``; ``marks`` oldest first, ``running`` processes at ``since``."""
    up = down = unknown = 0
    alive = running
    for (began, _what), (ended, next_what) in pairwise([(since, None), *marks, (until, None)]):
        span = max(0, ended - began)
        left = alive + (_RUNNING[next_what] if next_what is not None else 0)
        if alive <= 0:
            down += span
        elif next_what is Action.SYSTEM_UNCLEAN_START and left <= 0:
            # It died somewhere between its last sign of life and the heartbeat that never came.
            unsure = min(span, int(HEARTBEAT_S) * SECOND)
            unknown, down = unknown + unsure, down + span - unsure
        elif span <= SILENCE:
            up += span
        else:
            unknown += span
        alive = max(0, left)
    return Availability(Micros(since), Micros(until), up // SECOND, down // SECOND, unknown // SECOND)


def measured(db: Database, now: int, days: int = YEAR_DAYS) -> Availability | None:
    """What the log says of the last ``days``; None where nothing ever served. Raises StorageUnavailable."""
    with db.read() as connection:
        first = _first_start(connection)
        if first is None or first >= now:
            return None
        since = max(first, now - days * 86_400 * SECOND)
        running = sum(_RUNNING[action] * count for action, count in _counts(connection, since))
        return judged(_marks(connection, since, now), since, now, running=max(0, running))


def _first_start(connection: Connection) -> int | None:
    columns = audit_entries.c
    query = select(columns.at).where(columns.action == Action.SYSTEM_START.value).order_by(columns.position).limit(1)
    return connection.execute(query).scalar_one_or_none()


def _counts(connection: Connection, before: int) -> list[tuple[Action, int]]:
    columns = audit_entries.c
    marks = columns.action.in_([action.value for action in MARKS[:3]]) & (columns.at < before)
    rows = connection.execute(select(columns.action, func.count()).where(marks).group_by(columns.action)).all()
    return [(action_of(action), count) for action, count in rows]


def _marks(connection: Connection, since: int, until: int) -> list[Mark]:
    columns = audit_entries.c
    wanted = columns.action.in_([action.value for action in MARKS]) & (columns.at >= since) & (columns.at <= until)
    rows = connection.execute(select(columns.at, columns.action).where(wanted).order_by(columns.position)).all()
    by_slug = {action.value: action for action in MARKS}
    return [(at, by_slug[action]) for at, action in rows]
