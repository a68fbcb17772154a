"""Owns what people do to their own account: password, telephone, recovery codes, step-up. It must not know others' accounts."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, update

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Subject
from vault.errors import Conflict, PasswordRefused
from vault.model import Actor, Micros
from vault.people import passwords, recovery, totp
from vault.people.guard import Attempt, Guard
from vault.people.notices import Notice, tell
from vault.people.passwords import Hasher
from vault.people.policy import Act, authorise
from vault.people.roster import RECOVERY, Person, Roster
from vault.people.sessions import Sessions
from vault.people.sign_in import ISSUER, Enrolment, replace_recovery_codes
from vault.storage.schema import passkeys, people, recovery_codes

_TOTP, _NEXT = "totp", "totp_next"


@dataclass(frozen=True, slots=True)
class Security:
    """Where one's own security stands, read at this moment."""

    password_changed_at: Micros | None
    phone_since: Micros | None
    recovery_codes_left: int
    passkeys: int
    sessions: int


class OwnAccount:
    """One's own security. Methods raise SignInRefused, LockedOut (one counter with signing in), StepUpRequired."""

    def __init__(self, roster: Roster, sessions: Sessions, guard: Guard, hasher: Hasher, context: tuple[str, ...] = ()) -> None:
        self._roster = roster
        self._sessions = sessions
        self._guard = guard
        self._hasher = hasher
        self._context = context

    def change_password(self, actor: Actor, current: str, new: str) -> None:
        """Replace one's password; every other session of one's own ends. Raises PasswordRefused, SignInRefused, LockedOut."""
        authorise(actor, Act.OWN_ACCOUNT, self._now())
        passwords.check(new, (actor.username, actor.display_name, *self._context))
        if new == current:
            raise PasswordRefused("the same password again", reason="same")
        attempt = self._guard.count(self._roster.mark(actor.username, actor.client))
        if self._guard.proven(attempt.mark, current) is None:
            raise self._guard.refused(attempt, Action.AUTH_PASSWORD_CHANGED, "password")
        values = {"password_hash": self._hasher.hash(new), "password_changed_at": self._roster.clock()}

        def work(tx: Transaction) -> None:
            self._guard.give_back(tx.connection, attempt.mark)
            tx.connection.execute(update(people).where(people.c.id == actor.person).values(**values))
            self._sessions.end_all(tx.connection, actor.person, but=actor.session)
            self._tell(tx, actor, Action.AUTH_PASSWORD_CHANGED, Notice.PASSWORD_CHANGED)

        self._roster.log.transact(work)

    def step_up(self, actor: Actor, code: str) -> None:
        """Show the telephone's code again, for an act that wants it fresh. Raises SignInRefused, LockedOut."""
        person, attempt = self._counted(actor)
        match = self._guard.match(person, code)
        if match is None:
            raise self._guard.refused(attempt, Action.AUTH_STEPUP, "code", drift_s=self._guard.late_by(person, code))
        forward = (people.c.id == actor.person) & (people.c.totp_step < match.step)

        def work(tx: Transaction) -> bool:
            self._guard.give_back(tx.connection, attempt.mark)
            if tx.connection.execute(update(people).where(forward).values(totp_step=match.step)).rowcount != 1:
                return False
            self._sessions.refreshed(tx.connection, actor)
            tx.record(Event(Action.AUTH_STEPUP, Outcome.SUCCESS, actor, Subject(person=actor.person)))
            return True

        if not self._roster.log.transact(work).value:
            raise self._guard.refused(Attempt(attempt.mark, has_filled=False), Action.AUTH_STEPUP, "replayed")

    def begin_phone(self, actor: Actor) -> Enrolment:
        """The secret for another telephone; the present one works until ``confirm_phone``. Raises StepUpRequired."""
        authorise(actor, Act.OWN_FACTORS, self._now())
        secret = totp.new_secret(self._roster.random)
        sealed = self._roster.seal("people", _NEXT, actor.person, secret.encode())
        self._roster.run(update(people).where(people.c.id == actor.person).values(totp_next_sealed=sealed))
        return Enrolment(secret, totp.uri(secret, actor.username, ISSUER))

    def confirm_phone(self, actor: Actor, code: str) -> None:
        """The new telephone's first code: from now on only it is asked. Other sessions of one's own end."""
        authorise(actor, Act.OWN_FACTORS, self._now())
        with self._roster.db.read() as connection:
            waiting = connection.execute(select(people.c.totp_next_sealed).where(people.c.id == actor.person)).scalar_one()
        if waiting is None:
            raise Conflict("no other telephone is being set up")
        secret = self._roster.open("people", _NEXT, actor.person, waiting)
        sealed = self._roster.seal("people", _TOTP, actor.person, secret)
        attempt = self._guard.count(self._roster.mark(actor.username, actor.client))
        match = totp.match(secret.decode(), code, self._now())
        if match is None:
            drift_s = totp.drift(secret.decode(), code, self._now())
            raise self._guard.refused(attempt, Action.AUTH_TOTP_ENROLLED, "code", drift_s=drift_s)
        same = (people.c.id == actor.person) & (people.c.totp_next_sealed == waiting)
        values = {"totp_sealed": sealed, "totp_next_sealed": None, "totp_step": match.step, "totp_confirmed_at": self._now()}

        def work(tx: Transaction) -> None:
            self._guard.give_back(tx.connection, attempt.mark)
            if tx.connection.execute(update(people).where(same).values(**values)).rowcount != 1:
                raise Conflict("another telephone was set up meanwhile")
            self._sessions.end_all(tx.connection, actor.person, but=actor.session)
            self._tell(tx, actor, Action.AUTH_TOTP_ENROLLED, Notice.FACTOR_CHANGED)

        self._roster.log.transact(work)

    def renew_recovery_codes(self, actor: Actor) -> tuple[str, ...]:
        """Ten new recovery codes, shown now and never again; the old ones are worthless. Raises StepUpRequired."""
        authorise(actor, Act.OWN_FACTORS, self._now())
        codes = recovery.new_codes(self._roster.random)
        hashes = [self._roster.keyed_hash(RECOVERY, actor.person, recovery.cleaned(code) or "") for code in codes]

        def work(tx: Transaction) -> None:
            replace_recovery_codes(tx.connection, actor.person, hashes)
            self._tell(tx, actor, Action.USER_UPDATE, Notice.RECOVERY_CODES_RENEWED, Note(changed=("recovery_codes",)))

        self._roster.log.transact(work)
        return codes

    def security(self, actor: Actor) -> Security:
        """Everything that the page of one's own security judges."""
        columns = people.c
        mine = select(columns.password_changed_at, columns.totp_confirmed_at).where(columns.id == actor.person)
        held = select(func.count()).select_from(passkeys).where(passkeys.c.person == actor.person)
        with self._roster.db.read() as connection:
            row = connection.execute(mine).one()
            count = connection.execute(held).scalar_one()
        return Security(
            password_changed_at=row.password_changed_at,
            phone_since=row.totp_confirmed_at,
            recovery_codes_left=self.recovery_codes_left(actor),
            passkeys=count,
            sessions=len(self._sessions.of(actor)),
        )

    def recovery_codes_left(self, actor: Actor) -> int:
        """How many of one's recovery codes still work."""
        mine = (recovery_codes.c.person == actor.person) & recovery_codes.c.used_at.is_(None)
        with self._roster.db.read() as connection:
            return len(connection.execute(select(recovery_codes.c.code_hash).where(mine)).all())

    # --- inside

    def _now(self) -> Micros:
        return Micros(self._roster.clock())

    def _counted(self, actor: Actor) -> tuple[Person, Attempt]:
        mark = self._roster.mark(actor.username, actor.client)
        if mark.person is None or mark.person.id != actor.person:
            raise Conflict("the account was renamed")
        return mark.person, self._guard.count(mark)

    def _tell(self, tx: Transaction, actor: Actor, action: Action, notice: Notice, note: Note | None = None) -> None:
        tell(tx.connection, actor.person, notice, self._roster.clock())
        tx.record(Event(action, Outcome.SUCCESS, actor, Subject(person=actor.person), note or Note()))
