"""Owns the JSON of every answer and its schema, side by side, so that one can't change without the other.

It must not know how the records are made.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from vault.audit.lines import Line
from vault.birth_dates import is_uncertain
from vault.model import Actor, Document, IdentityStatus, Micros, Page, Patient, Role, Sex
from vault.people.policy import ever_allowed
from vault.records.documents.quarantined import SetApart
from vault.records.inbox.drafts import Draft
from vault.records.inbox.transfers import Deposited, Progress
from vault.records.patients.identity import has_right_key, masked_ins
from vault.records.patients.merging import Merge, Side

_ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_TIME = {"type": "string", "format": "date-time"}
_TEXT = {"type": "string"}
_TEXT_OR_NONE = {"type": ["string", "null"]}
_FLAG = {"type": "boolean"}
_COUNT = {"type": "integer", "minimum": 0}


def moment(at: Micros) -> str:
    """RFC 3339, UTC, microseconds."""
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def person_json(actor: Actor) -> dict[str, Any]:
    """Who is signed in."""
    return {"id": actor.person, "username": actor.username, "display_name": actor.display_name, "role": str(actor.role)}


def me_json(actor: Actor, ends_at: Micros) -> dict[str, Any]:
    """Who is signed in, what their role may ever do, and until when."""
    allowed = sorted(str(act) for act in ever_allowed(actor.role))
    return {**person_json(actor), "methods": list(actor.methods), "rights": allowed, "session_ends_at": moment(ends_at)}


def patient_json(patient: Patient, reader: Actor) -> dict[str, Any]:
    """A patient; the INS matricule is masked for reception."""
    identity = patient.identity
    ins = identity.ins
    return {
        "id": patient.id,
        "birth_name": identity.birth_name,
        "given_names": list(identity.given_names),
        "birth_date": identity.birth_date,
        "sex": str(identity.sex),
        "used_name": identity.used_name,
        "ins": masked_ins(ins) if ins and reader.role is Role.RECEPTION else ins,
        "ins_oid": identity.ins_oid,
        "ins_key_fits": has_right_key(ins) if ins else None,
        "birth_place": identity.birth_place,
        "birth_place_label": identity.birth_place_label,
        "is_lunar": identity.is_lunar,
        "is_uncertain": is_uncertain(identity.birth_date),
        "status": identity.status.value,
        "merged": [f"{who.birth_name} {' '.join(who.given_names)}" for who in patient.absorbed],
        "created_at": moment(patient.created_at),
    }


def patients_json(page: Page[Patient], reader: Actor) -> dict[str, Any]:
    """Some patients and whether there are more."""
    return {"patients": [patient_json(patient, reader) for patient in page.items], "more": page.more}


def merge_json(merge: Merge, reader: Actor) -> dict[str, Any]:
    """A merge that stands."""
    return {
        "id": merge.id,
        "kept": merge.kept,
        "absorbed": patient_json(merge.absorbed, reader),
        "merged_at": moment(merge.merged_at),
        "merged_by": merge.merged_by,
        "until": moment(merge.until),
        "can_be_undone": merge.can_be_undone,
    }


def side_json(side: Side, reader: Actor) -> dict[str, Any]:
    """One of two files that are compared."""
    return {"patient": patient_json(side.patient, reader), "documents": side.documents, "is_followed": side.is_followed}


def document_json(document: Document) -> dict[str, Any]:
    """A document's description; what the reader may not know is null."""
    return {
        "id": document.id,
        "patient": document.patient,
        "version": document.version,
        "type": document.type or None,
        "act_date": document.act_date.isoformat() if document.act_date else None,
        "file_name": document.file_name or None,
        "media_type": document.media_type or None,
        "size": document.size,
        "sha256": document.sha256 or None,
        "sealed_sha256": document.sealed_sha256,
        "deposited_at": moment(document.deposited_at),
        "deposited_by": document.deposited_by,
        "channel": document.channel,
        "is_masked": document.is_masked,
        "is_elsewhere": document.is_elsewhere,
        "integrated_at": moment(document.integrated_at) if document.integrated_at else None,
        "is_handover": document.is_handover,
        "is_urgent": document.is_urgent,
        "scan": document.scan.value or None,
    }


def documents_json(page: Page[Document]) -> dict[str, Any]:
    """Some documents and whether there are more."""
    return {"documents": [document_json(document) for document in page.items], "more": page.more}


def draft_json(draft: Draft) -> dict[str, Any]:
    """A document that waits in the inbox."""
    return {
        "id": draft.id,
        "file_name": draft.file_name,
        "media_type": draft.media_type,
        "size": draft.size,
        "pages": draft.pages,
        "trouble": draft.trouble,
        "proposed_patient": draft.proposal.patient if draft.proposal else None,
        "proposed_type": draft.proposal.type if draft.proposal else None,
        "filed_elsewhere": draft.is_filed_elsewhere,
        "deposited_at": moment(draft.deposited_at),
        "deposited_by": draft.deposited_by,
        "channel": draft.channel,
    }


def drafts_json(page: Page[Draft]) -> dict[str, Any]:
    """Some drafts and whether there are more."""
    return {"drafts": [draft_json(draft) for draft in page.items], "more": page.more}


def apart_json(file: SetApart) -> dict[str, Any]:
    """A file in quarantine; its name is null for who may not see documents."""
    return {
        "id": file.id,
        "file_name": None if file.is_masked else file.file_name,
        "signature": file.signature,
        "size": file.size,
        "deposited_at": moment(file.deposited_at),
        "deposited_by": file.deposited_by,
        "channel": file.channel,
        "until": moment(file.until),
        "is_masked": file.is_masked,
    }


def aparts_json(page: Page[SetApart]) -> dict[str, Any]:
    """Some files in quarantine and whether there are more."""
    return {"files": [apart_json(file) for file in page.items], "more": page.more}


def deposited_json(deposited: Deposited) -> dict[str, Any]:
    """What a transfer became: a document, or a draft in the inbox."""
    return document_json(deposited) if isinstance(deposited, Document) else draft_json(deposited)


def upload_json(progress: Progress) -> dict[str, Any]:
    """How far a transfer has come."""
    return {
        "id": progress.id,
        "offset": progress.offset,
        "size": progress.size,
        "is_complete": progress.result is not None,
    }


def event_json(line: Line) -> dict[str, Any]:
    """One event of the log; what is withheld, expired or erased is null. Patients stand as their log reference."""
    return {
        "position": line.position,
        "id": line.id,
        "time": moment(line.at),
        "action": str(line.action),
        "outcome": str(line.outcome),
        "severity": int(line.severity),
        "actor": {
            "kind": line.actor_kind or None,
            "ref": line.actor_ref or None,
            "name": line.actor_name or None,
            "role": line.actor_role or None,
        },
        "patient_ref": line.patient_ref or None,
        "document": line.document or None,
        "document_class": line.document_class or None,
        "person": line.person or None,
        "purpose": line.purpose or None,
        "reason": line.reason or None,
        "break_glass": line.is_breakglass,
        "ip": line.ip or None,
        "session": line.session or None,
        "op": line.op or None,
        "ref": line.ref or None,
        "detail": line.detail or None,
        "leaf_hash": line.leaf_hash,
    }


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "additionalProperties": False, "properties": properties}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _one_of(choices: type[StrEnum]) -> dict[str, Any]:
    return {"type": "string", "enum": [str(choice) for choice in choices]}


def _page(name: str, item: str) -> dict[str, Any]:
    """Some of many, and whether there are more."""
    return _object(**{name: _array(_ref(item)), "more": _FLAG})


_PERSON = {
    "id": _ID,
    "username": _TEXT,
    "display_name": _TEXT,
    "role": _one_of(Role),
}
_PATIENT: dict[str, Any] = {  # the members of an answer, in its order
    "id": _ID,
    "birth_name": _TEXT,
    "given_names": _array(_TEXT),
    "birth_date": {
        "type": "string",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        "description": "An unknown month or day is 00.",
    },
    "sex": _one_of(Sex),
    "used_name": _TEXT_OR_NONE,
    "ins": _TEXT_OR_NONE,
    "ins_oid": _TEXT_OR_NONE,
    "ins_key_fits": {"type": ["boolean", "null"], "description": "Null where the key is not known."},
    "birth_place": _TEXT_OR_NONE,
    "birth_place_label": _TEXT_OR_NONE,
    "is_lunar": _FLAG,
    "is_uncertain": _FLAG,
    "status": _one_of(IdentityStatus),
    "merged": {**_array(_TEXT), "description": "What the files are called that were merged into this one."},
    "created_at": _TIME,
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "incident"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "code": _TEXT,
            "incident": _TEXT,
        },
    },
    "Person": _object(**_PERSON),
    "Session": _object(token=_TEXT, expires_at=_TIME, user=_ref("Person")),
    "Me": _object(
        **_PERSON,
        methods=_array(_TEXT),
        rights=_array(_TEXT),
        session_ends_at=_TIME,
    ),
    "Patient": _object(**_PATIENT),
    "CreatedPatient": _object(
        **_PATIENT,
        possible_duplicates={**_array(_ID), "description": "Files that may be of the same person."},
    ),
    "Merge": _object(
        id=_ID,
        kept=_ID,
        absorbed=_ref("Patient"),
        merged_at=_TIME,
        merged_by=_ID,
        until=_TIME,
        can_be_undone=_FLAG,
    ),
    "Merges": _object(merges=_array(_ref("Merge"))),
    "Unmerged": _object(kept=_ID, absorbed=_ID, filed_since=_COUNT),
    "Comparison": _object(
        sides=_array(_object(patient=_ref("Patient"), documents=_COUNT, is_followed=_FLAG)),
        obstacle=_TEXT_OR_NONE,
    ),
    "Doubles": _object(
        pairs=_array(_array(_ref("Patient"))),
    ),
    "Patients": _page("patients", "Patient"),
    "Document": _object(
        id=_ID,
        patient=_ID,
        version={"type": "integer", "minimum": 1},
        type=_TEXT_OR_NONE,
        act_date={"type": ["string", "null"], "format": "date"},
        file_name=_TEXT_OR_NONE,
        media_type=_TEXT_OR_NONE,
        size={"type": "integer", "minimum": 1},
        sha256=_TEXT_OR_NONE,
        sealed_sha256=_TEXT,
        deposited_at=_TIME,
        deposited_by=_ID,
        channel=_TEXT,
        is_masked=_FLAG,
        is_elsewhere=_FLAG,
        integrated_at={"type": ["string", "null"], "format": "date-time"},
        is_handover=_FLAG,
        is_urgent=_FLAG,
        scan={"type": ["string", "null"], "enum": ["clean", "missed", None]},
    ),
    "Documents": _page("documents", "Document"),
    "Refiled": _object(
        document=_ref("Document"),
        seen_by=_array(_TEXT),
        taken_by=_array(_TEXT),
    ),
    "Draft": _object(
        id=_ID,
        file_name=_TEXT,
        media_type=_TEXT,
        size={"type": "integer", "minimum": 1},
        pages={"type": ["integer", "null"]},
        trouble=_TEXT_OR_NONE,
        proposed_patient=_TEXT_OR_NONE,
        proposed_type=_TEXT_OR_NONE,
        filed_elsewhere=_FLAG,
        deposited_at=_TIME,
        deposited_by=_ID,
        channel=_TEXT,
    ),
    "Drafts": _page("drafts", "Draft"),
    "QuarantinedFile": _object(
        id=_ID,
        file_name=_TEXT_OR_NONE,
        signature={"type": "string", "description": "What the scanner recognised, by its own name for it."},
        size={"type": "integer", "minimum": 1},
        deposited_at=_TIME,
        deposited_by=_ID,
        channel=_TEXT,
        until={**_TIME, "description": "When it is destroyed by itself."},
        is_masked=_FLAG,
    ),
    "QuarantinedFiles": _page("files", "QuarantinedFile"),
    "Rescanned": _object(
        id=_ID,
        is_released={**_FLAG, "description": "Whether it was clean, and waits in the inbox; else it stays in quarantine."},
    ),
    "Deposited": {"anyOf": [_ref("Document"), _ref("Draft")]},
    "Upload": _object(
        id=_ID,
        offset={**_COUNT, "description": "Bytes that need not be sent again."},
        size=_COUNT,
        is_complete=_FLAG,
    ),
    "Event": _object(
        position=_COUNT,
        id=_TEXT,
        time=_TIME,
        action=_TEXT,
        outcome=_TEXT,
        severity={"type": "integer", "minimum": 0, "maximum": 7},
        actor=_object(kind=_TEXT_OR_NONE, ref=_TEXT_OR_NONE, name=_TEXT_OR_NONE, role=_TEXT_OR_NONE),
        patient_ref=_TEXT_OR_NONE,
        document=_TEXT_OR_NONE,
        document_class=_TEXT_OR_NONE,
        person=_TEXT_OR_NONE,
        purpose=_TEXT_OR_NONE,
        reason=_TEXT_OR_NONE,
        break_glass=_FLAG,
        ip=_TEXT_OR_NONE,
        session=_TEXT_OR_NONE,
        op=_TEXT_OR_NONE,
        ref=_TEXT_OR_NONE,
        detail=_TEXT_OR_NONE,
        leaf_hash=_TEXT,
    ),
    "Events": _object(
        events=_array(_ref("Event")),
        more=_FLAG,
        next_before={"type": ["integer", "null"]},
    ),
}
"""Every named schema of the OpenAPI document."""
