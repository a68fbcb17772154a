"""Owns the reading of periods: local dates in, microseconds UTC out. It must not know what happened in them."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from vault.errors import Invalid
from vault.model import Micros

ZONE = ZoneInfo("Europe/Paris")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def parse_period(since: str | None, until: str | None, zone: ZoneInfo = ZONE) -> tuple[Micros | None, Micros | None]:
    """Two local dates (YYYY-MM-DD, the second inclusive) as [since, until) in microseconds UTC. Raises Invalid."""
    start, end = _midnight(since, zone, "since", days=0), _midnight(until, zone, "until", days=1)
    if start is not None and end is not None and start >= end:
        raise Invalid("the period ends before it starts", field="until", reason="before_since")
    return start, end


def _midnight(text: str | None, zone: ZoneInfo, name: str, *, days: int) -> Micros | None:
    if not text:
        return None
    try:
        if not DAY.fullmatch(text):  # ISO 8601 has other forms too, which nobody means here
            raise ValueError(name)  # noqa: TRY301  # told like a day that does not exist
        day = date.fromisoformat(text) + timedelta(days=days)
        moment = datetime(day.year, day.month, day.day, tzinfo=zone)
        return Micros(int(moment.timestamp()) * 1_000_000)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{name} is not a date (YYYY-MM-DD)", field=name, reason="not_a_date") from error
