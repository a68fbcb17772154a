from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, String, Table, bindparam, insert, select, text
from sqlalchemy.exc import DBAPIError

from tests.vault.storage.sql import run
from vault.errors import StorageUnavailable
from vault.settings import DatabaseSettings
from vault.storage import plain
from vault.storage.db import Database
from vault.storage.plain import Rows, Statement

THINGS = Rows("things", {"n": int, "word": str, "data": bytes}, "ON CONFLICT (n) DO UPDATE SET word = excluded.word")
KINDS = {"sqlite": "BLOB", "postgresql": "BYTEA"}


@pytest.fixture
def db(databases: DatabaseSettings) -> Iterator[Database]:
    db = Database(databases.url, databases.password_file)
    kind = KINDS[db.engine.dialect.name]
    db.write(run(f"CREATE TABLE things (n BIGINT PRIMARY KEY, word VARCHAR(40) NOT NULL, data {kind})"))
    yield db
    db.close()


def things(db: Database) -> list[tuple[object, ...]]:
    with db.read() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT n, word, data FROM things ORDER BY n"))]


def put(db: Database, rows: list[tuple[plain.Value, ...]]) -> None:
    db.write(lambda connection: plain.insert(connection, THINGS, rows))


def test_rows_arrive_as_they_were(db: Database) -> None:
    rows: list[tuple[plain.Value, ...]] = [
        (-(2**53), "", None),
        (0, "éà'\"\\{},", b""),
        (2**53, "NULL", bytes(range(256))),
    ]
    put(db, rows)
    assert things(db) == rows


def test_the_same_statement_takes_any_number_of_rows_and_replaces(db: Database) -> None:
    for count in (1, 7, 1, 3000):
        rows: list[tuple[plain.Value, ...]] = [(n, f"of {count}", b"x") for n in range(count)]
        put(db, rows)
    found = things(db)
    assert len(found) == 3000
    assert {word for _, word, _ in found} == {"of 3000"}


def test_the_first_row_or_none(db: Database) -> None:
    ask = "SELECT n, word, data FROM things ORDER BY n DESC LIMIT 1"
    assert db.write(lambda connection: plain.first(connection, ask)) is None
    db.write(lambda connection: plain.insert(connection, THINGS, [(1, "a", b"\x00"), (2, "b", None)]))
    assert db.write(lambda connection: plain.first(connection, ask)) == (2, "b", None)


_THINGS = Table("things", MetaData(), Column("n", BigInteger), Column("word", String(40)), Column("data", LargeBinary))
PUT = Statement(insert(_THINGS), ("n", "word", "data"))
BETWEEN = Statement(
    select(_THINGS.c.word.label("said"), _THINGS.c.data, (_THINGS.c.n > 2).label("is_high"))
    .where(_THINGS.c.n >= bindparam("low"), _THINGS.c.n < bindparam("high"), _THINGS.c.word != "never")
    .order_by(_THINGS.c.n)
)


def test_a_statement_over_tables_is_said_with_values_by_name(db: Database) -> None:
    for n, (word, data) in enumerate([("a", b"\x00"), ("b", None), ("never", b""), ("éà'%", b"\xff")]):
        db.write(partial(PUT.run, n=n, word=word, data=data))
    with db.read() as connection:
        found = BETWEEN.rows(connection, high=4, low=1)
        assert found == [
            {"said": "b", "data": None, "is_high": False},
            {"said": "éà'%", "data": b"\xff", "is_high": True},
        ]
        assert BETWEEN.row(connection, low=1, high=4) == found[0]
        assert BETWEEN.row(connection, low=4, high=9) is None
        assert BETWEEN.rows(connection, low=4, high=9) == []


def test_what_is_read_is_one_snapshot_also_past_sqlalchemy(db: Database) -> None:
    with db.read() as connection:
        assert BETWEEN.rows(connection, low=0, high=9) == []
        db.write(partial(PUT.run, n=1, word="later", data=None))
        assert BETWEEN.rows(connection, low=0, high=9) == []
    with db.read() as connection:
        assert len(BETWEEN.rows(connection, low=0, high=9)) == 1


def test_a_statement_that_is_refused_is_an_error_of_sqlalchemy(db: Database) -> None:
    with pytest.raises(StorageUnavailable):
        db.write(partial(PUT.run, n=1, word=None, data=None))  # word is NOT NULL
    assert things(db) == []


def test_what_the_database_refuses_is_an_error_of_sqlalchemy(db: Database) -> None:
    def refused(words: str) -> bool:
        with db.read() as connection:
            try:
                plain.say(connection, words)
            except DBAPIError as error:
                return error.statement == words
            return False

    assert refused("SELEC 1")
    assert refused("SELECT 1 FROM nowhere")

    def nothing() -> None:
        with db.writing() as connection:
            plain.insert(connection, THINGS, [(1, None, None)])  # word is NOT NULL

    with pytest.raises(DBAPIError):
        nothing()
    assert things(db) == []


@pytest.mark.postgresql
def test_a_connection_that_the_server_ended_is_replaced_at_once(postgresql: DatabaseSettings) -> None:
    """It was used a moment ago, so nobody asks it whether it still answers: it must be seen to have ended."""
    db, other = (Database(postgresql.url, postgresql.password_file) for _ in range(2))
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    others += " AND backend_type = 'client backend'"  # the server's own cleaner may pass by
    try:
        db.write(run("CREATE TABLE things (n BIGINT PRIMARY KEY)"))
        for number in range(3):
            with other.read() as connection:
                assert connection.execute(text(f"SELECT count(pg_terminate_backend(pid, 5000)) {others}")).scalar_one() == 1
            db.write(run("INSERT INTO things VALUES (:n)", n=number))
        with db.read() as connection:
            assert connection.execute(text("SELECT count(*) FROM things")).scalar_one() == 3
    finally:
        db.close()
        other.close()


def test_callers_that_come_together_share_a_commit(db: Database) -> None:
    """Each caller comes again as soon as it is answered: they must not fall apart into halves that wait for each other."""
    commits = 0

    class Count:
        def flush(self, _connection: object) -> None:
            nonlocal commits
            commits += 1

        def ended(self, *, committed: bool) -> None:
            assert committed

    db.join(Count())

    def client() -> None:
        for _ in range(25):
            db.ride(lambda: None)

    threads = [threading.Thread(target=client) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 25 <= commits < 400
