"""Owns the words of this room: wrapped keys, purposes, key records, marks, and the KeyService that everyone calls.

It must not know PKCS#11, nor what a wrapped secret protects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import NewType, Protocol, Self

from kms.errors import KmsError

TEXT_BYTES = 4096
"""The longest text that ``sign_text`` takes: a checkpoint is a tenth of it."""

WrappedKey = NewType("WrappedKey", bytes)
"""One secret under a master key.

Self-describing bytes (version, suite, key number, mechanism, IV, ciphertext): docs/format.md.
"""


class KeyUse(StrEnum):
    """What a key in the token is for; each use has its own numbered versions."""

    MASTER = "kek"
    MAC = "mac"
    AUDIT = "audit"
    """Signs with ECDSA over P-256."""
    AUDIT_ED = "audit-ed"
    """Signs with Ed25519; only where the token offers it."""

    @property
    def is_signing(self) -> bool:
        """Whether it is a key pair."""
        return self in {KeyUse.AUDIT, KeyUse.AUDIT_ED}


class KeyState(StrEnum):
    """Life of a key version; only one version of a use is ACTIVE."""

    PENDING = "pending"
    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt_only"
    DESTROYED = "destroyed"


class Purpose(StrEnum):
    """Domain separation for ``mac``: the same message under two purposes gives unrelated values."""

    SEARCH = "search"
    FINGERPRINT = "fingerprint"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One row of the registry: which keys exist is written here, never inferred from the token."""

    use: KeyUse
    number: int
    state: KeyState
    key_id: bytes
    """CKA_ID, 16 random bytes."""
    canary: bytes
    """MASTER: a WrappedKey of a known secret. MAC: the MAC of a known message. AUDIT, AUDIT_ED: the public key, SPKI DER."""
    created_at: int
    """Seconds since the epoch, UTC."""
    wraps: int = 0
    """MASTER: how many secrets were wrapped under it (limit 2^32, alarm at 2^28)."""


class Registry(Protocol):
    """Where key records live; implemented over SQL by the room above and in memory by the tests.

    Every method raises KeysUnavailable where the records can't be reached, and nothing else.
    """

    def records(self) -> list[KeyRecord]:
        """Every key version ever made."""

    def save(self, record: KeyRecord) -> None:
        """Insert or replace the record of (use, number), durably, before returning."""

    def count_wraps(self, number: int, wraps: int) -> None:
        """Add ``wraps`` to the MASTER record ``number``."""


class Secret:
    """A secret in memory for the length of a ``with`` block: redacted in ``repr``, wiped on exit."""

    __slots__ = ("_buffer",)

    def __init__(self, value: bytes | bytearray | memoryview) -> None:
        self._buffer = bytearray(value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.wipe()

    def __repr__(self) -> str:
        return f"Secret(<{len(self._buffer)} bytes>)"

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def view(self) -> bytearray:
        """The live buffer; do not keep it past the ``with`` block."""
        return self._buffer

    def copy(self) -> Secret:
        """An independent secret, so that wiping one does not wipe the other."""
        return Secret(self._buffer)

    def wipe(self) -> None:
        """Overwrite the buffer with zeros and empty it."""
        self._buffer[:] = bytes(len(self._buffer))
        self._buffer.clear()


class Secrets(list[Secret | KmsError]):
    """Several secrets opened at once, or the error in the place of one; a ``with`` block wipes them all."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.wipe()

    def wipe(self) -> None:
        """Wipe each."""
        for each in self:
            if isinstance(each, Secret):
                each.wipe()

    def add(self, opening: Callable[[], Secret]) -> None:
        """Add what ``opening`` gives, or its error for good; after a retryable one, wipe all and raise."""
        try:
            self.append(opening())
        except KmsError as error:
            if error.retryable:
                self.wipe()
                raise
            self.append(error)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature made in the token: ECDSA over P-256 (FIPS 186-5) or Ed25519 (RFC 8032)."""

    number: int
    """Which version of the audit key signed."""
    raw: bytes
    """r ‖ s (IEEE P1363) or R ‖ S, 64 bytes both."""


MARK_BYTES = 48


@dataclass(frozen=True, slots=True)
class Mark:
    """A high-water mark: (generation, size) only ever rises, and ``value`` goes with it."""

    generation: int
    size: int
    value: bytes
    """32 bytes."""

    def packed(self) -> bytes:
        """As the token keeps it: generation and size as 8 bytes each, big-endian, then the value."""
        return self.generation.to_bytes(8) + self.size.to_bytes(8) + self.value

    @classmethod
    def unpacked(cls, data: bytes) -> Self:
        """The mark again. Raises ValueError."""
        if len(data) != MARK_BYTES:
            raise ValueError("not a mark")
        return cls(int.from_bytes(data[:8]), int.from_bytes(data[8:16]), data[16:])

    def is_above(self, other: Mark) -> bool:
        """Whether this one may take the place of ``other``."""
        return (self.generation, self.size) > (other.generation, other.size)


@dataclass(frozen=True, slots=True)
class Health:
    """What the token says about itself right now."""

    ok: bool
    detail: str
    """One plain sentence in English, without secrets."""
    code: str | None = None
    """The KmsError code behind ``ok=False``."""
    facts: dict[str, str | int] = field(default_factory=dict)
    """Library, firmware, token label and serial, epoch, sessions in use, mechanism."""


class KeyService(Protocol):
    """Thread-safe; created after any fork. Every method raises KmsError subclasses and nothing else."""

    def wrap(self, secret: bytes | bytearray, *, context: bytes) -> WrappedKey:
        """Encrypt ``secret`` (16 to 64 bytes) under the active master key, bound to ``context``."""

    def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> Secret:
        """The secret again. Raises UnwrapRejected where it is forged or belongs to another context."""

    def unwrap_many(self, items: Sequence[tuple[WrappedKey, bytes]]) -> Secrets:
        """``unwrap`` for many (wrapped, context) pairs at once, in order; the caller wipes them.

        An item that can't be opened for good gives its error in its place; a retryable error is raised for the whole call, and
        nothing stays open.
        """

    def rewrap(self, wrapped: WrappedKey, *, context: bytes) -> WrappedKey:
        """The same secret under the active master key; returns ``wrapped`` itself when it already is."""

    def rewrap_many(self, items: Sequence[tuple[WrappedKey, bytes]]) -> list[WrappedKey | KmsError]:
        """``rewrap`` for many (wrapped, context) pairs at once, in order.

        An item that can't be rewrapped for good gives its error in its place; a retryable error is raised for the whole call.
        """

    def mac(self, purpose: Purpose, message: bytes, *, number: int | None = None) -> bytes:
        """HMAC-SHA-256 (RFC 2104) in the token, 32 bytes, under version ``number`` of the MAC key (default: the active one)."""

    def macs(self, purpose: Purpose, messages: Sequence[bytes], *, number: int | None = None) -> list[bytes]:
        """``mac`` of many messages at once, in order, all under one version."""

    def sign(self, digest: bytes) -> Signature:
        """Sign a 32-byte SHA-256 digest with the active audit key."""

    def sign_text(self, text: bytes) -> Signature | None:
        """Sign up to TEXT_BYTES with the active Ed25519 audit key; None where there is none."""

    def public_key(self, number: int | None = None, use: KeyUse = KeyUse.AUDIT) -> bytes:
        """SubjectPublicKeyInfo DER of an audit key version (default: the active one). Raises KeyMissing."""

    def active(self, use: KeyUse) -> int:
        """The number of the active version of a use."""

    def versions(self, use: KeyUse) -> tuple[int, ...]:
        """The versions of a use that may still be asked, the active one first, then from the newest."""

    def record(self, use: KeyUse, number: int) -> KeyRecord:
        """One version as the registry knows it, whatever its state (over a socket: without its canary). Raises KeyMissing."""

    def number_of(self, wrapped: WrappedKey) -> int:
        """The master key version under which ``wrapped`` stands, read without the token."""

    def mark(self) -> Mark | None:
        """The high-water mark that the token keeps; None where it keeps none."""

    def raise_mark(self, mark: Mark) -> Mark | None:
        """Put ``mark`` into the token unless an equal or a higher one stands there. Nothing lowers it.

        Gives the mark that stands now; None where the token can't keep one.
        """

    def random(self, count: int) -> bytes:
        """``count`` random bytes for keys: the token's generator XOR the kernel's."""

    def health(self) -> Health:
        """Never raises; asks the token (canary round trip)."""

    def close(self) -> None:
        """Log out and finalize; idempotent."""
