"""Owns signing in: password, then second factor, then a session. Every refusal reads, weighs and lasts the same.

It must not know HTTP. Each step is an event in the access log; the typed name appears there as a keyed hash only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlalchemy import ColumnElement, Connection, insert, select, update
from sqlalchemy import delete as sql_delete

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Subject
from vault.errors import SessionEnded
from vault.model import Actor, Client, Micros, PersonId
from vault.people import recovery, totp
from vault.people.guard import Attempt, Guard
from vault.people.lockout import NONE
from vault.people.notices import Notice, tell
from vault.people.roster import RECOVERY, Mark, Person, Roster, State, write_failures
from vault.people.sessions import Draft, Sessions, Stage
from vault.storage.schema import familiar, passkeys, people, recovery_codes

ISSUER = "Coffre"


@dataclass(frozen=True, slots=True)
class Halfway:
    """The password was right. The token opens the page of ``stage`` and nothing else."""

    token: str = field(repr=False)
    stage: Stage


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Both factors were right."""

    token: str = field(repr=False)
    actor: Actor
    expires_at: Micros
    recovery_codes: tuple[str, ...] | None = field(default=None, repr=False)
    """Ten codes, right after enrolment: shown now and never again."""
    drift_s: int = 0
    """How far the phone's clock is off (negative: late), where it was just good enough."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a telephone needs to make codes."""

    secret: str = field(repr=False)
    """Base 32, for typing."""
    uri: str = field(repr=False)
    """``otpauth://``, for the QR code."""


class SignIn:
    """The door. Methods raise SignInRefused, LockedOut, SessionEnded; and KeysUnavailable, StorageUnavailable, Busy."""

    def __init__(self, roster: Roster, sessions: Sessions, guard: Guard, issuer: str = ISSUER) -> None:
        self._roster = roster
        self._sessions = sessions
        self._guard = guard
        self._issuer = issuer

    # --- first factor

    def password(self, username: str, password: str, client: Client) -> Halfway:
        """The first step. A right password earns a half-way token; the failure counter is only cleared by the second factor."""
        mark = self._roster.mark(username, client)
        attempt = self._guard.count(mark)
        person = self._guard.proven(mark, password)
        if person is None:
            raise self._guard.refused(attempt, Action.AUTH_LOGIN, "password")
        stage = Stage.CODE if person.is_enrolled else Stage.ENROL
        draft = self._sessions.draft(person, stage, ("pwd",), client)

        def work(tx: Transaction) -> None:
            if not self._guard.still_proven(tx.connection, person):
                raise _Replayed
            self._guard.give_back(tx.connection, mark)
            self._sessions.begin(tx.connection, draft)
            tx.record(Event(Action.AUTH_LOGIN, Outcome.PARTIAL, mark.by, Subject(person=person.id), Note(code="password")))

        try:
            self._roster.log.transact(work)
        except _Replayed:
            raise self._guard.refused(attempt, Action.AUTH_LOGIN, "password") from None
        return Halfway(draft.token, stage)

    def at_once(self, username: str, password: str, code: str, client: Client) -> SignedIn:
        """Both factors in one request, for programs; a recovery code in place of ``code`` works too, even while locked."""
        if recovery.cleaned(code) is not None:
            return self.recovery(username, password, code, client)
        mark = self._roster.mark(username, client)
        attempt = self._guard.count(mark)
        person = self._guard.proven(mark, password)
        match = self._guard.match(person if person is not None and person.is_enrolled else None, code)
        if person is None or match is None:
            raise self._guard.refused(attempt, Action.AUTH_LOGIN, "password_or_code")
        return self._complete(person, attempt, match)

    def recovery(self, username: str, password: str, code: str, client: Client) -> SignedIn:
        """Password and a one-time recovery code. Works while the account is locked: 60 random bits need no lock.

        The password beside it needs one: tries are counted for each name and address, and a right password is told by nothing.
        """
        mark = self._roster.mark(username, client)
        attempt = self._guard.count_recovery(mark)
        person = self._guard.proven(mark, password)
        bare = recovery.cleaned(code) or ""
        owner = person.id if person is not None else PersonId("")
        hashed = self._roster.keyed_hash(RECOVERY, owner, bare)
        is_unused = self._is_unused(owner, hashed)
        if person is None or not person.is_enrolled or not is_unused:
            raise self._guard.refused(attempt, Action.AUTH_RECOVERY_CODE_USED, "recovery")
        return self._recover(person, attempt, hashed, None)

    # --- second factor

    def code(self, token: str, code: str, client: Client) -> SignedIn:
        """The second step: a code from the telephone, or a recovery code."""
        person, mark = self._resume(token, Stage.CODE, client)
        bare = recovery.cleaned(code)
        if bare is not None:
            hashed = self._roster.keyed_hash(RECOVERY, person.id, bare)
            return self._recover(person, self._guard.count_source(mark), hashed, token)
        attempt = self._guard.count(mark)
        match = self._guard.match(person, code)
        if match is None:
            raise self._guard.refused(attempt, Action.AUTH_TOTP, "code", drift_s=self._guard.late_by(person, code))
        return self._complete(person, attempt, match, token)

    def enrolment(self, token: str) -> Enrolment:
        """The secret to put on the telephone; the same one until it is confirmed."""
        with self._roster.db.read() as connection:
            person = self._halfway(connection, token, Stage.ENROL)
        sealed = person.totp_sealed
        if sealed is None:
            fresh = self._roster.seal("people", "totp", person.id, totp.new_secret(self._roster.random).encode())
            set_once = (
                update(people).where((people.c.id == person.id) & people.c.totp_sealed.is_(None)).values(totp_sealed=fresh)
            )

            def work(connection: Connection) -> bytes | None:
                connection.execute(set_once)
                return self._roster.by_id(connection, person.id).totp_sealed

            sealed = self._roster.db.write(work) or fresh
        secret = self._roster.open("people", "totp", person.id, sealed).decode()
        return Enrolment(secret, totp.uri(secret, person.username, self._issuer))

    def confirm_enrolment(self, token: str, code: str, client: Client) -> SignedIn:
        """The telephone's first code: from now on it is asked for. Gives the recovery codes.

        The code shown here can't be the next sign-in's: its step is used up.
        """
        person, mark = self._resume(token, Stage.ENROL, client)
        attempt = self._guard.count(mark)
        match = self._guard.match(person, code) if person.totp_sealed is not None else None
        if match is None:
            raise self._guard.refused(attempt, Action.AUTH_TOTP_ENROLLED, "code", drift_s=self._guard.drift(person, code))
        codes = recovery.new_codes(self._roster.random)
        return self._complete(person, attempt, match, token, codes=codes)

    # --- how a step ends

    def _complete(
        self,
        person: Person,
        attempt: Attempt,
        match: totp.Match,
        token: str | None = None,
        *,
        codes: tuple[str, ...] | None = None,
    ) -> SignedIn:
        """Use the step up, clear the failures, begin the session: all or nothing."""
        draft = self._sessions.draft(person, Stage.FULL, ("pwd", "otp"), attempt.mark.by.client)
        hashes = self._hashes(person, codes)
        now = self._roster.clock()
        forward = (people.c.id == person.id) & (people.c.totp_step < match.step) & (people.c.state == State.ACTIVE)
        if codes is None:
            forward &= people.c.totp_confirmed_at.is_not(None)
        else:
            forward &= people.c.totp_confirmed_at.is_(None)
        values = {"totp_step": match.step} | ({"totp_confirmed_at": now} if codes is not None else {})

        def work(tx: Transaction) -> None:
            if tx.connection.execute(update(people).where(forward).values(**values)).rowcount != 1:
                raise _Replayed
            self._take_first_proof(tx.connection, person, token)
            if codes is not None:
                replace_recovery_codes(tx.connection, person.id, hashes)
                tx.record(Event(Action.AUTH_TOTP_ENROLLED, Outcome.SUCCESS, draft.actor, Subject(person=person.id)))
            self._begin_full(tx, draft, attempt.mark)

        try:
            self._roster.log.transact(work)
        except _Replayed:
            # Right password and right code, but the code was used: nothing was guessed, so the attempt is given back.
            self._roster.db.write(lambda connection: self._guard.give_back(connection, attempt.mark))
            raise self._guard.refused(replace(attempt, has_filled=False), Action.AUTH_TOTP, "replayed") from None
        return SignedIn(draft.token, draft.actor, draft.expires_at, codes, match.drift_steps * totp.STEP_S)

    def complete_with(
        self, person: Person, attempt: Attempt, token: str, method: str, spend: Callable[[Connection], bool]
    ) -> SignedIn:
        """Begin the session of somebody who has shown another second proof; ``spend`` uses it up, or says that it was used.

        Called by ``passkeys`` alone.
        """
        draft = self._sessions.draft(person, Stage.FULL, ("pwd", method), attempt.mark.by.client)

        def work(tx: Transaction) -> None:
            if not spend(tx.connection):
                raise _Replayed
            self._sessions.consume_halfway(tx.connection, token)
            self._begin_full(tx, draft, attempt.mark)

        try:
            self._roster.log.transact(work)
        except _Replayed:
            raise self._guard.refused(attempt, Action.AUTH_LOGIN, "replayed") from None
        return SignedIn(draft.token, draft.actor, draft.expires_at)

    def _recover(self, person: Person, attempt: Attempt, hashed: bytes, token: str | None) -> SignedIn:
        draft = self._sessions.draft(person, Stage.FULL, ("pwd", "recovery"), attempt.mark.by.client)
        unused, door = _unused(person.id, hashed), self._guard.recovery_door(attempt.mark)

        def work(tx: Transaction) -> None:
            if tx.connection.execute(update(recovery_codes).where(unused).values(used_at=self._roster.clock())).rowcount != 1:
                raise _Replayed
            self._take_first_proof(tx.connection, person, token)
            write_failures(tx.connection, door, NONE)
            tx.record(Event(Action.AUTH_RECOVERY_CODE_USED, Outcome.SUCCESS, draft.actor, Subject(person=person.id)))
            tell(tx.connection, person.id, Notice.RECOVERY_CODE_USED, self._roster.clock())
            self._begin_full(tx, draft, attempt.mark)

        try:
            self._roster.log.transact(work)
        except _Replayed:
            raise self._guard.refused(attempt, Action.AUTH_RECOVERY_CODE_USED, "recovery") from None
        return SignedIn(draft.token, draft.actor, draft.expires_at)

    def _take_first_proof(self, connection: Connection, person: Person, token: str | None) -> None:
        """Use up the half-way session, which ends with every change of a password; without one, look at the password again."""
        if token is not None:
            self._sessions.consume_halfway(connection, token)
        elif not self._guard.still_proven(connection, person):
            raise _Replayed

    def _is_unused(self, person: PersonId, hashed: bytes) -> bool:
        """Whether the code waits to be used: asked before anything that only a right password would cost."""
        with self._roster.db.read() as connection:
            return connection.execute(select(recovery_codes.c.person).where(_unused(person, hashed))).first() is not None

    def _begin_full(self, tx: Transaction, draft: Draft, mark: Mark) -> None:
        self._sessions.begin(tx.connection, draft)
        self._guard.clear(tx.connection, mark)
        if note_familiar(tx.connection, draft.actor.person, mark.here, now=self._roster.clock()):
            tell(tx.connection, draft.actor.person, Notice.NEW_PLACE, self._roster.clock())
        tx.record(Event(Action.AUTH_LOGIN, Outcome.SUCCESS, draft.actor, Subject(person=draft.actor.person)))

    def _hashes(self, person: Person, codes: tuple[str, ...] | None) -> list[bytes]:
        bare = [recovery.cleaned(code) or "" for code in codes or ()]
        return [self._roster.keyed_hash(RECOVERY, person.id, code) for code in bare]

    def _halfway(self, connection: Connection, token: str, stage: Stage) -> Person:
        person, reached = self._sessions.halfway(connection, token)
        if reached is not stage or person.is_enrolled is (stage is Stage.ENROL):
            raise SessionEnded("not the page that is awaited", reason="unknown")
        return person

    def _resume(self, token: str, stage: Stage, client: Client) -> tuple[Person, Mark]:
        with self._roster.db.read() as connection:
            person = self._halfway(connection, token, stage)
        return person, self._roster.mark(person.username, client)


def _unused(person: PersonId, hashed: bytes) -> ColumnElement[bool]:
    columns = recovery_codes.c
    return (columns.person == person) & (columns.code_hash == hashed) & columns.used_at.is_(None)


class _Replayed(Exception):
    """A proof was right and no longer counts: the code is used up, the password was replaced; never leaves this module."""


def note_familiar(connection: Connection, person: PersonId, mark: bytes, now: int) -> bool:
    """Remember where ``person`` signed in; says whether that place is new to somebody who has others."""
    same = familiar.c.mark == mark
    if connection.execute(update(familiar).where(same).values(seen_at=now)).rowcount:
        return False
    has_others = connection.execute(select(familiar.c.mark).where(familiar.c.person == person)).first() is not None
    connection.execute(insert(familiar).values(mark=mark, person=person, kind="address", first_at=now, seen_at=now))
    return has_others


def forget_factors(connection: Connection, person: PersonId) -> None:
    """Forget telephone, recovery codes and passkeys of ``person``: a reset leaves no old second proof behind."""
    replace_recovery_codes(connection, person, [])
    connection.execute(sql_delete(passkeys).where(passkeys.c.person == person))
    forget = {"totp_sealed": None, "totp_next_sealed": None, "totp_confirmed_at": None}
    connection.execute(update(people).where(people.c.id == person).values(**forget))


def replace_recovery_codes(connection: Connection, person: PersonId, hashes: list[bytes]) -> None:
    """Ten new codes for ``person``; the old ones are worthless from now on."""
    connection.execute(sql_delete(recovery_codes).where(recovery_codes.c.person == person))
    for code_hash in hashes:
        connection.execute(insert(recovery_codes).values(person=person, code_hash=code_hash))
