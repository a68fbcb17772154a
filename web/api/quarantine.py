"""Owns the quarantine's part of the API: list, one, scan again, destroy. It must not know how a file is scanned.

No operation gives a byte of what is in quarantine: only a clean word of the scanner lets a file out, into the inbox.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from vault.audit.events import Action
from vault.errors import AlreadyPresent, ScannerUnavailable, TooLarge
from vault.model import DocumentId
from web.api.documents import CLOSED
from web.api.operations import Reply, operation
from web.api.records import apart_json, aparts_json
from web.errors import IN_QUARANTINE
from web.routes import audited, not_audited
from web.session import actor, vault

quarantine = Blueprint("quarantine", __name__)

SILENT = "says what the scanner recognised and who sent it; nothing of the files is opened"
SCANNED = ("already_present", "conflict", "scanner_unavailable", "too_large", "unsupported_type", "storage_full", "busy")
"""How a scan may be refused; the file stays in quarantine."""


@quarantine.get("/quarantine")
@not_audited(SILENT)
@operation("What is in quarantine, newest first", {200: Reply("Files set apart", "QuarantinedFiles")}, errors=CLOSED)
def index() -> dict[str, Any]:
    """What was set apart."""
    return aparts_json(vault().quarantine.list(actor()))


@quarantine.get("/quarantine/<file>")
@not_audited(SILENT)
@operation("One file in quarantine", {200: Reply("What is known of it", "QuarantinedFile")}, errors=CLOSED)
def show(file: str) -> dict[str, Any]:
    """What is known of one file; never its bytes."""
    return apart_json(vault().quarantine.get(actor(), DocumentId(file)))


@quarantine.post("/quarantine/<file>/rescan")
@audited(Action.DOCUMENT_RESCAN, Action.DOCUMENT_RELEASE)
@operation(
    "Have a file scanned again; a clean one waits in the inbox from then on, under the same id",
    {200: Reply("The scanner's word", "Rescanned")},
    errors=(*SCANNED, *CLOSED),
)
def rescan(file: str) -> dict[str, Any]:
    """Have one file scanned again."""
    try:
        return {"id": file, "is_released": vault().quarantine.rescan(actor(), DocumentId(file))}
    except (AlreadyPresent, ScannerUnavailable, TooLarge) as error:  # what they say of a file under way is untrue of this one
        error.details["kept"] = IN_QUARANTINE
        raise


@quarantine.delete("/quarantine/<file>")
@audited(Action.DOCUMENT_DELETE)
@operation("Destroy a file in quarantine with its key", {204: Reply("Destroyed")}, errors=("conflict", *CLOSED))
def discard(file: str) -> tuple[str, int]:
    """Destroy one file."""
    vault().quarantine.discard(actor(), DocumentId(file))
    return "", 204
