"""Owns how a document's body is sealed: header, key binding, one streaming pass. It must not know where the bytes go.

The body is C2SP ``chunked-encryption`` v1, instance Cobblestone-256 (HKDF-Expand-SHA-512, AES-256-GCM, 16 KiB chunks), behind
a 48-byte header that names tenant and blob. Format: docs/format.md, "Sealed documents". Reading is ``vault.sealing.reading``.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.cobblestone import Cobblestone256Encryptor

from kms.keys import Secret
from vault.model import BlobId, DocumentId, TenantId
from vault.sealing.binding import body_context

MAGIC = b"\x89COFFRE\n"
"""A high bit and a line feed, so that a transfer which mangles bytes shows at once (as in PNG)."""
FORMAT = 1
SUITE_COBBLESTONE_256 = 1
HEADER_BYTES = 48
DATA_KEY_BYTES = 32

CHUNK_BYTES = 16 * 1024
TAG_BYTES = 16
SALT_BYTES = 24
COMMITMENT_BYTES = 32
PREFIX_BYTES = SALT_BYTES + COMMITMENT_BYTES
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES

BLOCK_CHUNKS = 64
BLOCK_BYTES = BLOCK_CHUNKS * CHUNK_BYTES
"""What one step seals or opens: 1 MiB keeps Python out of the way, and 3 of them fit a core's cache share."""
BLOCKS_IN_FLIGHT = 3
"""Buffers kept for one upload: one being filled, one waiting, one being hashed and written."""


@dataclass(frozen=True, slots=True)
class Body:
    """Which sealed body this is: what its bytes are bound to."""

    tenant: TenantId
    blob: BlobId
    document: DocumentId
    version: int

    def header(self) -> bytes:
        """The 48 bytes in front: magic 8, format 2, suite 2, zero 4, tenant 16, blob id 16."""
        numbers = FORMAT.to_bytes(2, "big") + SUITE_COBBLESTONE_256.to_bytes(2, "big") + bytes(4)
        return MAGIC + numbers + bytes.fromhex(self.tenant) + bytes.fromhex(self.blob)

    def context(self) -> bytes:
        """The ``context`` of C2SP chunked-encryption, "Key derivation"."""
        return body_context(self.header(), self.document, self.version)


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one pass over a document found out."""

    size: int
    sealed_size: int
    sha256: bytes
    """Of the plaintext: itself to be sealed."""
    sealed_sha256: bytes
    """Of the whole blob, header included: may stand in clear."""


def sealed_size_of(size: int) -> int:
    """How many bytes a document of ``size`` bytes takes once sealed."""
    return HEADER_BYTES + PREFIX_BYTES + size + TAG_BYTES * (size // CHUNK_BYTES + 1)


Write = Callable[[memoryview], object]


class _Outlet:
    """Hashes and writes sealed blocks in order, beside the sealing: on a second thread from the second block on.

    A failure of the writer is kept and raised in the sealing thread, at the next block or at the end.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._digest = hashlib.sha256()
        self._size = 0
        self._blocks = 0
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[bytearray, int] | None] = queue.SimpleQueue()
        self._kept = 0
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def buffer(self, size: int) -> bytearray:
        """A buffer of at least ``size`` bytes to fill and ``put``; waits while all are in use."""
        if self._kept < BLOCKS_IN_FLIGHT and self._free.empty():
            self._kept += 1
            return bytearray(size)
        buffer = self._free.get()
        return buffer if len(buffer) >= size else bytearray(size)

    def put(self, buffer: bytearray, length: int) -> None:
        self._raise()
        self._blocks += 1
        if self._thread is None and (self._blocks == 1 or length < BLOCK_BYTES // 2):
            self._take(buffer, length)  # a scan, or its last chunk: not worth a thread
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sealing-outlet", daemon=True)
            self._thread.start()
        self._full.put((buffer, length))

    def end(self) -> tuple[int, bytes]:
        """Wait for everything; the size and SHA-256 of what was written."""
        self.stop()
        self._raise()
        return self._size, self._digest.digest()

    def stop(self) -> None:
        """Let the thread finish what it holds and go."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._full.put(None)
            thread.join()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _take(self, buffer: bytearray, length: int) -> None:
        try:
            with memoryview(buffer)[:length] as view:
                self._digest.update(view)
                self._write(view)
            self._size += length
        finally:
            self._free.put(buffer)

    def _run(self) -> None:
        while (item := self._full.get()) is not None:
            buffer, length = item
            if self._failure is not None:
                self._free.put(buffer)
                continue
            try:
                self._take(buffer, length)
            except BaseException as error:  # noqa: BLE001  # carried to the sealing thread, which raises it
                self._failure = error


class Sealer:
    """One document, sealed and hashed in one pass. Give it the plaintext in blocks; ``finish`` or ``abandon`` it."""

    def __init__(self, key: Secret, body: Body, write: Write) -> None:
        """``key``: 32 fresh random bytes for this body alone. ``write`` takes the sealed bytes, in order, from one thread."""
        self._cipher = Cobblestone256Encryptor(key.view, body.context())
        self._digest = hashlib.sha256()
        self._size = 0
        self._outlet = _Outlet(write)
        self._header = body.header()

    @property
    def size(self) -> int:
        """Bytes of plaintext taken so far."""
        return self._size

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Seal ``data``, which may be reused once this returns. Raises whatever ``write`` raised."""
        view = memoryview(data)
        for start in range(0, len(view), BLOCK_BYTES):
            self._block(view[start : start + BLOCK_BYTES])

    def finish(self) -> Sealed:
        """Seal the last chunk and wait until everything is written. Raises whatever ``write`` raised."""
        last = self._cipher.finalize()
        self._put(self._front() + last)
        sealed_size, sealed_sha256 = self._outlet.end()
        return Sealed(self._size, sealed_size, self._digest.digest(), sealed_sha256)

    def abandon(self) -> None:
        """Stop without an end: what was written so far is worth nothing."""
        self._outlet.stop()

    def _front(self) -> bytes:
        header, self._header = self._header, b""
        return header

    def _block(self, data: memoryview) -> None:
        front = self._front()
        chunks = len(data) // CHUNK_BYTES + 1  # one more than whole ones: what was left over may complete a chunk
        buffer = self._outlet.buffer(HEADER_BYTES + PREFIX_BYTES + chunks * SEALED_CHUNK_BYTES)
        buffer[: len(front)] = front
        with memoryview(buffer)[len(front) :] as room:
            length = len(front) + self._cipher.update_into(data, room)
        self._outlet.put(buffer, length)
        self._digest.update(data)
        self._size += len(data)

    def _put(self, data: bytes) -> None:
        buffer = self._outlet.buffer(len(data))
        buffer[: len(data)] = data
        self._outlet.put(buffer, len(data))
