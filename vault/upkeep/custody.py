"""Owns what an operator does to keys, each act in the access log first: make, rotate, rewrap, retire, destroy.

It must not know the command line. Destroying takes two people: a technical administrator retires a key, an owner destroys it;
beside a key process the owner releases it, and its host destroys it by that note.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import delete, insert, select

from kms.canary import handover, verifies
from kms.errors import KeyMissing, KmsError
from kms.keys import KeyRecord, KeyService, KeyState, KeyUse
from kms.lifecycle import Lifecycle
from kms.release import FORMAT as RELEASE_FORMAT
from kms.release import Release
from vault.audit.append import AuditLog, Receipt
from vault.audit.events import Action, Event, Note, Outcome
from vault.errors import BadSettings, Conflict, Forbidden, NotFound, VaultError
from vault.model import Actor, Micros, PersonId
from vault.people import policy
from vault.people.policy import Act
from vault.sealing.faults import key_faults
from vault.storage.db import Database
from vault.storage.keyring import Keyring
from vault.storage.schema import key_retirements
from vault.upkeep.manifest import signed
from vault.upkeep.reindex import Reindexed, Reindexing
from vault.upkeep.rotation import Rewrapped, Rewrapping

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rotated:
    """How a rotation ended."""

    record: KeyRecord
    """The key that is active now."""
    is_resumed: bool
    """Whether it finished an interrupted rotation instead of making a further key."""
    rewrapped: Rewrapped | None
    """For master keys."""
    reindexed: Reindexed | None = None
    """For MAC keys."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who asked for a version's end, and when."""

    person: PersonId
    at: Micros


class Custody:
    """The custodian's acts. Each takes who does it; the log must answer before the token is asked."""

    def __init__(
        self,
        *,
        lifecycle: Lifecycle | None,
        keys: KeyService,
        rewrapping: Rewrapping,
        reindexing: Reindexing,
        keyring: Keyring,
        keyring_db: Database,
        log: AuditLog,
        clock: Callable[[], Micros],
    ) -> None:
        self._lifecycle = lifecycle
        self._keys = keys
        self.rewrapping = rewrapping
        self.reindexing = reindexing
        self._keyring = keyring
        self._db = keyring_db
        self._log = log
        self._clock = clock

    @property
    def lifecycle(self) -> Lifecycle:
        """The life of keys in this process's token. Raises BadSettings where a key process holds it."""
        if self._lifecycle is None:
            raise BadSettings(
                "a key process holds this vault's keys; on its host: coffre keys renew, "
                "then here: coffre keys rewrap (after kek), reindex (after mac), hand-over (after audit); "
                "to end a key: coffre keys retire and release here, destroy on its host"
            )
        return self._lifecycle

    @property
    def holds_token(self) -> bool:
        """Whether this process holds the token itself, without a key process."""
        return self._lifecycle is not None

    def create(self, actor: Actor, use: KeyUse) -> KeyRecord:
        """A further version, not used yet."""
        return self._logged(actor, Action.KEY_CREATE, use.value, lambda: self.lifecycle.create(use))

    def rotate(self, actor: Actor, use: KeyUse, report: Callable[[int], None], *, per_second: int | None = None) -> Rotated:
        """A new active version, and what stands under the older ones brought under it.

        Takes up a rotation that was interrupted: then no further key is made.
        """
        if use.is_signing:
            return Rotated(self._hand_over(actor, use), is_resumed=False, rewrapped=None)
        is_resumed = self.waiting(use) > 0
        if is_resumed:
            record = max(self._active(use), key=lambda known: known.number)
        else:
            record = self._logged(actor, Action.KEY_ROTATE, use.value, lambda: self.lifecycle.rotate(use))
        if use is KeyUse.MAC:
            return Rotated(record, is_resumed, None, self.reindex(actor, report, per_second=per_second))
        return Rotated(record, is_resumed, self.rewrap(actor, report, per_second=per_second))

    def waiting(self, use: KeyUse) -> int:
        """How much does not stand under the active version of a use: what an interrupted rotation has left."""
        match use:
            case KeyUse.MASTER:
                return self.rewrapping.remaining()
            case KeyUse.MAC:
                return self.reindexing.remaining()
            case KeyUse.AUDIT | KeyUse.AUDIT_ED:
                return 0

    def _active(self, use: KeyUse) -> list[KeyRecord]:
        return [known for known in self.lifecycle.records() if known.use is use and known.state is KeyState.ACTIVE]

    def _hand_over(self, actor: Actor, use: KeyUse) -> KeyRecord:
        """A new audit key, vouched for by the active P-256 one: its signature over the new public key stands in the log.

        SHA-256("coffre/audit-handover/v1" ‖ 0x00 ‖ new SubjectPublicKeyInfo) is what is signed (docs/format.md). So it is for a
        new Ed25519 key: it may be the first one, on a token that learnt Ed25519 later.
        """

        def work() -> KeyRecord:
            fresh = self.lifecycle.create(use)
            voucher = base64.b64encode(self.lifecycle.keys.sign(handover(fresh.canary)).raw).decode()
            self._vouched(actor, use, fresh.number, voucher)
            return self.lifecycle.activate(fresh)

        return self._logged(actor, Action.KEY_ROTATE, use.value, work)

    def hand_over(self, actor: Actor, use: KeyUse, number: int, voucher: str) -> None:
        """Put into the log by what an earlier audit key of a key process vouched for a new one (base64, `keys renew audit`).

        Raises Conflict where no audit key of this vault has signed it.
        """
        with key_faults():
            digest = handover(self._keys.public_key(number, use))
            older = [
                self._keys.public_key(each)
                for each in self._keys.versions(KeyUse.AUDIT)
                if (use, number) != (KeyUse.AUDIT, each)
            ]
        try:
            raw = base64.b64decode(voucher, validate=True)
        except ValueError:
            raw = b""
        if not any(verifies(public_key, digest, raw) for public_key in older):
            raise Conflict(
                f"no audit key of this vault has vouched for {use.value} {number} by these words: copy the whole line"
            )
        self._vouched(actor, use, number, voucher)

    def _vouched(self, actor: Actor, use: KeyUse, number: int, voucher: str) -> None:
        note = Note(code=f"{use.value}/{number}", reason=voucher)
        self._log.record(Event(Action.LOG_KEY_ROTATED, Outcome.GRANTED, actor, note=note))

    def rewrap(self, actor: Actor, report: Callable[[int], None], *, per_second: int | None = None) -> Rewrapped:
        """Bring what is left under the active master key. Its end is in the log with the count, and with what failed."""
        self._log.record(Event(Action.KEY_REWRAP, Outcome.GRANTED, actor))
        result = self.rewrapping.run(report, per_second=per_second)
        outcome = Outcome.SUCCESS if result.is_complete else Outcome.PARTIAL
        code = f"kek/{result.master}" if result.is_complete else f"kek/{result.master}:left={sum(result.left.values())}"
        self._log.record(Event(Action.KEY_REWRAP, outcome, actor, note=Note(count=result.done, code=code)))
        return result

    def reindex(self, actor: Actor, report: Callable[[int], None], *, per_second: int | None = None) -> Reindexed:
        """Bring search values and fingerprints under the active MAC key. Its end is in the log like a rewrapping's."""
        self._log.record(Event(Action.KEY_REWRAP, Outcome.GRANTED, actor))
        result = self.reindexing.run(report, per_second=per_second)
        outcome = Outcome.SUCCESS if result.is_complete else Outcome.PARTIAL
        code = f"mac/{result.mac}" if result.is_complete else f"mac/{result.mac}:left={sum(result.left.values())}"
        note = Note(count=result.patients + result.versions, code=code)
        self._log.record(Event(Action.KEY_REWRAP, outcome, actor, note=note))
        return result

    def retire(self, actor: Actor, use: KeyUse, number: int) -> KeyRecord:
        """The first of two: ask for the destruction of a version under which nothing stands. ``restore`` takes it back.

        Raises Forbidden, StepUpRequired, NotFound, Conflict (active, still needed, already asked for).
        """
        policy.authorise(actor, Act.KEYS_OPERATE, self._clock())
        record = self._destroyable(use, number)
        row = {"use": use.value, "number": number, "person": actor.person, "at": self._clock()}

        def work() -> KeyRecord:
            if self.retired_by(use, number) is not None:
                raise Conflict(f"the destruction of {use.value} {number} was asked for already; an owner has to agree")
            self._db.write(lambda connection: connection.execute(insert(key_retirements).values(**row)).rowcount)
            return record

        return self._logged(actor, Action.KEY_DESTROY, f"{use.value}/{number}:asked", work, Outcome.PARTIAL)

    def restore(self, actor: Actor, use: KeyUse, number: int) -> None:
        """Take a request for destruction back."""
        policy.authorise(actor, Act.KEYS_OPERATE, self._clock())

        def work() -> None:
            gone = delete(key_retirements).where(key_retirements.c.use == use.value, key_retirements.c.number == number)
            if not self._db.write(lambda connection: connection.execute(gone).rowcount):
                raise NotFound(f"nobody asked for the destruction of {use.value} {number}")

        self._logged(actor, Action.KEY_DESTROY, f"{use.value}/{number}:taken_back", work, Outcome.PARTIAL)

    def destroy(self, actor: Actor, use: KeyUse, number: int) -> KeyRecord:
        """The second of two: destroy a retired version in the token, for good.

        Raises Forbidden (the same person, or no owner), StepUpRequired, NotFound, Conflict (not retired, still needed).
        """
        life = self.lifecycle
        record, _ = self._agreed(actor, use, number)
        return self._logged(actor, Action.KEY_DESTROY, f"{use.value}/{number}", lambda: life.destroy(record))

    def release(self, actor: Actor, use: KeyUse, number: int) -> str:
        """The second of two beside a key process: the signed note by which its host destroys a retired version.

        Signed by the audit key over the socket (docs/format.md, "Key releases"). Raises as ``destroy`` does, and Conflict where
        this process holds the token itself.
        """
        if self._lifecycle is not None:
            raise Conflict("this vault holds its own token: an owner destroys a key with coffre keys destroy")
        record, asked = self._agreed(actor, use, number)

        def work(granted: Receipt) -> str:
            said = Release(
                use=use.value,
                number=number,
                key=record.key_id.hex(),
                tenant=self._log.tenant,
                asked_by=asked.person,
                asked_at=asked.at,
                agreed_by=str(actor.person),
                event=granted.event,
                at=self._clock(),
            )
            return signed(RELEASE_FORMAT, said.said(), self._log.tenant, self._keys)

        return self._told(actor, Action.KEY_DESTROY, f"{use.value}/{number}:released", work, Outcome.PARTIAL)

    def _agreed(self, actor: Actor, use: KeyUse, number: int) -> tuple[KeyRecord, _Asked]:
        """What two people want to end, and who asked for it."""
        policy.authorise(actor, Act.KEYS_APPROVE, self._clock())
        asked = self._asked(use, number)
        if asked is None:
            raise Conflict(f"{use.value} {number} was not retired: an administrator asks first (coffre keys retire)")
        if asked.person == actor.person:
            raise Forbidden("two people destroy a key: the one who asked can't be the one who agrees")
        return self._destroyable(use, number), asked

    def retired_by(self, use: KeyUse, number: int) -> PersonId | None:
        """Who asked for a version's destruction, where somebody did."""
        asked = self._asked(use, number)
        return None if asked is None else asked.person

    def _asked(self, use: KeyUse, number: int) -> _Asked | None:
        table = key_retirements.c
        statement = select(table.person, table.at).where(table.use == use.value, table.number == number)
        with self._db.read() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else _Asked(PersonId(row.person), row.at)

    def scope_counts(self) -> dict[int, int]:
        """How many scope keys stand under each master key."""
        return self._keyring.scopes_by_master()

    def _destroyable(self, use: KeyUse, number: int) -> KeyRecord:
        record = self._known(use, number)
        if record.state in {KeyState.ACTIVE, KeyState.DESTROYED}:
            raise Conflict(f"{use.value} {number} is {record.state.value}: only a key that is out of use can be destroyed")
        if use is KeyUse.MASTER and (needed := self._keyring.scopes_by_master().get(number, 0)):
            raise Conflict(f"{needed} scope keys still stand under master key {number}: run coffre keys rewrap first")
        if use is KeyUse.MAC and (stands := self.reindexing.standing().get(number)):
            what = " and ".join(f"{count} {name}" for name, count in stands.items())
            raise Conflict(f"{what} still stand under MAC key {number}: run coffre keys reindex first")
        return record

    def _known(self, use: KeyUse, number: int) -> KeyRecord:
        """From this process's registry, or the key process's. Raises NotFound, KeysUnavailable."""
        source = self._keys if self._lifecycle is None else self._lifecycle
        with key_faults():
            try:
                return source.record(use, number)
            except KeyMissing as error:
                raise NotFound(f"there is no {use.value} key {number}") from error

    def _logged(self, actor: Actor, action: Action, what: str, work: Callable[[], T], outcome: Outcome = Outcome.SUCCESS) -> T:
        return self._told(actor, action, what, lambda _granted: work(), outcome)

    def _told(self, actor: Actor, action: Action, what: str, work: Callable[[Receipt], T], outcome: Outcome) -> T:
        """No log, no act: the event stands before the work, and a second one says how it ended."""
        granted = self._log.record(Event(action, Outcome.GRANTED, actor, note=Note(code=what)))
        try:
            result = work(granted)
        except (VaultError, KmsError) as error:
            self._log.record(Event(action, Outcome.FAILED, actor, note=Note(code=error.code), ref=granted.event))
            raise
        self._log.record(Event(action, outcome, actor, note=Note(code=what), ref=granted.event))
        return result
