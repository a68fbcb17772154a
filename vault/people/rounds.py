"""Owns what the people room does by itself in a serving process: mails, ended sessions, late reviews, unused accounts.

It must not know requests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import Connection, select, update

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Subject, System
from vault.errors import StorageUnavailable, VaultError
from vault.model import PersonId
from vault.people.accounts import life_of
from vault.people.breakglass import BreakGlass
from vault.people.mail import Send, letter
from vault.people.notices import Notice, Notices, ToMail, tell
from vault.people.removal import Removal
from vault.people.roster import Person, Roster, State, person_of
from vault.people.sessions import Sessions
from vault.people.unused import TERMS, Duty, Life, Step, next_step
from vault.storage.schema import notices, people

PERIOD_S = 20.0
"""A notice leaves by mail within this."""
SLOW_EVERY = 180
"""Sweeps and reviews: once in so many rounds, an hour."""


class Rounds:
    """``start`` after the vault is open in a process that serves, ``stop`` before it closes."""

    def __init__(self, roster: Roster, sessions: Sessions, breakglass: BreakGlass, box: Notices, removal: Removal) -> None:
        self._roster = roster
        self._sessions = sessions
        self._breakglass = breakglass
        self._box = box
        self._removal = removal
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, send: Send | None, sender: str, report: Callable[[VaultError], None]) -> None:
        """Go round until ``stop``; ``send`` None: notices stay in the pages. ``report`` hears of trouble."""
        self._thread = threading.Thread(target=self._go_on, args=(send, sender, report), name="people-rounds", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the round under way; idempotent."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _go_on(self, send: Send | None, sender: str, report: Callable[[VaultError], None]) -> None:
        number = 0
        while not self._stopping.wait(PERIOD_S):
            try:
                self.post(send, sender)
                if number % SLOW_EVERY == 0:
                    self._sessions.sweep()
                    self._breakglass.escalate()
                    self.look_for_unused()
                number += 1
            except VaultError as error:
                report(error)

    # --- mails

    def post(self, send: Send | None, sender: str) -> int:
        """Carry what was told since the last round; returns how many mails left.

        Each notice is claimed first, so that several processes never send it twice; where the server does not answer, it is
        let go again for the next round. Raises StorageUnavailable then.
        """
        sent = 0
        for waiting in self._box.to_mail():
            if not self._claim(waiting):
                continue
            address = self._address(waiting.person)
            if send is None or address is None:
                continue
            try:
                send(letter(waiting.kind, waiting.at, sender, address))
            except OSError as error:
                self._roster.run(update(notices).where(notices.c.id == waiting.id).values(mailed_at=None))
                raise StorageUnavailable("mail: the server does not take mails") from error
            sent += 1
        return sent

    def _claim(self, waiting: ToMail) -> bool:
        free = (notices.c.id == waiting.id) & notices.c.mailed_at.is_(None)
        return self._roster.run(update(notices).where(free).values(mailed_at=self._roster.clock())) == 1

    def _address(self, person: PersonId) -> str | None:
        with self._roster.db.read() as connection:
            sealed = connection.execute(select(people.c.email_sealed).where(people.c.id == person)).scalar_one_or_none()
        return self._roster.open("people", "email", person, sealed).decode() if sealed is not None else None

    # --- accounts that nobody uses

    def look_for_unused(self) -> dict[Step, int]:
        """Warn about, close and remove accounts that nobody uses, each step once due; returns how many of each.

        Nothing goes by itself over a duty: the owners are told instead, once, and decide. Raises KeysUnavailable.
        """
        done = dict.fromkeys(Step, 0)
        for person, life in self._accounts():
            step = next_step(life, TERMS, self._roster.clock())
            if step is not None and self._take(person, step):
                done[step] += 1
        return done

    def _accounts(self) -> list[tuple[Person, Life]]:
        with self._roster.db.read() as connection:
            rows = connection.execute(select(people).where(people.c.state != State.REMOVED)).mappings().all()
        return [(person_of(row), life_of(row)) for row in rows]

    def _take(self, person: Person, step: Step) -> bool:
        with self._roster.db.read() as connection:
            duties = set(self._removal.duties(connection, person))
        if step is Step.WARN:
            self._warn(person)
            return True
        if duties if step is Step.REMOVE else Duty.LAST_OWNER in duties:
            self._tell_kept(person)
            return False
        if step is Step.CLOSE:
            self._close(person)
        else:
            self._removal.remove(person, System("people"), "unused")
        return True

    def _warn(self, person: Person) -> None:
        def work(tx: Transaction) -> None:
            now = self._roster.clock()
            tx.connection.execute(update(people).where(people.c.id == person.id).values(warned_at=now))
            for addressee in {person.id, *self._roster.owners(tx.connection)}:
                tell(tx.connection, addressee, Notice.ACCOUNT_DORMANT, now, person.id)
            note = Note(code="unused", changed=("warned_at",))
            tx.record(Event(Action.USER_UPDATE, Outcome.SUCCESS, System("people"), Subject(person=person.id), note))

        self._roster.log.transact(work)

    def _close(self, person: Person) -> None:
        def work(tx: Transaction) -> None:
            now = self._roster.clock()
            closed = {"state": State.DISABLED, "closed_at": now}
            tx.connection.execute(update(people).where(people.c.id == person.id).values(**closed))
            self._removal.end_ways_in(tx.connection, person.id)
            for addressee in {person.id, *self._roster.owners(tx.connection)}:
                tell(tx.connection, addressee, Notice.ACCOUNT_CLOSED, now, person.id)
            by, note = System("people"), Note(code="unused")
            tx.record(Event(Action.USER_DISABLE, Outcome.SUCCESS, by, Subject(person=person.id), note))

        self._roster.log.transact(work)

    def _tell_kept(self, person: Person) -> None:
        """Once in each life of the account: a sign-in in between begins another."""
        told = (notices.c.kind == Notice.ACCOUNT_KEPT) & (notices.c.about == person.id)

        def work(connection: Connection) -> None:
            warned_at = connection.execute(select(people.c.warned_at).where(people.c.id == person.id)).scalar() or 0
            if connection.execute(select(notices.c.id).where(told & (notices.c.at >= warned_at))).first() is None:
                for owner in self._roster.owners(connection):
                    tell(connection, owner, Notice.ACCOUNT_KEPT, self._roster.clock(), person.id)

        self._roster.db.write(work)
