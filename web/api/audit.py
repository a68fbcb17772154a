"""Owns the access log's part of the API: search, export, checkpoint. It must not know how the log is kept or proven."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from vault.audit.auditing import Format
from vault.audit.detect import Detector
from vault.audit.events import Action, Outcome
from vault.audit.formats.csv import Dialect, Look
from vault.audit.lines import Line
from vault.audit.period import parse_period
from vault.audit.search import Filters
from vault.model import DocumentId, PatientId, PersonId
from web.api.operations import Reply, operation
from web.api.records import event_json
from web.api.shapes import Field, Shape, choice, choices, day, identifier, nested, read_json, text, whole
from web.audit import sent
from web.routes import audited
from web.session import actor, vault

audit = Blueprint("audit", __name__)

_FILTERS: dict[str, Field] = {
    "since": day().optional(),
    "until": day().optional(),
    "actions": choices(Action).optional(()),
    "outcomes": choices(Outcome).optional(()),
    "actor": identifier().optional(),
    "patient": identifier().optional(),
    "reference": text(64).optional(),
    "document": identifier().optional(),
    "person": identifier().optional(),
    "detector": choice(Detector).optional(),
}
FILTERS = Shape("Filters", _FILTERS)
SEARCH = Shape("LogSearch", {**_FILTERS, "before": whole(0, 2**53).optional(), "limit": whole(1, 500).optional(50)})
EXPORT = Shape(
    "LogExport",
    {"format": choice(Format), "filters": nested(FILTERS).optional({}), "dialect": choice(Dialect).optional(Dialect.FR)},
)
CLOSED = ("forbidden", "invalid", "keys_unavailable", "storage_unavailable", "log_unavailable")


def filters_from(given: dict[str, Any]) -> Filters:
    """The members of a body as the vault takes them. Raises Invalid."""
    since, until = (given.get(name) for name in ("since", "until"))
    start, end = parse_period(since.isoformat() if since else None, until.isoformat() if until else None)
    return Filters(
        since=start,
        until=end,
        actions=given.get("actions") or (),
        outcomes=given.get("outcomes") or (),
        actor=PersonId(given["actor"]) if given.get("actor") else None,
        patient=PatientId(given["patient"]) if given.get("patient") else None,
        reference=given.get("reference"),
        document=DocumentId(given["document"]) if given.get("document") else None,
        person=PersonId(given["person"]) if given.get("person") else None,
        detector=given.get("detector"),
    ).well_formed()


@audit.post("/audit/search")
@audited(Action.AUDIT_SEARCH, Action.AUDIT_VIEW)
@operation("The newest events that the filters let through", {200: Reply("Events", "Events")}, body=SEARCH, errors=CLOSED)
def search() -> dict[str, Any]:
    """A page of the log, newest first; ``before`` continues it."""
    given = read_json(SEARCH)
    found = vault().auditing.timeline(actor(), filters_from(given), before=given["before"], limit=given["limit"])
    lines: tuple[Line, ...] = found.page.items
    return {"events": [event_json(line) for line in lines], "more": found.page.more, "next_before": found.next_before}


@audit.post("/audit/export")
@audited(Action.AUDIT_EXPORT)
@operation(
    "Export the log; the export is itself recorded before the first byte",
    {200: Reply("The file, streamed", media=("text/csv", "application/jsonl"), headers=("Content-Disposition",))},
    body=EXPORT,
    errors=("step_up_required", *CLOSED),
)
def export() -> Response:
    """The log as a file."""
    given = read_json(EXPORT)
    return sent(vault().auditing.export(actor(), filters_from(given["filters"]), given["format"], Look(given["dialect"])))


@audit.get("/audit/checkpoint")
@audited(Action.AUDIT_VIEW)
@operation("The signed head of the log (C2SP signed note)", {200: Reply("The note", media=("text/plain",))}, errors=CLOSED)
def checkpoint() -> Response:
    """The signed head of the log."""
    return Response(vault().auditing.checkpoint(actor()).note, mimetype="text/plain")
