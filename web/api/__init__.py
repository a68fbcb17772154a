"""The JSON API under ``/api/v1``: one blueprint a noun, described by OpenAPI 3.1. It must not know how anything is done."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from flask import Blueprint

from vault.errors import NotFound
from web.api.audit import audit
from web.api.corrections import corrections
from web.api.documents import documents
from web.api.inbox import inbox
from web.api.merges import merges
from web.api.operations import Reply, openapi, operation
from web.api.patients import patients
from web.api.quarantine import quarantine
from web.api.records import SCHEMAS
from web.api.sessions import sessions
from web.api.uploads import uploads
from web.errors import TABLE
from web.routes import not_audited, public

api = Blueprint("api", __name__, url_prefix="/api/v1")
for part in (sessions, patients, merges, documents, corrections, inbox, quarantine, uploads, audit):
    api.register_blueprint(part)


@api.get("/openapi.json")
@not_audited("describes the API, says nothing of the practice")
@public("describes the API, says nothing of the practice")
@operation("This description", {200: Reply("OpenAPI 3.1", media=("application/json",))})
def description() -> dict[str, Any]:
    """The OpenAPI document, made from the routes themselves."""
    return openapi(SCHEMAS, version("coffre"))


@api.get("/errors/<code>")
@not_audited("explains an error code, says nothing of the practice")
@public("explains an error code, says nothing of the practice")
@operation("What an error code means", {200: Reply("The meaning", media=("application/json",))}, errors=("not_found",))
def meaning(code: str) -> dict[str, Any]:
    """What ``code`` means: the address that problem documents give as their type."""
    if code not in TABLE:
        raise NotFound
    entry = TABLE[code]
    return {"code": code, "status": entry.status.value, "title": str(entry.title), "detail": str(entry.text)}
