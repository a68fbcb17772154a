"""Owns the documents' part of the API: file, list, describe, bytes, pages. It must not know how documents are sealed."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from werkzeug import Response

from vault.audit.events import Action
from vault.model import DocumentId, PatientId
from vault.rendering.messages import PageForm
from web.api.bodies import RAW, REFUSALS, arrival
from web.api.operations import Reply, operation
from web.api.records import document_json, documents_json
from web.api.shapes import Shape, day, flag, identifier, read_query, text, whole
from web.delivery import deliver, deliver_as_pdf, digest_header
from web.documents import picture
from web.routes import audited
from web.session import actor, vault

documents = Blueprint("documents", __name__)

FILING = Shape(
    "Filing",
    {"patient": identifier(), "type": text(40), "act_date": day().optional(), "urgent": flag().optional(default=False)},
)
LISTING = Shape("Listing", {"patient": identifier(), "before": identifier().optional(), "limit": whole(1, 200).optional(200)})
VERSION = Shape("Version", {"version": whole(1, 999_999_999).optional()})
WIDTH = Shape("Width", {"width": whole(1, 4000).optional(), **VERSION.fields})
FORMS = [PageForm.WEBP.value, PageForm.PNG.value, PageForm.JPEG.value]
"""What a program may be given as a page; the first one where it takes anything."""
CLOSED = ("not_found", "forbidden", "keys_unavailable", "storage_unavailable", "log_unavailable", "tampered")


@documents.post("/documents")
@audited(Action.DOCUMENT_UPLOAD)
@operation(
    "File a document: the raw body is sealed while it arrives",
    {201: Reply("The document, durable and recorded", "Document", headers=("Location", "Repr-Digest"))},
    query=FILING,
    errors=("conflict", *REFUSALS, *CLOSED),
    **RAW,
)
def file() -> tuple[dict[str, Any], int, dict[str, str]]:
    """File the body of the request with a patient."""
    given = read_query(FILING)
    patient = PatientId(given["patient"])
    said = {"type": given["type"], "act_date": given["act_date"], "is_urgent": given["urgent"]}
    document = vault().documents.store(actor(), patient, **said, **arrival())
    headers = {"Location": f"/api/v1/documents/{document.id}", "Repr-Digest": digest_header(document.sha256)}
    return document_json(document), 201, headers


@documents.get("/documents")
@audited(Action.PATIENT_VIEW)
@operation(
    "The documents of a patient, newest deposit first",
    {200: Reply("Documents", "Documents")},
    query=LISTING,
    errors=("invalid", *CLOSED),
)
def index() -> dict[str, Any]:
    """The documents of one patient; ``before`` continues after the last one of the page before."""
    given = read_query(LISTING)
    before = DocumentId(given["before"]) if given["before"] else None
    return documents_json(vault().documents.list(actor(), PatientId(given["patient"]), before=before, limit=given["limit"]))


@documents.get("/documents/<document>")
@audited(Action.DOCUMENT_PREVIEW)
@operation("What is known about a document", {200: Reply("The document", "Document")}, errors=CLOSED)
def show(document: str) -> dict[str, Any]:
    """One document's description."""
    return document_json(vault().documents.describe(actor(), DocumentId(document)))


@documents.get("/documents/<document>/content")
@audited(Action.DOCUMENT_DOWNLOAD)
@operation(
    "The exact bytes, whole or a range (RFC 9110)",
    {
        200: Reply(
            "The whole",
            media=("application/octet-stream",),
            headers=("ETag", "Repr-Digest", "Accept-Ranges", "Content-Disposition"),
        ),
        206: Reply("The part asked for", media=("application/octet-stream",), headers=("Content-Range", "ETag", "Repr-Digest")),
        304: Reply("Unchanged"),
    },
    query=VERSION,
    headers=("Range", "If-Range", "If-Match", "If-None-Match"),
    errors=("range_not_satisfiable", "precondition_failed", "invalid", *CLOSED),
)
def content(document: str) -> Response:
    """The exact bytes as received, of the current version unless an older one is named."""
    return deliver(DocumentId(document), read_query(VERSION)["version"])


@documents.get("/documents/<document>/pdf")
@audited(Action.DOCUMENT_DOWNLOAD)
@operation(
    "A picture as a PDF copy; the original stays what it is",
    {200: Reply("The copy", media=("application/pdf",), headers=("Content-Disposition",))},
    errors=("not_renderable", "busy", *CLOSED),
)
def pdf_copy(document: str) -> Response:
    """JPEG, PNG, TIFF and HEIC; a PDF has no such copy."""
    return deliver_as_pdf(DocumentId(document))


@documents.get("/documents/<document>/pages/<int:number>")
@audited(Action.DOCUMENT_VIEW)
@operation(
    "One page as a picture",
    {200: Reply("The page", media=tuple(FORMS), headers=("Vary",))},
    query=WIDTH,
    errors=("not_renderable", "busy", "invalid", *CLOSED),
)
def page(document: str, number: int) -> Response:
    """One page, drawn on the server, with the reader's watermark; WebP unless PNG or JPEG is accepted instead."""
    read_query(WIDTH)
    form = request.accept_mimetypes.best_match(FORMS, FORMS[0])
    response = picture(document, number, PageForm(form))
    response.vary.add("Accept")
    return response
