"""Owns sessions: begun at each step of signing in, checked at each request, ended by changes of right; alone makes Actors.

It must not know passwords or codes. A session is an opaque 256-bit id that only its holder has; the database holds its SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, select, update

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Subject
from vault.errors import NotFound, SessionEnded
from vault.model import Actor, Client, Micros, PersonId, Role
from vault.people.roster import Person, Roster, State, person_of
from vault.storage.plain import Row, Statement
from vault.storage.schema import people, sessions

SECOND = 1_000_000
TOKEN_BYTES = 32
ABSOLUTE_S = 4 * 60 * 60
"""Nobody stays signed in longer, however busy (a half-day at the practice)."""
IDLE_S: Mapping[Role, int] = MappingProxyType(dict.fromkeys(Role, 10 * 60) | {Role.RECEPTION: 5 * 60})
"""Reception's screens face the public."""
WARNING_S = 60
"""How long before the idle limit pages offer to stay."""
HALFWAY_S = 10 * 60
"""From the password to the code; setting up a telephone for the first time takes the longest."""
SEEN_EVERY_S = 15
"""``seen_at`` is written this often at most: a page of thirty requests must not cost thirty writes."""
_CONSOLE = PersonId("0" * 32)
CONSOLE_METHODS = ("cli",)
"""How an operator at the machine's console is marked: no session in a browser can have it."""
_LONGEST_TOKEN = 128


class Stage(StrEnum):
    """How far a session has come."""

    CODE = "code"
    """The password was right; the second factor is awaited."""
    ENROL = "enrol"
    """The password was right; a second factor must be set up before anything else is reachable."""
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Draft:
    """A session about to begin. The actor is nobody's until the row is committed: hand it out after that, never before."""

    token: str = field(repr=False)
    actor: Actor
    expires_at: Micros
    row: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Live:
    """What a page shows of a session that works."""

    actor: Actor
    expires_at: Micros
    """The absolute end."""
    idle_at: Micros
    """The end if nothing more happens."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One of a person's sessions as "Ma sécurité" lists it."""

    reference: str
    created_at: Micros
    seen_at: Micros
    expires_at: Micros
    methods: tuple[str, ...]
    client: Client
    is_this: bool


_BY_TOKEN = Statement(
    select(
        *(
            sessions.c[name]
            for name in ("id_hash", "reference", "person", "stage", "methods", "seen_at", "expires_at", "factor_at")
        ),
        people,
    )
    .join(people, people.c.id == sessions.c.person)
    .where(sessions.c.id_hash == bindparam("token"))
)
"""A session with whose it is: every request asks."""


def hashed_token(token: str) -> bytes:
    """What the database holds of a token."""
    return hashlib.sha256(token[:_LONGEST_TOKEN].encode()).digest()


class Sessions:
    """Everything that is signed in, or half-way."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self.on_end: Callable[[str], None] = lambda _reference: None
        """Told of each session that ends here, by its reference: whoever keeps something for it lets it go."""

    # --- beginning: called by sign_in alone

    def draft(self, person: Person, stage: Stage, methods: tuple[str, ...], client: Client) -> Draft:
        """A session not yet begun: everything sealed and drawn before the transaction, which then only writes."""
        now = self._roster.clock()
        lasts_s = ABSOLUTE_S if stage is Stage.FULL else HALFWAY_S
        token = base64.urlsafe_b64encode(self._roster.random(TOKEN_BYTES)).rstrip(b"=").decode()
        reference = self._roster.random(16).hex()
        where = json.dumps([client.ip, client.agent, client.workstation]).encode()
        row = {
            "id_hash": hashed_token(token),
            "reference": reference,
            "person": person.id,
            "stage": stage,
            "methods": " ".join(methods),
            "created_at": now,
            "seen_at": now,
            "expires_at": now + lasts_s * SECOND,
            "factor_at": now if stage is Stage.FULL else None,
            "client_sealed": self._roster.seal("sessions", "client", reference, where),
        }
        return Draft(token, self._actor(person, reference, methods, now, client), Micros(now + lasts_s * SECOND), row)

    @staticmethod
    def begin(connection: Connection, draft: Draft) -> None:
        """Write a drafted session down; from the commit on, its token works."""
        connection.execute(insert(sessions).values(**draft.row))
        if draft.row["stage"] is Stage.FULL:
            used = {"signed_in_at": draft.row["created_at"], "warned_at": None}
            connection.execute(update(people).where(people.c.id == draft.actor.person).values(**used))

    def _actor(self, person: Person, reference: str, methods: tuple[str, ...], factor_at: int, client: Client) -> Actor:
        return Actor(
            person=person.id,
            username=person.username,
            display_name=self._roster.display_name(person),
            role=person.role,
            session=reference,
            methods=methods,
            factor_at=Micros(factor_at),
            client=client,
        )

    # --- half-way

    def halfway(self, connection: Connection, token: str) -> tuple[Person, Stage]:
        """Whose password was right, and what is awaited. Raises SessionEnded."""
        row = _BY_TOKEN.row(connection, token=hashed_token(token))
        if row is None or row["stage"] == Stage.FULL or self._roster.clock() >= row["expires_at"]:
            raise SessionEnded("no half-way session", reason="unknown")
        person = person_of(row)
        if person.state is not State.ACTIVE:
            raise SessionEnded("no half-way session", reason="unknown")
        return person, Stage(row["stage"])

    def consume_halfway(self, connection: Connection, token: str) -> None:
        """End a half-way session for good. Raises SessionEnded where another request was first: one token, one session."""
        halfway = (sessions.c.id_hash == hashed_token(token)) & (sessions.c.stage != Stage.FULL)
        if connection.execute(delete(sessions).where(halfway)).rowcount != 1:
            raise SessionEnded("this half-way session was used", reason="unknown")

    # --- every request

    def actor(self, token: str, client: Client) -> Actor:
        """Who holds ``token``. Raises SessionEnded (``details['reason']``: unknown, idle, expired, window)."""
        return self.live(token, client).actor

    def live(self, token: str, client: Client, *, is_activity: bool = True) -> Live:
        """``actor`` with the times a page warns about; ``is_activity=False`` looks without prolonging."""
        now = self._roster.clock()
        with self._roster.db.read() as connection:
            row, person = self._read(connection, token)
            has_departed = self._roster.has_departed(connection, person)
            window_end = self._roster.window_end(connection, person)
        self._refuse_stale(row, person, now, has_departed=has_departed)
        if is_activity and not 0 <= now - row["seen_at"] < SEEN_EVERY_S * SECOND:
            seen = update(sessions).where(sessions.c.id_hash == row["id_hash"]).values(seen_at=now)
            self._roster.run(seen)
        methods = tuple(row["methods"].split())
        actor = self._actor(person, row["reference"], methods, row["factor_at"] or 0, client)
        last = now if is_activity else row["seen_at"]
        expires_at = min(row["expires_at"], window_end or row["expires_at"])
        return Live(actor, Micros(expires_at), Micros(last + IDLE_S[person.role] * SECOND))

    @staticmethod
    def _read(connection: Connection, token: str) -> tuple[Row, Person]:
        row = _BY_TOKEN.row(connection, token=hashed_token(token))
        if row is None or row["stage"] != Stage.FULL:
            raise SessionEnded("no session", reason="unknown")
        person = person_of(row)
        if person.state is not State.ACTIVE:
            raise SessionEnded("no session", reason="unknown")
        return row, person

    def _refuse_stale(self, row: Row, person: Person, now: int, *, has_departed: bool) -> None:
        idle_s = IDLE_S[person.role] + SEEN_EVERY_S
        if has_departed:
            reason = "window"
        elif now >= row["expires_at"]:
            reason = "expired"
        elif now - row["seen_at"] >= idle_s * SECOND:
            reason = "idle"
        else:
            return
        self._end(row, person, Action.AUTH_SESSION_EXPIRED, reason)
        raise SessionEnded(f"session {row['reference']} {reason}", reason=reason)

    def _end(self, row: Row, person: Person, action: Action, code: str) -> None:
        actor = self._actor(person, row["reference"], tuple(row["methods"].split()), row["factor_at"] or 0, Client())
        gone = delete(sessions).where(sessions.c.id_hash == row["id_hash"])

        def work(connection: Connection) -> int:
            return connection.execute(gone).rowcount

        self.on_end(row["reference"])
        if self._roster.db.write(work):
            self._roster.log.record(Event(action, Outcome.SUCCESS, actor, note=Note(code=code)))

    def refreshed(self, connection: Connection, actor: Actor) -> None:
        """The actor has just shown the second factor again (step-up)."""
        mine = (sessions.c.reference == actor.session) & (sessions.c.person == actor.person)
        connection.execute(update(sessions).where(mine).values(factor_at=self._roster.clock()))

    # --- ending

    def end(self, token: str, action: Action = Action.AUTH_LOGOUT) -> None:
        """Sign out, or (``AUTH_SWITCH_USER``) leave the workstation to a colleague; a token that is dead already is fine."""
        with self._roster.db.read() as connection:
            row = _BY_TOKEN.row(connection, token=hashed_token(token))
        if row is not None:
            self._end(row, person_of(row), action, "sign_out")

    def end_one(self, actor: Actor, reference: str) -> None:
        """End one of one's own sessions, wherever it is; somebody else's is not found and nothing happens."""
        self._end_where(actor, (sessions.c.reference == reference) & (sessions.c.person == actor.person))

    def end_others(self, actor: Actor) -> int:
        """End all of one's own sessions but this one; returns how many."""
        return self._end_where(actor, (sessions.c.reference != actor.session) & (sessions.c.person == actor.person))

    def _end_where(self, actor: Actor, which: ColumnElement[bool]) -> int:
        def work(tx: Transaction) -> int:
            ended = tx.connection.execute(delete(sessions).where(which)).rowcount
            if ended:
                about = Subject(person=actor.person)
                tx.record(Event(Action.AUTH_SESSION_REVOKED, Outcome.SUCCESS, actor, about, Note(count=ended)))
            return ended

        return self._roster.log.transact(work).value

    @staticmethod
    def end_all(connection: Connection, person: PersonId, but: str = "") -> int:
        """End every session of a person (but one), half-way ones included, in the transaction that changes their rights."""
        theirs = (sessions.c.person == person) & (sessions.c.reference != but)
        return connection.execute(delete(sessions).where(theirs)).rowcount

    def of(self, actor: Actor) -> tuple[Listed, ...]:
        """One's own sessions that still work, newest first."""
        now = self._roster.clock()
        mine = (sessions.c.person == actor.person) & (sessions.c.stage == Stage.FULL) & (sessions.c.expires_at > now)
        with self._roster.db.read() as connection:
            rows = connection.execute(select(sessions).where(mine).order_by(sessions.c.created_at.desc())).mappings().all()
        idle = (IDLE_S[actor.role] + SEEN_EVERY_S) * SECOND
        return tuple(self._listed(row, actor) for row in rows if now - row["seen_at"] < idle)

    def _listed(self, row: Row, actor: Actor) -> Listed:
        sealed = row["client_sealed"]
        where = json.loads(self._roster.open("sessions", "client", row["reference"], sealed)) if sealed else ["", "", ""]
        return Listed(
            reference=row["reference"],
            created_at=Micros(row["created_at"]),
            seen_at=Micros(row["seen_at"]),
            expires_at=Micros(row["expires_at"]),
            methods=tuple(row["methods"].split()),
            client=Client(*where),
            is_this=row["reference"] == actor.session,
        )

    def sweep(self) -> int:
        """Forget sessions past their absolute end; returns how many."""
        gone = delete(sessions).where(sessions.c.expires_at <= self._roster.clock())
        return self._roster.db.write(lambda connection: connection.execute(gone).rowcount)

    # --- the console

    def console_actor(self, role: Role = Role.OWNER) -> Actor:
        """Whoever holds the machine's console, for command-line verbs: every act of theirs is in the log as such."""
        now = Micros(self._roster.clock())
        return Actor(_CONSOLE, "console", "Console", role, session="console", methods=CONSOLE_METHODS, factor_at=now)

    def console_as(self, username: str) -> Actor:
        """The console acting in somebody's name, for work that belongs to a person (scans that come in). Raises NotFound."""
        with self._roster.db.read() as connection:
            person = self._roster.by_name(connection, username)
        if person is None or person.state is not State.ACTIVE:
            raise NotFound("no such account")
        return self._actor(person, "console", CONSOLE_METHODS, self._roster.clock(), Client())
