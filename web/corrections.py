"""Owns the page that corrects a document: another patient, a corrected version. It must not know how bodies are sealed."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import AlreadyPresent, Conflict, EmptyDocument, Invalid
from vault.model import DocumentId, Page, Patient, PatientId
from web.answers import html
from web.forms import field_errors
from web.routes import audited
from web.safety import check_forgery
from web.session import actor, vault
from web.uploads import Form

corrections = Blueprint("corrections", __name__)
FOUND = 8


def _page(document: str, *, query: str = "", found: Page[Patient] | None = None, error: Invalid | None = None) -> str:
    versions = vault().documents.versions(actor(), DocumentId(document))
    return render_template(
        "documents/correct.html",
        document=versions[0],
        versions=versions,
        patient=vault().patients.get(actor(), versions[0].patient),
        query=query,
        found=found,
        errors=field_errors(error) if error else {},
    )


@corrections.get("/documents/<document>/correct")
@audited(Action.DOCUMENT_PREVIEW)
def show(document: str) -> str:
    """Choose between another patient and a corrected version."""
    return _page(document)


@corrections.post("/documents/<document>/correct/search")
@audited(Action.PATIENT_SEARCH)
def search(document: str) -> str:
    """Find the right patient; what is typed travels in the body."""
    query = request.form.get("q", "")[:200]
    return _page(document, query=query, found=vault().patients.search(actor(), query, FOUND) if query.strip() else None)


@corrections.post("/documents/<document>/refile")
@audited(Action.DOCUMENT_REFILE)
def refile(document: str) -> Response:
    """Move the document to the right patient; say who opened it meanwhile."""
    patient = PatientId(request.form.get("patient", ""))
    try:
        moved = vault().documents.refile(actor(), DocumentId(document), patient, reason=request.form.get("reason", "").strip())
    except Invalid as error:
        return html(_page(document, error=error), 422)
    except AlreadyPresent:
        return redirect(url_for("patients.show", patient=patient, done="already-present"), 303)
    if not (moved.seen_by or moved.taken_by):
        return redirect(url_for("patients.show", patient=patient, done="document-refiled"), 303)
    names = vault().people.roster.display_names()
    found = vault().patients.get(actor(), patient)
    return html(render_template("documents/refiled.html", moved=moved, names=names, patient=found))


@corrections.post("/documents/<document>/replace")
@audited(Action.DOCUMENT_REPLACE)
def replace(document: str) -> Response:
    """File a corrected version; the old one stays readable."""
    form = Form()
    for part in form.files():
        check_forgery(form.fields.get("csrf_token"))
        try:
            new = vault().documents.replace(actor(), DocumentId(document), file_name=part.file_name, body=part)
        except (AlreadyPresent, Conflict) as error:
            slug = "already-present" if isinstance(error, AlreadyPresent) else ""
            return redirect(url_for("documents.show", document=document, done=slug or None), 303)
        return redirect(url_for("documents.show", document=new.id, done="document-replaced"), 303)
    raise EmptyDocument


replace.checks_forgery_itself = True  # type: ignore[attr-defined]  # the token stands in the form, before the file
