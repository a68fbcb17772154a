"""Owns sealed blobs: the protocol, and the store on a local disk with its order of durability. It must not know what they hold.

Order on disk (SQLite and restic do the same): exclusive file under a name that is no blob's → write → fsync → rename → fsync of
the directory; each process makes sure before its first blob there that the directory's own name is durable. A failed fsync is
never retried: the kernel may have dropped the pages.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from vault.errors import Conflict, NotFound, StorageFull, StorageUnavailable, Tampered, VaultError
from vault.model import BlobId, Micros

_NAME = re.compile(r"[0-9a-f]{32}")
_UNDER_WAY = ".part"
"""What the file of an upload under way is called after its id."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class BlobSink(Protocol):
    """A blob under way."""

    def write(self, data: memoryview) -> None:
        """Append ``data``, which may be reused once this returns."""

    def commit(self) -> None:
        """Publish: when this returns the blob is whole, durable and visible."""


class BlobReader(Protocol):
    """An open blob. Blobs never change, so any number of threads may read one."""

    @property
    def size(self) -> int: ...
    @property
    def waits(self) -> bool:
        """Whether reading waits for a disk or a line, so that it pays to read ahead."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``offset``. Raises Tampered where the blob ends before, StorageUnavailable."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class BlobEntry:
    """One blob as the store lists it."""

    blob: BlobId
    size: int
    written_at: Micros


class BlobStore(Protocol):
    """Where blobs live; written once, never changed. Thread-safe.

    Everything raises StorageUnavailable where the store does not answer.
    """

    def write(self, blob: BlobId, expected_bytes: int = 0) -> AbstractContextManager[BlobSink]:
        """A sink; leaving the block without ``commit`` leaves nothing behind. Raises StorageFull, Conflict (exists)."""

    def open(self, blob: BlobId, *, is_cold: bool = False) -> BlobReader:
        """Raises NotFound where there is none, Tampered where it is no ordinary file.

        ``is_cold``: what the medium holds is wanted, not what this machine remembers of it.
        """

    def delete(self, blob: BlobId) -> None:
        """Remove it, durably; no error where there is none."""

    def list(self) -> Iterator[BlobEntry]:
        """Every published blob, in the order of ids."""

    def leftovers(self) -> Iterator[BlobEntry]:
        """Uploads that never ended: what a crash left."""

    def discard(self, blob: BlobId) -> None:
        """Remove a leftover."""

    def probe(self) -> None:
        """Write, read back and remove a small blob. Raises StorageFull, StorageUnavailable."""


def is_blob_id(name: str) -> bool:
    """Whether ``name`` can be a blob's: 32 lower-case hexadecimal digits."""
    return _NAME.fullmatch(name) is not None


def storage_error(error: OSError, what: str) -> VaultError:
    """The vault's word for a failure of the operating system; keeps the symbol (EIO, EMFILE …), never a path."""
    symbol = errno.errorcode.get(error.errno or 0, "unknown error")
    return (StorageFull if error.errno in _FULL else StorageUnavailable)(f"blobs: {what}: {symbol}", cause=symbol)


@contextmanager
def _faults(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(error, what) from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _DiskSink:
    """A file beside where it will stand until ``commit``; any failure poisons it for good."""

    def __init__(self, final: Path) -> None:
        self._final = final
        self._temporary = final.with_suffix(_UNDER_WAY)
        self._is_published = False
        self._is_poisoned = False
        with _faults("create"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._temporary, flags, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if not self._is_published:
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)

    def write(self, data: memoryview) -> None:
        with self._step("write"):
            while data:
                data = data[os.write(self._descriptor, data) :]

    def commit(self) -> None:
        with self._step("fsync"):
            os.fsync(self._descriptor)
        descriptor, self._descriptor = self._descriptor, -1
        with self._step("close"):
            os.close(descriptor)
        with self._step("publish"):
            if os.path.lexists(self._final):
                raise Conflict(f"blob {self._final.name} exists")
            self._temporary.rename(self._final)
            self._is_published = True
            _sync_directory(self._final.parent)

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        if self._is_poisoned:
            raise StorageUnavailable("blobs: this upload failed before")
        try:
            yield
        except OSError as error:
            self._is_poisoned = True
            raise storage_error(error, what) from error
        except BaseException:
            self._is_poisoned = True
            raise


class _DiskReader:
    waits = True

    def __init__(self, blob: BlobId, path: str, *, is_cold: bool) -> None:
        try:
            # Non-blocking, so that a FIFO put where a blob should be can't hold the thread; it has no effect on files.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound(f"blob {blob}") from error
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                raise Tampered(f"blob {blob} is not an ordinary file", kind="not_a_file") from error
            raise storage_error(error, "open") from error
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise Tampered(f"blob {blob} is not an ordinary file", kind="not_a_file")
        self._size = status.st_size
        if is_cold:
            with suppress(OSError):  # advice to the page cache: not every file system takes it
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    @property
    def size(self) -> int:
        return self._size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        with _faults("read"):
            while buffer:
                count = os.preadv(self._descriptor, [buffer], offset)
                if count == 0:
                    raise Tampered("a blob ends too early", kind="cut")
                offset += count
                buffer = buffer[count:]

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def probe_blob(store: BlobStore) -> None:
    """Write, read back and remove a random blob. Raises StorageFull, StorageUnavailable."""
    blob, data = BlobId(os.urandom(16).hex()), os.urandom(32)
    with store.write(blob, len(data)) as sink:
        sink.write(memoryview(data))
        sink.commit()
    try:
        found = bytearray(len(data))
        reader = store.open(blob)
        try:
            reader.read_into(0, memoryview(found))
        finally:
            reader.close()
    finally:
        store.delete(blob)
    if found != data:
        raise StorageUnavailable("blobs: what was written reads back differently", cause="probe")


class DiskBlobs:
    """Blobs as files of mode 0600: ``<root>/<first two digits>/<id>``, uploads under way beside them as ``<id>.part``.

    They begin where they will stand: no directory is everybody's, and ext4, which looks for a free inode near the directory,
    finds one sooner than where all uploads begin and go.
    """

    def __init__(self, root: Path) -> None:
        """Makes the directory (0700) where it is missing. Raises StorageUnavailable."""
        self._root = root
        self._old = root / "tmp"
        """Where uploads began before they began in their place: what an upgrade may find there."""
        self._standing = set[Path]()
        """Directories whose names are durable."""
        with _faults("directory"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, blob: BlobId, expected_bytes: int = 0) -> AbstractContextManager[BlobSink]:
        final = self._path(blob)
        with _faults("space"):
            space = os.statvfs(self._root)
        if expected_bytes > space.f_bavail * space.f_frsize:
            raise StorageFull("blobs: not enough room for this document", cause="ENOSPC")
        with _faults("directory"):
            self._must_stand(final.parent)
        return _DiskSink(final)

    def open(self, blob: BlobId, *, is_cold: bool = False) -> BlobReader:
        return _DiskReader(blob, self._place(blob), is_cold=is_cold)

    def delete(self, blob: BlobId) -> None:
        path = self._path(blob)
        with _faults("delete"), suppress(FileNotFoundError):
            path.unlink()
            _sync_directory(path.parent)

    def list(self) -> Iterator[BlobEntry]:
        with _faults("list"):
            for directory in self._directories():
                yield from _entries(directory)

    def leftovers(self) -> Iterator[BlobEntry]:
        with _faults("list"):
            for directory in self._directories():
                yield from _entries(directory, _UNDER_WAY)
            with suppress(FileNotFoundError):
                yield from _entries(self._old)

    def discard(self, blob: BlobId) -> None:
        with _faults("delete"):
            for left in (self._path(blob).with_suffix(_UNDER_WAY), self._old / blob):
                left.unlink(missing_ok=True)

    def probe(self) -> None:
        probe_blob(self)

    def _place(self, blob: BlobId) -> str:
        """Where a blob is, as text: to open a file costs less than to put its ``Path`` together."""
        if not is_blob_id(blob):
            raise ValueError("not a blob id")
        return f"{self._root}/{blob[:2]}/{blob}"

    def _path(self, blob: BlobId) -> Path:
        return Path(self._place(blob))

    def _directories(self) -> Iterator[Path]:
        yield from sorted(self._root.glob("[0-9a-f][0-9a-f]"))

    def _must_stand(self, directory: Path) -> None:
        """Make it where it is missing, and its name durable: whoever made it may have been cut off before. Raises OSError.

        What others have made meanwhile is durable with it.
        """
        if directory in self._standing and directory.is_dir():
            return
        directory.mkdir(mode=0o700, exist_ok=True)
        standing = set(self._directories())
        _sync_directory(self._root)
        self._standing = standing


def _entries(directory: Path, ending: str = "") -> Iterator[BlobEntry]:
    """The files of a directory that are named by an id and ``ending``, in order. Raises OSError."""
    for name in sorted(path.name for path in directory.iterdir()):
        blob = name.removesuffix(ending)
        if is_blob_id(blob) and name == blob + ending:
            with suppress(FileNotFoundError):
                status = os.lstat(directory / name)
                yield BlobEntry(BlobId(blob), status.st_size, Micros(status.st_mtime_ns // 1000))
