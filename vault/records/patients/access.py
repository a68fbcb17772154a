"""Owns how a use case asks policy about a file and tells the log of a refusal. It must not know what a document is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from sqlalchemy import Connection

from vault.audit.append import AuditLog
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject
from vault.errors import Busy, Forbidden, LogUnavailable, NotFound, Quarantined, StepUpRequired, Tampered, VaultError
from vault.model import Actor, EventId, Micros, PatientId
from vault.people.policy import Act, DocumentClass, Relation, authorise, decide
from vault.records.patients.likeness import Likenesses

Relate = Callable[[Connection, Actor, PatientId, Micros], Relation]
"""``vault.people.relations.to_patient``: what ties an actor to a patient."""

_DENIALS = (Forbidden, NotFound, StepUpRequired)


def is_allowed(actor: Actor, act: Act, relation: Relation) -> bool:
    """For masking in lists, where a refusal is no event: whether ``actor`` may ``act``, step-up left aside."""
    try:
        decide(actor.role, act, relation, is_fresh=True)
    except (Forbidden, NotFound):
        return False
    return True


def _is_outside(relation: Relation) -> bool:
    """Whether somebody gets in by a leave alone: neither of the care team nor standing in for one who is."""
    is_inside = relation.in_care_team or relation.in_locum_window
    return (relation.has_grant or relation.has_breakglass) and not is_inside


def flags(relation: Relation) -> tuple[str, ...]:
    """The facts under which somebody acted, as the log writes them."""
    facts = {
        "care_team": relation.in_care_team,
        "locum": relation.in_locum_window,
        "grant": relation.has_grant,
        "breakglass": relation.has_breakglass,
        "outside_team": _is_outside(relation),
        "own_upload": relation.is_own_upload,
        "administrative": relation.document_class is DocumentClass.ADMINISTRATIVE,
        "handover": relation.is_handover,
        "sensitive": relation.is_sensitive,
        relation.likeness: relation.likeness,
    }
    return tuple(name for name, holds in facts.items() if holds)


def note_of(relation: Relation, *, size: int | None = None, code: str | None = None) -> Note:
    """The circumstances of an access: purpose, break-glass, relation, bytes, and what ``code`` says of it."""
    purpose = Purpose.BTG if relation.has_breakglass else Purpose.TREAT
    if relation.document_class is DocumentClass.ADMINISTRATIVE:
        purpose = Purpose.HOPERAT
    return Note(purpose=purpose, is_breakglass=relation.has_breakglass, relation=flags(relation), bytes=size, code=code)


def integrity_failure(actor: Actor, subject: Subject, error: Tampered, ref: EventId | None = None) -> Event:
    """The incident that an altered document is, beside the failure of whatever met it."""
    note = Note(code=str(error.details.get("kind", error.code)))
    return Event(Action.DOCUMENT_INTEGRITY_FAILURE, Outcome.FAILED, actor, subject, note, ref=ref)


class Gate:
    """Policy asked, refusals logged. Thread-safe."""

    def __init__(
        self, log: AuditLog, relate: Relate, clock: Callable[[], Micros], likenesses: Likenesses | None = None
    ) -> None:
        self._likenesses = likenesses
        self._log = log
        self._relate = relate
        self._clock = clock

    def relation(self, connection: Connection, actor: Actor, patient: PatientId) -> Relation:
        """What ties ``actor`` to ``patient`` now."""
        return self._relate(connection, actor, patient, self._clock())

    def opening(self, connection: Connection, actor: Actor, patient: PatientId) -> Relation:
        """The same for somebody about to see a file: with a word for reviewers where it may be their own or a colleague's."""
        relation = self.relation(connection, actor, patient)
        likeness = self._likenesses.of(connection, actor, patient) if self._likenesses is not None else None
        return replace(relation, likeness=likeness) if likeness is not None else relation

    def authorise(self, actor: Actor, act: Act, relation: Relation) -> None:
        """Raises Forbidden, NotFound or StepUpRequired."""
        authorise(actor, act, self._clock(), relation)

    @contextmanager
    def refusals(self, actor: Actor, action: Action, subject: Subject) -> Iterator[None]:
        """Inside, a refusal or a failure becomes an event before it leaves.

        Being busy is none: it would flood the log. What was set apart has its event already, with its row.
        """
        try:
            yield
        except (Busy, Quarantined):
            raise
        except VaultError as error:
            outcome = Outcome.DENIED if isinstance(error, _DENIALS) else Outcome.FAILED
            events = [Event(action, outcome, actor, subject, Note(code=error.code))]
            if isinstance(error, Tampered) and subject.document is not None:
                events.append(integrity_failure(actor, subject, error))
            with suppress(LogUnavailable):  # nothing was opened: the first error is the one to tell
                self._log.record_all(events)
            raise
