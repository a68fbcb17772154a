"""Owns the end of an account: what its holder still owes, what is erased, what stays. It must not know who decides, nor when.

Of a removed account the id and the sealed display name stay, so that the log and the files still name their author; the id is
never given again, the username may be.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, not_, select, update

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Subject, System
from vault.errors import Conflict
from vault.model import Actor, PersonId, Role
from vault.people.notices import Notice, tell
from vault.people.resets import Decision
from vault.people.roster import Person, Roster, State
from vault.people.sessions import Sessions
from vault.people.sign_in import forget_factors
from vault.people.unused import Duty
from vault.storage.schema import (
    breakglass,
    care_team,
    failures,
    familiar,
    grants,
    links,
    locum_windows,
    notices,
    people,
    resets,
)

ERASED = ("username", "email", "password", "factors", "passkeys", "recovery_codes", "sessions", "links", "notices")
"""What the event of a removal names."""
_CARERS = (Role.CLINICIAN, Role.OWNER)
_NEVER_TYPED = "\x1f"
"""Folding a typed name takes control characters out: no name that anybody types meets a key that begins with this."""


class Removal:
    """Called by accounts and rounds, in their transactions."""

    def __init__(self, roster: Roster, sessions: Sessions) -> None:
        self._roster = roster
        self._sessions = sessions

    # --- what is still owed

    def duties(self, connection: Connection, person: Person) -> tuple[Duty, ...]:
        """What stands against letting an account go."""
        found: list[Duty] = []
        if person.role is Role.OWNER and not set(self._roster.owners(connection)) - {person.id}:
            found.append(Duty.LAST_OWNER)
        if self._followed_alone(connection, person.id):
            found.append(Duty.SOLE_CARER)
        waiting = (breakglass.c.person == person.id) & breakglass.c.verdict.is_(None)
        if connection.execute(select(breakglass.c.id).where(waiting).limit(1)).first() is not None:
            found.append(Duty.OPEN_REVIEW)
        mine = (locum_windows.c.locum == person.id) | (locum_windows.c.replaces == person.id)
        coming = mine & (locum_windows.c.until > self._roster.clock())
        if connection.execute(select(locum_windows.c.id).where(coming).limit(1)).first() is not None:
            found.append(Duty.LOCUM_WINDOW)
        return tuple(found)

    @staticmethod
    def _followed_alone(connection: Connection, person: PersonId) -> bool:
        """Whether some patient has nobody else in the care team who works here."""
        mine, others = care_team.alias("mine"), care_team.alias("others")
        works_here: ColumnElement[bool] = and_(people.c.state == State.ACTIVE, people.c.role.in_(_CARERS))
        somebody = exists().where(
            others.c.patient == mine.c.patient, others.c.person != person, people.c.id == others.c.person, works_here
        )
        alone = select(mine.c.patient).where(mine.c.person == person, not_(somebody)).limit(1)
        return connection.execute(alone).first() is not None

    # --- leaving

    def end_ways_in(self, connection: Connection, person: PersonId) -> None:
        """A closed account: sessions, codes that were handed over and resets that wait die with it."""
        self._sessions.end_all(connection, person)
        connection.execute(delete(links).where(links.c.person == person))
        waiting = (resets.c.person == person) & (resets.c.state == Decision.ASKED)
        connection.execute(delete(resets).where(waiting))

    def depart(self, connection: Connection, person: PersonId) -> None:
        """Somebody has left for good: passwords, second factors, leave to see files and replacements die too."""
        now = self._roster.clock()
        forget_factors(connection, person)
        nothing = {"password_hash": None, "password_changed_at": None}
        connection.execute(update(people).where(people.c.id == person).values(**nothing))
        connection.execute(delete(familiar).where(familiar.c.person == person))
        running = (grants.c.person == person) & grants.c.revoked_at.is_(None) & (grants.c.until > now)
        connection.execute(update(grants).where(running).values(revoked_at=now))
        coming = (locum_windows.c.locum == person) & (locum_windows.c.until > now)
        connection.execute(update(locum_windows).where(coming).values(until=now))

    # --- removing

    def remove(self, person: Person, by: Actor | System, code: str) -> None:
        """Erase a closed account, once. Raises Conflict (open, or removed already), KeysUnavailable."""
        with self._roster.db.read() as connection:
            counters = self._roster.counters(connection, person)

        def work(tx: Transaction) -> None:
            closed = (people.c.id == person.id) & (people.c.state == State.DISABLED)
            if tx.connection.execute(update(people).where(closed).values(**self._emptied(person.id))).rowcount != 1:
                raise Conflict("only a closed account is removed", reason="not_closed")
            self.end_ways_in(tx.connection, person.id)
            self.depart(tx.connection, person.id)
            self._forget(tx.connection, person.id, counters)
            for owner in self._roster.owners(tx.connection):
                tell(tx.connection, owner, Notice.ACCOUNT_REMOVED, self._roster.clock(), person.id)
            about, note = Subject(person=person.id), Note(code=code, changed=ERASED)
            tx.record(Event(Action.USER_DELETE, Outcome.SUCCESS, by, about, note))

        self._roster.log.transact(work)

    def _emptied(self, person: PersonId) -> dict[str, object]:
        return {
            "state": State.REMOVED,
            "username": "",
            "username_key": f"{_NEVER_TYPED}{person}",
            "email_sealed": None,
            "removed_at": self._roster.clock(),
        }

    @staticmethod
    def _forget(connection: Connection, person: PersonId, counters: list[bytes]) -> None:
        connection.execute(delete(failures).where(failures.c.subject.in_(counters)))
        connection.execute(delete(notices).where(notices.c.person == person))
        connection.execute(delete(resets).where(resets.c.person == person))
