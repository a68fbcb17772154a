"""Owns the pages of one document: filing it, reading it, downloading it. It must not know how it is sealed or drawn."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import AlreadyPresent, EmptyDocument, NotFound, NotRenderable
from vault.model import Document, DocumentId, PatientId
from vault.records.documents.types import UNQUALIFIED
from vault.rendering.messages import PageForm
from web.delivery import deliver, deliver_as_pdf
from web.forms import date_typed
from web.pages import today
from web.routes import audited
from web.safety import check_forgery
from web.session import actor, vault
from web.timeline import file_of
from web.uploads import Form

documents = Blueprint("documents", __name__)
MOST_PRINTED = 300
WIDTHS = (400, 900, 1400, 2000)
"""The widths in pixels at which a page is drawn; others are rounded up to the next."""


@documents.post("/patients/<patient>/documents")
@audited(Action.DOCUMENT_UPLOAD)
def file(patient: str) -> Response:
    """File the documents of a plain form, one after the other, each sealed while it arrives."""
    form = Form()
    filed: list[Document] = []
    for part in form.files():
        if not filed:
            check_forgery(form.fields.get("csrf_token"))
        act_date = form.fields.get("act_date", "")
        try:
            filed.append(
                vault().documents.store(
                    actor(),
                    PatientId(patient),
                    type=form.fields.get("type") or UNQUALIFIED,
                    act_date=date_typed(act_date, "act_date", today()) if act_date else None,
                    file_name=part.file_name,
                    body=part,
                    expected_sha256=None,
                    declared_size=None,
                    is_urgent=form.fields.get("urgent") == "yes",
                )
            )
        except AlreadyPresent:
            return redirect(url_for("patients.show", patient=patient, done="already-present"), 303)
    if not filed:
        raise EmptyDocument
    done = "document-elsewhere" if any(document.is_elsewhere for document in filed) else "document-filed"
    return redirect(url_for("documents.show", document=filed[-1].id, done=done), 303)


file.checks_forgery_itself = True  # type: ignore[attr-defined]  # the token stands in the form, before the file: see above


@documents.get("/documents/<document>")
@audited(Action.DOCUMENT_VIEW)
def show(document: str) -> str:
    """One document beside its patient's timeline: its pages as pictures, its integrity, its facts."""
    found = vault().documents.describe(actor(), DocumentId(document), version=asked_version())
    pages, trouble = 0, ""
    try:
        pages = vault().documents.page(actor(), found.id, 1, WIDTHS[1], version=found.version).pages
    except NotRenderable as error:
        trouble = error.code
    return render_template(
        "patients/show.html",
        **file_of(found.patient),
        document=found,
        versions=vault().documents.versions(actor(), found.id) if found.version > 1 or asked_version() else (),
        operator=vault().people.roster.display_names().get(found.deposited_by, ""),
        pages=pages,
        trouble=trouble,
        width=WIDTHS[1],
    )


def asked_version() -> int | None:
    """The version that an address names; None for the current one. Raises NotFound for what is no number of a version."""
    given = request.args.get("version")
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        raise NotFound
    return int(given)


@documents.get("/documents/<document>/pages/<int:number>")
@audited(Action.DOCUMENT_VIEW)
def page(document: str, number: int) -> Response:
    """One page as a picture."""
    return picture(document, number)


def picture(document: str, number: int, form: PageForm = PageForm.JPEG) -> Response:
    """Page ``number`` (from 1), drawn at the smallest known width that covers ``?width=``."""
    if number < 1:
        raise NotFound
    asked = request.args.get("width", WIDTHS[1], type=int)
    width = next((known for known in WIDTHS if known >= asked), WIDTHS[-1])
    turns = request.args.get("turns", 0, type=int) % 4
    drawn = vault().documents.page(
        actor(), DocumentId(document), number, width, quarter_turns=turns, version=asked_version(), form=form
    )
    response = Response(drawn.content, mimetype=drawn.media_type)
    response.headers["Content-Disposition"] = "inline"
    return response


@documents.get("/documents/<document>/print")
@audited(Action.DOCUMENT_PRINT)
def to_print(document: str) -> str:
    """All pages under the patient's identity, for paper; printing is an act of its own in the log."""
    with vault().documents.open(actor(), DocumentId(document), Action.DOCUMENT_PRINT, version=asked_version()) as opened:
        found = opened.document
    patient = vault().patients.get(actor(), found.patient)
    pages = vault().documents.page(actor(), found.id, 1, WIDTHS[-1], version=found.version).pages
    return render_template(
        "documents/print.html", patient=patient, document=found, pages=min(pages, MOST_PRINTED), width=WIDTHS[-1]
    )


@documents.get("/documents/<document>/download")
@audited(Action.DOCUMENT_DOWNLOAD)
def download(document: str) -> Response:
    """The exact bytes, as an attachment."""
    return deliver(DocumentId(document), asked_version())


@documents.get("/documents/<document>/pdf")
@audited(Action.DOCUMENT_DOWNLOAD)
def pdf_copy(document: str) -> Response:
    """A picture as a PDF, as an attachment; the original stays what it is."""
    return deliver_as_pdf(DocumentId(document))
