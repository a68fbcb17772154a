"""Owns the FHIR copy of the log: R4 ``AuditEvent`` resources, one a line (NDJSON), after IHE BALP.

It must not know where lines come from. Sources: HL7 FHIR R4 AuditEvent; IHE ITI "Basic Audit Log Patterns" 1.1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from vault.audit.events import Kind, Outcome
from vault.audit.lines import Line

_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_REST: Final = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_ACTIONS: Final = "https://coffre.invalid/fhir/CodeSystem/action"
_PURPOSES: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_ROLES: Final = "https://coffre.invalid/fhir/CodeSystem/role"
_ENTITY_TYPES: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_OBJECT_ROLES: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_LEAF: Final = "https://coffre.invalid/fhir/log-entry"

_DISPLAY: Final = {
    Kind.REST: "RESTful Operation",
    Kind.APPLICATION: "Application Activity",
    Kind.LOG_USED: "Audit Log Used",
    Kind.EXPORT: "Export",
    Kind.IMPORT: "Import",
    Kind.SECURITY_ALERT: "Security Alert",
    Kind.AUTHENTICATION: "User Authentication",
}
_OUTCOMES: Final = {Outcome.GRANTED: "0", Outcome.SUCCESS: "0", Outcome.PARTIAL: "4", Outcome.DENIED: "8", Outcome.FAILED: "8"}
"""AuditEvent.outcome: success, minor failure, serious failure."""


def write(pages: Iterable[list[Line]], origin: str) -> Iterator[bytes]:
    """One resource a line (UTF-8); ``origin`` names the log as the observer."""
    for page in pages:
        yield b"".join(
            [json.dumps(resource(line, origin), ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for line in page]
        )


def resource(line: Line, origin: str) -> dict[str, Any]:
    """The AuditEvent of a line."""
    kind = line.action.kind
    system = _REST if kind is Kind.REST else _DCM
    made: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": line.id,
        "type": {"system": system, "code": kind.value, "display": _DISPLAY[kind]},
        "subtype": [{"system": _ACTIONS, "code": line.action.value}],
        "action": line.action.crude,
        "recorded": _instant(line.at),
        "outcome": _OUTCOMES[line.outcome],
        "agent": [_agent(line)],
        "source": {"observer": {"identifier": {"value": origin}}},
        "entity": [each for each in (_patient(line), _document(line), _person(line), _leaf(line)) if each],
    }
    if line.code:
        made["outcomeDesc"] = line.code
    if line.purpose:
        made["purposeOfEvent"] = [{"coding": [{"system": _PURPOSES, "code": line.purpose}]}]
    return made


def _instant(at: int) -> str:
    moment = datetime.fromtimestamp(at // 1_000_000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{at % 1_000_000:06d}Z"


def _agent(line: Line) -> dict[str, Any]:
    agent: dict[str, Any] = {"requestor": line.actor_kind != "system"}
    if line.actor_ref:
        agent["who"] = {"identifier": {"value": line.actor_ref}}
    if line.actor_name:
        agent["name"] = line.actor_name
    if line.actor_role:
        agent["role"] = [{"coding": [{"system": _ROLES, "code": line.actor_role}]}]
    if line.ip:
        agent["network"] = {"address": line.ip, "type": "2"}
    return agent


def _entity(value: str, kind: tuple[str, str], role: tuple[str, str]) -> dict[str, Any]:
    return {
        "what": {"identifier": {"value": value}},
        "type": {"system": _ENTITY_TYPES, "code": kind[0], "display": kind[1]},
        "role": {"system": _OBJECT_ROLES, "code": role[0], "display": role[1]},
    }


def _patient(line: Line) -> dict[str, Any] | None:
    if not line.patient_ref:
        return None
    entity = _entity(line.patient_ref, ("1", "Person"), ("1", "Patient"))
    return entity | {"name": line.patient_name} if line.patient_name else entity


def _document(line: Line) -> dict[str, Any] | None:
    if not line.document:
        return None
    entity = _entity(line.document, ("2", "System Object"), ("3", "Report"))
    details = [("version", line.version), ("class", line.document_class), ("bytes", line.bytes)]
    said = [{"type": name, "valueString": str(value)} for name, value in details if value not in {None, ""}]
    return entity | {"detail": said} if said else entity


def _person(line: Line) -> dict[str, Any] | None:
    return _entity(line.person, ("1", "Person"), ("11", "Security User Entity")) if line.person else None


def _leaf(line: Line) -> dict[str, Any]:
    """Where the entry stands in the tree, so that the copy can be held against the evidence."""
    return {
        "what": {"identifier": {"system": _LEAF, "value": str(line.position)}},
        "type": {"system": _ENTITY_TYPES, "code": "2", "display": "System Object"},
        "role": {"system": _OBJECT_ROLES, "code": "13", "display": "Security Resource"},
        "detail": [{"type": "leaf-hash", "valueString": line.leaf_hash}],
    }
