"""Owns the ways in without the old proofs: invitations, and resets that two people decide. It must not know HTTP.

An invitation is a code of 60 random bits, good once and for a short time, handed over in person or by telephone; it sets a
password and nothing else, so that no door yields a session with fewer than two proofs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, select, update

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Subject
from vault.errors import Conflict, Forbidden, NotFound
from vault.model import Actor, Client, Micros, PersonId, Role
from vault.people import passwords, recovery
from vault.people.guard import Guard
from vault.people.notices import Notice, tell
from vault.people.passwords import Hasher
from vault.people.policy import Act, authorise
from vault.people.roster import Roster, State
from vault.people.sessions import CONSOLE_METHODS, Sessions, Stage
from vault.people.sign_in import Halfway, forget_factors
from vault.storage.schema import links, people, resets

SECOND = 1_000_000
INVITATION_S = 72 * 60 * 60
"""Long enough for a week-end between hiring and the first day."""
RESET_S = 60 * 60
DECIDE_WITHIN_S = 24 * 60 * 60
"""A request for a reset that nobody approves is void after a day."""
INVITATION = "coffre/invitation/v1"


class Kind(StrEnum):
    """What is reset."""

    FACTOR = "factor"
    PASSWORD = "password"  # noqa: S105  # the name of a kind


class Decision(StrEnum):
    """Where a reset stands."""

    ASKED = "asked"
    APPROVED = "approved"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the inviter hands over."""

    code: str = field(repr=False)
    expires_at: Micros


@dataclass(frozen=True, slots=True)
class Reset:
    """A reset that waits for a second person."""

    id: str
    person: PersonId
    kind: Kind
    requested_by: PersonId
    requested_at: Micros
    expires_at: Micros


class Resets:
    """Invitations and resets. Methods raise Forbidden, StepUpRequired, NotFound, Conflict."""

    def __init__(self, roster: Roster, sessions: Sessions, guard: Guard, hasher: Hasher, context: tuple[str, ...] = ()) -> None:
        self._roster = roster
        self._sessions = sessions
        self._guard = guard
        self._hasher = hasher
        self._context = context

    # --- invitations

    def invite(self, actor: Actor, person: PersonId) -> Invitation:
        """A code with which somebody new chooses a first password; an earlier one stops working.

        Only for accounts that have never been signed in to: a known password is reset by two people (``ask``), and so is the
        one of somebody who has left and comes back, but at the machine's console. Once an account is open a code for it is an
        owner's to give: a technical admin could else be whoever an owner has just hired.
        """
        authorise(actor, Act.PEOPLE_MANAGE, self._now())
        with self._roster.db.read() as connection:
            target = self._roster.by_id(connection, person)
        if target.state not in {State.ACTIVE, State.PENDING}:
            raise Conflict("the account is closed", reason="not_active")
        if target.state is State.ACTIVE:
            self._roster.authorise(actor, Act.ROLE_CHANGE, Action.USER_UPDATE, Subject(person=person))
        is_returning = target.has_signed_in and actor.methods != CONSOLE_METHODS
        if target.is_enrolled or target.password_hash is not None or is_returning:
            raise Conflict("this account has been signed in to: it is reset by two people", reason="known_password")

        def work(tx: Transaction, code_hash: bytes, expires_at: int) -> None:
            self._place(tx.connection, person, code_hash, actor, expires_at)
            about = Subject(person=person)
            tx.record(Event(Action.USER_UPDATE, Outcome.SUCCESS, actor, about, Note(changed=("invitation",))))

        code, code_hash, expires_at = self._new_code(person, INVITATION_S)
        self._roster.log.transact(lambda tx: work(tx, code_hash, expires_at))
        return Invitation(code, Micros(expires_at))

    def accept(self, username: str, code: str, password: str, client: Client) -> Halfway:
        """Use an invitation (or a reset) to choose a password; the second factor comes next, as at every sign-in.

        One answer for every cause. Raises SignInRefused, LockedOut (the address), PasswordRefused (only for a right code).
        """
        mark = self._roster.mark(username, client)
        attempt = self._guard.count_source(mark)
        person = mark.person
        code_hash = self._hash(person.id if person is not None else PersonId(""), code)
        if person is None or person.state is not State.ACTIVE or not self._is_open(person.id, code_hash):
            self._hasher.verify(None, password)
            raise self._guard.refused(attempt, Action.AUTH_PASSWORD_RESET, "invitation")
        passwords.check(password, (person.username, self._roster.display_name(person), *self._context))
        values = {"password_hash": self._hasher.hash(password), "password_changed_at": self._roster.clock()}
        stage = Stage.CODE if person.is_enrolled else Stage.ENROL
        draft = self._sessions.draft(person, stage, ("pwd",), client)
        unused = (links.c.code_hash == code_hash) & (links.c.person == person.id) & links.c.used_at.is_(None)

        def work(tx: Transaction) -> bool:
            if tx.connection.execute(update(links).where(unused).values(used_at=self._roster.clock())).rowcount != 1:
                return False
            tx.connection.execute(update(people).where(people.c.id == person.id).values(**values))
            self._sessions.end_all(tx.connection, person.id)
            self._guard.give_back_source(tx.connection, mark)
            self._sessions.begin(tx.connection, draft)
            tell(tx.connection, person.id, Notice.PASSWORD_CHANGED, self._roster.clock())
            tx.record(Event(Action.AUTH_PASSWORD_RESET, Outcome.SUCCESS, mark.by, Subject(person=person.id)))
            return True

        if not self._roster.log.transact(work).value:
            raise self._guard.refused(attempt, Action.AUTH_PASSWORD_RESET, "invitation")
        return Halfway(draft.token, stage)

    # --- resets by two people

    def ask(self, actor: Actor, person: PersonId, kind: Kind) -> str:
        """Ask for a reset; nothing happens until somebody else approves. The person and every owner are told."""
        authorise(actor, Act.FACTOR_RESET, self._now())
        now = self._roster.clock()
        reset = uuid4().hex
        row = {
            "id": reset,
            "person": person,
            "kind": kind,
            "state": Decision.ASKED,
            "requested_by": actor.person,
            "requested_at": now,
            "expires_at": now + DECIDE_WITHIN_S * SECOND,
        }

        def work(tx: Transaction) -> None:
            target = self._roster.by_id(tx.connection, person)
            if target.state is not State.ACTIVE:
                raise Conflict("the account is not active", reason="not_active")
            same = (resets.c.person == person) & (resets.c.kind == kind) & (resets.c.state == Decision.ASKED)
            tx.connection.execute(delete(resets).where(same))
            tx.connection.execute(insert(resets).values(**row))
            for addressee in {person, *self._roster.owners(tx.connection)}:
                tell(tx.connection, addressee, Notice.RESET_REQUESTED, now, reset)
            tx.record(Event(_action(kind), Outcome.PARTIAL, actor, Subject(person=person), Note(code="asked")))

        self._roster.log.transact(work)
        return reset

    def waiting(self, actor: Actor) -> tuple[Reset, ...]:
        """Resets that wait for a second person, oldest first."""
        authorise(actor, Act.PEOPLE_READ, self._now())
        open_ones = (resets.c.state == Decision.ASKED) & (resets.c.expires_at > self._roster.clock())
        with self._roster.db.read() as connection:
            rows = connection.execute(select(resets).where(open_ones).order_by(resets.c.requested_at)).mappings().all()
        return tuple(
            Reset(
                id=row["id"],
                person=PersonId(row["person"]),
                kind=Kind(row["kind"]),
                requested_by=PersonId(row["requested_by"]),
                requested_at=Micros(row["requested_at"]),
                expires_at=Micros(row["expires_at"]),
            )
            for row in rows
        )

    def approve(self, actor: Actor, reset: str) -> Invitation | None:
        """Be the second person: neither who asked nor who is concerned. A password reset gives a code to hand over.

        The two may not both be technical admins: one of them is an owner.
        """
        authorise(actor, Act.FACTOR_RESET, self._now())
        found = self._open(reset)
        if actor.person in {found.requested_by, found.person}:
            raise Forbidden("a reset wants a person who neither asked nor is concerned", reason="same_person")
        if Role.OWNER not in {actor.role, self._role_of(found.requested_by)}:
            raise Forbidden("one of the two is an owner", reason="one_owner")
        code, code_hash, expires_at = self._new_code(found.person, RESET_S)

        def work(tx: Transaction) -> None:
            self._decide(tx.connection, found, actor, Decision.APPROVED)
            if found.kind is Kind.FACTOR:
                forget_factors(tx.connection, found.person)
            else:
                tx.connection.execute(update(people).where(people.c.id == found.person).values(password_hash=None))
                self._place(tx.connection, found.person, code_hash, actor, expires_at)
            self._sessions.end_all(tx.connection, found.person)
            about = Subject(person=found.person)
            tx.record(Event(_action(found.kind), Outcome.SUCCESS, actor, about, Note(code="approved")))

        self._roster.log.transact(work)
        return Invitation(code, Micros(expires_at)) if found.kind is Kind.PASSWORD else None

    def refuse(self, actor: Actor, reset: str) -> None:
        """Put a request aside: by whoever may approve, or by the person concerned ("that was not me")."""
        found = self._open(reset)
        if actor.person != found.person:
            authorise(actor, Act.FACTOR_RESET, self._now())

        def work(tx: Transaction) -> None:
            self._decide(tx.connection, found, actor, Decision.REFUSED)
            tx.record(Event(_action(found.kind), Outcome.DENIED, actor, Subject(person=found.person), Note(code="refused")))

        self._roster.log.transact(work)

    # --- inside

    def _now(self) -> Micros:
        return Micros(self._roster.clock())

    def _hash(self, person: PersonId, code: str) -> bytes:
        return self._roster.keyed_hash(INVITATION, person, recovery.cleaned(code) or "")

    def _new_code(self, person: PersonId, lasts_s: int) -> tuple[str, bytes, int]:
        code = recovery.new_code(self._roster.random)
        return code, self._hash(person, code), self._roster.clock() + lasts_s * SECOND

    def _place(self, connection: Connection, person: PersonId, code_hash: bytes, actor: Actor, expires_at: int) -> None:
        connection.execute(delete(links).where(links.c.person == person))
        now = self._roster.clock()
        row = {
            "code_hash": code_hash,
            "person": person,
            "created_at": now,
            "created_by": actor.person,
            "expires_at": expires_at,
        }
        connection.execute(insert(links).values(**row))

    def _is_open(self, person: PersonId, code_hash: bytes) -> bool:
        now = self._roster.clock()
        unused = (links.c.code_hash == code_hash) & (links.c.person == person) & links.c.used_at.is_(None)
        with self._roster.db.read() as connection:
            return connection.execute(select(links.c.person).where(unused & (links.c.expires_at > now))).first() is not None

    def _open(self, reset: str) -> Reset:
        with self._roster.db.read() as connection:
            row = connection.execute(select(resets).where(resets.c.id == reset)).mappings().one_or_none()
        if row is None or row["state"] != Decision.ASKED or row["expires_at"] <= self._roster.clock():
            raise NotFound("no such reset waits")
        requested_by, person = PersonId(row["requested_by"]), PersonId(row["person"])
        return Reset(row["id"], person, Kind(row["kind"]), requested_by, row["requested_at"], row["expires_at"])

    def _decide(self, connection: Connection, found: Reset, actor: Actor, decision: Decision) -> None:
        now = self._roster.clock()
        waits = (resets.c.id == found.id) & (resets.c.state == Decision.ASKED)
        values = {"state": decision, "decided_by": actor.person, "decided_at": now}
        if connection.execute(update(resets).where(waits).values(**values)).rowcount != 1:
            raise Conflict("somebody decided already", reason="decided")
        kind = Notice.RESET_APPROVED if decision is Decision.APPROVED else Notice.RESET_REFUSED
        for addressee in {found.person, found.requested_by} & self._everybody(connection):
            tell(connection, addressee, kind, now, found.id)

    def _role_of(self, person: PersonId) -> Role | None:
        try:
            with self._roster.db.read() as connection:
                return self._roster.by_id(connection, person).role
        except NotFound:
            return None

    @staticmethod
    def _everybody(connection: Connection) -> set[PersonId]:
        return {PersonId(each) for each in connection.execute(select(people.c.id)).scalars()}


def _action(kind: Kind) -> Action:
    return Action.AUTH_TOTP_RESET if kind is Kind.FACTOR else Action.AUTH_PASSWORD_RESET
