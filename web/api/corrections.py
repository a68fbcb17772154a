"""Owns the API's corrections of documents: new versions, another patient, marks. It must not know how bodies are sealed."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from vault.audit.events import REASON_CHARACTERS, Action
from vault.errors import Invalid
from vault.model import DocumentId, Page, PatientId
from web.api.bodies import RAW, REFUSALS, arrival
from web.api.documents import CLOSED
from web.api.operations import Reply, operation
from web.api.records import document_json, documents_json
from web.api.shapes import Shape, flag, identifier, read_json, text
from web.delivery import digest_header
from web.routes import audited
from web.session import actor, vault

corrections = Blueprint("corrections", __name__)

MARKS = Shape("Marks", {"urgent": flag().optional(), "handover": flag().optional()})
REFILING = Shape("Refiling", {"patient": identifier(), "reason": text(REASON_CHARACTERS).optional("")})


@corrections.get("/documents/<document>/versions")
@audited(Action.DOCUMENT_PREVIEW)
@operation("Every version of a document, newest first", {200: Reply("Versions", "Documents")}, errors=CLOSED)
def versions(document: str) -> dict[str, Any]:
    """The current version and those that it replaced."""
    return documents_json(Page(vault().documents.versions(actor(), DocumentId(document))))


@corrections.post("/documents/<document>/versions")
@audited(Action.DOCUMENT_REPLACE)
@operation(
    "Replace a document by a corrected one: the raw body is sealed while it arrives, the old version stays",
    {201: Reply("The new version", "Document", headers=("Location", "Repr-Digest"))},
    errors=("conflict", *REFUSALS, *CLOSED),
    **RAW,
)
def replace(document: str) -> tuple[dict[str, Any], int, dict[str, str]]:
    """File the body of the request as the document's next version."""
    new = vault().documents.replace(actor(), DocumentId(document), **arrival())
    headers = {"Location": f"/api/v1/documents/{new.id}", "Repr-Digest": digest_header(new.sha256)}
    return document_json(new), 201, headers


@corrections.post("/documents/<document>/refile")
@audited(Action.DOCUMENT_REFILE)
@operation(
    "Move a document that was filed with the wrong patient",
    {200: Reply("The document and who had seen it", "Refiled")},
    body=REFILING,
    errors=("invalid", "conflict", "already_present", *CLOSED),
)
def refile(document: str) -> dict[str, Any]:
    """Give a document to the right patient; ``reason`` is wanted once a clinician has taken it over."""
    given = read_json(REFILING)
    moved = vault().documents.refile(actor(), DocumentId(document), PatientId(given["patient"]), reason=given["reason"])
    return {"document": document_json(moved.document), "seen_by": list(moved.seen_by), "taken_by": list(moved.taken_by)}


@corrections.patch("/documents/<document>/marks")
@audited(Action.DOCUMENT_METADATA)
@operation(
    "Mark a document as urgent or to be handed over, or take a mark away; what is left out stays",
    {200: Reply("The document", "Document")},
    body=MARKS,
    errors=("invalid", *CLOSED),
)
def mark(document: str) -> dict[str, Any]:
    """Set the marks that are named."""
    given = read_json(MARKS)
    if given["urgent"] is None and given["handover"] is None:
        raise Invalid("no mark is named", field="urgent", reason="missing")
    if given["urgent"] is not None:
        marked = vault().reading.mark_urgent(actor(), DocumentId(document), is_wanted=given["urgent"])
    if given["handover"] is not None:
        marked = vault().reading.hand_over(actor(), DocumentId(document), is_wanted=given["handover"])
    return document_json(marked)
