"""Owns uploads that go on after a cut line: begin, ask how far, append, give up. It must not know how documents are sealed.

In the manner of draft-ietf-httpbis-resumable-upload: ``Upload-Offset`` says where the bytes belong, and the last append answers
as the plain upload does.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Blueprint, request

from vault.audit.events import Action
from vault.errors import Invalid
from vault.model import PatientId
from vault.people.policy import Act, decide_role
from vault.records.inbox.transfers import Progress
from web.api.bodies import REFUSALS, announced_digest, announced_name
from web.api.documents import CLOSED
from web.api.operations import Reply, operation
from web.api.records import deposited_json, upload_json
from web.api.shapes import Shape, day, flag, identifier, read_query, text
from web.routes import audited, not_audited
from web.session import actor, vault
from web.uploads import raw_body

uploads = Blueprint("uploads", __name__)

GOING = Shape(
    "Going",
    {
        "patient": identifier().optional(),
        "type": text(40).optional(),
        "act_date": day().optional(),
        "urgent": flag().optional(default=False),
    },
)
"""Without a patient the document goes into the inbox."""
PIECE = "application/partial-upload"
DEPOSIT = ("conflict", *REFUSALS, *CLOSED)
Answer = tuple[dict[str, Any], int, dict[str, str]]


def _count(header: str) -> int:
    """A header's number of bytes. Raises Invalid naming it."""
    given = request.headers.get(header, "")
    if not (given.isascii() and given.isdigit() and len(given) <= 15):
        raise Invalid("a number of bytes", field=header.lower().replace("-", "_"), reason="missing" if not given else "shape")
    return int(given)


def _stand(progress: Progress, status: int) -> Answer:
    headers = {
        "Upload-Offset": str(progress.offset),
        "Upload-Length": str(progress.size),
        "Upload-Complete": "?1" if progress.result else "?0",
    }
    if status == 201:
        headers["Location"] = f"/api/v1/uploads/{progress.id}"
    return upload_json(progress), status, headers


@uploads.post("/uploads")
@not_audited("the deposit that begins here is recorded when it ends, filed or refused")
@operation(
    "Begin an upload that goes on after a cut line; its bytes come by PATCH",
    {201: Reply("Begun", "Upload", headers=("Location", "Upload-Offset", "Upload-Length", "Upload-Complete"))},
    query=GOING,
    headers=("Upload-Length", "Content-Disposition", "Repr-Digest"),
    errors=DEPOSIT,
)
def begin() -> Answer:
    """Begin a deposit: with a patient where one is named, else into the inbox."""
    decide_role(actor().role, Act.DOCUMENT_UPLOAD)
    given, size = read_query(GOING), _count("Upload-Length")
    told: dict[str, Any] = {
        "file_name": announced_name(),
        "expected_sha256": announced_digest(),
        "declared_size": size,
        "channel": "browser" if request.headers.get("Sec-Fetch-Site") else "api",
    }
    who, patient = actor(), given["patient"]
    if patient is None:
        if given["type"] or given["act_date"] or given["urgent"]:
            raise Invalid("type and date go with a patient", field="patient", reason="missing")
        take_in = partial(vault().inbox.deposit, who, **told)
        return _stand(vault().transfers.begin(who, size, lambda body: take_in(body=body)), 201)
    if not given["type"]:
        raise Invalid("missing field", field="type", reason="missing")
    told |= {"type": given["type"], "act_date": given["act_date"], "is_urgent": given["urgent"]}
    file = partial(vault().documents.store, who, PatientId(patient), **told)
    return _stand(vault().transfers.begin(who, size, lambda body: file(body=body)), 201)


@uploads.get("/uploads/<upload>")
@not_audited("says how many bytes of one's own upload have arrived")
@operation(
    "How far an upload of one's own has come",
    {200: Reply("Its offset", "Upload", headers=("Upload-Offset", "Upload-Length", "Upload-Complete"))},
    errors=DEPOSIT,
)
def show(upload: str) -> Answer:
    """Where to go on; a connection that was feeding the upload is cut off."""
    decide_role(actor().role, Act.DOCUMENT_UPLOAD)
    return _stand(vault().transfers.progress(actor(), upload), 200)


@uploads.patch("/uploads/<upload>")
@audited(Action.DOCUMENT_UPLOAD)
@operation(
    "The bytes from Upload-Offset on; the last one files the document",
    {
        200: Reply("Taken; more is due", "Upload", headers=("Upload-Offset", "Upload-Length", "Upload-Complete")),
        201: Reply("The document or draft, durable and recorded", "Deposited", headers=("Location",)),
    },
    media=PIECE,
    headers=("Upload-Offset",),
    errors=DEPOSIT,
)
def append(upload: str) -> Answer:
    """Take bytes; the answer to the last ones can be asked for again with an empty body."""
    decide_role(actor().role, Act.DOCUMENT_UPLOAD)
    body, _declared = raw_body()
    progress = vault().transfers.append(actor(), upload, _count("Upload-Offset"), body)
    if progress.result is None:
        return _stand(progress, 200)
    deposited = deposited_json(progress.result)
    place = "documents" if "patient" in deposited else "inbox"
    return deposited, 201, {"Location": f"/api/v1/{place}/{progress.result.id}", "Upload-Complete": "?1"}


@uploads.delete("/uploads/<upload>")
@not_audited("the deposit that ends here is recorded by itself")
@operation("Give an upload of one's own up: nothing is kept", {204: Reply("Given up")}, errors=DEPOSIT)
def cancel(upload: str) -> tuple[str, int]:
    """Forget what has arrived."""
    decide_role(actor().role, Act.DOCUMENT_UPLOAD)
    vault().transfers.cancel(actor(), upload)
    return "", 204
