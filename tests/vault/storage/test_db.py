from __future__ import annotations

import fcntl
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from tests.vault.storage.sql import run
from vault.errors import BadSettings, Conflict, StorageUnavailable
from vault.settings import DatabaseSettings
from vault.storage import plain
from vault.storage.db import Database


@pytest.fixture
def db(databases: DatabaseSettings) -> Iterator[Database]:
    db = Database(databases.url, databases.password_file)
    db.write(run("CREATE TABLE things (n INTEGER PRIMARY KEY)"))
    yield db
    db.close()


def insert(number: int) -> Callable[[Connection], None]:
    return run("INSERT INTO things VALUES (:n)", n=number)


def numbers(db: Database) -> list[int]:
    with db.read() as connection:
        return [row.n for row in connection.execute(text("SELECT n FROM things ORDER BY n"))]


def test_a_write_is_there_when_it_returns(db: Database) -> None:
    def work(connection: Connection) -> int:
        connection.execute(text("INSERT INTO things VALUES (7)"))
        return 42

    assert db.write(work) == 42
    assert numbers(db) == [7]


def test_a_job_that_raises_undoes_itself_alone(db: Database) -> None:
    go = threading.Event()
    failures: list[Exception] = []

    def slow(connection: Connection) -> None:
        go.wait(5)
        connection.execute(text("INSERT INTO things VALUES (0)"))

    def bad(connection: Connection) -> None:
        connection.execute(text("INSERT INTO things VALUES (99)"))
        raise Conflict("no")

    def attempt(work: Callable[[Connection], None]) -> None:
        try:
            db.write(work)
        except Conflict as error:
            failures.append(error)

    jobs = [slow, insert(1), bad, insert(2)]
    threads = [threading.Thread(target=attempt, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    assert numbers(db) == [0, 1, 2]
    assert len(failures) == 1


def test_a_broken_statement_is_told_without_its_values(db: Database) -> None:
    db.write(run("INSERT INTO things VALUES (5)"))
    with pytest.raises(StorageUnavailable) as caught:
        db.write(run("INSERT INTO things VALUES (5)"))
    assert "5" not in str(caught.value)
    assert numbers(db) == [5]


def test_forty_threads_lose_nothing(db: Database) -> None:
    def insert_ten(start: int) -> None:
        for number in range(start, start + 10):
            db.write(run("INSERT INTO things VALUES (:n)", n=number))

    threads = [threading.Thread(target=insert_ten, args=(start,)) for start in range(0, 400, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(db) == list(range(400))


def test_a_reader_that_fails_leaves_no_snapshot_open(db: Database) -> None:
    """Whoever uses the connection next must see what is written meanwhile."""

    def read_and_fail() -> None:
        with db.read() as connection:
            plain.first(connection, "SELECT n FROM things")
            raise Conflict("no")

    with pytest.raises(Conflict):
        read_and_fail()
    db.write(insert(3))
    assert numbers(db) == [3]


def test_writing_inside_a_write_is_a_mistake_that_shows(db: Database) -> None:
    with pytest.raises(RuntimeError, match="inside"):
        db.write(lambda _connection: db.write(lambda _: None))


def test_a_closed_database_refuses(databases: DatabaseSettings) -> None:
    db = Database(databases.url, databases.password_file)
    db.close()
    db.close()
    with pytest.raises(StorageUnavailable):
        db.write(lambda _: None)


def test_a_password_in_a_url_is_refused() -> None:
    with pytest.raises(BadSettings, match="password_file"):
        Database("postgresql+psycopg://coffre:secret@localhost/coffre")


def test_a_server_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    db = Database("postgresql+psycopg://coffre@127.0.0.1:1/coffre")
    with pytest.raises(StorageUnavailable), db.read() as connection:
        connection.execute(text("SELECT 1"))
    with pytest.raises(StorageUnavailable):
        db.write(run("SELECT 1"))
    db.close()


def test_the_writer_lives_on_after_another_process_held_the_lock(sqlite: DatabaseSettings, tmp_path: Path) -> None:
    db = Database(sqlite.url, busy_ms=100)
    db.write(run("CREATE TABLE things (n INTEGER PRIMARY KEY)"))
    other = sqlite3.connect(tmp_path / "coffre.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable):
        db.write(run("INSERT INTO things VALUES (1)"))
    assert numbers(db) == []
    other.execute("ROLLBACK")
    other.close()
    db.write(run("INSERT INTO things VALUES (1)"))
    assert numbers(db) == [1]
    db.close()


def test_another_process_that_writes_makes_us_wait(sqlite: DatabaseSettings, tmp_path: Path) -> None:
    """One writer over all processes, its checkpoint included: what SQLite's own locks don't promise before 3.51.3."""
    db = Database(sqlite.url, busy_ms=200)
    db.write(run("CREATE TABLE things (n INTEGER PRIMARY KEY)"))
    with (tmp_path / "coffre.db-writer").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StorageUnavailable):
            db.write(run("INSERT INTO things VALUES (1)"))
        assert numbers(db) == []
    db.write(run("INSERT INTO things VALUES (1)"))
    assert numbers(db) == [1]
    assert stat.S_IMODE((tmp_path / "coffre.db-writer").stat().st_mode) == 0o600
    db.close()


def test_sqlite_is_set_up_to_lose_nothing_and_leave_nothing(sqlite: DatabaseSettings) -> None:
    db = Database(sqlite.url)
    with db.read() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "temp_store")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "temp_store": 2}
    db.close()
