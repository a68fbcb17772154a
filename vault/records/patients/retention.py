"""Owns until when a patient's file is kept: dates in, the last day and the rule's name out. Pure; it must not know storage.

The durations are data with their source (``Policy``). Where a date that a rule needs is not known, there is no end, and
nothing is ever proposed.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum


class Rule(StrEnum):
    """Which rule gave the end."""

    CARE = "R-20"
    """So many years after the last care."""
    BIRTHDAY = "R-28"
    """That would end before a birthday: the birthday."""
    DEATH = "R-DC"
    """Death soon after the last care: so many years after the death, whatever the two others say."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The durations in years, and where they come from."""

    care_years: int = 20
    birthday_years: int = 28
    death_years: int = 10
    source: str = "Code de la santé publique, art. R. 1112-7"


POLICY = Policy()


@dataclass(frozen=True, slots=True)
class Span:
    """A legal hold: from the day on which it was set to the day on which it was cleared, that one left out; None: open."""

    since: date
    until: date | None


@dataclass(frozen=True, slots=True)
class Dates:
    """What is known of a file; None: not known (of a death: nobody has said so)."""

    last_care_on: date | None = None
    born_by: date | None = None
    """The latest day on which the patient may have been born."""
    died_on: date | None = None
    holds: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """The last day on which a file is kept, and by which rule."""

    on: date
    rule: Rule

    def is_over(self, today: date) -> bool:
        """Whether the file may go: the last day itself still keeps it."""
        return today > self.on


def years_after(day: date, years: int) -> date:
    """The same day so many years later; 29 February becomes the 28th where there is none."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return day.replace(year=day.year + years, day=28)


def latest_birth(birth_date: str, *, is_lunar: bool = False) -> date | None:
    """The latest day that a birth date (``YYYY-MM-DD``, unknown parts 00) may mean; None where it stands in no calendar."""
    if is_lunar:
        return None
    try:
        year, month, day = (int(part) for part in birth_date.split("-"))
        month = month or 12
        return date(year, month, day or monthrange(year, month)[1])
    except ValueError:
        return None


def held_days(holds: Iterable[Span]) -> int | None:
    """How many days some holds stopped the clock, days in several of them once; None while one is open."""
    days, reached = 0, date.min
    for hold in sorted(holds, key=lambda each: each.since):
        if hold.until is None:
            return None
        start = max(hold.since, reached)
        if hold.until > start:
            days += (hold.until - start).days
            reached = hold.until
    return days


def end_of(dates: Dates, policy: Policy = POLICY) -> End | None:
    """Until when a file is kept; None where that can't be said: an unknown date, or an open hold."""
    stopped = held_days(dates.holds)
    end = _unheld(dates, policy)
    if end is None or stopped is None:
        return None
    return End(end.on + timedelta(days=stopped), end.rule)


def _unheld(dates: Dates, policy: Policy) -> End | None:
    care, died = dates.last_care_on, dates.died_on
    if care is None:
        return None
    if died is not None and died < years_after(care, policy.death_years):
        # A paper dated after the death is later than it: the file is never kept for less than from its newest paper on.
        return End(years_after(max(died, care), policy.death_years), Rule.DEATH)
    if dates.born_by is None:
        return None
    usual, birthday = years_after(care, policy.care_years), years_after(dates.born_by, policy.birthday_years)
    return End(birthday, Rule.BIRTHDAY) if usual < birthday else End(usual, Rule.CARE)
