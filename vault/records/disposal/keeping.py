"""Owns until when files are kept: what people say of them, legal holds, the files whose end has come. It decides no disposal.

The day of a document is that of its act; where nobody said it, that of its deposit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import uuid4

from sqlalchemy import Connection

from vault.audit.append import Transaction
from vault.audit.events import REASON_CHARACTERS, Action, Event, Note, Outcome, Purpose, Subject
from vault.errors import Conflict, Invalid, NotFound, Tampered
from vault.model import Actor, PatientId, PersonId
from vault.people.files import File, file_of
from vault.people.policy import MATRIX, Act, decide_role
from vault.records.disposal import rows
from vault.records.disposal.facts import Facts, Hold, open_facts, open_hold, seal_facts, seal_hold
from vault.records.documents import catalogue
from vault.records.documents.rooms import Rooms
from vault.records.local_time import practice_day
from vault.records.patients import patient_rows
from vault.records.patients.access import is_allowed
from vault.records.patients.patient_rows import open_identity
from vault.records.patients.retention import POLICY, Dates, End, Policy, Span, end_of, latest_birth, years_after

WALK = 200
"""Files looked at for one answer: each costs its key and at least one description."""
PAGE = 200


@dataclass(frozen=True, slots=True)
class Kept:
    """Until when one file is kept."""

    patient: PatientId
    """The record that stands for the file."""
    end: End | None
    """None: an unknown date, or an open hold."""
    last_care_on: date | None
    is_held: bool
    said: Facts
    holds: tuple[Hold, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """A file whose end has come."""

    patient: PatientId
    end: End


@dataclass(frozen=True, slots=True)
class Due:
    """One stretch of the files: those past their end, and where to go on."""

    files: tuple[Past, ...]
    after: PatientId | None
    """The last file that was looked at; None at the end."""
    unreadable: int = 0
    """Files about which nothing can be said because something of them does not open: kept."""


class Keeping:
    """Thread-safe. Every method takes the actor first and raises VaultError subclasses only."""

    def __init__(self, rooms: Rooms, policy: Policy = POLICY, new_id: Callable[[], str] = lambda: uuid4().hex) -> None:
        self._rooms = rooms
        self._policy = policy
        self._new_id = new_id

    @property
    def policy(self) -> Policy:
        """The durations in force."""
        return self._policy

    def of(self, actor: Actor, patient: PatientId) -> Kept:
        """Until when a file is kept, and why. Raises NotFound, Forbidden, Tampered, KeysUnavailable, LogUnavailable."""
        with self._rooms.gate.refusals(actor, Action.PATIENT_VIEW, Subject(patient=patient)):
            decide_role(actor.role, Act.HOLD_SET)
            with self._rooms.db.read() as connection:
                file = self._file(connection, patient)
                self._rooms.gate.authorise(actor, Act.HOLD_SET, self._rooms.gate.relation(connection, actor, file.root))
            note = Note(purpose=Purpose.HLEGAL, code="retention")
            self._rooms.log.record(Event(Action.PATIENT_VIEW, Outcome.GRANTED, actor, Subject(patient=file.root), note))
            return self.judge(file)

    def glance(self, actor: Actor, patient: PatientId) -> Kept | None:
        """``of`` beside a page of this file, whose own event tells of the look.

        None for those who may not know, and where something of the file does not open. Raises KeysUnavailable.
        """
        if actor.role not in MATRIX[Act.HOLD_SET]:
            return None
        with self._rooms.db.read() as connection:
            if not is_allowed(actor, Act.HOLD_SET, self._rooms.gate.relation(connection, actor, patient)):
                return None
            file = file_of(connection, patient)
        try:
            return self.judge(file)
        except (Tampered, NotFound):
            return None

    def say(self, actor: Actor, patient: PatientId, facts: Facts) -> None:
        """Say when the last care was that no document tells of, and when the patient died; None: not known.

        Raises NotFound, Forbidden, Invalid, Conflict (``merged``), KeysUnavailable, LogUnavailable.
        """
        with self._rooms.gate.refusals(actor, Action.PATIENT_UPDATE, Subject(patient=patient)):
            decide_role(actor.role, Act.PATIENT_UPDATE)
            for name, day in (("last_care_on", facts.last_care_on), ("died_on", facts.died_on)):
                self._must_be_past(name, day)
            with self._rooms.db.read() as connection:
                stored = patient_rows.stored_patient(connection, patient)
                relation = self._rooms.gate.relation(connection, actor, patient)
            self._rooms.gate.authorise(actor, Act.PATIENT_UPDATE, relation)
            with self._rooms.scopes.open(stored.scope) as key:
                sealed = seal_facts(key, self._rooms.tenant, patient, facts)
            note = Note(changed=("last_care_on", "died_on"))
            event = Event(Action.PATIENT_UPDATE, Outcome.SUCCESS, actor, Subject(patient=patient), note)

            def work(tx: Transaction) -> None:
                patient_rows.stored_patient(tx.connection, patient)
                rows.say(tx.connection, patient, sealed, self._rooms.clock(), actor.person)
                tx.record(event)

            self._rooms.log.transact(work)

    def hold(self, actor: Actor, patient: PatientId, reason: str, since: date | None = None) -> str:
        """Set a legal hold, from today or an earlier day: nothing of the file goes until it is cleared.

        Raises NotFound, Forbidden, Invalid (``reason``, ``since``), Conflict (``merged``), KeysUnavailable, LogUnavailable.
        """
        with self._rooms.gate.refusals(actor, Action.DOCUMENT_HOLD_SET, Subject(patient=patient)):
            decide_role(actor.role, Act.HOLD_SET)
            with self._rooms.db.read() as connection:
                stored = patient_rows.stored_patient(connection, patient)
                self._rooms.gate.authorise(actor, Act.HOLD_SET, self._rooms.gate.relation(connection, actor, patient))
            tidy, hold = checked_reason(reason), self._new_id()
            self._must_be_past("since", since)
            with self._rooms.scopes.open(stored.scope) as key:
                sealed = seal_hold(key, self._rooms.tenant, patient, hold, (since or self._today(), tidy))
            note = Note(purpose=Purpose.HLEGAL, reason=tidy)
            event = Event(Action.DOCUMENT_HOLD_SET, Outcome.SUCCESS, actor, Subject(patient=patient), note)

            def work(tx: Transaction) -> None:
                patient_rows.stored_patient(tx.connection, patient)
                rows.add_hold(tx.connection, hold, patient, sealed, (self._rooms.clock(), actor.person))
                tx.record(event)

            self._rooms.log.transact(work)
            return hold

    def clear(self, actor: Actor, hold: str, reason: str) -> None:
        """Clear a legal hold. Raises NotFound, Forbidden, Invalid, Conflict (``cleared``), LogUnavailable."""
        with self._rooms.db.read() as connection:
            try:
                patient: PatientId | None = rows.hold_on(connection, hold)
            except NotFound:
                patient = None
        with self._rooms.gate.refusals(actor, Action.DOCUMENT_HOLD_CLEAR, Subject(patient=patient)):
            decide_role(actor.role, Act.HOLD_SET)
            if patient is None:
                raise NotFound("no such hold")
            with self._rooms.db.read() as connection:
                self._rooms.gate.authorise(actor, Act.HOLD_SET, self._rooms.gate.relation(connection, actor, patient))
            note = Note(purpose=Purpose.HLEGAL, reason=checked_reason(reason))
            event = Event(Action.DOCUMENT_HOLD_CLEAR, Outcome.SUCCESS, actor, Subject(patient=patient), note)

            def work(tx: Transaction) -> None:
                rows.clear_hold(tx.connection, hold, self._rooms.clock(), actor.person)
                tx.record(event)

            self._rooms.log.transact(work)

    def due(self, actor: Actor, after: PatientId | None = None, limit: int = WALK) -> Due:
        """The files past their end among the next ``limit``, by id, of those whose disposal the actor may propose or approve.

        Raises Forbidden, KeysUnavailable, LogUnavailable.
        """
        with self._rooms.gate.refusals(actor, Action.PATIENT_LIST, Subject()):
            act = Act.DISPOSAL_PROPOSE if actor.role in MATRIX[Act.DISPOSAL_PROPOSE] else Act.DISPOSAL_APPROVE
            decide_role(actor.role, act)
            limit = min(max(limit, 1), WALK)
            with self._rooms.db.read() as connection:
                ids = rows.active_after(connection, after or "", limit)
                files = [
                    file_of(connection, patient)
                    for patient in ids
                    if is_allowed(actor, act, self._rooms.gate.relation(connection, actor, patient))
                ]
            note = Note(purpose=Purpose.HLEGAL, count=len(files), code="retention")
            self._rooms.log.record(Event(Action.PATIENT_LIST, Outcome.GRANTED, actor, note=note))
            found, unreadable = self._past(files)
        return Due(tuple(found), ids[-1] if len(ids) == limit else None, unreadable)

    def _past(self, files: Sequence[File]) -> tuple[list[Past], int]:
        found, unreadable, today = list[Past](), 0, self._today()
        for file in files:
            try:
                end = self.judge(file, no_end_from=years_after(today, -self._policy.death_years)).end
            except (Tampered, NotFound):
                unreadable += 1
                continue
            if end is not None and end.is_over(today):
                found.append(Past(file.root, end))
        return found, unreadable

    # --- the judgement, for a disposal too ------------------------------------------------------------------------------------

    def judge(self, file: File, *, no_end_from: date | None = None) -> Kept:
        """Until when a file is kept. Of a merged one the latest dates of all records count, and a hold on any holds all.

        ``no_end_from``: a care on that day or later is enough to know that no end has come; older papers are then not opened.
        Raises NotFound, Tampered, KeysUnavailable.
        """
        with self._rooms.db.read() as connection:
            stored = patient_rows.stored_patients(connection, file.parts)
            said, held = rows.facts_of(connection, file.parts), rows.holds_of(connection, file.parts)
        if len(stored) != len(file.parts):
            raise NotFound(f"patient {file.root}")
        born, facts, holds = list[date | None](), list[Facts](), list[Hold]()
        for part in stored:
            with self._rooms.scopes.open(part.scope) as key:
                identity = open_identity(key, self._rooms.tenant, part.id, part.identity_sealed)
                born.append(latest_birth(identity.birth_date, is_lunar=identity.is_lunar))
                if part.id in said:
                    facts.append(open_facts(key, self._rooms.tenant, part.id, said[part.id]))
                for row in (row for row in held if row.patient == part.id):
                    since, reason = open_hold(key, self._rooms.tenant, part.id, row.id, row.hold_sealed)
                    holds.append(Hold(row.id, since, reason, row.set_at, PersonId(row.set_by), row.cleared_at))
        told = Facts(_latest(each.last_care_on for each in facts), _latest(each.died_on for each in facts))
        care = self._last_care(file, told.last_care_on, no_end_from)
        known = None if None in born else _latest(born)
        spans = tuple(Span(each.since, practice_day(each.cleared_at) if each.cleared_at else None) for each in holds)
        end = end_of(Dates(care, known, told.died_on, spans), self._policy)
        return Kept(file.root, end, care, any(span.until is None for span in spans), told, tuple(holds))

    def _last_care(self, file: File, said: date | None, enough: date | None) -> date | None:
        """The latest of what was said and of the documents' days."""
        newest, before = said, None
        while True:
            if enough is not None and newest is not None and newest >= enough:
                return newest
            with self._rooms.db.read() as connection:
                found = catalogue.patient_documents(connection, file.parts, before=before, limit=PAGE)
            for stored in found:
                day = self._rooms.description(stored).act_date or practice_day(stored.deposited_at)
                newest = day if newest is None else max(newest, day)
                if enough is not None and newest >= enough:
                    return newest
            if len(found) < PAGE:
                return newest
            before = (found[-1].first_deposited_at, found[-1].document)

    @staticmethod
    def _file(connection: Connection, patient: PatientId) -> File:
        patient_rows.kept_patient(connection, patient)
        return file_of(connection, patient)

    def _must_be_past(self, field: str, day: date | None) -> None:
        if day is not None and not date(1850, 1, 1) <= day <= self._today():
            raise Invalid("a day that can't be", field=field, reason="impossible_date")

    def _today(self) -> date:
        return practice_day(self._rooms.clock())


def _latest(days: Iterable[date | None]) -> date | None:
    return max((day for day in days if day is not None), default=None)


def checked_reason(reason: str) -> str:
    """A reason for the record, tidied. Raises Invalid."""
    tidy = " ".join(reason.split())
    if not tidy:
        raise Invalid("say why", field="reason", reason="missing")
    if len(tidy) > REASON_CHARACTERS:
        raise Invalid("a reason is too long", field="reason", reason="too_long", limit=REASON_CHARACTERS)
    return tidy


def refuse_held(connection: Connection, parts: Sequence[PatientId]) -> None:
    """A legal hold keeps everything, whoever asks. Raises Conflict (``on_hold``)."""
    if rows.is_held(connection, parts):
        raise Conflict("a legal hold lies on this file", reason="on_hold")
