"""Owns who may ask what of the log: rights, the narrowing to a role's part, names revealed for a reason.

It must not know formats. Every refusal leaves an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from sqlalchemy import Connection

from kms.keys import KeyService
from vault.audit.alerts import name_unnamed
from vault.audit.append import AuditLog
from vault.audit.checkpoint import Checkpoints
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject
from vault.audit.reading import Reader
from vault.audit.retention import Retention
from vault.audit.review import Review
from vault.audit.search import TECHNICAL_ACTIONS, Filters, Search, is_technical, narrowed
from vault.errors import Forbidden, Invalid, VaultError
from vault.model import Actor, Micros, PatientId, PersonId
from vault.people.policy import LOG_REACH, Act, LogReach, Relation, authorise


class Relations(Protocol):
    """What ties an actor to a patient (vault.people.relations)."""

    def to_patient(self, connection: Connection, actor: Actor, patient: PatientId, now: Micros) -> Relation: ...


class Names(Protocol):
    """What people are called (vault.people.roster)."""

    def display_names(self) -> Mapping[PersonId, str]: ...


class Identities(Protocol):
    """What patients are called (vault.records.patients.identities)."""

    def names(self, wanted: Sequence[PatientId]) -> dict[PatientId, str]: ...


class _Nobody:
    """No patient has a name: an installation without a patients' room."""

    def names(self, wanted: Sequence[PatientId]) -> dict[PatientId, str]:
        del wanted
        return {}


REASON_LEAST = 10
"""Characters of a reason for which names are revealed."""


class Desk:
    """What every use case of the log stands on."""

    def __init__(
        self, *, log: AuditLog, keys: KeyService, names: Names, relations: Relations, identities: Identities | None = None
    ) -> None:
        self._log = log
        self._identities: Identities = identities or _Nobody()
        self._names = names
        self._relations = relations
        self.checkpoints = Checkpoints(log, keys)
        self.retention = Retention(log)
        self.review = Review(log)
        self._search = Search(log)
        self._reader = Reader(log)

    def _allowed(self, actor: Actor, act: Act, filters: Filters) -> Filters:
        """The filters narrowed to what the actor's role reads; a refusal is an event.

        Raises Forbidden, StepUpRequired, Invalid.
        """
        try:
            authorise(actor, act, self._log.clock())
            allowed = self._narrow(actor, filters)
        except VaultError as error:
            self._log.record(
                Event(
                    Action.ACCESS_DENIED,
                    Outcome.DENIED,
                    actor,
                    note=Note(code=error.code, purpose=Purpose.HCOMPL, changed=(act,)),
                )
            )
            raise
        if allowed.detector is not None:
            name_unnamed(self._log)
        return allowed

    def _narrow(self, actor: Actor, filters: Filters) -> Filters:
        match LOG_REACH[actor.role]:
            case LogReach.EVERYTHING | LogReach.PRACTICE:
                return filters
            case LogReach.TECHNICAL:
                refused = [action for action in filters.actions if not is_technical(action)]
                if refused:
                    raise Forbidden(f"{actor.role} does not read {refused[0]} events")
                return filters if filters.actions else replace(filters, actions=TECHNICAL_ACTIONS)
            case LogReach.OWN_PATIENTS:
                return filters if filters.patient and self._treats(actor, filters.patient) else narrowed(filters, actor.person)
            case LogReach.OWN:
                return narrowed(filters, actor.person)

    def _treats(self, actor: Actor, patient: PatientId) -> bool:
        with self._log.db.read() as connection:
            return self._relations.to_patient(connection, actor, patient, self._log.clock()).in_care_team

    def reveal(self, actor: Actor, references: Sequence[str], reason: str) -> dict[str, str]:
        """The names behind log references, each one an event with its reason. Unknown and erased ones are missing.

        Raises Forbidden, StepUpRequired, Invalid, LogUnavailable, KeysUnavailable.
        """
        known = {reference: self._log.references.by_reference(reference) for reference in references}
        for patient in known.values():
            self._reveal(actor, reason, patient, Filters())
        names = self._identities.names([patient for patient in known.values() if patient])
        return {reference: names[patient] for reference, patient in known.items() if patient in names}

    def _reveal(self, actor: Actor, reason: str, patient: PatientId | None, filters: Filters) -> None:
        self._allowed(actor, Act.AUDIT_REVEAL, filters)
        if len(reason.strip()) < REASON_LEAST:
            raise Invalid("say why the names are needed", field="reason", reason="too_short", least=REASON_LEAST)
        note_ = Note(purpose=Purpose.HCOMPL, reason=reason.strip())
        self._log.record(Event(Action.AUDIT_REVEAL_IDENTITY, Outcome.SUCCESS, actor, Subject(patient=patient), note_))

    def _patient(self, filters: Filters) -> PatientId | None:
        """The patient whom the filters name, where the log knows one."""
        if filters.patient:
            return filters.patient if self._log.references.find(filters.patient) else None
        return self._log.references.by_reference(filters.reference) if filters.reference else None

    def _reference(self, filters: Filters) -> str | None:
        known = self._log.references.find(filters.patient) if filters.patient else None
        return known.reference if known else filters.reference

    def _event(self, actor: Actor, action: Action, filters: Filters, changed: tuple[str, ...] = ()) -> Event:
        subject = Subject(patient=self._patient(filters), document=filters.document, person=filters.person)
        asked = tuple(name for name in filters.described() if name not in {"patient", "reference", "document", "person"})
        return Event(action, Outcome.SUCCESS, actor, subject, Note(purpose=Purpose.HCOMPL, changed=(*changed, *asked)))
