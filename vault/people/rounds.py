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
from vault.model import PersonId, Role
from vault.people.breakglass import BreakGlass
from vault.people.mail import Send, letter
from vault.people.notices import Notice, Notices, ToMail, tell
from vault.people.roster import Roster, State
from vault.people.sessions import Sessions
from vault.storage.schema import notices, people

PERIOD_S = 20.0
"""A notice leaves by mail within this."""
SLOW_EVERY = 180
"""Sweeps and reviews: once in so many rounds, an hour."""
WARN_AFTER_S = 2 * 365 * 86_400
CLOSE_AFTER_S = 3 * 365 * 86_400
"""An account unused for three years is closed; its owners are warned a year before (CNIL: no account without a need)."""


class Rounds:
    """``start`` after the vault is open in a process that serves, ``stop`` before it closes."""

    def __init__(self, roster: Roster, sessions: Sessions, breakglass: BreakGlass, box: Notices) -> None:
        self._roster = roster
        self._sessions = sessions
        self._breakglass = breakglass
        self._box = box
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
                    self.look_for_dormant()
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

    def look_for_dormant(self) -> int:
        """Close accounts unused for three years and warn owners a year ahead; returns how many were closed.

        Owners are never closed by themselves: the practice would lose its keys to its own doors. Names stay in the log.
        """
        now = self._roster.clock()
        closed = 0
        for person, role, last_at in self._unused(now):
            if role is not Role.OWNER and now - last_at >= CLOSE_AFTER_S * 1_000_000:
                self._close(person)
                closed += 1
            else:
                self._warn(person, now)
        return closed

    def _unused(self, now: int) -> list[tuple[PersonId, Role, int]]:
        columns = people.c
        query = select(columns.id, columns.role, columns.signed_in_at, columns.created_at).where(columns.state == State.ACTIVE)
        with self._roster.db.read() as connection:
            rows = connection.execute(query).all()
        seen = [(PersonId(row.id), Role(row.role), row.signed_in_at or row.created_at) for row in rows]
        return [each for each in seen if now - each[2] >= WARN_AFTER_S * 1_000_000]

    def _close(self, person: PersonId) -> None:
        def work(tx: Transaction) -> None:
            tx.connection.execute(update(people).where(people.c.id == person).values(state=State.DISABLED))
            self._sessions.end_all(tx.connection, person)
            by, note = System("people"), Note(code="dormant")
            tx.record(Event(Action.USER_DISABLE, Outcome.SUCCESS, by, Subject(person=person), note))

        self._roster.log.transact(work)

    def _warn(self, person: PersonId, now: int) -> None:
        told = (notices.c.kind == Notice.ACCOUNT_DORMANT) & (notices.c.about == person)

        def work(connection: Connection) -> None:
            if connection.execute(select(notices.c.id).where(told)).first() is not None:
                return
            owners = (people.c.role == Role.OWNER) & (people.c.state == State.ACTIVE)
            for owner in {person, *connection.execute(select(people.c.id).where(owners)).scalars()}:
                tell(connection, PersonId(owner), Notice.ACCOUNT_DORMANT, now, person)

        self._roster.db.write(work)
