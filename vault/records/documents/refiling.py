"""Owns the correction of a filing: a document moves to the right patient, its bodies untouched. It knows no HTTP.

Data keys and descriptions of all versions are sealed anew under the right patient's scope. A tombstone without title stays in
the wrong file, and whoever had opened the document there is named; where a copy was taken, an incident is drafted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vault.audit.append import Transaction
from vault.audit.detect import Detector
from vault.audit.events import REASON_CHARACTERS, Action, Event, Note, Outcome, Purpose, Subject, System
from vault.audit.incidents import Incidents
from vault.errors import Conflict, Invalid
from vault.model import Actor, Document, DocumentId, Micros, PatientId, PersonId, ScopeId
from vault.people.files import file_of
from vault.people.policy import Act, decide_role
from vault.records.documents import catalogue
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.descriptions import seal_description
from vault.records.documents.rights import relation_to
from vault.records.documents.rooms import Rooms, document_of, place_of
from vault.records.documents.types import document_type
from vault.records.patients.access import note_of


@dataclass(frozen=True, slots=True)
class Tombstone:
    """That a document once stood here by mistake: no title, no type."""

    document: DocumentId
    moved_at: Micros
    moved_by: PersonId


@dataclass(frozen=True, slots=True)
class Refiled:
    """How a refiling ended."""

    document: Document
    seen_by: tuple[str, ...]
    """Whoever had opened it where it was, the one who moved it apart."""
    taken_by: tuple[str, ...]
    """Whoever had downloaded, printed or sent it, the one who moved it too: an incident was drafted."""


def refile(rooms: Rooms, actor: Actor, document: DocumentId, patient: PatientId, *, reason: str) -> Refiled:
    """``Documents.refile``."""
    with rooms.gate.refusals(actor, Action.DOCUMENT_REFILE, Subject(document=document)):
        decide_role(actor.role, Act.DOCUMENT_REFILE)
        with rooms.db.read() as connection:
            current = catalogue.stored_version(connection, document)
            source = rooms.gate.relation(connection, actor, current.patient)
            here = file_of(connection, current.patient).parts
        description = rooms.description(current)
        rooms.gate.authorise(actor, Act.DOCUMENT_REFILE, relation_to(source, actor, current, description, rooms.clock()))
        with rooms.db.read() as connection:
            scope = catalogue.filing_scope(connection, patient)
            there = file_of(connection, patient).parts
            target = rooms.gate.relation(connection, actor, patient)
            versions = catalogue.stored_versions(connection, document)
        rooms.gate.authorise(actor, Act.DOCUMENT_UPLOAD, target)
        _check(current, reason, is_there=patient in here)
        known = rooms.fingerprint(bytes.fromhex(description.sha256)).known
        moved = [_resealed(rooms, stored, patient, scope) for stored in versions]
        group = document_type(description.type).group
        note = replace(note_of(target, size=current.size), reason=reason or None, code="refiled")
        op = rooms.new_id()
        events = [
            Event(Action.DOCUMENT_REFILE, Outcome.SUCCESS, actor, Subject(where, document, current.version, group), note, op=op)
            for where in (current.patient, patient)
        ]
        incidents = Incidents(rooms.log)
        _, known_taken = incidents.readers(document, current.patient, actor.person)
        if known_taken:
            events.append(_incident(events[0], len(known_taken)))

        def work(transaction: Transaction) -> None:
            catalogue.refuse_twin(catalogue.same_bytes(transaction.connection, known), there, besides=document)
            catalogue.move(transaction.connection, document, current.patient, patient)
            if len(catalogue.stored_versions(transaction.connection, document)) != len(moved):
                raise Conflict("somebody else has just replaced this document", reason="already_replaced")
            for stored in moved:
                catalogue.rekey(transaction.connection, stored)
            catalogue.bury(transaction.connection, document, current.patient, rooms.clock(), actor.person)
            for event in events:
                transaction.record(event)

        rooms.log.transact(work)
    seen, taken = incidents.readers(document, current.patient, actor.person)
    if taken and not known_taken:  # while it was being moved
        rooms.log.record(_incident(events[0], len(taken)))
    return Refiled(document_of(moved[0], description), seen, taken)


def _check(current: StoredVersion, reason: str, *, is_there: bool) -> None:
    if is_there:
        raise Conflict("the document is filed with this patient already", reason="same_patient")
    if current.integrated_at is not None and not reason.strip():
        raise Invalid("a clinician has taken it over: say why it moves", field="reason", reason="missing")
    if len(reason) > REASON_CHARACTERS:
        raise Invalid("a reason is too long", field="reason", reason="too_long", limit=REASON_CHARACTERS)


def _resealed(rooms: Rooms, stored: StoredVersion, patient: PatientId, scope: ScopeId) -> StoredVersion:
    """One version as its row will be under the right patient."""
    description = rooms.description(stored)
    data_key_sealed = rooms.bodies.reseal(stored, scope)
    there = replace(stored, patient=patient, scope=scope, data_key_sealed=data_key_sealed)
    with rooms.scopes.open(scope) as key:
        return replace(there, description_sealed=seal_description(key, rooms.tenant, place_of(there), description))


def _incident(moved: Event, takers: int) -> Event:
    """The draft of an incident: copies were taken in the wrong file. The rest of it is read from the log."""
    subject = replace(moved.subject, version=None)
    note = Note(code=Detector.MISFILED.value, count=takers, purpose=Purpose.HCOMPL)
    return Event(Action.AUDIT_ALERT_RAISED, Outcome.SUCCESS, System("refiling"), subject, note, op=moved.op)
