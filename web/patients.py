"""Owns the patients' pages: find, create, and one patient's file. It must not know how identities are stored or searched."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import Conflict, Invalid, NotFound
from vault.model import Identity, PatientId, Sex
from web.answers import html
from web.emergency import closed
from web.forms import birth_date_typed, field_errors
from web.pages import today
from web.routes import audited, not_audited
from web.session import actor, vault
from web.timeline import file_of

patients = Blueprint("patients", __name__)
SHOWN = 50


@patients.get("/patients")
@audited(Action.PATIENT_LIST)
def index() -> str:
    """Search first, then the patients seen most recently."""
    return render_template("patients/index.html", recent=vault().patients.recent(actor(), 20).items, query="", found=None)


@patients.post("/patients/search")
@audited(Action.PATIENT_SEARCH)
def search() -> str:
    """Find patients; the text travels in the body and stands in no address."""
    query = request.form.get("q", "")[:200]
    found = vault().patients.search(actor(), query, SHOWN) if query.strip() else None
    return render_template("patients/index.html", recent=(), query=query, found=found)


@patients.get("/patients/new")
@not_audited("an empty form")
def new() -> str:
    """The form of a new patient."""
    return render_template("patients/new.html", typed={}, errors={}, twins=())


@patients.post("/patients/new")
@audited(Action.PATIENT_CREATE)
def create() -> Response:
    """Create a patient, or show the form again with what is wrong."""
    typed = {name: value.strip() for name, value in request.form.items() if name != "csrf_token"}
    try:
        identity = _identity(typed)
        patient = vault().patients.create(actor(), identity, anyway=request.form.get("anyway") == "yes")
    except Invalid as error:
        page = render_template("patients/new.html", typed=typed, errors=field_errors(error), twins=())
        return html(page, 422)
    except Conflict:
        page = render_template("patients/new.html", typed=typed, errors={}, twins=vault().patients.similar(actor(), identity))
        return html(page, 409)
    return redirect(url_for("patients.show", patient=patient.id, done="patient-created"), 303)


@patients.get("/patients/<patient>")
@audited(Action.PATIENT_VIEW)
def show(patient: str) -> Response | str:
    """One patient's file: identity, timeline by date of the act, and where to drop a document.

    ``?open=newest`` goes on to the newest document that one may open: search, choose, read.
    """
    try:
        facts = file_of(PatientId(patient))
    except NotFound:
        return closed(PatientId(patient))
    newest = next((item for _, items in facts["years"] for item in items if item.act_date and not item.is_masked), None)
    if request.args.get("open") == "newest" and newest is not None:
        return redirect(url_for("documents.show", document=newest.id), 303)
    return render_template("patients/show.html", **facts, document=None)


def _identity(typed: dict[str, str]) -> Identity:
    """An identity from the form's fields. Raises Invalid naming the field."""
    if typed.get("sex") not in set(Sex):
        raise Invalid(_("Choose one."), field="sex", reason="empty")
    return Identity(
        birth_name=typed.get("birth_name", ""),
        given_names=tuple(typed.get("given_names", "").replace(",", " ").split()),
        birth_date=birth_date_typed(typed.get("birth_date", ""), today()),
        sex=Sex(typed["sex"]),
        used_name=typed.get("used_name") or None,
        ins=typed.get("ins") or None,
    )
