"""Owns the disposal of a file whose end has come: proposed by one, approved by another, then erased for good.

Order: the decision, its events and the removal of every row in one transaction; then keys, log salts, bodies; then the word
that nothing remains. Whatever a crash leaves of the second part is done by ``finish``: in between the file is told as erased
and no way leads to it. See docs/decisions/0085.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date
from typing import Protocol
from uuid import uuid4

from sqlalchemy import Connection

from vault.audit.append import Receipt, Transaction
from vault.audit.entries import of_operation
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject, System
from vault.errors import Conflict, Forbidden, KeysUnavailable, LogUnavailable, StorageFull, StorageUnavailable
from vault.model import Actor, Micros, PatientId, Role
from vault.people.files import File, file_of
from vault.people.policy import MATRIX, Act, authorise, decide_role
from vault.people.relations import Mode, mode_of
from vault.records.disposal import erasing, rows
from vault.records.disposal.certificate import Certificate, certificate_of, gone_from_backups
from vault.records.disposal.erasing import parse_remains
from vault.records.disposal.keeping import Keeping, refuse_held
from vault.records.disposal.rows import Disposal, State
from vault.records.documents.rooms import Rooms
from vault.records.local_time import practice_day
from vault.records.patients import patient_rows
from vault.records.patients.merging import last_moment
from vault.records.patients.retention import End
from vault.storage.keyring import Keyring

_TOLD_BY = (Action.PRIVACY_RETENTION_PROPOSED, Action.PRIVACY_RETENTION_APPROVED, Action.PATIENT_ERASE)
PAUSE_DAYS = 7
"""In a practice of one, the same person approves after so many days."""
_DAY_US = 86_400 * 1_000_000
_LATER = (StorageUnavailable, StorageFull, LogUnavailable, KeysUnavailable)
"""What keeps the second part waiting; ``finish`` comes back to it."""


class Forget(Protocol):
    """The log's own way to erase a patient's traces (``Auditing.forget``)."""

    def __call__(self, by: Actor | System, patient: PatientId, /) -> Receipt | None: ...


class Disposals:
    """Thread-safe. Every method but ``finish`` takes the actor first; all raise VaultError subclasses only."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        keyring: Keyring,
        keeping: Keeping,
        forget: Forget,
        backup_days: int,
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        """``backup_days``: how long a copy of the keyring is kept at most."""
        self._rooms = rooms
        self._keyring = keyring
        self._keeping = keeping
        self._forget = forget
        self._backup_days = backup_days
        self._new_id = new_id

    def propose(self, actor: Actor, patient: PatientId) -> Disposal:
        """Propose a file whose end has come; nothing goes until somebody else approves.

        Raises NotFound, Forbidden, Conflict (``on_hold``, ``not_due``, ``recent_merge``, ``proposed``, ``merged``,
        ``changed``), Tampered, KeysUnavailable, LogUnavailable.
        """
        subject = Subject(patient=patient)
        with self._rooms.gate.refusals(actor, Action.PRIVACY_RETENTION_PROPOSED, subject):
            decide_role(actor.role, Act.DISPOSAL_PROPOSE)
            with self._rooms.db.read() as connection:
                patient_rows.stored_patient(connection, patient)
                relation = self._rooms.gate.relation(connection, actor, patient)
            self._rooms.gate.authorise(actor, Act.DISPOSAL_PROPOSE, relation)
            file, before, end = self._judged(patient)
            new = Disposal(self._new_id(), patient, State.PROPOSED, actor.person, self._rooms.clock())
            note = Note(purpose=Purpose.HLEGAL, code=end.rule)
            event = Event(Action.PRIVACY_RETENTION_PROPOSED, Outcome.SUCCESS, actor, subject, note, op=new.id)

            def work(tx: Transaction) -> None:
                _must_be_as_judged(tx.connection, file, before)
                rows.propose(tx.connection, new, file.parts)
                tx.record(event)

            self._rooms.log.transact(work)
        return new

    def waiting(self, actor: Actor) -> tuple[Disposal, ...]:
        """The proposals that wait for a decision, and what is not finished. Raises Forbidden."""
        with self._rooms.gate.refusals(actor, Action.PRIVACY_RETENTION_APPROVED, Subject()):
            decide_role(actor.role, Act.DISPOSAL_APPROVE)
        with self._rooms.db.read() as connection:
            return tuple(rows.in_state(connection, State.PROPOSED, State.ERASING))

    def own(self, actor: Actor) -> tuple[Disposal, ...]:
        """The actor's own proposals that wait, which they may take back. Raises Forbidden."""
        with self._rooms.gate.refusals(actor, Action.PRIVACY_RETENTION_PROPOSED, Subject()):
            decide_role(actor.role, Act.DISPOSAL_PROPOSE)
        with self._rooms.db.read() as connection:
            return tuple(each for each in rows.in_state(connection, State.PROPOSED) if each.proposed_by == actor.person)

    def done(self, actor: Actor, limit: int = 50) -> tuple[Disposal, ...]:
        """What was destroyed, newest first, for its certificates. Raises Forbidden."""
        with self._rooms.gate.refusals(actor, Action.PRIVACY_RETENTION_APPROVED, Subject()):
            decide_role(actor.role, Act.DISPOSAL_APPROVE)
        with self._rooms.db.read() as connection:
            return tuple(rows.newest_done(connection, limit))

    def open_from(self, actor: Actor, found: Disposal) -> Micros | None:
        """From when on the actor may approve a proposal: its own moment, a pause later, or never (None)."""
        if actor.role not in MATRIX[Act.DISPOSAL_APPROVE]:
            return None
        if actor.person != found.proposed_by:
            return found.proposed_at
        with self._rooms.db.read() as connection:
            mode = mode_of(connection)
        if mode is not Mode.SOLO or actor.role is not Role.OWNER:
            return None
        return Micros(found.proposed_at + PAUSE_DAYS * _DAY_US)

    def last_backup(self, destroyed_at: Micros) -> date:
        """The day on which the last backup is removed that still holds a key destroyed then, if one is made every day."""
        return gone_from_backups(destroyed_at, self._backup_days)

    def take_back(self, actor: Actor, disposal: str) -> None:
        """Put a proposal aside: by whoever made it, or by whoever might approve. Raises NotFound, Forbidden, Conflict."""
        found = self._find(disposal)
        subject = Subject(patient=found.patient)
        with self._rooms.gate.refusals(actor, Action.PRIVACY_RETENTION_APPROVED, subject):
            if actor.person != found.proposed_by:
                decide_role(actor.role, Act.DISPOSAL_APPROVE)
            note = Note(purpose=Purpose.HLEGAL, code="taken_back")
            event = Event(Action.PRIVACY_RETENTION_APPROVED, Outcome.DENIED, actor, subject, note, op=disposal)
            values = {"state": State.TAKEN_BACK, "decided_by": actor.person, "decided_at": self._rooms.clock()}

            def work(tx: Transaction) -> None:
                rows.decide(tx.connection, disposal, **values)
                tx.record(event)

            self._rooms.log.transact(work)

    def approve(self, actor: Actor, disposal: str) -> Disposal:
        """Be the second person; the file is erased when this returns, or told as erased while a part of it has still to go.

        In a practice of one the same person may, after a pause. Raises NotFound, Forbidden (``same_person``), StepUpRequired,
        Conflict (``pause``, ``on_hold``, ``not_due``, ``recent_merge``, ``changed``, ``decided``), KeysUnavailable,
        LogUnavailable, StorageUnavailable, StorageFull.
        """
        found = self._find(disposal)
        subject = Subject(patient=found.patient)
        with self._rooms.gate.refusals(actor, Action.PRIVACY_RETENTION_APPROVED, subject):
            authorise(actor, Act.DISPOSAL_APPROVE, self._rooms.clock())
            if found.state is not State.PROPOSED:
                raise Conflict("somebody decided already", reason="decided")
            self._must_be_second(actor, found)
            file, before, end = self._judged(found.patient)
            with self._rooms.db.read() as connection:
                remains, size = erasing.remains_of(connection, file.parts)
            note = Note(purpose=Purpose.HLEGAL, code=end.rule)
            erased = Note(purpose=Purpose.HLEGAL, code=end.rule, count=len(remains.blobs), bytes=size)
            events = (
                Event(Action.PRIVACY_RETENTION_APPROVED, Outcome.SUCCESS, actor, subject, note, op=disposal),
                Event(Action.PATIENT_ERASE, Outcome.SUCCESS, actor, note=erased, op=disposal),  # readable once all is gone
            )
            values = {
                "state": State.ERASING,
                "decided_by": actor.person,
                "decided_at": self._rooms.clock(),
                "rule": end.rule.value,
                "kept_until": end.on.isoformat(),
                "documents": len(remains.blobs),
                "bytes": size,
                "remains": remains.word(),
            }

            def work(tx: Transaction) -> None:
                _must_be_as_judged(tx.connection, file, before)
                rows.decide(tx.connection, disposal, **values)
                erasing.remove(tx.connection, file.parts)
                for event in events:
                    tx.record(event)

            self._rooms.log.transact(work)
        # From here on the file is told as erased; what fails now is finished later.
        with suppress(*_LATER):
            return self._finish(actor, disposal)
        return self._find(disposal)

    def finish(self, by: Actor | System = System("upkeep")) -> int:  # noqa: B008  # frozen
        """Do what a crash or an outage left of decided disposals; gives how many are finished now.

        Raises StorageUnavailable, LogUnavailable.
        """
        with self._rooms.db.read() as connection:
            left = rows.in_state(connection, State.ERASING)
        for each in left:
            self._finish(by, each.id)
        return len(left)

    def certificate(self, actor: Actor, disposal: str) -> Certificate:
        """The certificate of destruction of a finished disposal. Raises NotFound, Forbidden, Conflict (``not_done``)."""
        with self._rooms.gate.refusals(actor, Action.PRIVACY_RETENTION_APPROVED, Subject()):
            decide_role(actor.role, Act.DISPOSAL_APPROVE)
        found = self._find(disposal)
        if found.state is not State.DONE:
            raise Conflict("nothing was destroyed yet, or not all of it", reason="not_done")
        with self._rooms.db.read() as connection:
            entries = of_operation(connection, disposal, _TOLD_BY)
        return certificate_of(found, self._keeping.policy, self._rooms.tenant, entries, self._backup_days)

    # --- inside ---------------------------------------------------------------------------------------------------------------

    def _find(self, disposal: str) -> Disposal:
        with self._rooms.db.read() as connection:
            return rows.disposal(connection, disposal)

    def _judged(self, patient: PatientId) -> tuple[File, tuple[object, ...], End]:
        """The file, what the judgement rests on, and its end, which has come. Raises NotFound, Conflict."""
        with self._rooms.db.read() as connection:
            patient_rows.stored_patient(connection, patient)
            file = file_of(connection, patient)
            refuse_held(connection, file.parts)
            before = rows.standing(connection, file.parts)
        now = self._rooms.clock()
        if any(last_moment(since) >= now for since in file.since.values()):
            raise Conflict("this file was merged lately: the merge can still be undone", reason="recent_merge")
        end = self._keeping.judge(file).end
        if end is None or not end.is_over(practice_day(now)):
            raise Conflict("this file is still to be kept", reason="not_due")
        return file, before, end

    def _must_be_second(self, actor: Actor, found: Disposal) -> None:
        since = self.open_from(actor, found)
        if since is None:
            raise Forbidden("a disposal wants a second person", act=Act.DISPOSAL_APPROVE, reason="same_person")
        if actor.person == found.proposed_by and self._rooms.clock() < since:
            raise Conflict(f"alone, one approves after {PAUSE_DAYS} days", reason="pause")

    def _finish(self, by: Actor | System, disposal: str) -> Disposal:
        """Keys first: from then on nothing can be read by anybody. Every step may be done twice."""
        found = self._find(disposal)
        if found.state is not State.ERASING:
            return found
        remains = parse_remains(found.remains)
        for scope in remains.scopes:
            self._keyring.delete_scope(scope)
            self._rooms.scopes.forget(scope)
        for patient in remains.patients:
            self._forget(by, patient)
        for blob in remains.blobs:
            self._rooms.bodies.withdraw(blob)
        now = self._rooms.clock()

        def work(connection: Connection) -> None:
            rows.finish(connection, disposal, now)

        self._rooms.db.write(work)
        return self._find(disposal)


def _must_be_as_judged(connection: Connection, file: File, before: tuple[object, ...]) -> None:
    """What was judged is what is decided on, and no hold was set meanwhile. Raises Conflict."""
    refuse_held(connection, file.parts)
    if rows.standing(connection, file.parts) != before:
        raise Conflict("something of this file was changed meanwhile: look again", reason="changed")
