"""Owns how long an account may stand unused and what comes next: warned, closed, removed. Pure: it must not know storage.

The figures are policy data with their sources: unused.toml. Each step waits for the one before by its own date, so that a clock
set years ahead can warn but neither close nor remove anybody.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Final, Self

from vault.model import Micros

DAY: Final = 86_400 * 1_000_000
"""In microseconds."""


class Step(StrEnum):
    """What happens to an unused account, in this order."""

    WARN = "warn"
    CLOSE = "close"
    REMOVE = "remove"


class Duty(StrEnum):
    """What somebody still holds: no account goes by itself over it."""

    LAST_OWNER = "last_owner"
    """No other owner works here."""
    SOLE_CARER = "sole_carer"
    """Patients whom nobody else who works here follows."""
    OPEN_REVIEW = "open_review"
    """Emergency accesses of theirs that nobody has judged."""
    LOCUM_WINDOW = "locum_window"
    """A replacement that has not ended."""


@dataclass(frozen=True, slots=True)
class Term:
    """One duration and where it comes from."""

    days: int
    source: str

    @property
    def micros(self) -> int:
        """The same in microseconds."""
        return self.days * DAY


@dataclass(frozen=True, slots=True)
class Terms:
    """The durations of unused.toml."""

    warning: Term
    closing: Term
    notice: Term
    removal: Term

    @classmethod
    def read(cls) -> Self:
        """As the file has them."""
        tables = tomllib.loads(resources.files("vault.people").joinpath("unused.toml").read_text(encoding="utf-8"))
        return cls(**{name: Term(table["days"], table["source"]) for name, table in tables.items()})


TERMS: Final = Terms.read()


@dataclass(frozen=True, slots=True)
class Life:
    """What an account's steps are counted from; microseconds UTC."""

    used_at: int
    """The last sign-in, or the account's making."""
    warned_at: int | None = None
    closed_at: int | None = None
    removed_at: int | None = None


def closes_at(life: Life, terms: Terms) -> Micros | None:
    """When an account that was warned closes; None for one that was not, or that is closed."""
    if life.warned_at is None or life.closed_at is not None or life.removed_at is not None:
        return None
    return Micros(max(life.used_at + terms.closing.micros, life.warned_at + terms.notice.micros))


def removes_at(life: Life, terms: Terms) -> Micros | None:
    """When a closed account is removed, whoever closed it; None for one that is open, or removed."""
    if life.closed_at is None or life.removed_at is not None:
        return None
    return Micros(max(life.used_at + terms.closing.micros, life.closed_at + terms.removal.micros))


def next_step(life: Life, terms: Terms, now: int) -> Step | None:
    """What is due at ``now``; None where nothing is."""
    removes, closes = removes_at(life, terms), closes_at(life, terms)
    if removes is not None:
        return Step.REMOVE if now >= removes else None
    if closes is not None:
        return Step.CLOSE if now >= closes else None
    is_due = life.removed_at is None and life.warned_at is None and now >= life.used_at + terms.warning.micros
    return Step.WARN if is_due else None
