"""Owns how a database is opened: addresses, pools and the settings of every connection. It must not know any table."""

from __future__ import annotations

import errno
import os
import select
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import InvalidatePoolError

from vault.errors import BadSettings, StorageFull, StorageUnavailable
from vault.storage import plain

BUSY_MS = 5_000
"""How long SQLite waits for another process's write before the caller gets StorageUnavailable."""
POOL_S = 5
"""How long a reader waits for a connection before StorageUnavailable."""
STATEMENT_MS = 60_000
"""PostgreSQL ends any single statement after this."""
ASK_AFTER_S = 1.0
"""A connection to a server that lay idle for longer is asked whether it still answers before it is used."""


def _prepare_sqlite(engine: Engine, busy_ms: int) -> None:
    @event.listens_for(engine, "connect")
    def configure(dbapi: Any, _record: Any) -> None:
        dbapi.isolation_level = None  # SQLAlchemy's documented recipe: we say BEGIN ourselves
        for pragma in (
            f"busy_timeout={busy_ms}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
            "temp_store=MEMORY",
            "wal_autocheckpoint=1000",
        ):
            dbapi.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if connection.get_execution_options().get("coffre_writer", False):
            plain.say(connection, "BEGIN IMMEDIATE")
        elif not driver.in_transaction:  # else plain.begin has said it
            plain.say(connection, "BEGIN")


def _prepare_postgresql(engine: Engine) -> None:
    """A connection that its server has left is replaced, without a question each time.

    What was used a moment ago is only looked at: a server that goes says so, and closes.
    """

    @event.listens_for(engine, "connect")
    def teach(dbapi: Any, _record: Any) -> None:
        plain.teach(engine.dialect.loaded_dbapi, dbapi)

    @event.listens_for(engine, "connect")
    @event.listens_for(engine, "checkin")
    def used(_dbapi: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def look(dbapi: Any, record: Any, _proxy: Any) -> None:
        try:
            if time.monotonic() - record.info.get("used", 0.0) > ASK_AFTER_S or _has_news(dbapi.fileno()):
                engine.dialect.do_ping(dbapi)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error


def _has_news(socket: int) -> bool:
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


def _make_private(path: str | None) -> None:
    """A new database file is born with mode 0600, which SQLite passes on to its WAL; an existing one is left alone."""
    if not path or path == ":memory:":
        return
    os.close(open_private(path))


def open_private(path: str) -> int:
    """A descriptor of a file that is born with mode 0600. Raises StorageFull, StorageUnavailable."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        kind = StorageFull if full else StorageUnavailable
        raise kind(f"database: {errno.errorcode.get(error.errno or 0, 'unknown error')}") from error


def _with_password(address: URL, password_file: Path | None) -> URL:
    if address.password is not None:
        raise BadSettings("[database] url: no password may stand in it; put it in a file and name that as password_file")
    if password_file is None:
        return address
    try:
        return address.set(password=password_file.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise BadSettings(f"[database] password_file: {password_file} can't be read") from error


def open_engine(url: str | URL, password_file: Path | None = None, *, busy_ms: int = BUSY_MS) -> Engine:
    """An engine with this project's settings for its database; ``sqlite:///…`` or ``postgresql+psycopg://…``.

    Raises BadSettings for a URL with a password in it, StorageUnavailable where a SQLite file can't be made.
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        _make_private(address.database)
        engine = create_engine(
            address, pool_size=16, max_overflow=64, pool_timeout=POOL_S, connect_args={"check_same_thread": False}
        )
        _prepare_sqlite(engine, busy_ms)
        return engine
    engine = create_engine(
        _with_password(address, password_file),
        pool_size=16,
        max_overflow=16,
        pool_timeout=POOL_S,
        isolation_level="REPEATABLE READ",  # one snapshot a read; the writer says READ COMMITTED, see _BEGIN_ALONE
        connect_args={
            "connect_timeout": 5,
            "options": f"-c lock_timeout={busy_ms} -c statement_timeout={STATEMENT_MS} -c timezone=UTC",
        },
    )
    _prepare_postgresql(engine)
    return engine
