"""Owns the second look at blobs just written: does the store give back what it took? It must not know what blobs hold.

A sync that succeeded says what the store *believes*; firmware, drivers and far-away stores have been wrong before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from vault.errors import NotFound, StorageUnavailable, Tampered
from vault.model import BlobId
from vault.settings import VerifyWrites
from vault.storage.blobs import BlobEntry, BlobReader, BlobSink, BlobStore

BLOCK_BYTES = 1 << 20


class ReadBack:
    """A blob store that doubts the one beneath: what is due is read from the medium and compared before its commit returns."""

    def __init__(self, beneath: BlobStore, policy: str) -> None:
        """``policy``: a ``VerifyWrites``."""
        self._beneath = beneath
        self._policy = policy

    def write(self, blob: BlobId, expected_bytes: int = 0) -> AbstractContextManager[BlobSink]:
        beneath = self._beneath.write(blob, expected_bytes)
        is_due = self._policy == VerifyWrites.ALWAYS or blob.startswith("0")  # ids are random: one in sixteen
        return self._doubting(blob, beneath) if is_due else beneath

    @contextmanager
    def _doubting(self, blob: BlobId, beneath: AbstractContextManager[BlobSink]) -> Iterator[BlobSink]:
        with beneath as sink:
            yield _Doubting(sink, self._beneath, blob)

    def open(self, blob: BlobId, *, is_cold: bool = False) -> BlobReader:
        return self._beneath.open(blob, is_cold=is_cold)

    def delete(self, blob: BlobId) -> None:
        self._beneath.delete(blob)

    def list(self) -> Iterator[BlobEntry]:
        return self._beneath.list()

    def leftovers(self) -> Iterator[BlobEntry]:
        return self._beneath.leftovers()

    def discard(self, blob: BlobId) -> None:
        self._beneath.discard(blob)

    def probe(self) -> None:
        self._beneath.probe()


class _Doubting:
    """A sink that remembers the digest of what it passed on."""

    def __init__(self, beneath: BlobSink, store: BlobStore, blob: BlobId) -> None:
        self._beneath = beneath
        self._store = store
        self._blob = blob
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: memoryview) -> None:
        self._digest.update(data)
        self._size += len(data)
        self._beneath.write(data)

    def commit(self) -> None:
        self._beneath.commit()
        try:
            must_read_back(self._store, self._blob, self._size, self._digest.digest())
        except StorageUnavailable:
            with suppress(StorageUnavailable):  # else an orphan, which the sweep removes later
                self._store.delete(self._blob)
            raise


def must_read_back(store: BlobStore, blob: BlobId, size: int, sha256: bytes) -> None:
    """Read a blob from the medium. Raises StorageUnavailable where it is not ``size`` bytes with that SHA-256."""
    digest, offset = hashlib.sha256(), 0
    try:
        reader = store.open(blob, is_cold=True)
        try:
            room = bytearray(min(BLOCK_BYTES, size))
            while reader.size == size and offset < size:
                with memoryview(room)[: min(len(room), size - offset)] as view:
                    reader.read_into(offset, view)
                    digest.update(view)
                    offset += len(view)
            is_right = reader.size == size and digest.digest() == sha256
        finally:
            reader.close()
    except (NotFound, Tampered) as error:
        raise _lied(blob) from error
    if not is_right:
        raise _lied(blob)


def _lied(blob: BlobId) -> StorageUnavailable:
    return StorageUnavailable(f"blobs: {blob} reads back differently than it was written", cause="read_back")
