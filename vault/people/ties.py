"""Owns the changes of who treats whom: care teams, grants, objections, restricted files, locum windows, the practice's mode.

It must not judge what a tie allows (``policy``), nor read patients' records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, select, update

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Subject
from vault.errors import Conflict, Invalid, NotFound
from vault.model import Actor, Micros, PatientId, PersonId, Role
from vault.people.files import file_of
from vault.people.policy import Act
from vault.people.relations import Mode, Relations, mode_of
from vault.people.roster import Roster, State
from vault.people.sessions import Sessions
from vault.storage.schema import care_team, grants, locum_windows, objections, patients, people, practice, restrictions

MINUTE = 60 * 1_000_000
LONGEST_GRANT_DAYS = 366
LONGEST_WINDOW_DAYS = 366
_NO_NOTE = Note()
CARERS = (Role.CLINICIAN, Role.OWNER)


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to see one patient's file for a time."""

    id: str
    patient: PatientId
    person: PersonId
    since: Micros
    until: Micros
    granted_by: PersonId


@dataclass(frozen=True, slots=True)
class Window:
    """When a locum replaces whom; from ``since``, up to but without ``until``."""

    id: str
    locum: PersonId
    replaces: PersonId
    since: Micros
    until: Micros


@dataclass(frozen=True, slots=True)
class PatientTies:
    """Who is tied to one patient, and how."""

    team: tuple[PersonId, ...]
    grants: tuple[Grant, ...]
    objected: tuple[PersonId, ...]
    named: tuple[PersonId, ...]
    """Named on the restricted file; empty where it is not restricted."""


class Ties:
    """Methods raise Forbidden, NotFound (no relation), StepUpRequired; Invalid, Conflict.

    What closes a file (a removal, an objection, a restriction) is written to every record of a merged one, and so outlives the
    undoing of the merge; what opens it (a member, a grant) is written to the record that was kept.
    """

    def __init__(self, roster: Roster, sessions: Sessions, relations: Relations) -> None:
        self._roster = roster
        self._sessions = sessions
        self._relations = relations

    # --- one patient

    def of(self, actor: Actor, patient: PatientId) -> PatientTies:
        """Who treats a patient, for those who treat them."""
        self._authorise(actor, Act.TEAM_CHANGE, Action.PATIENT_VIEW, Subject(patient=patient))
        now = self._roster.clock()
        with self._roster.db.read() as connection:
            parts = file_of(connection, patient).parts
            running = grants.c.patient.in_(parts) & grants.c.revoked_at.is_(None) & (grants.c.until > now)
            team = connection.execute(select(care_team.c.person).where(care_team.c.patient.in_(parts))).scalars().all()
            rows = connection.execute(select(grants).where(running).order_by(grants.c.until)).mappings().all()
            objected = connection.execute(select(objections.c.person).where(objections.c.patient.in_(parts))).scalars().all()
            named = _named_on_all(connection, parts)
        given = tuple(
            Grant(
                row["id"],
                PatientId(row["patient"]),
                PersonId(row["person"]),
                row["since"],
                row["until"],
                PersonId(row["granted_by"]),
            )
            for row in rows
        )
        return PatientTies(_ids(team), given, _ids(objected), _ids(named))

    def add_to_team(self, actor: Actor, patient: PatientId, person: PersonId) -> None:
        """Let ``person`` treat ``patient``. In a partitioned group a grant with an end is the way (Conflict)."""

        def change(connection: Connection) -> None:
            self._must_care(connection, person)
            if mode_of(connection) is Mode.PARTITIONED and self._has_team(connection, patient):
                raise Conflict("independent practitioners: give access for a time instead", reason="partitioned")
            same = (care_team.c.patient == patient) & (care_team.c.person == person)
            if connection.execute(select(care_team.c.person).where(same)).first() is None:
                connection.execute(insert(care_team).values(patient=patient, person=person, since=self._roster.clock()))

        self._change(actor, Act.TEAM_CHANGE, Action.TEAM_ADD, Subject(patient=patient, person=person), change)

    def remove_from_team(self, actor: Actor, patient: PatientId, person: PersonId) -> None:
        """``person`` no longer treats ``patient``; the last member stays (Conflict)."""

        def change(connection: Connection) -> None:
            parts = care_team.c.patient.in_(file_of(connection, patient).parts)
            members = connection.execute(select(care_team.c.person).where(parts)).scalars().all()
            if set(members) == {person}:
                raise Conflict("the last member of a care team stays: add another one first", reason="last_member")
            connection.execute(delete(care_team).where(parts & (care_team.c.person == person)))

        self._change(actor, Act.TEAM_CHANGE, Action.TEAM_REMOVE, Subject(patient=patient, person=person), change)

    def grant(self, actor: Actor, patient: PatientId, person: PersonId, *, until: int) -> str:
        """Leave for ``person`` to see ``patient``'s file until a moment, at most a year away."""
        now = self._roster.clock()
        if not now < until <= now + LONGEST_GRANT_DAYS * 24 * 60 * MINUTE:
            raise Invalid("a grant ends within a year", field="until", reason="until")
        grant = uuid4().hex
        row = {"id": grant, "patient": patient, "person": person, "since": now, "until": until, "granted_by": actor.person}

        def change(connection: Connection) -> None:
            self._must_care(connection, person, Role.LOCUM)
            connection.execute(insert(grants).values(**row))

        self._change(actor, Act.ACCESS_GRANT, Action.ACCESS_GRANT, Subject(patient=patient, person=person), change)
        return grant

    def revoke(self, actor: Actor, grant: str) -> None:
        """End a grant now."""
        with self._roster.db.read() as connection:
            found = connection.execute(select(grants.c.patient, grants.c.person).where(grants.c.id == grant)).one_or_none()
        if found is None:
            raise NotFound("no such grant")
        subject = Subject(patient=PatientId(found.patient), person=found.person)
        ended = update(grants).where((grants.c.id == grant) & grants.c.revoked_at.is_(None))

        def change(connection: Connection) -> None:
            connection.execute(ended.values(revoked_at=self._roster.clock()))

        self._change(actor, Act.ACCESS_GRANT, Action.ACCESS_REVOKE, subject, change)

    def object_to(self, actor: Actor, patient: PatientId, person: PersonId) -> None:
        """Record that the patient refuses this very person (Code de la santé publique, L. 1110-4, IV)."""

        def change(connection: Connection) -> None:
            self._roster.by_id(connection, person)
            for part in file_of(connection, patient).parts:
                same = (objections.c.patient == part) & (objections.c.person == person)
                if connection.execute(select(objections.c.person).where(same)).first() is None:
                    row = {"patient": part, "person": person, "since": self._roster.clock(), "recorded_by": actor.person}
                    connection.execute(insert(objections).values(**row))

        self._change(actor, Act.PATIENT_RESTRICT, Action.PATIENT_RESTRICT, Subject(patient=patient, person=person), change)

    def withdraw_objection(self, actor: Actor, patient: PatientId, person: PersonId) -> None:
        """The patient accepts the person again."""

        def change(connection: Connection) -> None:
            parts = objections.c.patient.in_(file_of(connection, patient).parts)
            connection.execute(delete(objections).where(parts & (objections.c.person == person)))

        self._change(actor, Act.PATIENT_RESTRICT, Action.PATIENT_RESTRICT, Subject(patient=patient, person=person), change)

    def restrict(self, actor: Actor, patient: PatientId, named: Sequence[PersonId]) -> None:
        """Narrow a sensitive file to those named, the actor always among them; nobody named opens it to the team again."""
        everybody = sorted({actor.person, *named}) if named else []

        def change(connection: Connection) -> None:
            parts = file_of(connection, patient).parts
            connection.execute(delete(restrictions).where(restrictions.c.patient.in_(parts)))
            for part, person in product(parts, everybody):
                self._must_care(connection, person)
                row = {"patient": part, "person": person, "since": self._roster.clock(), "set_by": actor.person}
                connection.execute(insert(restrictions).values(**row))

        note = Note(count=len(everybody), changed=("restriction",))
        self._change(actor, Act.PATIENT_RESTRICT, Action.PATIENT_RESTRICT, Subject(patient=patient), change, note=note)

    # --- the practice

    def mode(self) -> Mode:
        """How the practice shares its patients."""
        with self._roster.db.read() as connection:
            return mode_of(connection)

    def set_mode(self, actor: Actor, mode: Mode) -> None:
        """Change how the practice shares its patients. An owner's act, with a fresh factor."""

        def change(connection: Connection) -> None:
            if connection.execute(update(practice).where(practice.c.id == 1).values(mode=mode)).rowcount == 0:
                connection.execute(insert(practice).values(id=1, mode=mode))

        note = Note(code=mode, changed=("mode",))
        self._change(actor, Act.POLICY_CHANGE, Action.SYSTEM_CONFIG_CHANGED, Subject(), change, note=note)

    def windows(self, actor: Actor) -> tuple[Window, ...]:
        """Every locum window that has not ended, soonest end first."""
        self._authorise(actor, Act.PEOPLE_READ, Action.ACCESS_DENIED, Subject())
        coming = locum_windows.c.until > self._roster.clock()
        with self._roster.db.read() as connection:
            rows = connection.execute(select(locum_windows).where(coming).order_by(locum_windows.c.until)).mappings().all()
        return tuple(
            Window(row["id"], PersonId(row["locum"]), PersonId(row["replaces"]), row["since"], row["until"]) for row in rows
        )

    def set_window(self, actor: Actor, locum: PersonId, replaces: PersonId, *, since: int, until: int) -> str:
        """Let a locum replace a doctor from one minute to another; a live session ends at that minute."""
        since, until = since // MINUTE * MINUTE, until // MINUTE * MINUTE
        if not since < until <= since + LONGEST_WINDOW_DAYS * 24 * 60 * MINUTE or until <= self._roster.clock():
            raise Invalid("a locum's window ends after it begins, in the future, within a year", field="until", reason="until")
        window = uuid4().hex
        row = {"id": window, "locum": locum, "replaces": replaces, "since": since, "until": until}
        set_by = {"set_by": actor.person, "set_at": self._roster.clock()}

        def change(connection: Connection) -> None:
            self._must_be(connection, locum, Role.LOCUM)
            self._must_care(connection, replaces)
            connection.execute(insert(locum_windows).values(**row, **set_by))

        self._change(actor, Act.ROLE_CHANGE, Action.LOCUM_WINDOW_SET, Subject(person=locum), change)
        return window

    def end_window(self, actor: Actor, window: str) -> None:
        """End a locum's window now, and the locum's sessions with it."""
        with self._roster.db.read() as connection:
            found = connection.execute(select(locum_windows.c.locum).where(locum_windows.c.id == window)).scalar_one_or_none()
        if found is None:
            raise NotFound("no such window")
        locum = PersonId(found)

        def change(connection: Connection) -> None:
            now = self._roster.clock()
            row = (locum_windows.c.id == window) & (locum_windows.c.until > now)
            connection.execute(update(locum_windows).where(row).values(until=now))
            self._sessions.end_all(connection, locum)

        note = Note(code="ended")
        self._change(actor, Act.ROLE_CHANGE, Action.LOCUM_WINDOW_SET, Subject(person=locum), change, note=note)

    # --- inside

    def _change(
        self,
        actor: Actor,
        act: Act,
        action: Action,
        subject: Subject,
        change: Callable[[Connection], None],
        *,
        note: Note = _NO_NOTE,
    ) -> None:
        self._authorise(actor, act, action, subject)

        def work(tx: Transaction) -> None:
            change(tx.connection)
            tx.record(Event(action, Outcome.SUCCESS, actor, subject, note))

        self._roster.log.transact(work)

    def _authorise(self, actor: Actor, act: Act, action: Action, subject: Subject) -> None:
        patient = subject.patient
        if patient is None:
            self._roster.authorise(actor, act, action, subject)
            return
        with self._roster.db.read() as connection:
            is_known = connection.execute(select(patients.c.id).where(patients.c.id == patient)).first() is not None
            relation = self._relations.to_patient(connection, actor, patient, Micros(self._roster.clock()))
        self._roster.authorise(actor, act, action, subject if is_known else Subject(), relation)
        if not is_known:
            raise NotFound("no such patient")

    @staticmethod
    def _has_team(connection: Connection, patient: PatientId) -> bool:
        return connection.execute(select(care_team.c.person).where(care_team.c.patient == patient)).first() is not None

    def _must_care(self, connection: Connection, person: PersonId, *also: Role) -> None:
        self._must_be(connection, person, *CARERS, *also)

    @staticmethod
    def _must_be(connection: Connection, person: PersonId, *roles: Role) -> None:
        found = connection.execute(select(people.c.role, people.c.state).where(people.c.id == person)).one_or_none()
        if found is None or found.state != State.ACTIVE or found.role not in roles:
            raise Invalid("this person can't have that place", field="person", reason="role")


def _named_on_all(connection: Connection, parts: Sequence[PatientId]) -> Sequence[str]:
    """Who is named on every restricted record of a file; nobody where none is restricted."""
    rows = connection.execute(select(restrictions.c.patient, restrictions.c.person).where(restrictions.c.patient.in_(parts)))
    named: dict[str, set[str]] = {}
    for patient, person in rows.all():
        named.setdefault(patient, set()).add(person)
    return sorted(set.intersection(*named.values())) if named else []


def _ids(found: Sequence[str]) -> tuple[PersonId, ...]:
    return tuple(PersonId(each) for each in sorted(set(found)))
