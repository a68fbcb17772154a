"""Owns how typed fields are read and how a refused one is explained. It must not know what the fields are for."""

from __future__ import annotations

import re
from datetime import date

from flask_babel import LazyString
from flask_babel import lazy_gettext as _

from vault.errors import Invalid, PasswordRefused

TYPED_DATE = re.compile(r"(\d{1,2})[ /.-]?(\d{1,2})[ /.-]?(\d{4}|\d{2})", re.ASCII)
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

REASONS: dict[str, LazyString] = {
    "empty": _("This field is missing."),
    "missing": _("This field is missing."),
    "too_long": _("This is too long."),
    "too_many": _("Ten at most."),
    "characters": _("A character here can’t stand in a name."),
    "shape": _("This is not in the expected form."),
    "impossible": _("This date does not exist."),
    "future": _("This date is in the future."),
    "impossible_date": _("This date can’t be: before 1900, or in the future."),
    "too_old": _("This date is too far back."),
    "not_lunar": _("This date is in the calendar: untick “lunar date”."),
    "status_place": _("A validated or qualified identity wants the birth place’s INSEE code."),
    "status_ins": _("A retrieved or qualified identity wants the INS matricule."),
    "status_oid": _("Choose the register that gave the matricule."),
    "status_key": _("A qualified identity wants the matricule’s right key: check the 15 characters."),
    "unknown_type": _("Choose a type in the list."),
    "unknown_field": _("This field is not known."),
    "too_short": _("This is too short."),
}
"""What a reason slug of the vault says to whoever typed."""

FIELDS: dict[str, LazyString] = {
    "patient": _("Patient"),
    "type": _("Document type"),
    "act_date": _("Date of the act"),
    "file_name": _("File name"),
    "reason": _("Reason"),
}
"""How a field of a document is called on screen, for refusals that are told away from it."""


def refused_field(field: str, reason: str) -> str:
    """Which field was refused and why, in one sentence; empty for one that has no name on screen."""
    if field not in FIELDS:
        return ""
    return str(_("%(field)s: %(why)s", field=FIELDS[field], why=REASONS.get(reason, REASONS["shape"])))


def field_errors(error: Invalid | PasswordRefused) -> dict[str, LazyString | str]:
    """The sentence to show beside the field that was refused."""
    reason = str(error.details.get("reason", "shape"))
    return {str(error.details.get("field", "")): REASONS.get(reason, REASONS["shape"])}


def date_typed(text: str, field: str, today: date) -> date:
    """A day as typed (``12/03/2026``, ``120326``) or as a date input sends it (ISO 8601). Raises Invalid.

    A two-digit year is the latest one that is not in the future.
    """
    text = text.strip()
    try:
        if ISO_DATE.fullmatch(text):
            return date.fromisoformat(text)
        match = TYPED_DATE.fullmatch(text)
        if match is None:
            raise Invalid("not a date", field=field, reason="shape" if text else "empty")
        dom, month, year = (int(part) for part in match.groups())
        if len(match[3]) == 2:
            year += 2000
            found = date(year, month, dom)
            return found if found <= today else found.replace(year=year - 100)
        return date(year, month, dom)
    except ValueError:
        raise Invalid("no such day", field=field, reason="impossible") from None


def birth_date_typed(text: str, today: date, *, is_lunar: bool = False) -> str:
    """A birth date in ISO 8601, whose day or month may be unknown: ``03/1980``, ``1980``, ``00/03/1980``. Raises Invalid.

    ``is_lunar``: a date that stands in no calendar (``31/02/1950``, ``12/20/1950``) is taken as it is.
    """
    text = text.strip()
    whole = re.fullmatch(r"(\d{1,2})[ /.-](\d{1,2})[ /.-](\d{4})", text, re.ASCII)
    if whole and (is_lunar or int(whole[1]) == 0):
        return f"{whole[3]}-{int(whole[2]):02}-{int(whole[1]):02}"
    if re.fullmatch(r"\d{4}", text, re.ASCII):
        return f"{text}-00-00"
    if match := re.fullmatch(r"(\d{1,2})[/.-](\d{4})", text, re.ASCII):
        return f"{match[2]}-{int(match[1]):02}-00"
    if ISO_DATE.fullmatch(text):
        return text
    return date_typed(text, "birth_date", today).isoformat()
