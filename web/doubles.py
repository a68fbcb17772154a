"""Owns the pages of files that may be one patient: the list of suspicions, two side by side, the merge and its undoing.

It must not know what a merge changes.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, redirect, render_template, request, url_for
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import Conflict, Invalid
from vault.model import Actor, Page, Patient, PatientId
from vault.people.policy import Act, ever_allowed
from web import navigation
from web.answers import html
from web.forms import field_errors
from web.refusals import WHY, why
from web.routes import audited
from web.session import actor, vault

doubles = Blueprint("doubles", __name__)
FOUND = 8


@doubles.get("/patients/doubles")
@audited(Action.PATIENT_LIST)
def index() -> str:
    """The pairs of files that may be one patient."""
    return render_template("patients/doubles.html", pairs=vault().merging.suspected(actor()))


@doubles.post("/patients/doubles")
@audited(Action.PATIENT_UPDATE)
def dismiss() -> Response:
    """Say that two files are of two persons."""
    vault().merging.dismiss(actor(), PatientId(request.form.get("one", "")), PatientId(request.form.get("other", "")))
    return redirect(url_for("doubles.index", done="two-persons"), 303)


@doubles.get("/patients/<patient>/merge")
@audited(Action.PATIENT_VIEW)
def choose(patient: str) -> str:
    """Which other file is of the same patient; ``?with=`` shows the two side by side."""
    other = request.args.get("with", "")
    return _compared(PatientId(patient), PatientId(other)) if other else _choose(PatientId(patient))


def _choose(patient: PatientId, *, query: str = "", found: Page[Patient] | None = None) -> str:
    shown = vault().patients.get(actor(), patient)
    suspects = vault().patients.named(actor(), vault().merging.doubles_of(actor(), shown.id))
    return render_template(
        "patients/merge_choose.html", patient=shown, suspects=tuple(suspects.values()), query=query, found=found
    )


@doubles.post("/patients/<patient>/merge/search")
@audited(Action.PATIENT_SEARCH)
def search(patient: str) -> str:
    """Find the other file; what is typed travels in the body."""
    query = request.form.get("q", "")[:200]
    found = vault().patients.search(actor(), query, FOUND) if query.strip() else None
    return _choose(PatientId(patient), query=query, found=found)


def _compared(one: PatientId, other: PatientId, **facts: Any) -> str:
    found = vault().merging.compare(actor(), one, other)
    obstacle = WHY.get(found.obstacle or "")
    names = vault().people.roster.display_names()
    return render_template("patients/merge.html", sides=(found.one, found.other), obstacle=obstacle, names=names, **facts)


@doubles.post("/patients/<patient>/merge")
@audited(Action.PATIENT_MERGE)
def merge(patient: str) -> Response:
    """Merge two files; ``kept`` says which one stands for both."""
    one, other = PatientId(patient), PatientId(request.form.get("with", ""))
    kept = PatientId(request.form.get("kept", ""))
    reason = request.form.get("reason", "")
    if kept not in {one, other}:
        error = Invalid("choose the one that is kept", field="kept", reason="empty")
        return html(_compared(one, other, reason=reason, errors=field_errors(error)), 422)
    try:
        vault().merging.merge(actor(), kept, other if kept == one else one, reason=reason)
    except Invalid as error:
        return html(_compared(one, other, reason=reason, kept=kept, errors=field_errors(error)), 422)
    except Conflict as error:
        return html(_compared(one, other, reason=reason, kept=kept, refusal=why(error)), 409)
    return redirect(url_for("patients.show", patient=kept, done="patients-merged"), 303)


@doubles.post("/merges/<merge>/undo")
@audited(Action.PATIENT_UNMERGE)
def undo(merge: str) -> Response:
    """Make two files again; what was filed since stays where it was filed, and the page says so."""
    patient = PatientId(request.form.get("patient", ""))
    try:
        done = vault().merging.undo(actor(), merge, reason=request.form.get("reason", ""))
    except (Invalid, Conflict) as error:
        refusal = next(iter(field_errors(error).values())) if isinstance(error, Invalid) else why(error)
        page = render_template("patients/unmerge.html", patient=vault().patients.get(actor(), patient), refusal=refusal)
        return html(page, 422 if isinstance(error, Invalid) else 409)
    files = [vault().patients.get(actor(), each) for each in (done.kept, done.absorbed)]
    return html(render_template("patients/unmerged.html", files=files, filed_since=done.filed_since))


def install(app: Flask) -> None:
    """Give the menus the number of pairs that wait."""
    app.register_blueprint(doubles)
    navigation.counts["doubles.index"] = _waiting


def _waiting(who: Actor) -> int:
    return vault().merging.count(who) if Act.PATIENT_DOUBLES in ever_allowed(who.role) else 0
