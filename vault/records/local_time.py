"""Owns the practice's clock on the wall: its day, and what is drawn over every page shown (who looks, and when)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from vault.model import Actor, Micros

PRACTICE_TIME = ZoneInfo("Europe/Paris")


def practice_day(now: Micros) -> date:
    """The calendar day at the practice."""
    return datetime.fromtimestamp(now / 1_000_000, UTC).astimezone(PRACTICE_TIME).date()


def watermark(actor: Actor, now: Micros) -> str:
    """The reader's name and the minute, in the practice's time."""
    minute = datetime.fromtimestamp(now / 1_000_000, UTC).astimezone(PRACTICE_TIME)
    return f"{actor.display_name} · {minute:%d/%m/%Y} {minute.hour} h {minute:%M}"
