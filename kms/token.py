"""Owns the KeyService over a PKCS#11 token: finding keys, proving them by their canary, telling forgery from outage.

It must not know what the secrets protect, nor how keys are made (kms/lifecycle.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from kms import canary, marks
from kms import constants as ck
from kms.cryptoki import CryptokiError, Mechanism
from kms.errors import KeyMissing, KeysUnavailable, KmsError, UnwrapRejected, WrongToken
from kms.keys import TEXT_BYTES, Health, KeyRecord, KeyUse, Mark, Purpose, Registry, Secret, Secrets, Signature, WrappedKey
from kms.ledger import WRAP_ALARM, Ledger
from kms.objects import find
from kms.sessions import KeyNotFound, Pool, Session
from kms.settings import KmsSettings
from kms.suites import KeyInUse, unwrap, wrap
from kms.wrapped import LARGEST, SMALLEST, take_apart

T = TypeVar("T")
Work = Callable[[KeyInUse], T]
"""What to do with a key that has proved itself."""

MAC_LABEL = b"coffre/mac/v1\x00"
CANARIES = (1, 2, 1)
"""How many canaries must sing after each failed try before a wrapped key is called forged.

The uneven rhythm defeats a module that fails every n-th call: no period hits all three tries and spares all four canaries.
"""
TOGETHER = 64
"""How many secrets one call on a lane opens or rewraps: some milliseconds, far from any deadline."""
A_FEW = 16
"""Somebody else may wait behind so many: a quarter of a millisecond on a software token."""
MISSING_SECONDS = 10.0
"""How long a key found missing on a healthy token is believed missing, before the token is looked at afresh."""


def could_be_forgery(error: CryptokiError) -> bool:
    """Whether the token's answer may mean "this ciphertext is not authentic". SoftHSM 2.6 says GENERAL_ERROR for that."""
    return error.function in {"C_Decrypt", "C_UnwrapKey"} and error.rv in {
        ck.CKR_GENERAL_ERROR,
        ck.CKR_FUNCTION_FAILED,
        ck.CKR_DATA_INVALID,
        ck.CKR_DATA_LEN_RANGE,
        ck.CKR_DEVICE_ERROR,
        ck.CKR_ENCRYPTED_DATA_INVALID,
        ck.CKR_ENCRYPTED_DATA_LEN_RANGE,
        ck.CKR_AEAD_DECRYPT_FAILED,
        ck.CKR_WRAPPED_KEY_INVALID,
        ck.CKR_WRAPPED_KEY_LEN_RANGE,
    }


def mac_input(purpose: Purpose, message: bytes) -> bytes:
    """What is MACed: no message under one purpose equals another under a second one."""
    return MAC_LABEL + purpose.encode() + b"\x00" + message


class TokenKeys:
    """``KeyService`` over a token. Thread-safe; opened after any fork; touches the module at the first call only."""

    def __init__(self, settings: KmsSettings, registry: Registry) -> None:
        """Raises BadSettings; a token that is away is no reason not to open."""
        self.prefix = settings.key_label
        self.entropy: Callable[[int], bytes] = os.urandom
        self.ledger = Ledger(registry)
        self.pool = Pool(settings)
        self._suspected: dict[tuple[KeyUse, int], int] = {}
        self._keeps_marks = True
        self._missing: dict[tuple[KeyUse, int], float] = {}

    # --- KeyService ---

    def wrap(self, secret: bytes | bytearray, *, context: bytes) -> WrappedKey:
        """See KeyService.wrap. Raises ValueError where the secret has not 16 to 64 bytes."""
        _check_size(secret)
        record = self.ledger.active(KeyUse.MASTER)
        self.ledger.count_wraps(record)
        return self._with_key(record, lambda key: wrap(key, secret, context, self.entropy))

    def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> Secret:
        """See KeyService.unwrap."""
        parts = take_apart(wrapped)
        return self._judged(self.ledger.record(KeyUse.MASTER, parts.number), lambda key: unwrap(key, parts, context))

    def unwrap_many(self, items: Sequence[tuple[WrappedKey, bytes]]) -> Secrets:
        """See KeyService.unwrap_many. Many in one call on a lane, so that the hand-over is paid once."""
        opened = Secrets()
        for start in range(0, len(items), TOGETHER):
            some = items[start : start + TOGETHER]
            try:
                opened += self._unwrap_together(some)
            except (KmsError, CryptokiError, KeyNotFound):
                for wrapped, context in some:
                    opened.add(partial(self.unwrap, wrapped, context=context))
        return opened

    def _unwrap_together(self, items: Sequence[tuple[WrappedKey, bytes]]) -> Secrets:
        work = [(take_apart(wrapped), context) for wrapped, context in items]
        records = {number: self.ledger.record(KeyUse.MASTER, number) for number in {parts.number for parts, _ in work}}

        def together(session: Session) -> Secrets:
            found = Secrets()
            try:
                for parts, context in work:
                    found.append(unwrap(self._key(session, records[parts.number]), parts, context))
            except BaseException:
                found.wipe()
                raise
            return found

        return self.pool.run(together, is_long=len(work) > A_FEW)

    def rewrap(self, wrapped: WrappedKey, *, context: bytes) -> WrappedKey:
        """See KeyService.rewrap."""
        if self.is_current(wrapped):
            return wrapped
        with self.unwrap(wrapped, context=context) as secret:
            return self.wrap(secret.view, context=context)

    def rewrap_many(self, items: Sequence[tuple[WrappedKey, bytes]]) -> list[WrappedKey | KmsError]:
        """See KeyService.rewrap_many. Many in one call on a lane, so that the hand-over is paid once."""
        done: list[WrappedKey | KmsError] = []
        for start in range(0, len(items), TOGETHER):
            some = items[start : start + TOGETHER]
            try:
                done += self._rewrap_together(some)
            except (KmsError, CryptokiError, KeyNotFound):
                done += [self._rewrapped_or_error(wrapped, context) for wrapped, context in some]
        return done

    def _rewrap_together(self, items: Sequence[tuple[WrappedKey, bytes]]) -> list[WrappedKey]:
        active = self.ledger.active(KeyUse.MASTER)
        work = [(wrapped, take_apart(wrapped), context) for wrapped, context in items]
        records = {number: self.ledger.record(KeyUse.MASTER, number) for number in {parts.number for _, parts, _ in work}}
        self.ledger.count_wraps(active, len(items))

        def together(session: Session) -> list[WrappedKey]:
            fresh, suite = self._key(session, active), self.pool.profile.suite
            done = []
            for wrapped, parts, context in work:
                if parts.number == active.number and parts.suite is suite:
                    done.append(wrapped)
                    continue
                with unwrap(self._key(session, records[parts.number]), parts, context) as secret:
                    done.append(wrap(fresh, secret.view, context, self.entropy))
            return done

        return self.pool.run(together, is_long=True)

    def _rewrapped_or_error(self, wrapped: WrappedKey, context: bytes) -> WrappedKey | KmsError:
        try:
            return self.rewrap(wrapped, context=context)
        except KmsError as error:
            if error.retryable:
                raise
            return error

    def is_current(self, wrapped: WrappedKey) -> bool:
        """Whether ``wrapped`` already stands under the active master key in this profile's suite."""
        parts = take_apart(wrapped)
        return parts.number == self.active(KeyUse.MASTER) and parts.suite is self.pool.profile.suite

    def mac(self, purpose: Purpose, message: bytes, *, number: int | None = None) -> bytes:
        """See KeyService.mac."""
        return self.macs(purpose, [message], number=number)[0]

    def macs(self, purpose: Purpose, messages: Sequence[bytes], *, number: int | None = None) -> list[bytes]:
        """See KeyService.macs. Many in one call on a lane, so that the hand-over is paid once."""
        record = self.ledger.active(KeyUse.MAC) if number is None else self.ledger.record(KeyUse.MAC, number)
        data, mechanism = [mac_input(purpose, message) for message in messages], Mechanism(ck.CKM_SHA256_HMAC)
        made = list[bytes]()
        for start in range(0, len(data), TOGETHER):
            some = data[start : start + TOGETHER]
            made += self._with_key(record, lambda key, some=some: [_sign(key, mechanism, each) for each in some])  # type: ignore[misc]  # bound now
        return made

    def sign(self, digest: bytes) -> Signature:
        """See KeyService.sign. Raises ValueError where the digest has not 32 bytes."""
        if len(digest) != 32:
            raise ValueError("a SHA-256 digest has 32 bytes")
        record, mechanism = self.ledger.active(KeyUse.AUDIT), Mechanism(ck.CKM_ECDSA)
        raw = self._with_key(record, lambda key: _sign(key, mechanism, digest))
        return Signature(record.number, raw)

    def sign_text(self, text: bytes) -> Signature | None:
        """See KeyService.sign_text. Raises ValueError for a text that is too long."""
        if len(text) > TEXT_BYTES:
            raise ValueError(f"a text to be signed has {TEXT_BYTES} bytes at most")
        try:
            record = self.ledger.active(KeyUse.AUDIT_ED)
        except KeyMissing:
            return None
        mechanism = Mechanism(ck.CKM_EDDSA)
        return Signature(record.number, self._with_key(record, lambda key: _sign(key, mechanism, text)))

    def public_key(self, number: int | None = None, use: KeyUse = KeyUse.AUDIT) -> bytes:
        """See KeyService.public_key; read from the registry, without the token."""
        if number is None:
            return self.ledger.active(use).canary
        return self.record(use, number).canary

    def mark(self) -> Mark | None:
        """See KeyService.mark. The audit key sings first: on a lost token every search comes back empty, without an error."""
        record = self.ledger.active(KeyUse.AUDIT)

        def work(key: KeyInUse) -> Mark | None:
            canary.check(key, record)
            return marks.highest(key.session, self.prefix)

        return self._with_key(record, work)

    def raise_mark(self, mark: Mark) -> Mark | None:
        """See KeyService.raise_mark. A token that refused once is not asked again by this process."""
        if self._keeps_marks:
            try:
                return self.pool.run(lambda session: marks.put(session, self.prefix, mark), writable=True)
            except CryptokiError as error:
                if error.rv not in ck.CANNOT_STORE:
                    raise KeysUnavailable(f"the token does not do its work ({error})") from error
                self._keeps_marks = False
        return None

    def active(self, use: KeyUse) -> int:
        """See KeyService.active."""
        return self.ledger.active(use).number

    def versions(self, use: KeyUse) -> tuple[int, ...]:
        """See KeyService.versions."""
        return self.ledger.versions(use)

    def record(self, use: KeyUse, number: int) -> KeyRecord:
        """See KeyService.record; read from the registry, without the token."""
        for record in self.ledger.records():
            if (record.use, record.number) == (use, number):
                return record
        raise KeyMissing(f"the registry has no {use} key {number}")

    def number_of(self, wrapped: WrappedKey) -> int:
        """See KeyService.number_of."""
        return take_apart(wrapped).number

    def random(self, count: int) -> bytes:
        """See KeyService.random. Neither generator alone decides."""
        theirs = self._careful(lambda session: session.cryptoki.random(session.open, count))
        ours = self.entropy(count)
        return bytes(a ^ b for a, b in zip(theirs, ours, strict=True))

    def health(self) -> Health:
        """See KeyService.health."""
        facts: dict[str, str | int] = {"module": str(self.pool.module.path), "profile": self.pool.profile.name}
        try:
            record = self.ledger.active(KeyUse.MASTER)
            self._prove(record)
            facts |= self._with_key(record, lambda key: _facts(key.session))
        except KmsError as error:
            return Health(ok=False, detail=str(error), code=error.code, facts=facts)
        facts |= {"master": record.number, "wraps": record.wraps, "sessions": self.pool.in_use}
        facts |= {"reopenings": self.pool.module.reopenings}
        if record.wraps >= WRAP_ALARM:
            detail = f"the token answers; master key {record.number} has wrapped {record.wraps} secrets: run coffre keys rotate"
            return Health(ok=True, detail=detail, facts=facts)
        return Health(ok=True, detail="the token answers and the master key proves itself", facts=facts)

    def close(self) -> None:
        """See KeyService.close."""
        self.pool.close()

    # --- finding keys ---

    def _with_key(self, record: KeyRecord, work: Work[T]) -> T:
        """``work`` with the record's key.

        An operation that fails is tried once more in a fresh session, then the epoch is given up.
        """
        try:
            return self._attempt(record, work)
        except CryptokiError:
            pass
        epoch = self.pool.module.epoch
        try:
            return self._attempt(record, work)
        except CryptokiError as error:
            self.pool.lose(epoch)
            raise KeysUnavailable(f"the token does not do its work ({error})") from error

    def _judged(self, record: KeyRecord, work: Work[T]) -> T:
        """``work`` on a ciphertext. Raises UnwrapRejected only where the canary sings each time that this one fails."""
        last: CryptokiError | None = None
        deadline = time.monotonic() + self.pool.timeout_ms / 1000
        for canaries in CANARIES:
            try:
                return self._attempt(record, work)
            except CryptokiError as error:
                last = error
            for _ in range(canaries):
                self._prove(record)
            if time.monotonic() > deadline:
                raise KeysUnavailable(f"the token is too slow to tell why it refuses ({last})")
            if not could_be_forgery(last):
                raise KeysUnavailable(f"the token does not do its work ({last})")
        raise UnwrapRejected(f"a wrapped key is not authentic under master key {record.number} ({last})") from last

    def _attempt(self, record: KeyRecord, work: Work[T]) -> T:
        """One try. An empty search is first taken for a lost token: only a later epoch can say that a key is missing."""
        if self._missing:
            self._refuse_missing(record)
        slot = (record.use, record.number)
        for _ in range(2):
            epoch = self.pool.module.epoch
            try:
                result = self.pool.run(lambda session: work(self._key(session, record)))
            except KeyNotFound as empty:
                if self._suspected.setdefault(slot, empty.epoch) < empty.epoch:
                    del self._suspected[slot]
                    break
                self.pool.lose(max(epoch, empty.epoch))
            else:
                if self._suspected:
                    self._suspected.pop(slot, None)
                return result
        raise self._absence(record)

    def _key(self, session: Session, record: KeyRecord) -> KeyInUse:
        """The key in this session, proved by its canary when it is first found there."""
        slot = (record.use, record.number)
        key_id, key = session.keys.get(slot, (b"", None))
        if key is not None and key_id == record.key_id:
            return key
        key = KeyInUse(session, find(session, self.prefix, record), self.pool.profile, record.number)
        canary.check(key, record)
        session.keys[slot] = (record.key_id, key)
        return key

    def _prove(self, record: KeyRecord) -> None:
        """Let the canary sing. Raises KeysUnavailable where it doesn't: the next call then starts a new epoch."""
        epoch = self.pool.module.epoch
        try:
            self._attempt(record, lambda key: canary.check(key, record))
        except CryptokiError as error:
            self.pool.lose(epoch)
            raise KeysUnavailable(f"the token does not do its work ({error})") from error

    def _refuse_missing(self, record: KeyRecord) -> None:
        since = self._missing.get((record.use, record.number))
        if since is not None and time.monotonic() - since < MISSING_SECONDS:
            raise KeyMissing(f"{record.use} key {record.number} is not on the token; restore the token's backup")
        self._missing.pop((record.use, record.number), None)

    def _absence(self, record: KeyRecord) -> KmsError:
        """Why a present, freshly opened token lacks a key: it lacks this one, or all of them."""
        others = [other for other in self.ledger.records() if other.canary and other.key_id != record.key_id]
        for other in others:
            try:
                self.pool.run(lambda session, other=other: find(session, self.prefix, other))  # type: ignore[misc]  # bound now
            except (KeyNotFound, CryptokiError):
                continue
            self._missing[(record.use, record.number)] = time.monotonic()
            return KeyMissing(f"{record.use} key {record.number} is not on the token; restore the token's backup")
        return WrongToken(
            f"the token {self.pool.label!r} holds none of this vault's keys: it is another token, or an empty one"
        )

    def _careful(self, work: Callable[[Session], T]) -> T:
        try:
            return self.pool.run(work)
        except CryptokiError as error:
            raise KeysUnavailable(f"the token does not do its work ({error})") from error


def _sign(key: KeyInUse, mechanism: Mechanism, data: bytes) -> bytes:
    return key.session.cryptoki.sign(key.key, mechanism, data)


def _check_size(secret: bytes | bytearray) -> None:
    if not SMALLEST <= len(secret) <= LARGEST:
        raise ValueError(f"a secret has {SMALLEST} to {LARGEST} bytes")


def _facts(session: Session) -> dict[str, str | int]:
    return {
        "library": session.cryptoki.library(),
        "token": session.token.label,
        "serial": session.token.serial,
        "model": session.token.description,
        "epoch": session.epoch,
    }
