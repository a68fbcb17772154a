"""A KeyService in memory for other rooms' tests: real AES-GCM, HMAC and ECDSA, no token; fails when a test says so."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kms.constants import CKM_AES_GCM
from kms.errors import KeyDestroyed, KeyMissing, KeysUnavailable, KmsError, UnwrapRejected
from kms.keys import TEXT_BYTES, Health, KeyRecord, KeyState, KeyUse, Mark, Purpose, Secret, Secrets, Signature, WrappedKey
from kms.token import mac_input
from kms.wrapped import LARGEST, SMALLEST, Parts, Suite, join, take_apart


class MemoryRegistry:
    """``Registry`` in a dictionary; durable as long as the object."""

    def __init__(self) -> None:
        self._rows: dict[tuple[KeyUse, int], KeyRecord] = {}
        self._lock = threading.Lock()

    def records(self) -> list[KeyRecord]:
        with self._lock:
            return list(self._rows.values())

    def save(self, record: KeyRecord) -> None:
        with self._lock:
            known = self._rows.get((record.use, record.number))
            self._rows[record.use, record.number] = record if known is None else replace(record, wraps=known.wraps)

    def count_wraps(self, number: int, wraps: int) -> None:
        with self._lock:
            known = self._rows[KeyUse.MASTER, number]
            self._rows[KeyUse.MASTER, number] = replace(known, wraps=known.wraps + wraps)


class FakeKeyService:
    """``KeyService`` without a token.

    ``fail_at(3)`` makes the third call from now raise (default KeysUnavailable); ``break_down()`` makes every call raise until
    ``repair()``. ``calls`` counts calls by name.
    """

    def __init__(self) -> None:
        self._masters = {1: os.urandom(32)}
        self._macs = {1: os.urandom(32)}
        self._audits = {1: ec.generate_private_key(ec.SECP256R1())}
        self._edwards = {1: Ed25519PrivateKey.generate()}
        self._mark: Mark | None = None
        self.keeps_marks = True
        """False for a token that stores no data objects."""
        self._destroyed: set[int] = set()
        self._lock = threading.Lock()
        self._countdown = 0
        self._error: KmsError = KeysUnavailable("the fake token is away")
        self._is_down = False
        self.is_closed = False
        self.calls: dict[str, int] = {}

    # --- what a test may do ---

    def fail_at(self, nth: int, error: KmsError | None = None) -> None:
        """Make the ``nth`` call from now (1 = the next) raise ``error`` once."""
        self._countdown, self._error = nth, error or KeysUnavailable("the fake token is away")

    def break_down(self, error: KmsError | None = None) -> None:
        """Make every call raise until ``repair``."""
        self._is_down, self._error = True, error or KeysUnavailable("the fake token is away")

    def repair(self) -> None:
        """Undo ``break_down``."""
        self._is_down = False

    def rotate(self, use: KeyUse = KeyUse.MASTER) -> int:
        """A new active version; the ones before open only."""
        match use:
            case KeyUse.MASTER:
                self._masters[len(self._masters) + 1] = os.urandom(32)
            case KeyUse.MAC:
                self._macs[len(self._macs) + 1] = os.urandom(32)
            case KeyUse.AUDIT:
                self._audits[len(self._audits) + 1] = ec.generate_private_key(ec.SECP256R1())
            case KeyUse.AUDIT_ED:
                self._edwards[len(self._edwards) + 1] = Ed25519PrivateKey.generate()
        return self.active(use)

    def lose_edwards(self) -> None:
        """From now on a token without Ed25519."""
        self._edwards = {}

    def destroy(self, number: int) -> None:
        """Destroy a master key version."""
        self._destroyed.add(number)

    def _enter(self, name: str) -> None:
        with self._lock:
            self.calls[name] = self.calls.get(name, 0) + 1
            if self.is_closed:
                raise KeysUnavailable("the key service is closed")
            if self._is_down:
                raise self._error
            if self._countdown:
                self._countdown -= 1
                if not self._countdown:
                    raise self._error

    # --- KeyService ---

    def wrap(self, secret: bytes | bytearray, *, context: bytes) -> WrappedKey:
        if not SMALLEST <= len(secret) <= LARGEST:
            raise ValueError(f"a secret has {SMALLEST} to {LARGEST} bytes")
        self._enter("wrap")
        number = self.active(KeyUse.MASTER)
        parts = Parts(Suite.GCM, number, CKM_AES_GCM, os.urandom(12), b"")
        body = AESGCM(self._masters[number]).encrypt(parts.iv, bytes(secret), parts.associated_data(context))
        return join(parts._replace(body=body))

    def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> Secret:
        self._enter("unwrap")
        parts = take_apart(wrapped)
        if parts.number not in self._masters:
            raise KeyMissing(f"the registry has no kek key {parts.number}")
        if parts.number in self._destroyed:
            raise KeyDestroyed(f"kek key {parts.number} was destroyed on purpose")
        try:
            return Secret(AESGCM(self._masters[parts.number]).decrypt(parts.iv, parts.body, parts.associated_data(context)))
        except InvalidTag:
            raise UnwrapRejected(f"a wrapped key is not authentic under master key {parts.number}") from None

    def unwrap_many(self, items: Sequence[tuple[WrappedKey, bytes]]) -> Secrets:
        opened = Secrets()
        for wrapped, context in items:
            opened.add(partial(self.unwrap, wrapped, context=context))
        return opened

    def rewrap(self, wrapped: WrappedKey, *, context: bytes) -> WrappedKey:
        if self.number_of(wrapped) == self.active(KeyUse.MASTER):
            return wrapped
        with self.unwrap(wrapped, context=context) as secret:
            return self.wrap(secret.view, context=context)

    def rewrap_many(self, items: Sequence[tuple[WrappedKey, bytes]]) -> list[WrappedKey | KmsError]:
        done: list[WrappedKey | KmsError] = []
        for wrapped, context in items:
            try:
                done.append(self.rewrap(wrapped, context=context))
            except KmsError as error:
                if error.retryable:
                    raise
                done.append(error)
        return done

    def mac(self, purpose: Purpose, message: bytes, *, number: int | None = None) -> bytes:
        return self.macs(purpose, [message], number=number)[0]

    def macs(self, purpose: Purpose, messages: Sequence[bytes], *, number: int | None = None) -> list[bytes]:
        self._enter("mac")
        key = self._macs.get(number or self.active(KeyUse.MAC))
        if key is None:
            raise KeyMissing(f"the registry has no mac key {number}")
        made = []
        for message in messages:
            code = hmac.HMAC(key, hashes.SHA256())
            code.update(mac_input(purpose, message))
            made.append(code.finalize())
        return made

    def sign(self, digest: bytes) -> Signature:
        if len(digest) != 32:
            raise ValueError("a SHA-256 digest has 32 bytes")
        self._enter("sign")
        number = self.active(KeyUse.AUDIT)
        r, s = decode_dss_signature(self._audits[number].sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return Signature(number, r.to_bytes(32) + s.to_bytes(32))

    def sign_text(self, text: bytes) -> Signature | None:
        if len(text) > TEXT_BYTES:
            raise ValueError(f"a text to be signed has {TEXT_BYTES} bytes at most")
        self._enter("sign_text")
        if not self._edwards:
            return None
        number = len(self._edwards)
        return Signature(number, self._edwards[number].sign(text))

    def public_key(self, number: int | None = None, use: KeyUse = KeyUse.AUDIT) -> bytes:
        number = number or self.active(use)
        key = self._audits.get(number) if use is KeyUse.AUDIT else self._edwards.get(number)
        if key is None:
            raise KeyMissing(f"the registry has no {use} key {number}")
        return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def mark(self) -> Mark | None:
        self._enter("mark")
        return self._mark

    def raise_mark(self, mark: Mark) -> Mark | None:
        self._enter("raise_mark")
        if not self.keeps_marks:
            return None
        if self._mark is None or mark.is_above(self._mark):
            self._mark = mark
        return self._mark

    def active(self, use: KeyUse) -> int:
        count = {
            KeyUse.MASTER: len(self._masters),
            KeyUse.MAC: len(self._macs),
            KeyUse.AUDIT: len(self._audits),
            KeyUse.AUDIT_ED: len(self._edwards),
        }[use]
        if not count:
            raise KeyMissing(f"no {use} key is active")
        return count

    def versions(self, use: KeyUse) -> tuple[int, ...]:
        return tuple(range(self.active(use), 0, -1))

    def record(self, use: KeyUse, number: int) -> KeyRecord:
        if number not in self.versions(use):
            raise KeyMissing(f"the registry has no {use} key {number}")
        state = KeyState.ACTIVE if number == self.active(use) else KeyState.DECRYPT_ONLY
        return KeyRecord(use, number, state, hashlib.sha256(f"{use}/{number}".encode()).digest()[:16], b"", 1_790_000_000)

    def number_of(self, wrapped: WrappedKey) -> int:
        return take_apart(wrapped).number

    def random(self, count: int) -> bytes:
        self._enter("random")
        return os.urandom(count)

    def health(self) -> Health:
        try:
            self._enter("health")
        except KmsError as error:
            return Health(ok=False, detail=str(error), code=error.code)
        return Health(ok=True, detail="the fake token answers")

    def close(self) -> None:
        self.is_closed = True


def first_record(use: KeyUse = KeyUse.MASTER) -> KeyRecord:
    """A record that looks like a fresh active key, for tests of registries."""
    return KeyRecord(use, 1, KeyState.ACTIVE, os.urandom(16), b"canary", 1_790_000_000)
