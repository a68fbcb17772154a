"""Owns how a sealed body is opened: the whole, authenticated before its first byte, or any range. It must not know who asks.

The library's decryptor reads from front to back; ranges decrypt single chunks after the key commitment and the last chunk,
which proves the length, were checked (C2SP ``chunked-encryption`` v1, "Implementation notes").
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import cycle
from typing import Protocol

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA512, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from kms.keys import Secret
from vault.errors import Tampered
from vault.sealing.ahead import IN_USE, ahead
from vault.sealing.documents import (
    BLOCK_BYTES,
    BLOCK_CHUNKS,
    CHUNK_BYTES,
    COMMITMENT_BYTES,
    HEADER_BYTES,
    PREFIX_BYTES,
    SALT_BYTES,
    SEALED_CHUNK_BYTES,
    TAG_BYTES,
    Body,
)

HELD_BYTES = 4 * BLOCK_BYTES
"""Up to this size the authenticated plaintext is held and released from memory; above, it is decrypted a second time."""
READ_CHUNKS = 2 * BLOCK_CHUNKS
"""What is read at once to be checked, while what was read before is decrypted."""
RELEASED_CHUNKS = BLOCK_CHUNKS // 2
"""What is decrypted at once to be sent, while what was decrypted before is on its way."""
_INFO = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
_NONCE_BYTES = 12
_COBBLESTONE = SHA512()


class Source(Protocol):
    """Sealed bytes that don't change: a blob."""

    @property
    def size(self) -> int: ...
    @property
    def waits(self) -> bool:
        """Whether reading waits for a disk or a line, so that it pays to read ahead."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``offset``. Raises Tampered where the blob ends before."""


def _refuse(what: str) -> Tampered:
    return Tampered(f"a sealed body failed authentication: {what}", kind="body")


def _measured(length: int) -> tuple[int, int]:
    """How many full chunks a message of ``length`` bytes holds, and the plaintext bytes of the last one. Raises Tampered."""
    full, rest = divmod(length - PREFIX_BYTES, SEALED_CHUNK_BYTES)
    if length < PREFIX_BYTES or rest < TAG_BYTES:
        raise _refuse("impossible length")
    return full, rest - TAG_BYTES


class ChunkReader:
    """Random access to one Cobblestone-256 message of ``length`` bytes that starts at ``offset`` of ``source``."""

    def __init__(
        self,
        key: bytes | bytearray,
        context: bytes,
        source: Source,
        offset: int,
        length: int,
        *,
        algorithm: HashAlgorithm = _COBBLESTONE,
    ) -> None:
        """Checks length and key commitment before any chunk. Raises Tampered.

        ``algorithm`` is HKDF's hash: SHA-512 in Cobblestone, SHA-256 in the specification's own vectors.
        """
        full, last_bytes = _measured(length)
        if len(key) != 32:
            raise _refuse("wrong key size")
        prefix = bytearray(PREFIX_BYTES)
        source.read_into(offset, memoryview(prefix))
        info = _INFO + prefix[:SALT_BYTES] + context
        derived = HKDFExpand(algorithm, 32 + _NONCE_BYTES + COMMITMENT_BYTES, info).derive(key)
        if not bytes_eq(derived[32 + _NONCE_BYTES :], bytes(prefix[SALT_BYTES:])):
            raise _refuse("key commitment")
        self._cipher = AESGCM(derived[:32])
        self._nonce = int.from_bytes(derived[32 : 32 + _NONCE_BYTES], "big")
        self._source = source
        self._start = offset + PREFIX_BYTES
        self._last = full
        self._last_bytes = last_bytes
        self.size = full * CHUNK_BYTES + last_bytes

    def check_length(self) -> None:
        """Authenticate the last chunk, and with it the length (C2SP: a seek from the end needs it). Raises Tampered."""
        self._chunks(self._last, self._last + 1)

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes ``start`` to ``stop``, in blocks of at most 1 MiB; each is authenticated before it is yielded."""
        stop = min(stop, self.size)
        while start < stop:
            first = start // CHUNK_BYTES
            end = min((stop - 1) // CHUNK_BYTES + 1, first + BLOCK_CHUNKS)
            block = self._chunks(first, end)
            skip = start - first * CHUNK_BYTES
            taken = block[skip : skip + stop - start]
            start += len(taken)
            yield bytes(taken)

    def _chunks(self, first: int, end: int) -> memoryview:
        """The plaintext of the chunks ``first`` to ``end`` (exclusive)."""
        ends_here = end > self._last
        sealed = bytearray((end - first) * SEALED_CHUNK_BYTES - (CHUNK_BYTES - self._last_bytes if ends_here else 0))
        self._source.read_into(self._start + first * SEALED_CHUNK_BYTES, memoryview(sealed))
        plain = bytearray(len(sealed) - (end - first) * TAG_BYTES)
        view, room = memoryview(sealed), memoryview(plain)
        try:
            for step in range(end - first):
                nonce = (self._nonce ^ (first + step)).to_bytes(_NONCE_BYTES, "big")
                chunk = view[step * SEALED_CHUNK_BYTES : (step + 1) * SEALED_CHUNK_BYTES]
                self._cipher.decrypt_into(nonce, chunk, None, room[step * CHUNK_BYTES : (step + 1) * CHUNK_BYTES])
        except InvalidTag as error:
            raise _refuse("chunk") from error
        return room


class Opener:
    """One sealed document, open for reading by one thread. ``close`` wipes its key.

    Header and key commitment are checked with what is read first, front to back or single chunks.
    """

    def __init__(self, key: Secret, body: Body, source: Source) -> None:
        """Checks the length, and reads nothing yet: a scan is then read at once. Raises Tampered."""
        full, last_bytes = _measured(source.size - HEADER_BYTES)
        self.size = full * CHUNK_BYTES + last_bytes
        """Bytes of plaintext."""
        self._key = key.copy()
        self._body = body
        self._source = source
        self._seeking: ChunkReader | None = None
        self._held: bytes | None = None

    def authenticate(self) -> None:
        """Check every byte of the body, without releasing any. Raises Tampered."""
        if self.size <= HELD_BYTES:
            self._held = b"".join(self._decrypt(self._sealed(BLOCK_CHUNKS)))
            return
        room = bytearray((READ_CHUNKS + 2) * CHUNK_BYTES)
        sealed = ahead(self._sealed(READ_CHUNKS, IN_USE)) if self._source.waits else self._sealed(BLOCK_CHUNKS)
        with closing(sealed):
            for _ in self._decrypt(sealed, room):
                pass

    def authenticate_length(self) -> None:
        """Check the last chunk, which proves the length: enough before a range, whose chunks prove themselves."""
        self._chunks().check_length()

    def sha256(self) -> bytes:
        """The digest of the plaintext, every byte authenticated and none released: for a check. Raises Tampered."""
        digest = hashlib.sha256()
        with closing(ahead(self._decrypt(self._sealed(BLOCK_CHUNKS)))) as blocks:
            for block in blocks:
                digest.update(block)
        return digest.digest()

    def whole(self) -> Iterator[bytes]:
        """Every byte, in blocks of about 512 KiB. Call ``authenticate`` first; each block is authenticated again."""
        if self._held is not None:
            yield self._held
            return
        yield from ahead(self._decrypt(self._sealed(RELEASED_CHUNKS)))

    def range(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes ``start`` to ``stop`` (exclusive). Call ``authenticate_length`` (or ``authenticate``) first."""
        if self._held is not None:
            yield self._held[start:stop]
            return
        yield from self._chunks().read(start, stop)

    def close(self) -> None:
        """Wipe the key and let go of held plaintext; idempotent."""
        self._key.wipe()
        self._held = None

    def _check(self, header: memoryview) -> None:
        if header != self._body.header():
            raise _refuse("header")

    def _chunks(self) -> ChunkReader:
        """Random access. The first call checks header and key commitment. Raises Tampered."""
        if self._seeking is None:
            header = memoryview(bytearray(HEADER_BYTES))
            self._source.read_into(0, header)
            self._check(header)
            length = self._source.size - HEADER_BYTES
            self._seeking = ChunkReader(self._key.view, self._body.context(), self._source, HEADER_BYTES, length)
        return self._seeking

    def _sealed(self, chunks: int, rooms: int = 1) -> Generator[memoryview, None, None]:
        """The message from front to back, ``chunks`` at once, into ``rooms`` kept buffers in turn. Checks the header."""
        offset, end = 0, self._source.size
        size = min(HEADER_BYTES + chunks * SEALED_CHUNK_BYTES, end)  # a scan should not pay for a whole block
        for room in cycle([bytearray(size) for _ in range(rooms)]):
            view = memoryview(room)[: end - offset]
            self._source.read_into(offset, view)
            if offset == 0:
                self._check(view[:HEADER_BYTES])
            yield view[HEADER_BYTES:] if offset == 0 else view
            offset += len(view)
            if offset == end:
                return

    def _decrypt(self, sealed: Iterator[memoryview], room: bytearray | None = None) -> Generator[bytes, None, None]:
        """The message through the library: yields plaintext, or nothing but empty bytes where it goes to ``room``."""
        cipher = Cobblestone256Decryptor(self._key.view, self._body.context())
        try:
            for part in sealed:
                if room is None:
                    yield cipher.update(part)
                else:
                    cipher.update_into(part, room)
            last = cipher.finalize()
        except InvalidTag as error:
            self._chunks()  # says so where it is the key commitment
            raise _refuse("chunk") from error
        yield last if room is None else b""
