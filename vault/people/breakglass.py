"""Owns access in an emergency ("bris de glace"): one patient, one hour, a reason, everybody told, and a review that insists.

It must not open anything itself: it makes a tie that the policy sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import uuid4

from sqlalchemy import Connection, RowMapping, insert, select, update

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject
from vault.errors import Conflict, Forbidden, Invalid, NotFound
from vault.model import Actor, Micros, PatientId, PersonId, Role
from vault.people.notices import Notice, tell
from vault.people.policy import Act, rights
from vault.people.relations import Relations
from vault.people.roster import Roster, State
from vault.storage.schema import breakglass, care_team, patients, people

SECOND = 1_000_000
OPEN_S = 60 * 60
REVIEW_WITHIN_S = 14 * 24 * 60 * 60
"""Without a review by then, owners and the DPO are told again."""
SHORTEST_REASON, LONGEST_REASON = 10, 200


class Verdict(StrEnum):
    """What a review found."""

    JUSTIFIED = "justified"
    UNJUSTIFIED = "unjustified"


@dataclass(frozen=True, slots=True)
class Glass:
    """One access in an emergency."""

    id: str
    patient: PatientId
    person: PersonId
    since: Micros
    until: Micros
    reason: str = field(default="", repr=False)
    verdict: Verdict | None = None
    is_overdue: bool = False


class BreakGlass:
    """Methods raise Forbidden, NotFound, StepUpRequired, Invalid, Conflict."""

    def __init__(self, roster: Roster, relations: Relations) -> None:
        self._roster = roster
        self._relations = relations

    def open(self, actor: Actor, patient: PatientId, reason: str) -> Glass:
        """Open one patient's file for an hour. The care team and the owners are told at once.

        Raises StepUpRequired (the factor must be fresh), Invalid (no reason), Conflict (there is access already),
        NotFound (no such patient), Forbidden (role; the patient objects to this very person; a locum outside the dates).
        """
        subject = Subject(patient=patient)
        with self._roster.db.read() as connection:
            is_known = connection.execute(select(patients.c.id).where(patients.c.id == patient)).first() is not None
            relation = self._relations.to_patient(connection, actor, patient, self._now())
            person = self._roster.by_id(connection, actor.person)
            is_away = person.role is Role.LOCUM and self._roster.window_end(connection, person) is None
        self._roster.authorise(actor, Act.BREAK_GLASS, Action.ACCESS_BREAKGLASS, subject if is_known else Subject(), relation)
        if not is_known:
            raise NotFound("no such patient")
        if relation.is_objected or is_away:
            reason = "objection" if relation.is_objected else "window"
            note = Note(code=reason, is_breakglass=True)
            self._roster.log.record(Event(Action.ACCESS_BREAKGLASS, Outcome.DENIED, actor, subject, note))
            raise Forbidden("not even in an emergency", act=Act.BREAK_GLASS, reason=reason)
        if Act.DOCUMENT_LIST in rights(actor.role, relation):
            raise Conflict("this file is open to you already", reason="already_open")
        tidy = _checked_reason(reason)
        now = self._now()
        glass = Glass(uuid4().hex, patient, actor.person, now, Micros(now + OPEN_S * SECOND), tidy)
        row = {
            "id": glass.id,
            "patient": patient,
            "person": actor.person,
            "reason_sealed": self._roster.seal("breakglass", "reason", glass.id, tidy.encode()),
            "since": glass.since,
            "until": glass.until,
        }
        note = Note(purpose=Purpose.BTG, reason=tidy, is_breakglass=True)

        def work(tx: Transaction) -> None:
            tx.connection.execute(insert(breakglass).values(**row))
            for addressee in self._concerned(tx.connection, patient) - {actor.person}:
                tell(tx.connection, addressee, Notice.BREAK_GLASS, now, glass.id)
            tx.record(Event(Action.ACCESS_BREAKGLASS, Outcome.GRANTED, actor, subject, note))

        self._roster.log.transact(work)
        return glass

    def running(self, actor: Actor) -> tuple[Glass, ...]:
        """One's own open emergencies, for the banner."""
        now = self._roster.clock()
        mine = (breakglass.c.person == actor.person) & (breakglass.c.until > now)
        with self._roster.db.read() as connection:
            rows = connection.execute(select(breakglass).where(mine).order_by(breakglass.c.until)).mappings().all()
        return tuple(self._glass(row) for row in rows)

    def end(self, actor: Actor, glass: str) -> None:
        """Close one's own emergency access before its hour is over."""
        found = self._found(glass)
        if found.person != actor.person:
            raise NotFound("no such access")
        now = self._roster.clock()
        still = (breakglass.c.id == glass) & (breakglass.c.until > now)

        def work(tx: Transaction) -> None:
            if tx.connection.execute(update(breakglass).where(still).values(until=now)).rowcount:
                note = Note(purpose=Purpose.BTG, is_breakglass=True)
                tx.record(Event(Action.ACCESS_BREAKGLASS_END, Outcome.SUCCESS, actor, Subject(patient=found.patient), note))

        self._roster.log.transact(work)

    # --- review

    def to_review(self, actor: Actor) -> tuple[Glass, ...]:
        """Every emergency access that nobody has judged yet, oldest first."""
        self._roster.authorise(actor, Act.BREAK_GLASS_REVIEW, Action.ACCESS_BREAKGLASS_REVIEW)
        with self._roster.db.read() as connection:
            open_ones = select(breakglass).where(breakglass.c.verdict.is_(None)).order_by(breakglass.c.since)
            rows = connection.execute(open_ones).mappings().all()
        return tuple(self._glass(row) for row in rows)

    def review(self, actor: Actor, glass: str, verdict: Verdict, reason: str = "") -> None:
        """Say whether it was justified. Nobody judges their own; what was judged stays judged (Conflict)."""
        self._roster.authorise(actor, Act.BREAK_GLASS_REVIEW, Action.ACCESS_BREAKGLASS_REVIEW)
        found = self._found(glass)
        if found.person == actor.person:
            raise Forbidden("nobody reviews their own access", act=Act.BREAK_GLASS_REVIEW)
        values = {"verdict": verdict, "reviewed_by": actor.person, "reviewed_at": self._roster.clock()}
        waiting = (breakglass.c.id == glass) & breakglass.c.verdict.is_(None)
        note = Note(code=verdict, reason=" ".join(reason.split())[:LONGEST_REASON] or None, is_breakglass=True)
        about = Subject(patient=found.patient, person=found.person)

        def work(tx: Transaction) -> None:
            if tx.connection.execute(update(breakglass).where(waiting).values(**values)).rowcount != 1:
                raise Conflict("this access was reviewed already")
            tx.record(Event(Action.ACCESS_BREAKGLASS_REVIEW, Outcome.SUCCESS, actor, about, note))

        self._roster.log.transact(work)

    def escalate(self) -> int:
        """Tell owners and the DPO of reviews that are overdue, once each; returns how many. Called by the daily rounds."""
        now = self._roster.clock()
        columns = breakglass.c
        overdue = columns.verdict.is_(None) & columns.escalated_at.is_(None) & (columns.since <= now - REVIEW_WITHIN_S * SECOND)

        def work(connection: Connection) -> int:
            late = connection.execute(select(columns.id).where(overdue)).scalars().all()
            for glass in late:
                connection.execute(update(breakglass).where(columns.id == glass).values(escalated_at=now))
                for addressee in _holders(connection, Role.OWNER, Role.DPO):
                    tell(connection, addressee, Notice.BREAK_GLASS_REVIEW, now, glass)
            return len(late)

        return self._roster.db.write(work)

    # --- inside

    def _now(self) -> Micros:
        return Micros(self._roster.clock())

    def _found(self, glass: str) -> Glass:
        with self._roster.db.read() as connection:
            row = connection.execute(select(breakglass).where(breakglass.c.id == glass)).mappings().one_or_none()
        if row is None:
            raise NotFound("no such access")
        return self._glass(row)

    def _glass(self, row: RowMapping) -> Glass:
        overdue_at = row["since"] + REVIEW_WITHIN_S * SECOND
        return Glass(
            id=row["id"],
            patient=PatientId(row["patient"]),
            person=PersonId(row["person"]),
            since=Micros(row["since"]),
            until=Micros(row["until"]),
            reason=self._roster.open("breakglass", "reason", row["id"], row["reason_sealed"]).decode(),
            verdict=Verdict(row["verdict"]) if row["verdict"] is not None else None,
            is_overdue=row["verdict"] is None and self._roster.clock() >= overdue_at,
        )

    @staticmethod
    def _concerned(connection: Connection, patient: PatientId) -> set[PersonId]:
        team = connection.execute(select(care_team.c.person).where(care_team.c.patient == patient)).scalars()
        return {PersonId(each) for each in team} | _holders(connection, Role.OWNER)


def _holders(connection: Connection, *roles: Role) -> set[PersonId]:
    active = people.c.role.in_(roles) & (people.c.state == State.ACTIVE)
    return {PersonId(each) for each in connection.execute(select(people.c.id).where(active)).scalars()}


def _checked_reason(reason: str) -> str:
    tidy = " ".join(reason.split())
    if not SHORTEST_REASON <= len(tidy) <= LONGEST_REASON or not tidy.isprintable():
        raise Invalid("A reason is 10 to 200 characters.", field="reason", reason="length")
    return tidy
