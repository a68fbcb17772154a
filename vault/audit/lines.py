"""Owns the flat line that screens and presentation copies show for an entry. It must not know files, SQL or rights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vault.audit.events import Action, Outcome, Severity
from vault.audit.groups import Fields
from vault.audit.reading import Record
from vault.model import Micros, PatientId, PersonId


@dataclass(slots=True)  # not frozen: an export makes millions, and frozen costs three times as much to make
class Line:
    """One entry as somebody reads it. Empty text where a part is absent, withheld, expired or erased."""

    position: int
    id: str
    at: Micros
    action: Action
    outcome: Outcome
    severity: Severity
    actor_kind: str
    """person, anonymous or system; empty where it has expired."""
    actor_ref: str
    actor_name: str = field(repr=False)
    actor_role: str
    methods: str
    patient_ref: str
    """The log reference: the same patient has the same one in every export."""
    patient_name: str = field(repr=False)
    document: str
    version: int | None
    document_class: str
    person: str
    """The account acted on."""
    person_name: str = field(repr=False)
    purpose: str
    reason: str = field(repr=False)
    is_breakglass: bool
    relation: str
    ip: str
    agent: str
    workstation: str
    session: str
    op: str
    ref: str
    code: str
    bytes: int | None
    count: int | None
    changed: str
    is_subject_erased: bool
    leaf_hash: str

    @property
    def detail(self) -> str:
        """What is left to say, in stable words: code, version, sizes, changed fields."""
        said = (self.code, self.version, self.bytes, self.count, self.changed, self.person, self.ref)
        return " ".join([f"{name}={value}" for name, value in zip(DETAILS, said, strict=True) if value or value == 0])


DETAILS = ("code", "version", "bytes", "count", "changed", "person", "ref")
"""What ``Line.detail`` and the spreadsheets' last column say, in this order."""
_NOTHING: Fields = {}


def line_of(record: Record, people: Mapping[PersonId, str], patients: Mapping[PatientId, str]) -> Line:
    """The line of a record; names come from the two mappings, and stay empty where a reader may not have them."""
    actor, subject = record.actor or _NOTHING, record.subject or _NOTHING
    client, note = record.client or _NOTHING, record.note or _NOTHING
    actor_ref, person = str(actor.get("ref", "")), str(subject.get("person", ""))
    return Line(
        position=record.position,
        id=record.id,
        at=record.at,
        action=record.action,
        outcome=record.outcome,
        severity=record.severity,
        actor_kind=str(actor.get("kind", "")),
        actor_ref=actor_ref,
        actor_name=people.get(PersonId(actor_ref), ""),
        actor_role=str(actor.get("role", "")),
        methods=str(actor.get("amr", "")),
        patient_ref=str(subject.get("patient", "")),
        patient_name=patients.get(record.patient, "") if record.patient else "",
        document=str(subject.get("document", "")),
        version=_number(subject, "version"),
        document_class=str(subject.get("class", "")),
        person=person,
        person_name=people.get(PersonId(person), ""),
        purpose=str(note.get("purpose", "")),
        reason=str(note.get("reason", "")),
        is_breakglass=note.get("breakglass") == 1,
        relation=str(note.get("relation", "")),
        ip=str(client.get("ip", "")),
        agent=str(client.get("agent", "")),
        workstation=str(client.get("workstation", "")),
        session=str(actor.get("session", "")),
        op=record.op,
        ref=record.ref,
        code=str(note.get("code", "")),
        bytes=_number(note, "bytes"),
        count=_number(note, "count"),
        changed=str(note.get("changed", "")),
        is_subject_erased=record.subject is None,
        leaf_hash=record.hash.hex(),
    )


def _number(fields: Fields, name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) else None
