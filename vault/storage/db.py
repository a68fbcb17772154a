"""Owns transactions and the one writer of a process, on SQLite and PostgreSQL alike.

It must not know any table.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from vault.errors import StorageFull, StorageUnavailable, VaultError
from vault.floor import Floor
from vault.settings import DatabaseSettings
from vault.storage import plain
from vault.storage.engines import BUSY_MS, open_engine, open_private

T = TypeVar("T")

BATCH = 256
"""Jobs a batch may hold: enough to amortise one fsync, few enough that nobody waits long."""
READERS = 16
"""Connections to a SQLite file that wait for the next reader; more are opened when needed, and closed after."""
WRITE_TIMEOUT_S = 30
"""How long a caller waits for its job; the writer itself fails earlier, by BUSY_MS or the disk."""
SOON_S, LATER_S, LONG_S = 0.0002, 0.002, 0.05
"""How often one looks whether another process has written: its commits take milliseconds, and rarely ``LONG_S``."""
ADVISORY_LOCK = 0x636F_6666_7265
"""PostgreSQL: one writer at a time over all processes ("coffre" in ASCII)."""

_BEGIN_ALONE = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"
"""READ COMMITTED: what is read after the lock was granted must be what the one before us committed."""

_STOP = object()


class Participant(Protocol):
    """Something that takes part in every batch: the access log, which adds its rows just before the commit."""

    def flush(self, connection: Connection) -> None: ...
    def ended(self, *, committed: bool) -> None: ...


class _Job(Generic[T]):
    """Work on the batch's connection, in a savepoint of its own."""

    __slots__ = ("_work", "done")

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self._work = work
        self.done: Future[T] = Future()

    def run(self, connection: Connection) -> T:
        plain.say(connection, "SAVEPOINT job")
        try:
            value = self._work(connection)
        except BaseException:
            plain.say(connection, "ROLLBACK TO SAVEPOINT job")
            plain.say(connection, "RELEASE SAVEPOINT job")
            raise
        plain.say(connection, "RELEASE SAVEPOINT job")
        return value


class _Ride(_Job[T]):
    """Work that touches no SQL: it only hands something to a participant, and needs no savepoint."""

    __slots__ = ("_hand_over",)

    def __init__(self, hand_over: Callable[[], T]) -> None:
        super().__init__(lambda _: hand_over())
        self._hand_over = hand_over

    def run(self, connection: Connection) -> T:  # noqa: ARG002  # there is nothing to undo on it
        return self._hand_over()


def _storage_error(error: SQLAlchemyError) -> VaultError:
    text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    full = "disk is full" in text or "No space left" in text
    kind = StorageFull if full else StorageUnavailable
    return kind(f"database: {type(error).__name__}")


def _lock(descriptor: int, seconds: float) -> None:
    """Hold a file's lock until it is closed. Raises StorageUnavailable where another process keeps it too long."""
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            waited = time.monotonic() - began
            if waited >= seconds:
                raise StorageUnavailable("database: another process writes and does not end") from error
            time.sleep(SOON_S if waited < LONG_S else LATER_S)
        else:
            return


class Database:
    """Read in any thread; write through one thread that commits everything queued at once (group commit)."""

    def __init__(
        self, url: str | URL, password_file: Path | None = None, *, busy_ms: int = BUSY_MS, floor: Floor | None = None
    ) -> None:
        """Raises BadSettings, StorageUnavailable (a SQLite file that can't be made); a server may be away.

        ``floor``: whoever waits for the writer yields it, and the writer asks for it like everybody else.
        """
        self._floor = floor or Floor()
        self._engine = open_engine(url, password_file, busy_ms=busy_ms)
        self._readers: list[Connection] = []
        self._kept_pen: Connection | None = None
        self._keeps = self.is_sqlite and self._engine.url.database not in {None, "", ":memory:"}
        self._busy_ms = busy_ms
        self._participants: list[Participant] = []
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False

    @property
    def engine(self) -> Engine:
        """For migrations and health checks only."""
        return self._engine

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    def join(self, participant: Participant) -> None:
        """Let ``participant`` add to every batch before its commit."""
        self._participants.append(participant)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: one consistent snapshot. Raises StorageUnavailable."""
        try:
            connection = self._reader()
            is_whole = False
            try:
                plain.begin(connection)
                yield connection
                plain.roll_back(connection)
                is_whole = True
            finally:
                self._put_aside(connection, is_whole=is_whole)
        except SQLAlchemyError as error:
            raise _storage_error(error) from error

    def _reader(self) -> Connection:
        """A connection that nobody else uses meanwhile."""
        try:
            return self._readers.pop()
        except IndexError:
            return self._engine.connect()

    def _put_aside(self, connection: Connection, *, is_whole: bool) -> None:
        """Keep a connection for the next reader.

        Those to a SQLite file stay as they are: each access reads twice or more, and to have one made ready by the pool, and
        taken back, costs several times what a snapshot does. Where an error left one, it is not used again.
        """
        if is_whole and self._keeps and len(self._readers) < READERS and not self._closed:
            self._readers.append(connection)
        else:
            connection.close()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The one writing transaction at a time over all processes; for the writer and for migrations only."""
        if self.is_sqlite:
            with self._alone(), self._pen() as connection, connection.begin():
                yield connection
            return
        with self._engine.connect() as connection, connection.begin():
            plain.say(connection, _BEGIN_ALONE)
            yield connection

    @contextmanager
    def _pen(self) -> Iterator[Connection]:
        """The connection that writes to a SQLite file; put aside for the next one, unless an error left it."""
        kept, self._kept_pen = self._kept_pen, None
        connection = kept or self._engine.connect().execution_options(coffre_writer=True)
        is_kept = False
        try:
            yield connection
            is_kept = self._keeps and not self._closed
        finally:
            if is_kept:
                self._kept_pen = connection
            else:
                connection.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer over all processes, its checkpoint included.

        SQLite before 3.51.3 could lose a transaction when one connection reset the WAL while another checkpointed; its own
        locks let both happen, this one does not.
        """
        path = self._engine.url.database
        if not path or path == ":memory:":
            yield
            return
        descriptor = open_private(f"{path}-writer")
        try:
            _lock(descriptor, self._busy_ms / 1000)
            yield
        finally:
            os.close(descriptor)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in the writer's transaction and return its value once that is durable.

        ``work`` does SQL and nothing else; if it raises, its own changes are undone and the error is raised here.
        Raises StorageFull, StorageUnavailable.
        """
        return self._done(_Job(work))

    def ride(self, hand_over: Callable[[], T]) -> T:
        """Run ``hand_over`` in the writer before its next commit, and return its value once that commit is durable.

        For participants: it must not touch SQL, and so costs no savepoint. Raises StorageFull, StorageUnavailable.
        """
        return self._done(_Ride(hand_over))

    def _done(self, job: _Job[T]) -> T:
        if threading.current_thread() is self._writer:
            raise RuntimeError("write() inside a write(): pass the connection on instead")
        if self._writer is None or self._closed:
            self._start()
        self._jobs.put(job)
        try:
            with self._floor.yielded():
                return job.done.result(WRITE_TIMEOUT_S)
        except TimeoutError as error:
            job.done.cancel()
            raise StorageUnavailable("database: the writer does not answer") from error

    def close(self) -> None:
        """Finish what is queued, stop the writer, close every connection; idempotent."""
        with self._starting:
            self._closed = True
            if self._writer is not None:
                self._jobs.put(_STOP)
                self._writer.join(WRITE_TIMEOUT_S)
                self._writer = None
        while self._readers:
            self._readers.pop().close()
        if self._kept_pen is not None:
            self._kept_pen.close()
            self._kept_pen = None
        self._engine.dispose()

    def _start(self) -> None:
        with self._starting:
            if self._closed:
                raise StorageUnavailable("database: closed")
            if self._writer is None:
                self._writer = threading.Thread(target=self._run, name="database-writer", daemon=True)
                self._writer.start()

    def _run(self) -> None:
        while (first := self._jobs.get()) is not _STOP:
            batch = [first] if first.done.set_running_or_notify_cancel() else []
            self._let_them_come()
            self._gather(batch)
            self._commit(batch)

    def _gather(self, batch: list[_Job[Any]]) -> None:
        """Add what is queued; the word to stop stays in the queue, behind all of it."""
        while len(batch) < BATCH and not self._jobs.empty():
            job = self._jobs.get()
            if job is _STOP:
                self._jobs.put(_STOP)
                return
            if job.done.set_running_or_notify_cancel():
                batch.append(job)

    def _let_them_come(self) -> None:
        """Give way for as long as jobs arrive; not a timer.

        Who was just answered often has more to write: without this, half of the callers always miss the batch by a hair, and
        twice as many batches pay for a commit.
        """
        known = -1
        while known < (waiting := self._jobs.qsize()) < BATCH:
            known = waiting
            time.sleep(0)

    def _commit(self, batch: list[_Job[Any]]) -> None:
        results: list[tuple[_Job[Any], Any, BaseException | None]] = []
        try:
            with self.writing() as connection, self._floor:
                self._gather(batch)  # who came while we asked for the floor
                for job in batch:
                    results.append(self._attempt(connection, job))  # kept as far as it came
                    self._check_open(connection)
                for participant in self._participants:
                    participant.flush(connection)
        except SQLAlchemyError as error:
            self._end(committed=False)
            for job in batch:
                job.done.set_exception(_storage_error(error))
        except BaseException as error:  # noqa: BLE001  # the writer must outlive any fault of a participant; callers get it
            self._end(committed=False)
            for job in batch:
                job.done.set_exception(error)
        else:
            self._end(committed=True)
            for job, value, failure in results:
                if failure is None:
                    job.done.set_result(value)
                else:
                    job.done.set_exception(failure)

    @staticmethod
    def _attempt(connection: Connection, job: _Job[Any]) -> tuple[_Job[Any], Any, BaseException | None]:
        try:
            return job, job.run(connection), None
        except SQLAlchemyError as error:
            return job, None, _storage_error(error)
        except BaseException as error:  # noqa: BLE001  # handed to the caller, whose job it was
            return job, None, error

    def _check_open(self, connection: Connection) -> None:
        """SQLite ends a transaction by itself on some errors (disk full, I/O): what came after would commit one by one."""
        if self.is_sqlite and not getattr(connection.connection.driver_connection, "in_transaction", True):
            raise StorageUnavailable("database: SQLite gave the transaction up")

    def _end(self, *, committed: bool) -> None:
        for participant in self._participants:
            participant.ended(committed=committed)


def open_databases(settings: DatabaseSettings, floor: Floor | None = None) -> tuple[Database, Database]:
    """The main database and the keyring. Raises as ``Database``."""
    file = settings.password_file
    return Database(settings.url, file, floor=floor), Database(settings.keyring_url, file, floor=floor)
