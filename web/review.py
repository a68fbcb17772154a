"""Owns the reviewers' page: alerts that wait, and the month's random sample. It must not know how either is found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from flask import Blueprint, Flask, redirect, render_template, request, url_for
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from werkzeug import Response

from vault.audit.detect import Detector
from vault.audit.events import Action
from vault.audit.incidents import TAKEN
from vault.audit.review import Judgement
from vault.errors import Invalid, VaultError
from vault.model import Actor, EventId
from web import navigation
from web.answers import html
from web.forms import field_errors
from web.pages import today
from web.routes import audited
from web.session import actor, vault

review = Blueprint("review", __name__)
MONTHS_SHOWN = 12
Judging = Callable[[Judgement, str], object]

DETECTORS: dict[Detector, LazyString] = {
    Detector.MASS_ACCESS: _("Many files opened in a short time"),
    Detector.MASS_DOWNLOAD: _("Many downloads or prints in a short time"),
    Detector.AFTER_HOURS: _("Access outside opening hours"),
    Detector.OUTSIDE_TEAM: _("Access outside the care team"),
    Detector.RELATION: _("File of a colleague, a relative or oneself"),
    Detector.SENSITIVE: _("Access to a sensitive file"),
    Detector.ACCOUNT_FAILURES: _("Repeated failures on one account"),
    Detector.SOURCE_FAILURES: _("Failures on several accounts from one place"),
    Detector.NEW_DEVICE: _("Many documents from a new place"),
    Detector.SELF_GRANT: _("A right given to oneself"),
    Detector.DORMANT: _("Account unused for long, or closed"),
    Detector.DENIALS: _("Repeated refusals"),
    Detector.INTEGRITY: _("Integrity failure"),
    Detector.HEARTBEAT: _("The log went silent"),
    Detector.CLOCK: _("The clock was changed"),
    Detector.LOG: _("Trouble with the log itself"),
    Detector.MISFILED: _("Copies taken of a misfiled document"),
}
"""What each detector is called."""


def _months(present: date) -> list[date]:
    """The last twelve months, newest first, as their first days."""
    count = present.year * 12 + present.month - 1
    return [date(number // 12, number % 12 + 1, 1) for number in range(count, count - MONTHS_SHOWN, -1)]


def _month() -> date:
    """The month asked for, the present one by default."""
    months = _months(today())
    return next((month for month in months if month.isoformat() == request.values.get("month")), months[0])


def _detector() -> Detector | None:
    """The detector asked for, all of them by default."""
    given = request.values.get("detector", "")
    return Detector(given) if given in set(Detector) else None


def _page(error: VaultError | None = None, at: str = "") -> str:
    month, detector = _month(), _detector()
    waiting = vault().auditing.waiting(actor())
    return render_template(
        "audit/review.html",
        alerts=vault().auditing.alerts(actor(), detector),
        detector=detector or "",
        detectors=[
            (each.value, detector_label(each), waiting[each]) for each in Detector if waiting.get(each) or each is detector
        ],
        waiting=sum(waiting.values()),
        sample=vault().auditing.sample(actor(), month),
        month=month,
        months=_months(today()),
        refused=(at, field_errors(error)) if isinstance(error, Invalid) else ("", {}),
    )


def _incident(position: int, error: Invalid | None = None) -> str:
    draft, errors = vault().auditing.incident(actor(), position), field_errors(error) if error else {}
    return render_template("audit/incident.html", incident=draft, taken=TAKEN, errors=errors)


@review.get("/review")
@audited(Action.AUDIT_VIEW)
def index() -> str:
    """What waits for a reviewer."""
    return _page()


@review.get("/review/incidents/<int:position>")
@audited(Action.AUDIT_VIEW)
def incident(position: int) -> str:
    """The draft of an incident: what happened, who saw it, and the sentence that closes it."""
    return _incident(position)


@review.post("/review/alerts/<event>")
@audited(Action.AUDIT_ALERT_CLOSED)
def close(event: str) -> Response:
    """Judge one alert, with a reason."""
    return _judged(event, lambda judgement, reason: vault().auditing.close_alert(actor(), EventId(event), judgement, reason))


@review.post("/review/sample/<event>")
@audited(Action.AUDIT_SAMPLE_REVIEWED)
def judge(event: str) -> Response:
    """Judge one access of the month's sample, with a reason."""
    month = _month()
    return _judged(
        event, lambda judgement, reason: vault().auditing.judge_sampled(actor(), month, EventId(event), judgement, reason)
    )


def _judgement() -> Judgement:
    """Justified or not, as pressed. Raises Invalid."""
    given = request.form.get("judgement", "")
    if given not in set(Judgement):
        raise Invalid("no judgement", field="judgement", reason="empty")
    return Judgement(given)


def _judged(event: str, act: Judging) -> Response:
    try:
        act(_judgement(), request.form.get("reason", ""))
    except Invalid as error:
        position = request.form.get("incident", type=int)
        return html(_page(error, event) if position is None else _incident(position, error), 422)
    at = url_for("review.index", month=_month().isoformat(), detector=_detector(), done="review-recorded")
    return redirect(at, 303)


def detector_label(slug: str) -> str:
    """What a detector is called in this language."""
    return str(DETECTORS[Detector(slug)]) if slug in set(Detector) else slug


def detector_choices() -> list[tuple[str, str]]:
    """Every detector and what it is called."""
    return [(each.value, detector_label(each)) for each in Detector]


def _waiting(who: Actor) -> int:
    return sum(vault().auditing.waiting(who).values())


def install(app: Flask) -> None:
    """Register the page and the number beside its entry."""
    app.jinja_env.filters["detector"] = detector_label
    app.jinja_env.globals["detector_choices"] = detector_choices
    navigation.counts["review.index"] = _waiting
    app.register_blueprint(review)
