"""Owns the documents' part of the API: file, list, describe, bytes, pages. It must not know how documents are sealed."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from flask import Blueprint, request
from werkzeug import Response
from werkzeug.http import parse_options_header

from vault.audit.events import Action
from vault.errors import Invalid
from vault.model import DocumentId, PatientId
from web.api.operations import Reply, operation
from web.api.records import document_json, documents_json
from web.api.shapes import Shape, day, identifier, read_query, text, whole
from web.delivery import deliver, digest_header
from web.documents import picture
from web.routes import audited
from web.session import actor, vault
from web.uploads import raw_body

documents = Blueprint("documents", __name__)

FILING = Shape("Filing", {"patient": identifier(), "type": text(40), "act_date": day().optional()})
LISTING = Shape("Listing", {"patient": identifier(), "before": identifier().optional(), "limit": whole(1, 200).optional(200)})
WIDTH = Shape("Width", {"width": whole(1, 4000).optional()})
CLOSED = ("not_found", "forbidden", "keys_unavailable", "storage_unavailable", "log_unavailable", "tampered")
FILE_NAME_CHARACTERS = 20_000
SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):")


def announced_name() -> str:
    """The name announced in Content-Disposition (RFC 6266), ``document`` where there is none. Raises Invalid."""
    _, options = parse_options_header(request.headers.get("Content-Disposition"))
    name = options.get("filename", "")
    if len(name) > FILE_NAME_CHARACTERS:
        raise Invalid("file name", field="file_name", reason="too_long")
    return name


def announced_digest() -> bytes | None:
    """The SHA-256 of ``Repr-Digest`` or ``Content-Digest`` (RFC 9530); other algorithms are ignored. Raises Invalid."""
    header = request.headers.get("Repr-Digest") or request.headers.get("Content-Digest")
    match = SHA256.search(header or "")
    if match is None:
        if header and "sha-256" in header:
            raise Invalid("digest", field="repr_digest", reason="shape")
        return None
    try:
        found = base64.b64decode(match[1], validate=True)
    except binascii.Error:
        raise Invalid("digest", field="repr_digest", reason="shape") from None
    if len(found) != 32:  # SHA-256
        raise Invalid("digest", field="repr_digest", reason="wrong_length")
    return found


@documents.post("/documents")
@audited(Action.DOCUMENT_UPLOAD)
@operation(
    "File a document: the raw body is sealed while it arrives",
    {201: Reply("The document, durable and recorded", "Document", headers=("Location", "Repr-Digest"))},
    query=FILING,
    media="application/octet-stream",
    headers=("Content-Disposition", "Repr-Digest"),
    errors=(
        "invalid", "already_present", "digest_mismatch", "empty_document", "too_large", "unsupported_type",
        "infected", "scanner_unavailable", "incomplete_body",
        "storage_full", "busy", *CLOSED,
    ),
)  # fmt: skip
def file() -> tuple[dict[str, Any], int, dict[str, str]]:
    """File the body of the request with a patient."""
    given = read_query(FILING)
    body, declared = raw_body()
    document = vault().documents.store(
        actor(),
        PatientId(given["patient"]),
        type=given["type"],
        act_date=given["act_date"],
        file_name=announced_name(),
        body=body,
        expected_sha256=announced_digest(),
        declared_size=declared,
        channel="browser" if request.headers.get("Sec-Fetch-Site") else "api",
    )
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
    headers=("Range", "If-Range", "If-Match", "If-None-Match"),
    errors=("range_not_satisfiable", "precondition_failed", *CLOSED),
)
def content(document: str) -> Response:
    """The exact bytes as received."""
    return deliver(DocumentId(document))


@documents.get("/documents/<document>/pages/<int:number>")
@audited(Action.DOCUMENT_VIEW)
@operation(
    "One page as a picture",
    {200: Reply("The page", media=("image/webp", "image/png"))},
    query=WIDTH,
    errors=("not_renderable", "busy", "invalid", *CLOSED),
)
def page(document: str, number: int) -> Response:
    """One page, drawn on the server, with the reader's watermark."""
    read_query(WIDTH)
    return picture(document, number)
