"""Owns what an uncertain birth date means: day or month unknown, or a lunar date. Pure; it must not know identities."""

from __future__ import annotations

from datetime import date


def is_uncertain(birth_date: str) -> bool:
    """Whether a checked birth date is not a day of the calendar: day or month unknown, or a lunar date."""
    try:
        date.fromisoformat(birth_date)
    except ValueError:
        return True
    return False


def interpreted(birth_date: str) -> str:
    """The day that stands for an uncertain birth date elsewhere (RNIV): day unknown, the 1st; month too, 31 December."""
    if not is_uncertain(birth_date):
        return birth_date
    year, month = birth_date[:4], birth_date[5:7]
    return f"{year}-{month}-01" if 1 <= int(month) <= 12 else f"{year}-12-31"


def forms(birth_date: str) -> frozenset[str]:
    """Under what a birth date is looked for: as it is known, and as other software writes it."""
    return frozenset({birth_date, interpreted(birth_date)})


def are_compatible(one: str, other: str) -> bool:
    """Whether two birth dates may be one: equal, or one uncertain in what the other says."""
    if one == other or forms(one) & forms(other):
        return True
    if not (is_uncertain(one) or is_uncertain(other)) or one[:4] != other[:4]:
        return False
    if any(not 1 <= int(birth_date[5:7]) <= 12 for birth_date in (one, other)):
        return True  # of one the year alone is known
    return one[5:7] == other[5:7] and "00" in {one[8:], other[8:]}
