"""Owns accounts: made, named, given a role, closed, opened again, removed, unlocked. It must not know signing in, nor HTTP.

Every act is judged by the policy, logged with its change, and ends the sessions whose rights it changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from sqlalchemy import Connection, RowMapping, insert, select, update

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Subject
from vault.errors import Conflict, Forbidden, Invalid, NotFound
from vault.model import Actor, Micros, PersonId, Role
from vault.people import lockout, names, passwords
from vault.people.notices import Notice, tell
from vault.people.passwords import Hasher
from vault.people.policy import Act, decide_role
from vault.people.removal import Removal
from vault.people.roster import Person, Roster, State, person_of, read_failures, write_failures
from vault.people.sessions import CONSOLE_METHODS, Sessions
from vault.people.sign_in import forget_factors
from vault.people.unused import TERMS, Duty, Life, closes_at, removes_at
from vault.storage.schema import people

LONGEST_NAME = 200
DORMANT_S = 365 * 86_400
REVIEW_S = 365 * 86_400
"""Once a year an owner says of every account that it is still needed, or closes it (the CNIL asks for a yearly review)."""
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}", re.ASCII)
_NO_NOTE = Note()
_DEPARTURE = Note(code="departure", changed=("password", "factors", "passkeys", "grants", "windows"))


@dataclass(frozen=True, slots=True)
class Account:
    """An account as owners and technical admins see it."""

    id: PersonId
    username: str = field(repr=False)
    display_name: str = field(repr=False)
    role: Role
    state: State
    is_enrolled: bool
    is_locked: bool
    has_password: bool
    created_at: Micros
    signed_in_at: Micros | None
    is_dormant: bool
    """Not used for a year: ask whether it is still needed."""
    reviewed_at: Micros | None
    is_due: bool
    """Made, or last confirmed by an owner, more than a year ago, and not closed."""
    warned_at: Micros | None
    """When its holder and the owners were told that it stands unused."""
    closed_at: Micros | None
    closes_at: Micros | None
    """When it closes by itself if nobody signs in; None where it was not warned."""
    removes_at: Micros | None
    """When it is removed by itself; None while it is open."""
    removed_at: Micros | None
    duties: tuple[Duty, ...]
    """What its holder still holds, where one of these dates is set: nothing happens by itself over it."""


class Accounts:
    """The list of those who work here."""

    def __init__(
        self, roster: Roster, sessions: Sessions, hasher: Hasher, removal: Removal, context: tuple[str, ...] = ()
    ) -> None:
        """``context``: names that no password may be made of (practice, city, specialty)."""
        self._roster = roster
        self._sessions = sessions
        self._removal = removal
        self._hasher = hasher
        self._context = context

    def create(
        self,
        actor: Actor,
        *,
        username: str,
        display_name: str,
        role: Role,
        password: str | None = None,
        email: str | None = None,
    ) -> PersonId:
        """A new account, with a first password or waiting for an invitation (``Resets.invite``).

        The second factor is set up at the first sign-in, before anything else.

        Made by an owner or at the console it is active; made by a technical admin it waits for an owner's word.
        Raises Forbidden, StepUpRequired, Invalid, PasswordRefused, Conflict (the name, in some spelling, is taken).
        """
        self._roster.authorise(actor, Act.PEOPLE_MANAGE, Action.USER_CREATE)
        username, display_name = names.checked(username), _checked_display_name(display_name)
        if password is not None:
            passwords.check(password, (username, display_name, *self._context))
        person = PersonId(uuid4().hex)
        now = self._roster.clock()
        row = {
            "id": person,
            "username": username,
            "username_key": names.fold(username),
            "display_name_sealed": self._roster.seal("people", "display_name", person, display_name.encode()),
            "email_sealed": self._sealed_email(person, email),
            "role": role,
            "state": State.ACTIVE if self._may_give_roles(actor) else State.PENDING,
            "password_hash": self._hasher.hash(password) if password is not None else None,
            "password_changed_at": now if password is not None else None,
            "created_at": now,
            "created_by": actor.person,
        }

        def work(tx: Transaction) -> None:
            if tx.connection.execute(select(people.c.id).where(people.c.username_key == row["username_key"])).first():
                raise Conflict("that username is taken", field="username", reason="taken")
            tx.connection.execute(insert(people).values(**row))
            if row["state"] is State.PENDING:
                self._tell_owners(tx.connection, Notice.ACCOUNT_WAITING, person)
            elif role is Role.OWNER:
                self._tell_owners(tx.connection, Notice.OWNER_ADDED, person)
            tx.record(Event(Action.USER_CREATE, Outcome.SUCCESS, actor, Subject(person=person), Note(code=role)))

        self._roster.log.transact(work)
        return person

    def all(self, actor: Actor) -> tuple[Account, ...]:
        """Every account, oldest first. Raises Forbidden."""
        self._roster.authorise(actor, Act.PEOPLE_READ, Action.ACCESS_DENIED)
        now = self._roster.clock()
        with self._roster.db.read() as connection:
            rows = connection.execute(select(people).order_by(people.c.created_at, people.c.id)).mappings().all()
            return tuple(self._account(connection, row, now) for row in rows)

    def named(self, actor: Actor, username: str) -> Account:
        """The account that bears any spelling of ``username``. Raises Forbidden, NotFound."""
        self._roster.authorise(actor, Act.PEOPLE_READ, Action.ACCESS_DENIED)
        with self._roster.db.read() as connection:
            person = self._roster.by_name(connection, username)
        if person is None:
            raise NotFound("no such account")
        return self.get(actor, person.id)

    def get(self, actor: Actor, person: PersonId) -> Account:
        """One account. Raises Forbidden, NotFound."""
        self._roster.authorise(actor, Act.PEOPLE_READ, Action.ACCESS_DENIED)
        with self._roster.db.read() as connection:
            row = connection.execute(select(people).where(people.c.id == person)).mappings().one_or_none()
            if row is None:
                raise NotFound(f"person {person}")
            return self._account(connection, row, self._roster.clock())

    def disable(self, actor: Actor, person: PersonId, *, has_left: bool = False) -> None:
        """Close an account: its sessions and waiting codes end now, its name stays in the log. Conflict for the last owner.

        ``has_left``: a departure. Password, second factors, leave to see files and replacements die too: whoever comes back is
        let in by two people, like anybody who has lost everything.
        """

        def change(connection: Connection, target: Person) -> None:
            if target.state is State.ACTIVE and Duty.LAST_OWNER in self._removal.duties(connection, target):
                raise Conflict("the last owner can't be disabled: make another owner first", reason="last_owner")
            if target.state is not State.DISABLED:
                self._set(connection, person, state=State.DISABLED, closed_at=self._roster.clock())
            self._removal.end_ways_in(connection, person)
            if has_left:
                self._removal.depart(connection, person)

        self._change(actor, Act.PEOPLE_MANAGE, Action.USER_DISABLE, person, change, note=_DEPARTURE if has_left else _NO_NOTE)

    def enable(self, actor: Actor, person: PersonId) -> None:
        """Open an account again, or approve one that a technical admin made. An owner's act."""

        def change(connection: Connection, target: Person) -> None:
            self._set(connection, person, state=State.ACTIVE, warned_at=None, closed_at=None)
            if target.role is Role.OWNER:
                self._tell_owners(connection, Notice.OWNER_ADDED, person)

        self._change(actor, Act.ROLE_CHANGE, Action.USER_ENABLE, person, change)

    def remove(self, actor: Actor, person: PersonId, *, anyway: bool = False) -> None:
        """Erase a closed account now: only its id and its name stay, for the log. There is no way back. An owner's act.

        Raises Conflict for an account that is open or gone, and (``reason`` duties, ``duties``) where its holder still holds
        something, unless ``anyway``; KeysUnavailable.
        """
        self._roster.authorise(actor, Act.ROLE_CHANGE, Action.USER_DELETE, Subject(person=person))
        with self._roster.db.read() as connection:
            target = self._found(connection, person)
            duties = self._removal.duties(connection, target)
        if target.state is not State.DISABLED:
            raise Conflict("only a closed account is removed", reason="not_closed")
        if duties and not anyway:
            raise Conflict("this account still holds something", reason="duties", duties=" ".join(duties))
        self._removal.remove(target, actor, "asked")

    def change_role(self, actor: Actor, person: PersonId, role: Role) -> None:
        """Give another role; every session of the person ends. Raises Conflict for the last owner and for oneself."""

        def change(connection: Connection, target: Person) -> None:
            if target.id == actor.person:
                raise Conflict("nobody changes their own role", reason="own_role")
            if target.role is Role.OWNER and role is not Role.OWNER and len(self._roster.owners(connection)) <= 1:
                raise Conflict("the last owner keeps the role: make another owner first", reason="last_owner")
            self._set(connection, person, role=role)
            tell(connection, person, Notice.ROLE_CHANGED, self._roster.clock())
            if role is Role.OWNER:
                self._tell_owners(connection, Notice.OWNER_ADDED, person)

        self._change(actor, Act.ROLE_CHANGE, Action.ROLE_GRANT, person, change, note=Note(code=role, changed=("role",)))

    def confirm(self, actor: Actor, person: PersonId) -> None:
        """Say that an account is still needed: the yearly review of accesses. An owner's act; Conflict for a closed account."""

        def change(connection: Connection, target: Person) -> None:
            if target.state is State.DISABLED:
                raise Conflict("a closed account is not reviewed", reason="not_active")
            self._set(connection, person, reviewed_at=self._roster.clock())

        note = Note(code="reviewed", changed=("reviewed_at",))
        self._change(actor, Act.ROLE_CHANGE, Action.USER_UPDATE, person, change, note=note, ends_sessions=False)

    def due(self, actor: Actor) -> int:
        """How many accounts wait for the actor's yearly word; 0 for those who don't give roles."""
        if not self._may_give_roles(actor):
            return 0
        with self._roster.db.read() as connection:
            rows = connection.execute(select(people)).mappings().all()
        return sum(_is_due(row, self._roster.clock()) for row in rows)

    def unlock(self, actor: Actor, person: PersonId) -> None:
        """Forget the failures of an account, so that its holder may try again at once."""
        with self._roster.db.read() as connection:
            counters = self._roster.counters(connection, self._found(connection, person))

        def change(connection: Connection, _target: Person) -> None:
            for counter in counters:
                write_failures(connection, counter, lockout.NONE)
            tell(connection, person, Notice.UNLOCKED, self._roster.clock())

        self._change(actor, Act.PEOPLE_MANAGE, Action.AUTH_UNLOCKED, person, change, ends_sessions=False)

    def reset_totp(self, actor: Actor, person: PersonId) -> None:
        """Forget a telephone and its recovery codes: a new one is set up at the next sign-in.

        Only at the machine's console; everywhere else two people decide (``Resets``).
        """
        if actor.methods != CONSOLE_METHODS:
            raise Forbidden("a second factor is reset by two people", act=Act.FACTOR_RESET)

        def change(connection: Connection, _target: Person) -> None:
            forget_factors(connection, person)
            tell(connection, person, Notice.FACTOR_CHANGED, self._roster.clock())

        self._change(actor, Act.ROLE_CHANGE, Action.AUTH_TOTP_RESET, person, change)

    # --- inside

    def _change(
        self,
        actor: Actor,
        act: Act,
        action: Action,
        person: PersonId,
        change: Callable[[Connection, Person], None],
        *,
        note: Note = _NO_NOTE,
        ends_sessions: bool = True,
    ) -> None:
        self._roster.authorise(actor, act, action, Subject(person=person))

        def work(tx: Transaction) -> None:
            target = self._found(tx.connection, person)
            if target.state is State.REMOVED:
                raise Conflict("a removed account is not changed", reason="removed")
            change(tx.connection, target)
            if ends_sessions:
                self._sessions.end_all(tx.connection, person)
            tx.record(Event(action, Outcome.SUCCESS, actor, Subject(person=person), note))

        self._roster.log.transact(work)

    def _may_give_roles(self, actor: Actor) -> bool:
        try:
            decide_role(actor.role, Act.ROLE_CHANGE)
        except Forbidden:
            return False
        return True

    def _found(self, connection: Connection, person: PersonId) -> Person:
        return self._roster.by_id(connection, person)

    def _sealed_email(self, person: PersonId, email: str | None) -> bytes | None:
        if email is None:
            return None
        if not _EMAIL.fullmatch(email) or not email.isprintable():
            raise Invalid("An e-mail address is name@domain.", field="email", reason="shape")
        return self._roster.seal("people", "email", person, email.encode())

    @staticmethod
    def _set(connection: Connection, person: PersonId, **values: object) -> None:
        connection.execute(update(people).where(people.c.id == person).values(**values))

    def _tell_owners(self, connection: Connection, kind: Notice, person: PersonId) -> None:
        """An owner more is every owner's business: with two accounts, one of them could approve their own resets."""
        for owner in self._roster.owners(connection):
            if owner != person:
                tell(connection, owner, kind, self._roster.clock(), person)

    def _account(self, connection: Connection, row: RowMapping, now: int) -> Account:
        person = person_of(row)
        counters = self._roster.counters(connection, person) if person.state is not State.REMOVED else []
        sealed, life = row["display_name_sealed"], life_of(row)
        return Account(
            id=person.id,
            username=person.username,
            display_name=self._roster.open("people", "display_name", person.id, sealed).decode(),
            role=person.role,
            state=person.state,
            is_enrolled=person.is_enrolled,
            is_locked=any(lockout.is_locked(read_failures(connection, each), now) for each in counters),
            has_password=person.password_hash is not None,
            created_at=Micros(row["created_at"]),
            signed_in_at=_moment(row["signed_in_at"]),
            is_dormant=person.state is not State.REMOVED
            and now - (row["signed_in_at"] or row["created_at"]) > DORMANT_S * 1_000_000,
            reviewed_at=_moment(row["reviewed_at"]),
            is_due=_is_due(row, now),
            warned_at=_moment(row["warned_at"]),
            closed_at=_moment(row["closed_at"]),
            closes_at=closes_at(life, TERMS),
            removes_at=removes_at(life, TERMS),
            removed_at=_moment(row["removed_at"]),
            duties=self._removal.duties(connection, person) if life.warned_at or life.closed_at else (),
        )


def life_of(row: RowMapping) -> Life:
    """What an account's end is counted from."""
    return Life(row["signed_in_at"] or row["created_at"], row["warned_at"], row["closed_at"], row["removed_at"])


def _moment(at: int | None) -> Micros | None:
    return None if at is None else Micros(at)


def _is_due(row: RowMapping, now: int) -> bool:
    since: int = row["reviewed_at"] or row["created_at"]
    is_open: bool = row["state"] in {State.ACTIVE, State.PENDING}
    return is_open and now - since > REVIEW_S * 1_000_000


def _checked_display_name(name: str) -> str:
    tidy = " ".join(name.split())
    if not 1 <= len(tidy) <= LONGEST_NAME or any(not character.isprintable() for character in tidy):
        raise Invalid("A name is 1 to 200 printable characters.", field="display_name", reason="display_name")
    return tidy
