"""Owns how a proof is tried: counted first, compared in the same time for everybody, given back where right, refused alike.

It must not know sessions, nor what a proof opens.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from sqlalchemy import Connection, update

from vault.audit.append import Transaction
from vault.audit.events import Action, Anonymous, Event, Note, Outcome, Subject
from vault.errors import LockedOut, SignInRefused, VaultError
from vault.model import Micros
from vault.people import lockout, totp
from vault.people.notices import Notice, tell
from vault.people.passwords import Hasher
from vault.people.roster import Mark, Person, Roster, State, read_failures, write_failures
from vault.storage.schema import people

RECOVERY_DOOR = "coffre/recovery-door/v1"
"""Domain of the keyed hashes under which tries at the recovery door are counted."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One counted try."""

    mark: Mark
    has_filled: bool
    """This try was the one too many, should it prove wrong."""


class Guard:
    """Counts, compares, refuses."""

    def __init__(self, roster: Roster, hasher: Hasher) -> None:
        self._roster = roster
        self._hasher = hasher
        self._decoy = totp.new_secret(roster.random)

    # --- counting

    def count(self, mark: Mark) -> Attempt:
        """Count a try of the source and of the account before looking at any secret. Raises LockedOut."""
        self.count_source(mark)
        try:
            state = self._roster.count_attempt(mark.account, lockout.attempt)
        except LockedOut:
            self.note(mark, Action.AUTH_LOGIN, Outcome.DENIED, "locked_out")
            raise
        return Attempt(mark, has_filled=state.locked_until is not None)

    def count_source(self, mark: Mark) -> Attempt:
        """Count a try of the source alone. Who has signed in from there before is not slowed by others' tries."""
        try:
            if not mark.is_familiar:
                self._roster.count_attempt(mark.source, lockout.slow_source)
        except LockedOut:
            self.note(mark, Action.AUTH_LOGIN, Outcome.DENIED, "source_slowed")
            raise
        return Attempt(mark, has_filled=False)

    def count_recovery(self, mark: Mark) -> Attempt:
        """Count a try at the door that stays open while the account is locked; it counts for the lock of the other one too.

        This door slows instead: each name from each address, a familiar one included, else a colleague could try passwords for
        ever. Raises LockedOut.
        """
        self.count_source(mark)
        try:
            self._roster.count_attempt(self.recovery_door(mark), lockout.slow_recovery)
        except LockedOut:
            self.note(mark, Action.AUTH_LOGIN, Outcome.DENIED, "source_slowed")
            raise
        with suppress(LockedOut):
            state = self._roster.count_attempt(mark.account, lockout.attempt)
            return Attempt(mark, has_filled=state.locked_until is not None)
        return Attempt(mark, has_filled=False)

    def recovery_door(self, mark: Mark) -> bytes:
        """What counts a name's tries at that door from one address."""
        return self._roster.keyed_hash(RECOVERY_DOOR, mark.here.hex())

    def give_back(self, connection: Connection, mark: Mark) -> None:
        """The try was right, but the sign-in is not complete."""
        write_failures(connection, mark.account, lockout.give_back(read_failures(connection, mark.account)))
        self.give_back_source(connection, mark)

    @staticmethod
    def give_back_source(connection: Connection, mark: Mark) -> None:
        """The try was right: it does not speak against the address."""
        if not mark.is_familiar:
            write_failures(connection, mark.source, lockout.give_back(read_failures(connection, mark.source)))

    def clear(self, connection: Connection, mark: Mark) -> None:
        """Both proofs were right: forget the failures."""
        write_failures(connection, mark.account, lockout.NONE)
        self.give_back_source(connection, mark)

    # --- proofs

    def proven(self, mark: Mark, password: str) -> Person | None:
        """Whoever the password belongs to; the same hashing whether or not the name is known."""
        person = mark.person
        encoded = person.password_hash if person is not None else None
        if not self._hasher.verify(encoded, password) or person is None or encoded is None or person.state is not State.ACTIVE:
            return None
        with self._roster.db.read() as connection:
            if self._roster.has_departed(connection, person):
                return None
        if self._hasher.is_outdated(encoded):
            renewed = self._hasher.hash(password)
            same = (people.c.id == person.id) & (people.c.password_hash == encoded)
            statement = update(people).where(same).values(password_hash=renewed)
            self._roster.run(statement)
            return replace(person, password_hash=renewed)
        return person

    def still_proven(self, connection: Connection, person: Person) -> bool:
        """Whether the password that was right is still the account's, and the account open: a reset may have come between."""
        now = self._roster.by_id(connection, person.id)
        return now.state is State.ACTIVE and now.password_hash == person.password_hash

    def match(self, person: Person | None, code: str) -> totp.Match | None:
        """The step whose code this is; the same work where there is nobody."""
        secret = self.secret(person)
        match = totp.match(secret, code, Micros(self._roster.clock()))
        return match if person is not None else None

    def secret(self, person: Person | None) -> str:
        """The person's TOTP secret, or a decoy."""
        if person is None or person.totp_sealed is None:
            return self._decoy
        return self._roster.open("people", "totp", person.id, person.totp_sealed).decode()

    def drift(self, person: Person, code: str) -> int | None:
        """Seconds by which the telephone is off, where that explains the wrong code."""
        return totp.drift(self.secret(person), code, Micros(self._roster.clock()))

    def late_by(self, person: Person, code: str) -> int | None:
        """Only a code of the past earns a hint: to say that a code *will* be right would help a guesser."""
        drift = self.drift(person, code)
        return drift if drift is not None and drift < 0 else None

    # --- refusals

    def note(self, mark: Mark, action: Action, outcome: Outcome, code: str) -> None:
        """An event about whoever is typing."""
        self._roster.log.record(_event(mark, action, outcome, code))

    def refused(self, attempt: Attempt, action: Action, code: str, drift_s: int | None = None) -> VaultError:
        """Log the refusal (and the lock that it completes); gives the one error to raise."""
        self.note(attempt.mark, action, Outcome.DENIED, code)
        if attempt.has_filled:
            self._roster.log.transact(lambda tx: self._locked(tx, attempt.mark))
        return SignInRefused("sign-in refused") if drift_s is None else SignInRefused("sign-in refused", drift_s=drift_s)

    def _locked(self, tx: Transaction, mark: Mark) -> None:
        if mark.person is not None:
            tell(tx.connection, mark.person.id, Notice.LOCKED, self._roster.clock())
        tx.record(_event(mark, Action.AUTH_LOCKED, Outcome.SUCCESS, "failures"))


def _event(mark: Mark, action: Action, outcome: Outcome, code: str) -> Event:
    """Of a name that nobody bears the event names the hash where it would name an account: as many bytes, as much work."""
    by: Anonymous = mark.by
    about = Subject(person=mark.person.id if mark.person is not None else by.name_hash)
    return Event(action, outcome, by, about, Note(code=code))
