"""Owns the inbox's part of the API: take in, list, file. It must not know how drafts are sealed."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from vault.audit.events import Action
from vault.model import DocumentId, PatientId
from web.api.bodies import RAW, REFUSALS, arrival
from web.api.documents import CLOSED
from web.api.operations import Reply, operation
from web.api.records import document_json, draft_json, drafts_json
from web.api.shapes import Shape, day, flag, identifier, read_json, text
from web.routes import audited
from web.session import actor, vault

inbox = Blueprint("inbox", __name__)
FILED = Shape(
    "DraftFiling",
    {"patient": identifier(), "type": text(40), "act_date": day().optional(), "urgent": flag().optional(default=False)},
)


@inbox.post("/inbox")
@audited(Action.DOCUMENT_UPLOAD)
@operation(
    "Take a document into the inbox: the raw body is sealed while it arrives",
    {201: Reply("The draft, durable and recorded", "Draft", headers=("Location",))},
    errors=(*REFUSALS, *CLOSED),
    **RAW,
)
def deposit() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Seal the body of the request into the inbox."""
    draft = vault().inbox.deposit(actor(), **arrival())
    return draft_json(draft), 201, {"Location": f"/api/v1/inbox/{draft.id}"}


@inbox.get("/inbox")
@audited(Action.DOCUMENT_PREVIEW)
@operation("What waits in the inbox, newest first", {200: Reply("Drafts", "Drafts")}, errors=CLOSED)
def index() -> dict[str, Any]:
    """The drafts."""
    return drafts_json(vault().inbox.list(actor()))


@inbox.post("/inbox/<draft>/file")
@audited(Action.DOCUMENT_REFILE)
@operation(
    "File a draft with a patient",
    {201: Reply("The document", "Document", headers=("Location",))},
    body=FILED,
    errors=("invalid", "already_present", "conflict", *CLOSED),
)
def file(draft: str) -> tuple[dict[str, Any], int, dict[str, str]]:
    """File a draft; its bytes stay where they are."""
    given = read_json(FILED)
    patient = PatientId(given["patient"])
    said = {"type": given["type"], "act_date": given["act_date"], "is_urgent": given["urgent"]}
    document = vault().inbox.file(actor(), DocumentId(draft), patient, **said)
    return document_json(document), 201, {"Location": f"/api/v1/documents/{document.id}"}
