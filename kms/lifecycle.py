"""Owns the life of key versions: pending → active → decrypt-only → destroyed, each step safe to repeat after a crash.

For operators only: nothing here is reachable through KeyService. It must not know what stands under a key.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from kms import canary
from kms import constants as ck
from kms.cryptoki import CryptokiError
from kms.errors import BadSettings, KeyMissing, KeysUnavailable, WrongToken
from kms.keys import KeyRecord, KeyState, KeyUse, Registry
from kms.objects import destroy, find, generate, is_offered, label_of, weaknesses
from kms.sessions import KeyNotFound, Session
from kms.settings import KmsSettings
from kms.suites import KeyInUse
from kms.token import TokenKeys

T = TypeVar("T")

GENERATE_MS = 60_000
"""A network HSM may take its time over a key pair."""


def _seconds() -> int:
    return int(time.time())


class Lifecycle:
    """Makes, activates and ends key versions on the token of a KeyService."""

    def __init__(self, keys: TokenKeys, registry: Registry, clock: Callable[[], int] = _seconds) -> None:
        """``clock`` gives seconds since the epoch."""
        self.keys = keys
        self._registry = registry
        self._clock = clock
        self._prefix = keys.prefix

    def records(self) -> list[KeyRecord]:
        """Every version ever made, oldest first within a use."""
        return sorted(self._registry.records(), key=lambda record: (record.use, record.number))

    def record(self, use: KeyUse, number: int) -> KeyRecord:
        """One version, whatever its state. Raises KeyMissing."""
        for record in self._registry.records():
            if (record.use, record.number) == (use, number):
                return record
        raise KeyMissing(f"the registry has no {use} key {number}")

    def create(self, use: KeyUse) -> KeyRecord:
        """A new PENDING version, generated in the token, with its canary. Finishes one that a crash left half made.

        The row is written first: a key without a row would be lost in the token, a row without a key is completed here.
        """
        mine = [record for record in self._registry.records() if record.use is use]
        record = next((known for known in mine if known.state is KeyState.PENDING), None)
        if record is None:
            number = max((known.number for known in mine), default=0) + 1
            record = KeyRecord(use, number, KeyState.PENDING, secrets.token_bytes(16), b"", self._clock())
            self._run(lambda session: self._refuse_stranger(session, use, number))
            self._registry.save(record)
        return record if record.canary else self._finish(record)

    def _finish(self, record: KeyRecord) -> KeyRecord:
        finished = replace(record, canary=self._run(lambda session: self._make(session, record)))
        self._registry.save(finished)
        return finished

    def activate(self, record: KeyRecord) -> KeyRecord:
        """Make a version the one that new work uses; the one before opens only. Other processes notice within seconds."""
        if record.state is KeyState.DESTROYED or not record.canary:
            raise BadSettings(f"{record.use} key {record.number} can't become active: it is {record.state}")
        active = replace(record, state=KeyState.ACTIVE)
        self._registry.save(active)
        for other in self._registry.records():
            if other.use is record.use and other.number != record.number and other.state is KeyState.ACTIVE:
                self._registry.save(replace(other, state=KeyState.DECRYPT_ONLY))
        self.keys.ledger.forget()
        return active

    def rotate(self, use: KeyUse) -> KeyRecord:
        """``create`` and ``activate``."""
        return self.activate(self.create(use))

    def found_on_this_token(self) -> list[KeyRecord]:
        """The active keys, made anew for each use whose active key is not on the token that the settings name now.

        For a move to an empty token: the keys of the old one stay in the registry, to open only. Safe to repeat.
        """
        active = []
        for use in self.offered():
            known = [record for record in self._registry.records() if record.use is use and record.state is KeyState.ACTIVE]
            newest = max(known, key=lambda record: record.number, default=None)
            active.append(self.rotate(use) if newest is None or self.check(newest) else newest)
        return active

    def offered(self) -> list[KeyUse]:
        """Every use but those that this token has no mechanism for and that a vault can do without."""
        profile = self.keys.pool.profile
        has_edwards = self._run(lambda session: is_offered(session, profile, KeyUse.AUDIT_ED))
        return [use for use in KeyUse if use is not KeyUse.AUDIT_ED or has_edwards]

    def destroy(self, record: KeyRecord) -> KeyRecord:
        """End a version for good, in token and registry. Whoever calls has made sure that nothing stands under it."""
        if record.state is KeyState.ACTIVE:
            raise BadSettings(f"{record.use} key {record.number} is active: rotate first")
        self._registry.save(replace(record, state=KeyState.DESTROYED))
        self.keys.ledger.forget()
        self._run(lambda session: destroy(session, self._prefix, record))
        return replace(record, state=KeyState.DESTROYED)

    def check(self, record: KeyRecord) -> list[str]:
        """What is wrong with a version, in plain sentences.

        Empty when it is there once, is the right one and can't leave the token.
        """
        if record.state is KeyState.DESTROYED:
            return self._run(lambda session: self._still_there(session, record))
        if not record.canary:
            return [f"it was never finished; run: coffre keys create {record.use}"]
        return self._run(lambda session: self._faults(session, record))

    # --- in the token ---

    def _run(self, work: Callable[[Session], T]) -> T:
        """``work`` in a session that may write. A token that refuses is one sentence, and nothing is made instead."""
        try:
            return self.keys.pool.run(work, timeout_ms=GENERATE_MS, writable=True)
        except CryptokiError as error:
            if error.rv == ck.CKR_TOKEN_WRITE_PROTECTED:
                raise BadSettings(f"the token {self.keys.pool.label!r} is write-protected") from error
            raise KeysUnavailable(f"the token does not do its work ({error})") from error

    def _refuse_stranger(self, session: Session, use: KeyUse, number: int) -> None:
        label = label_of(self._prefix, use, number)
        if session.cryptoki.find(session.open, {ck.CKA_LABEL: label}):
            raise BadSettings(
                f"the token {session.token.label!r} already holds a key labelled {label} that this vault doesn't know: "
                "use another token, or another [kms] key_label"
            )

    def _make(self, session: Session, record: KeyRecord) -> bytes:
        """Generate, or take up what a crash left; gives the canary."""
        profile = self.keys.pool.profile
        destroy(session, self._prefix, record)  # half made and never used: its public half may be missing
        public_key = generate(session, profile, self._prefix, record)
        if record.use.is_signing:
            return public_key
        handle = find(session, self._prefix, record)
        return canary.make(KeyInUse(session, handle, profile, record.number), record.use, self.keys.entropy)

    def _faults(self, session: Session, record: KeyRecord) -> list[str]:
        profile = self.keys.pool.profile
        try:
            handle = find(session, self._prefix, record)
            canary.check(KeyInUse(session, handle, profile, record.number), record)
        except KeyNotFound:
            return ["it is not on the token; restore the token's backup"]
        except (KeyMissing, WrongToken) as error:
            return [str(error)]
        except CryptokiError as error:
            return [f"it does not open its canary ({error})"]
        return weaknesses(session, profile, record.use, handle)

    def _still_there(self, session: Session, record: KeyRecord) -> list[str]:
        label = label_of(self._prefix, record.use, record.number)
        left = session.cryptoki.find(session.open, {ck.CKA_LABEL: label, ck.CKA_ID: record.key_id})
        return [f"it is still on the token; run: coffre keys destroy {record.use} {record.number}"] if left else []


def create_first_keys(settings: KmsSettings, registry: Registry) -> None:
    """The first keys of a vault (Ed25519 where the token offers it), made in the token and active.

    Safe to repeat: keeps what is there.
    """
    if settings.socket is not None:
        return  # made on the key process's host: coffre keys renew
    keys = TokenKeys(settings, registry)
    try:
        life = Lifecycle(keys, registry)
        for use in life.offered():
            if not any(record.use is use and record.state is KeyState.ACTIVE for record in registry.records()):
                life.activate(life.create(use))
    finally:
        keys.close()
