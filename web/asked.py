"""Owns how what is asked of the access log is read from a request, and how a wrong filter is explained. It knows no page.

A filter that can't be read is refused by name: left out, it would show everything under a heading that promises less.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from flask import request
from flask_babel import LazyString
from flask_babel import lazy_gettext as _

from vault.audit.detect import Detector
from vault.audit.events import Action, Outcome
from vault.audit.period import parse_period
from vault.audit.questions import narrowed_by
from vault.audit.search import Filters
from vault.errors import Invalid
from vault.model import DocumentId, PersonId

E = TypeVar("E", bound=StrEnum)

FIELDS: dict[str, LazyString] = {
    "since": _("From"),
    "until": _("To"),
    "question": _("Frequent questions"),
    "action": _("Action"),
    "outcome": _("Outcome"),
    "actor": _("User"),
    "reference": _("Patient reference"),
    "document": _("Document reference"),
    "detector": _("Alert raised by"),
    "before": _("Older events"),
}
"""What the log may be asked for, as the page calls it."""
WHY: dict[str, LazyString] = {
    "not_a_date": _("This date does not exist."),
    "before_since": _("The end comes before the beginning."),
    "unknown_value": _("This value does not exist: choose one in the list."),
    "not_an_id": _("This is no such reference: copy the 32 characters from the log."),
    "not_own": _("You can ask for your own accesses only."),
}
"""By the slug in ``details['reason']``."""


def asked() -> dict[str, str]:
    """The filters of this request as typed: dates, slugs and random ids, nothing that names anybody."""
    names = (*(name for name in FIELDS if name != "before"), "readings")
    return {name: request.values[name].strip() for name in names if request.values.get(name, "").strip()}


def before() -> int | None:
    """Before which event the page begins. Raises Invalid."""
    text = request.values.get("before", "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise Invalid("not a position in the log", field="before", reason="unknown_value")
    return int(text)


def filters_of(given: dict[str, str]) -> Filters:
    """The typed filters as the vault takes them. Raises Invalid naming the first that is none."""
    since, until = parse_period(given.get("since"), given.get("until"))
    action, outcome = one_of(Action, given, "action"), one_of(Outcome, given, "outcome")
    chosen = Filters(
        since=since,
        until=until,
        actions=(action,) if action else (),
        outcomes=(outcome,) if outcome else (),
        actor=PersonId(given["actor"]) if given.get("actor") else None,
        reference=given.get("reference"),
        document=DocumentId(given["document"]) if given.get("document") else None,
        detector=one_of(Detector, given, "detector"),
    )
    return narrowed_by(given.get("question", ""), chosen.well_formed())


def one_of(kind: type[E], given: Mapping[str, str], name: str) -> E | None:
    """What was chosen under ``name``; None where nothing was. Raises Invalid."""
    if not given.get(name):
        return None
    try:
        return kind(given[name])
    except ValueError:
        raise Invalid("no such value", field=name, reason="unknown_value") from None


def errors_of(error: Invalid) -> dict[str, str]:
    """The sentence to show beside the filter that was refused."""
    return {str(error.details.get("field", "")): str(WHY.get(str(error.details.get("reason", "")), WHY["unknown_value"]))}


def refusal_of(error: Invalid) -> str:
    """Which filter was refused and why, for a filter that has no field on the page."""
    ((field, why),) = errors_of(error).items()
    return str(_("%(field)s: %(why)s", field=FIELDS[field], why=why)) if field in FIELDS else why
