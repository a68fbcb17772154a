"""Owns the patients' pages: find, create, correct, one file. It must not know how identities are stored or searched."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import Conflict, Invalid, NotFound
from vault.model import IdentityStatus, PatientId
from web.answers import html
from web.emergency import closed
from web.forms import field_errors
from web.identity import as_typed, identity_typed, oid_options, status_options
from web.pages import today
from web.refusals import why
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
    return _new({})


@patients.post("/patients/new")
@audited(Action.PATIENT_CREATE)
def create() -> Response:
    """Create a patient, or show the form again with what is wrong."""
    typed = {name: value.strip() for name, value in request.form.items() if name != "csrf_token"}
    try:
        identity = identity_typed(typed, today())
        patient = vault().patients.create(actor(), identity, anyway=request.form.get("anyway") == "yes")
    except Invalid as error:
        return html(_new(typed, errors=field_errors(error)), 422)
    except Conflict:
        return html(_new(typed, twins=vault().patients.similar(actor(), identity)), 409)
    return redirect(url_for("patients.show", patient=patient.id, done="patient-created"), 303)


def _new(typed: dict[str, str], **facts: Any) -> str:
    return render_template("patients/new.html", typed=typed, **({"errors": {}, "twins": (), **_choices()} | facts))


def _choices(present: IdentityStatus | None = None) -> dict[str, Any]:
    return {"statuses": status_options(actor(), present), "registers": oid_options()}


@patients.get("/patients/<patient>/edit")
@audited(Action.PATIENT_VIEW)
def edit(patient: str) -> str:
    """The form that corrects an identity."""
    return _edit(PatientId(patient))


def _edit(patient: PatientId, typed: dict[str, str] | None = None, **facts: Any) -> str:
    found = vault().patients.get(actor(), patient)
    fields = as_typed(found.identity, actor()) if typed is None else typed
    choices = _choices(found.identity.status)
    return render_template("patients/edit.html", patient=found, typed=fields, **({"errors": {}, **choices} | facts))


@patients.post("/patients/<patient>/edit")
@audited(Action.PATIENT_UPDATE)
def correct(patient: str) -> Response:
    """Correct an identity, or show the form again with what is wrong."""
    typed = {name: value.strip() for name, value in request.form.items() if name != "csrf_token"}
    before = vault().patients.get(actor(), PatientId(patient))
    try:
        vault().patients.update(actor(), PatientId(patient), identity_typed(typed, today(), before.identity))
    except Invalid as error:
        return html(_edit(before.id, typed, errors=field_errors(error)), 422)
    except Conflict as error:
        return html(_edit(before.id, typed, refusal=why(error)), 409)
    return redirect(url_for("patients.show", patient=before.id, done="identity-corrected"), 303)


@patients.get("/patients/<patient>")
@audited(Action.PATIENT_VIEW)
def show(patient: str) -> Response | str:
    """One patient's file: identity, timeline by date of the act, and where to drop a document.

    ``?open=newest`` goes on to the newest document that one may open: search, choose, read.
    """
    found = vault().patients.get(actor(), PatientId(patient))
    if found.id != patient:  # merged into another file: that one's address is the one to keep
        return redirect(url_for("patients.show", patient=found.id, open=request.args.get("open")), 303)
    try:
        facts = file_of(found.id)
    except NotFound:
        return closed(found.id)
    newest = next((item for _, items in facts["years"] for item in items if item.act_date and not item.is_masked), None)
    if request.args.get("open") == "newest" and newest is not None:
        return redirect(url_for("documents.show", document=newest.id), 303)
    merges = vault().merging.of(actor(), found.id) if found.absorbed else ()
    doubles = vault().merging.doubles_of(actor(), found.id)
    kept = vault().keeping.glance(actor(), found.id)
    return render_template("patients/show.html", **facts, document=None, merges=merges, doubles=doubles, kept=kept)
