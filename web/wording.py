"""Owns how facts are said: dates, sizes, numbers, in French typography or in English. Pure; it knows no request.

U+202F (narrow no-break space) stands in numbers and before ; ! ?, U+00A0 before : and before units, as French typography wants.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

NARROW = "\u202f"
FIXED = "\u00a0"
MONTHS_FR = ("janv.", "févr.", "mars", "avr.", "mai", "juin", "juill.", "août", "sept.", "oct.", "nov.", "déc.")
MONTHS_EN = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
UNITS_FR = ("octets", "Ko", "Mo", "Go", "To")
UNITS_EN = ("bytes", "KB", "MB", "GB", "TB")
STEP = 1000


def number(value: int, language: str = "fr") -> str:
    """``1 204 518`` with narrow spaces, or ``1,204,518``."""
    return f"{value:,}".replace(",", NARROW if language == "fr" else ",")


def size(count: int, language: str = "fr") -> str:
    """A number of bytes as people say it: ``1,8 Mo``; decimal units."""
    units = UNITS_FR if language == "fr" else UNITS_EN
    amount, unit = float(count), 0
    while amount >= STEP and unit < len(units) - 1:
        amount, unit = amount / STEP, unit + 1
    digits = number(count, language) if unit == 0 else f"{amount:.0f}" if amount >= 100 or unit == 1 else f"{amount:.1f}"
    return f"{digits.replace('.', ',') if language == 'fr' else digits}{FIXED}{units[unit]}"


def day(value: date, language: str = "fr") -> str:
    """``12/03/2026`` in both languages: day first, as on every French document."""
    return f"{value:%d/%m/%Y}" if language == "fr" else f"{value.day} {MONTHS_EN[value.month - 1]} {value.year}"


def short_day(value: date, language: str = "fr") -> str:
    """``20 nov.``, for a list already grouped by year."""
    month = (MONTHS_FR if language == "fr" else MONTHS_EN)[value.month - 1]
    return f"{value.day}{FIXED}{month}"


def clock_time(value: datetime, language: str = "fr") -> str:
    """``14 h 05`` or ``14:05``."""
    return f"{value.hour}{FIXED}h{FIXED}{value:%M}" if language == "fr" else f"{value:%H:%M}"


def local(micros: int, zone: str) -> datetime:
    """Microseconds UTC as local time."""
    return datetime.fromtimestamp(micros / 1_000_000, tz=UTC).astimezone(ZoneInfo(zone))


def moment(micros: int, zone: str, language: str = "fr") -> str:
    """``12/03/2026 à 14 h 05`` in local time."""
    at = local(micros, zone)
    joint = "à" if language == "fr" else "at"
    return f"{day(at.date(), language)} {joint} {clock_time(at, language)}"


def birth_date(text: str, language: str = "fr") -> str:
    """An ISO birth date as read aloud; an unknown day or month is left out: ``03/1980``, ``1980``. In no calendar: as it is."""
    year, month, dom = text.split("-")
    if month == "00":
        return year
    if dom == "00":
        return f"{month}/{year}"
    try:
        return day(date(int(year), int(month), int(dom)), language)
    except ValueError:
        return f"{dom}/{month}/{year}"  # a lunar date, as the card has it


def age(birth: str, today: date, language: str = "fr") -> str:
    """``46 ans``, ``8 mois`` under two years; empty where the year alone is known."""
    year, month, dom = (int(part) for part in birth.split("-"))
    if not 1 <= month <= 12:
        return ""
    months = (today.year - year) * 12 + today.month - month - (1 if today.day < dom else 0)
    if months < 24:  # under two years, months are what is said
        return f"{months}{FIXED}{'mois' if language == 'fr' else 'months' if months != 1 else 'month'}"
    return f"{months // 12}{FIXED}{'ans' if language == 'fr' else 'years old'}"


def initials(name: str) -> str:
    """Two letters for an avatar; titles are left out."""
    words = [word for word in name.replace("-", " ").split() if word.rstrip(".").lower() not in {"dr", "pr", "mme", "m"}]
    return "".join(word[0] for word in (words[:1] + words[-1:] if len(words) > 1 else words[:1])).upper()
