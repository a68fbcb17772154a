"""Owns copies of a whole database: taken while others write, as one SQLite file, and put back. It must not know what rows mean.

One snapshot each: SQLite by its own backup interface in one step (writers go on in the WAL), PostgreSQL by reading every table
in one REPEATABLE READ transaction. Both give the same file, so that one program checks, restores and reads every backup.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Column, Connection, NullPool, Table, create_engine, func, insert, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from vault.errors import Conflict, StorageFull, StorageUnavailable, Tampered, VaultError
from vault.storage.blobs import storage_error
from vault.storage.db import Database
from vault.storage.migrate import History

ROWS = 1_000
"""Rows that are read, and written, at once."""


@contextmanager
def file_faults(what: str) -> Iterator[None]:
    """Inside, the operating system's failures leave as StorageFull or StorageUnavailable, without a path."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, what) from error


def _fault(error: Exception) -> VaultError:
    full = any(word in str(error) for word in ("disk is full", "No space left"))
    kind = StorageFull if full else StorageUnavailable
    return kind(f"database copy: {type(error).__name__}")


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or removed in a directory durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def new_file(path: Path) -> int:
    """A descriptor of a file that did not exist before, mode 0600. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes) -> None:
    """A new file with these bytes, mode 0600, durable but for its directory. Raises StorageFull, StorageUnavailable."""
    with file_faults("write"), os.fdopen(new_file(path), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def copy_file(source: Path, target: Path) -> None:
    """The bytes of ``source`` as a new file of mode 0600, durable but for its directory. Raises as ``write_file``."""
    with file_faults("copy"), source.open("rb") as read, os.fdopen(new_file(target), "wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
        written.flush()
        os.fsync(written.fileno())


def take(db: Database, history: History, target: Path) -> None:
    """Copy ``db`` as it stands now to the new file ``target`` (mode 0600). Raises StorageFull, StorageUnavailable."""
    with file_faults("copy"):
        os.close(new_file(target))
    try:
        source = db.engine.url.database
        if db.is_sqlite and source:
            _copy_pages(Path(source), target)
        else:
            _copy_rows(db, history, target)
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise _fault(error) from error
    with file_faults("sync"):
        _sync(target)


def _copy_pages(source: Path, target: Path) -> None:
    with (
        closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)  # one step: one read transaction, nobody waits
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, readable from media that can't be written


def copy_of(source: Path, target: Path) -> None:
    """A SQLite database, what waits in its WAL included, as one new file of mode 0600.

    Raises StorageFull, StorageUnavailable.
    """
    with file_faults("copy"):
        os.close(new_file(target))
    try:
        _copy_pages(source, target)
    except sqlite3.Error as error:
        raise _fault(error) from error
    with file_faults("sync"):
        _sync(target)


def _copy_rows(db: Database, history: History, target: Path) -> None:
    from alembic.runtime.migration import MigrationContext  # only a backup of a server needs it

    engine = create_engine(f"sqlite:///{target}", poolclass=NullPool)
    with db.read() as source, engine.begin() as copy:
        history.metadata.create_all(copy)
        MigrationContext.configure(copy).stamp(history.scripts(), "head")
        for table in history.metadata.sorted_tables:
            _pour(source, copy, table)


def _pour(source: Connection, target: Connection, table: Table) -> None:
    """Every row of a table; rows that others of the same table point to come first."""
    order = [column.is_not(None) for column in _inward(table)]
    rows = source.execution_options(yield_per=ROWS).execute(select(table).order_by(*order)).mappings()
    for part in rows.partitions(ROWS):
        target.execute(insert(table), [dict(row) for row in part])


def _inward(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if any(key.column.table is table for key in column.foreign_keys)]


@contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """A copy's rows, without a way to change it, and without looking for anything beside the file.

    Raises Tampered where it is no database.
    """

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise Tampered("a copy of a database can't be read", kind="database") from error


def fault_of(path: Path) -> str | None:
    """What SQLite's own structure check says against a copy; None where it is sound."""
    try:
        with reading(path) as connection:
            result = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
    except Tampered:
        return "not a database"
    return None if result == "ok" else result


def revision_of(path: Path) -> str | None:
    """At which revision of its history a copy stands. Raises Tampered."""
    with reading(path) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
        return None if found is None else str(found)


def is_empty(db: Database, history: History) -> bool:
    """Whether no table of a database holds anything. Raises StorageUnavailable."""
    with db.read() as connection:
        present = set(inspect(connection).get_table_names())
        tables = [table for table in history.metadata.sorted_tables if table.name in present]
        return all(connection.execute(select(func.count()).select_from(table)).scalar_one() == 0 for table in tables)


def put_back(source: Path, db: Database, history: History) -> None:
    """Fill an empty database, its tables made already, from a copy: all of it, or nothing.

    Raises Conflict (not empty), StorageFull, StorageUnavailable.
    """
    if not is_empty(db, history):
        raise Conflict("the database is not empty; make a fresh one and name it in [database]")
    try:
        with reading(source) as copy, db.writing() as target:
            for table in history.metadata.sorted_tables:
                _pour(copy, target, table)
    except SQLAlchemyError as error:
        raise _fault(error) from error
