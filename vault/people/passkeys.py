"""Owns passkeys (W3C Web Authentication Level 2): the second proof that no false site can steal. The only importer of webauthn.

It must not know HTTP. A passkey stands beside the telephone, never in place of the password. A challenge is 32 random bytes
kept with the (half-way) session, good once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, parse_authentication_credential_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Subject
from vault.errors import Conflict, Invalid, NotFound, SessionEnded
from vault.model import Actor, Client, Micros, PersonId
from vault.people.guard import Attempt, Guard
from vault.people.notices import Notice, tell
from vault.people.policy import Act, authorise
from vault.people.roster import Mark, Roster
from vault.people.sessions import Sessions, Stage, hashed_token
from vault.people.sign_in import SignedIn, SignIn
from vault.storage.schema import passkeys, sessions

CHALLENGE_BYTES = 32
AT_MOST = 10
"""Passkeys of one person."""
LONGEST_NAME = 60
LONGEST_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Site:
    """Which site asks, as configured: never as a request claims."""

    rp_id: str
    """The host name (WebAuthn has no addresses)."""
    origin: str
    name: str = "Coffre"


@dataclass(frozen=True, slots=True)
class Passkey:
    """One passkey as its holder sees it."""

    id: str
    """The credential id, hexadecimal."""
    name: str = field(repr=False)
    created_at: Micros
    used_at: Micros | None


@dataclass(frozen=True, slots=True)
class _Known:
    """What a right answer has changed: which credential, its new counter."""

    credential: bytes
    sign_count: int
    challenge: bytes


@contextmanager
def _refused() -> Iterator[None]:
    """Inside, whatever the library can't accept leaves as Invalid."""
    try:
        yield
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise Invalid("the passkey's answer was not accepted", field="credential", reason="passkey") from error


class Passkeys:
    """Methods raise SignInRefused, LockedOut, SessionEnded, StepUpRequired, Invalid, Conflict, NotFound."""

    def __init__(self, roster: Roster, sessions: Sessions, guard: Guard, sign_in: SignIn) -> None:
        self._roster = roster
        self._sessions = sessions
        self._guard = guard
        self._sign_in = sign_in

    # --- keeping

    def of(self, actor: Actor) -> tuple[Passkey, ...]:
        """One's own passkeys, oldest first."""
        mine = select(passkeys).where(passkeys.c.person == actor.person).order_by(passkeys.c.created_at)
        with self._roster.db.read() as connection:
            rows = connection.execute(mine).mappings().all()
        return tuple(
            Passkey(
                id=row["credential"].hex(),
                name=self._roster.open("passkeys", "name", row["credential"].hex(), row["name_sealed"]).decode(),
                created_at=Micros(row["created_at"]),
                used_at=Micros(row["used_at"]) if row["used_at"] is not None else None,
            )
            for row in rows
        )

    def begin(self, actor: Actor, site: Site) -> str:
        """What the browser needs to make a passkey (PublicKeyCredentialCreationOptions as JSON)."""
        authorise(actor, Act.OWN_FACTORS, self._now())
        challenge = self._challenge(sessions.c.reference == actor.session)
        options = generate_registration_options(
            rp_id=site.rp_id,
            rp_name=site.name,
            user_id=bytes.fromhex(actor.person),
            user_name=actor.username,
            user_display_name=actor.display_name,
            challenge=challenge,
            exclude_credentials=[PublicKeyCredentialDescriptor(id=each) for each in self._credentials(actor.person)],
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.DISCOURAGED, user_verification=UserVerificationRequirement.PREFERRED
            ),
        )
        return options_to_json(options)

    def add(self, actor: Actor, site: Site, answer: str, name: str) -> None:
        """Keep the passkey that the browser has made. Raises Invalid, Conflict (known already, too many)."""
        authorise(actor, Act.OWN_FACTORS, self._now())
        tidy = " ".join(name.split())[:LONGEST_NAME] or "Passkey"
        challenge = self._asked(sessions.c.reference == actor.session)
        with _refused():
            verified = verify_registration_response(
                credential=_bounded(answer),
                expected_challenge=challenge,
                expected_rp_id=site.rp_id,
                expected_origin=site.origin,
            )
        credential = verified.credential_id
        row = {
            "credential": credential,
            "person": actor.person,
            "public_key": verified.credential_public_key,
            "sign_count": verified.sign_count,
            "name_sealed": self._roster.seal("passkeys", "name", credential.hex(), tidy.encode()),
            "created_at": self._now(),
        }

        def work(tx: Transaction) -> None:
            self._spend(tx.connection, sessions.c.reference == actor.session, challenge)
            if tx.connection.execute(select(passkeys.c.person).where(passkeys.c.credential == credential)).first():
                raise Conflict("this passkey is known already")
            mine = select(func.count()).select_from(passkeys).where(passkeys.c.person == actor.person)
            if tx.connection.execute(mine).scalar_one() >= AT_MOST:
                raise Conflict("ten passkeys at most: remove one first")
            tx.connection.execute(insert(passkeys).values(**row))
            self._tell(tx, actor, Action.AUTH_PASSKEY_ADDED, Notice.PASSKEY_ADDED)

        self._roster.log.transact(work)

    def remove(self, actor: Actor, passkey: str) -> None:
        """Forget one of one's own passkeys. Raises NotFound."""
        authorise(actor, Act.OWN_FACTORS, self._now())
        try:
            mine = (passkeys.c.credential == bytes.fromhex(passkey)) & (passkeys.c.person == actor.person)
        except ValueError:
            raise NotFound("no such passkey") from None

        def work(tx: Transaction) -> None:
            if tx.connection.execute(delete(passkeys).where(mine)).rowcount != 1:
                raise NotFound("no such passkey")
            self._tell(tx, actor, Action.USER_UPDATE, Notice.PASSKEY_REMOVED, Note(changed=("passkeys",)))

        self._roster.log.transact(work)

    # --- second proof of a sign-in

    def is_offered(self, token: str) -> bool:
        """Whether the half-way page may offer a passkey; no for a token that is none."""
        try:
            with self._roster.db.read() as connection:
                person, stage = self._sessions.halfway(connection, token)
        except SessionEnded:
            return False
        return stage is Stage.CODE and bool(self._credentials(person.id))

    def ask(self, token: str, site: Site) -> str | None:
        """What the browser needs to show a passkey, half-way through signing in; None where the person has none."""
        with self._roster.db.read() as connection:
            person, stage = self._sessions.halfway(connection, token)
        allowed = self._credentials(person.id)
        if stage is not Stage.CODE or not allowed:
            return None
        return self._options(site, allowed, self._challenge(sessions.c.id_hash == hashed_token(token)))

    def enter(self, token: str, site: Site, answer: str, client: Client) -> SignedIn:
        """The passkey's answer as the second proof: the session begins."""
        with self._roster.db.read() as connection:
            person, stage = self._sessions.halfway(connection, token)
        if stage is not Stage.CODE:
            raise SessionEnded("not the page that is awaited", reason="unknown")
        attempt = self._guard.count(self._roster.mark(person.username, client))
        place = sessions.c.id_hash == hashed_token(token)
        known = self._judge(attempt, Action.AUTH_LOGIN, place, site, answer)

        def spend(connection: Connection) -> bool:
            return self._use(connection, place, known)

        return self._sign_in.complete_with(person, attempt, token, "hwk", spend)

    # --- step-up

    def ask_again(self, actor: Actor, site: Site) -> str | None:
        """What the browser needs for a step-up by passkey; None where the actor has none."""
        allowed = self._credentials(actor.person)
        return self._options(site, allowed, self._challenge(sessions.c.reference == actor.session)) if allowed else None

    def step_up(self, actor: Actor, site: Site, answer: str) -> None:
        """Show the passkey again, for an act that wants a fresh proof."""
        attempt = self._guard.count(self._own_mark(actor))
        place = (sessions.c.reference == actor.session) & (sessions.c.person == actor.person)
        known = self._judge(attempt, Action.AUTH_STEPUP, place, site, answer)

        def work(tx: Transaction) -> bool:
            if not self._use(tx.connection, place, known):
                return False
            self._guard.give_back(tx.connection, attempt.mark)
            self._sessions.refreshed(tx.connection, actor)
            tx.record(Event(Action.AUTH_STEPUP, Outcome.SUCCESS, actor, Subject(person=actor.person), Note(code="hwk")))
            return True

        if not self._roster.log.transact(work).value:
            raise self._guard.refused(attempt, Action.AUTH_STEPUP, "replayed")

    # --- inside

    def _now(self) -> Micros:
        return Micros(self._roster.clock())

    def _own_mark(self, actor: Actor) -> Mark:
        return self._roster.mark(actor.username, actor.client)

    def _credentials(self, person: PersonId) -> list[bytes]:
        with self._roster.db.read() as connection:
            return list(connection.execute(select(passkeys.c.credential).where(passkeys.c.person == person)).scalars())

    @staticmethod
    def _options(site: Site, allowed: list[bytes], challenge: bytes) -> str:
        options = generate_authentication_options(
            rp_id=site.rp_id,
            challenge=challenge,
            allow_credentials=[PublicKeyCredentialDescriptor(id=each) for each in allowed],
            user_verification=UserVerificationRequirement.PREFERRED,
        )
        return options_to_json(options)

    def _challenge(self, place: ColumnElement[bool]) -> bytes:
        challenge = self._roster.random(CHALLENGE_BYTES)
        if self._roster.run(update(sessions).where(place).values(challenge=challenge)) != 1:
            raise SessionEnded("no session", reason="unknown")
        return challenge

    def _asked(self, place: ColumnElement[bool]) -> bytes:
        with self._roster.db.read() as connection:
            challenge = connection.execute(select(sessions.c.challenge).where(place)).scalar_one_or_none()
        if challenge is None:
            raise Invalid("nothing was asked of a passkey", field="credential", reason="passkey")
        return challenge

    @staticmethod
    def _spend(connection: Connection, place: ColumnElement[bool], challenge: bytes) -> None:
        same = place & (sessions.c.challenge == challenge)
        if connection.execute(update(sessions).where(same).values(challenge=None)).rowcount != 1:
            raise Conflict("this answer was used")

    def _use(self, connection: Connection, place: ColumnElement[bool], known: _Known) -> bool:
        """Spend the challenge and move the credential's counter: once."""
        same = place & (sessions.c.challenge == known.challenge)
        if connection.execute(update(sessions).where(same).values(challenge=None)).rowcount != 1:
            return False
        values = {"sign_count": known.sign_count, "used_at": self._now()}
        connection.execute(update(passkeys).where(passkeys.c.credential == known.credential).values(**values))
        return True

    def _judge(self, attempt: Attempt, action: Action, place: ColumnElement[bool], site: Site, answer: str) -> _Known:
        """Verify an assertion (W3C WebAuthn Level 2 §7.2). Raises SignInRefused, with the failure counted and logged."""
        try:
            challenge = self._asked(place)
            with _refused():
                credential = base64url_to_bytes(parse_authentication_credential_json(_bounded(answer)).id)
                stored = self._stored(attempt.mark, credential)
                verified = verify_authentication_response(
                    credential=answer,
                    expected_challenge=challenge,
                    expected_rp_id=site.rp_id,
                    expected_origin=site.origin,
                    credential_public_key=stored[0],
                    credential_current_sign_count=stored[1],
                )
        except (Invalid, NotFound):
            raise self._guard.refused(attempt, action, "passkey") from None
        return _Known(credential, verified.new_sign_count, challenge)

    def _stored(self, mark: Mark, credential: bytes) -> tuple[bytes, int]:
        person = mark.person.id if mark.person is not None else PersonId("")
        mine = (passkeys.c.credential == credential) & (passkeys.c.person == person)
        with self._roster.db.read() as connection:
            row = connection.execute(select(passkeys.c.public_key, passkeys.c.sign_count).where(mine)).one_or_none()
        if row is None:
            raise NotFound("no such passkey")
        return row.public_key, row.sign_count

    def _tell(self, tx: Transaction, actor: Actor, action: Action, notice: Notice, note: Note | None = None) -> None:
        tell(tx.connection, actor.person, notice, self._roster.clock())
        tx.record(Event(action, Outcome.SUCCESS, actor, Subject(person=actor.person), note or Note()))


def _bounded(answer: str) -> str:
    if len(answer) > LONGEST_ANSWER:
        raise ValueError("too long")
    return answer
