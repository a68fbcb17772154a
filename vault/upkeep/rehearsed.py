"""Owns what the access log says about backups and drills, for a status line: when, and whether well. It must not know files."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from vault.audit.events import Action, Outcome
from vault.model import Micros
from vault.storage.db import Database
from vault.storage.schema import audit_entries

DAY_US = 86_400 * 1_000_000
BACKUP_DAYS = 2
"""A nightly backup that failed twice is late."""
DRILL_DAYS = 190
"""A restore is rehearsed twice a year, with some grace."""


@dataclass(frozen=True, slots=True)
class Rehearsals:
    """The last of each; None where there never was one."""

    now: Micros
    backup_at: Micros | None
    backup_is_whole: bool
    drill_at: Micros | None
    drill_is_good: bool

    @property
    def backup_days(self) -> int | None:
        return None if self.backup_at is None else int((self.now - self.backup_at) // DAY_US)

    @property
    def drill_days(self) -> int | None:
        return None if self.drill_at is None else int((self.now - self.drill_at) // DAY_US)

    @property
    def is_late(self) -> bool:
        """No backup, or none for too long, or the last one lacked something."""
        return self.backup_days is None or self.backup_days > BACKUP_DAYS or not self.backup_is_whole

    @property
    def is_untried(self) -> bool:
        """No restore was rehearsed, or none for too long, or the last one failed."""
        return self.drill_days is None or self.drill_days > DRILL_DAYS or not self.drill_is_good


def rehearsals(db: Database, now: Micros) -> Rehearsals:
    """What the log says. Raises StorageUnavailable."""
    backup = _last(db, Action.SYSTEM_BACKUP, (Outcome.SUCCESS, Outcome.PARTIAL))
    drill = _last(db, Action.SYSTEM_RESTORE_DRILL, (Outcome.SUCCESS, Outcome.FAILED))
    return Rehearsals(
        now,
        backup[0] if backup else None,
        backup is not None and backup[1] is Outcome.SUCCESS,
        drill[0] if drill else None,
        drill is not None and drill[1] is Outcome.SUCCESS,
    )


def _last(db: Database, action: Action, outcomes: tuple[Outcome, ...]) -> tuple[Micros, Outcome] | None:
    columns = audit_entries.c
    query = select(columns.at, columns.outcome).where(columns.action == action.value, columns.outcome.in_(outcomes))
    with db.read() as connection:
        row = connection.execute(query.order_by(columns.position.desc()).limit(1)).one_or_none()
    return None if row is None else (Micros(row.at), Outcome(row.outcome))
