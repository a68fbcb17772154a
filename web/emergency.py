"""Owns the pages of who may open a patient's file: emergency access and its review, care team, grants, objections, restriction.

It must not know how rights are judged.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, Flask, current_app, redirect, render_template, request, url_for
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import Conflict, Invalid, NotFound
from vault.model import Actor, PatientId, PersonId
from vault.people.breakglass import Glass, Verdict
from vault.people.policy import Act, rights
from vault.people.relations import Mode
from web import navigation
from web.answers import html
from web.errors import TABLE
from web.pages import today
from web.refusals import why
from web.routes import audited, not_audited
from web.session import actor, is_signed_in, vault

emergency = Blueprint("emergency", __name__)


def closed(patient: PatientId) -> str:
    """The page of a file that is not open to whoever asks: who follows the patient, and the way in for an emergency."""
    found = vault().patients.get(actor(), patient)
    names = vault().people.roster.display_names()
    return render_template("emergency/closed.html", patient=found, team=[names[each] for each in found.care_team])


@emergency.get("/patients/<patient>/emergency")
@audited(Action.PATIENT_VIEW)
def ask(patient: str) -> str:
    """The form of an emergency access."""
    return _form(PatientId(patient))


def _form(patient: PatientId, **facts: Any) -> str:
    return render_template("emergency/ask.html", patient=vault().patients.get(actor(), patient), **facts)


@emergency.post("/patients/<patient>/emergency")
@audited(Action.ACCESS_BREAKGLASS)
def open_file(patient: str) -> Response:
    """Break the glass: this file is open for an hour, and everybody concerned is told."""
    reason = request.form.get("reason", "")
    try:
        vault().people.breakglass.open(actor(), PatientId(patient), reason)
    except Invalid:
        return html(_form(PatientId(patient), reason=reason, is_refused=True), 422)
    except Conflict:
        pass  # it is open already: show it
    return redirect(url_for("patients.show", patient=patient, done="glass-broken"), 303)


@emergency.post("/emergency/<glass>/end")
@audited(Action.ACCESS_BREAKGLASS_END)
def end(glass: str) -> Response:
    """Close one's own emergency access before its hour is over."""
    vault().people.breakglass.end(actor(), glass)
    return redirect(url_for("patients.index", done="glass-closed"), 303)


@emergency.get("/emergencies")
@not_audited("which accesses still wait for a judgement; judging one is logged, and so is a refusal to read this")
def index() -> str:
    """Emergency accesses that wait for their review."""
    waiting = vault().people.breakglass.to_review(actor())
    return render_template("emergency/index.html", waiting=waiting, names=vault().people.roster.display_names())


@emergency.post("/emergencies/<glass>")
@audited(Action.ACCESS_BREAKGLASS_REVIEW)
def review(glass: str) -> Response:
    """Judge an emergency access."""
    given = request.form.get("verdict", "")
    if given not in set(Verdict):
        raise Invalid("no such verdict", field="verdict", reason="empty")
    vault().people.breakglass.review(actor(), glass, Verdict(given), request.form.get("reason", ""))
    return redirect(url_for("emergency.index", done="glass-reviewed"), 303)


# --- who may open one file


@emergency.get("/patients/<patient>/access")
@audited(Action.PATIENT_VIEW)
def access(patient: str) -> str:
    """Who may open this file."""
    return _access(PatientId(patient))


def _access(patient: PatientId, **facts: Any) -> str:
    people = vault().people
    names = people.roster.display_names()
    carers = sorted(((each, names[each]) for each in people.roster.carers()), key=lambda pair: pair[1].casefold())
    return render_template(
        "emergency/access.html",
        patient=vault().patients.get(actor(), patient),
        ties=people.ties.of(actor(), patient),
        names=names,
        carers=carers,
        in_a_month=today() + timedelta(days=30),
        partitioned=people.ties.mode() is Mode.PARTITIONED,
        **facts,
    )


@emergency.post("/patients/<patient>/access")
@audited(Action.TEAM_ADD, Action.TEAM_REMOVE, Action.ACCESS_GRANT, Action.ACCESS_REVOKE, Action.PATIENT_RESTRICT)
def change_access(patient: str) -> Response:
    """Add to the team, remove, grant, revoke, record an objection, restrict."""
    ties, who, target = vault().people.ties, actor(), PatientId(patient)
    person, grant = PersonId(request.form.get("person", "")), request.form.get("grant", "")
    try:
        match request.form.get("act", ""):
            case "add":
                ties.add_to_team(who, target, person)
            case "remove":
                ties.remove_from_team(who, target, person)
            case "grant":
                ties.grant(who, target, person, until=_end_of(request.form.get("until", "")))
            case "revoke":
                ties.revoke(who, grant)
            case "object":
                ties.object_to(who, target, person)
            case "accept":
                ties.withdraw_objection(who, target, person)
            case "restrict":
                ties.restrict(who, target, [PersonId(each) for each in request.form.getlist("named")])
            case _:
                raise NotFound("no such act")
    except (Conflict, Invalid) as error:
        return html(_access(target, refusal=why(error)), TABLE[error.code].status)
    try:
        vault().documents.list(actor(), target, limit=1)
    except NotFound:  # whoever has just left the team sees the closed file
        return redirect(url_for("patients.show", patient=patient, done="access-changed"), 303)
    return redirect(url_for("emergency.access", patient=patient, done="access-changed"), 303)


def _end_of(text: str) -> int:
    """The end of a local day, in microseconds UTC. Raises Invalid."""
    try:
        last = date.fromisoformat(text)
    except ValueError:
        raise Invalid("not a date", field="until", reason="shape") from None
    zone = ZoneInfo(current_app.config["BABEL_DEFAULT_TIMEZONE"])
    return int(datetime.combine(last + timedelta(days=1), time(), zone).timestamp() * 1_000_000)


def install(app: Flask) -> None:
    """Give every page the red banner of a running emergency, and the menus the number of reviews that wait."""
    app.register_blueprint(emergency)

    def running() -> tuple[Glass, ...]:
        may = is_signed_in() and Act.BREAK_GLASS in rights(actor().role)
        return vault().people.breakglass.running(actor()) if may else ()

    app.jinja_env.globals.update(emergencies=running)
    navigation.counts["account.show"] = _unread
    navigation.counts["emergency.index"] = _waiting


def _unread(who: Actor) -> int:
    """Notices that ``who`` has not read."""
    return vault().people.notices.unread(who)


def _waiting(who: Actor) -> int:
    """Emergency accesses that nobody has judged."""
    return len(vault().people.breakglass.to_review(who))
