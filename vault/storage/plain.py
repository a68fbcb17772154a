"""Owns the statements that are said to the driver itself. It must not know any table.

They stand in the path of every access: what SQLAlchemy puts around a statement costs many times what it does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, Insert, Select
from sqlalchemy.exc import DBAPIError

Value = int | str | bytes | None
Kind = type[int] | type[str] | type[bytes]
Row = Mapping[Any, Any]
"""A row by the names of its columns: a ``Statement``'s, or SQLAlchemy's own mapping."""


class _Oid(NamedTuple):
    """PostgreSQL's numbers (pg_type.oid) of a type and of its array."""

    one: int
    many: int


_OIDS: dict[Kind, _Oid] = {int: _Oid(20, 1016), str: _Oid(25, 1009), bytes: _Oid(17, 1001)}
"""bigint, text and bytea."""
_LENGTH = struct.Struct("!i").pack
_ARRAY = struct.Struct("!iiIii").pack
_NULL = _LENGTH(-1)
_EIGHT = _LENGTH(8)


@dataclass(frozen=True)
class Rows:
    """An insertion of many rows in one statement: its table, the kind of value of each column, what follows on a conflict."""

    table: str
    columns: dict[str, Kind]
    ending: str = ""
    sqlite: str = field(init=False)
    postgresql: str = field(init=False)
    """One array for each column, so that it is the same prepared statement for any number of rows."""

    def __post_init__(self) -> None:
        into = f"INSERT INTO {self.table} ({', '.join(self.columns)})"
        marks, arrays = ", ".join("?" * len(self.columns)), ", ".join(["%b"] * len(self.columns))
        object.__setattr__(self, "sqlite", f"{into} VALUES ({marks}) {self.ending}")
        object.__setattr__(self, "postgresql", f"{into} SELECT * FROM unnest({arrays}) {self.ending}")  # noqa: S608  # our own names


class _Compiled(NamedTuple):
    """A statement in the words of one database."""

    words: str
    order: tuple[str, ...] | None
    """The names of its values in the order of their marks; None where the marks bear the names."""
    constants: Mapping[str, Value]
    """Values that stand in the statement itself."""
    how: Mapping[str, bool]


class Statement:
    """A statement of every access: written over the tables like any other, compiled once, said to the driver itself.

    Values are given by name. Rows are dictionaries of the driver's own values: on SQLite a truth is 0 or 1.
    """

    def __init__(self, statement: Select[*tuple[Any, ...]] | Insert, fills: Sequence[str] = ()) -> None:
        """``fills``: the columns for which an insertion is given values."""
        self._statement = statement
        self._fills = list(fills) or None
        self._columns = tuple(str(column.key) for column in statement.selected_columns) if isinstance(statement, Select) else ()
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, connection: Connection, **values: Value) -> list[dict[str, Any]]:
        """Every row. Raises SQLAlchemy's own errors."""
        return [dict(zip(self._columns, row, strict=True)) for row in self._said(connection, values, _all)]

    def row(self, connection: Connection, **values: Value) -> dict[str, Any] | None:
        """The first row, None where there is none. Raises SQLAlchemy's own errors."""
        row = self._said(connection, values, _one)
        return None if row is None else dict(zip(self._columns, row, strict=True))

    def run(self, connection: Connection, **values: Value) -> None:
        """For what gives no rows. Raises SQLAlchemy's own errors."""
        self._said(connection, values, _none)

    def _said(self, connection: Connection, values: Mapping[str, Value], take: Callable[[Any], Any]) -> Any:
        words, order, constants, how = self._in(connection.dialect)
        named = {**constants, **values}
        given = named if order is None else [named[name] for name in order]
        driver: Any = connection.connection.driver_connection
        try:
            return take(driver.execute(words, given, **how))
        except connection.dialect.loaded_dbapi.Error as error:
            raise _told(connection, words, error) from error

    def _in(self, dialect: Dialect) -> _Compiled:
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            made = self._statement.compile(dialect=dialect, column_keys=self._fills)
            order = made.positiontup
            how = {} if dialect.name == "sqlite" else {"prepare": True, "binary": True}
            compiled = _Compiled(str(made), tuple(order) if order is not None else None, made.params, how)
            self._compiled[dialect.name] = compiled
        return compiled


def _all(cursor: Any) -> Any:
    return cursor.fetchall()


def _one(cursor: Any) -> Any:
    return cursor.fetchone()


def _none(_cursor: Any) -> None:
    return None


def begin(connection: Connection) -> None:
    """Begin a snapshot to read from. Raises SQLAlchemy's own errors.

    On SQLite the driver alone is told, and SQLAlchemy's own transaction begins inside it, at its first statement;
    on PostgreSQL that begins here and not at the statement, which may be said to the driver.
    """
    if connection.dialect.name == "sqlite":
        say(connection, "BEGIN")
    else:
        connection.begin()


def roll_back(connection: Connection) -> None:
    """End what ``begin`` began. Raises SQLAlchemy's own errors."""
    if connection.in_transaction():
        connection.rollback()
    else:
        say(connection, "ROLLBACK")


def say(connection: Connection, words: str) -> None:
    """Words without values, on PostgreSQL more than one statement if need be.

    Raises SQLAlchemy's own errors, as a statement would.
    """
    if connection.dialect.name == "sqlite":
        _driver(connection, words, lambda driver: driver.execute(words))
    else:
        _driver(connection, words, lambda driver: _exchange(connection.dialect.loaded_dbapi, driver.pgconn, words))


def insert(connection: Connection, rows: Rows, values: Sequence[tuple[Value, ...]]) -> None:
    """Insert ``values``, all in one statement. Raises SQLAlchemy's own errors."""
    if connection.dialect.name == "sqlite":
        _driver(connection, rows.sqlite, lambda driver: driver.executemany(rows.sqlite, values))
        return
    psycopg: Any = connection.dialect.loaded_dbapi
    wrap = _arrays(psycopg)
    columns = zip(rows.columns.values(), zip(*values, strict=True), strict=True)
    arrays = [wrap[kind][0](_array(kind, column)) for kind, column in columns]
    _driver(connection, rows.postgresql, lambda driver: driver.execute(rows.postgresql, arrays, prepare=True))


def first(connection: Connection, statement: str) -> tuple[Any, ...] | None:
    """The first row that ``statement`` gives, None where there is none. Raises SQLAlchemy's own errors."""
    how = {} if connection.dialect.name == "sqlite" else {"prepare": True, "binary": True}
    row: tuple[Any, ...] | None = _driver(connection, statement, lambda driver: driver.execute(statement, **how).fetchone())
    return row


def _driver(connection: Connection, words: str, run: Callable[[Any], Any]) -> Any:
    """What ``run`` gives for the driver's connection. Raises SQLAlchemy's own errors."""
    try:
        return run(connection.connection.driver_connection)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _told(connection, words, error) from error


def _told(connection: Connection, words: str, error: Exception) -> BaseException:
    """SQLAlchemy's own error for one of the driver's."""
    return DBAPIError.instance(words, None, error, connection.dialect.loaded_dbapi.Error, dialect=connection.dialect)


def _exchange(psycopg: Any, server: Any, words: str) -> None:
    """Say it in one exchange; libpq lets other threads run meanwhile."""
    result = server.exec_(words.encode())
    if result.status not in {psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK}:
        raise psycopg.errors.error_from_result(result)


def teach(psycopg: Any, driver: Any) -> None:
    """Let a new connection to PostgreSQL take the arrays of ``insert``."""
    for array, dumper in _arrays(psycopg).values():
        driver.adapters.register_dumper(array, dumper)


@cache
def _arrays(psycopg: Any) -> dict[Kind, tuple[type[bytes], Any]]:
    """For each kind of value a class whose bytes are an array in PostgreSQL's binary form, and what sends them as they are."""

    def made(kind: Kind) -> tuple[type[bytes], Any]:
        class Array(bytes):
            pass

        class ArrayDumper(psycopg.adapt.Dumper):  # type: ignore[misc]  # psycopg is loaded only where it is used
            oid = _OIDS[kind].many
            format = psycopg.pq.Format.BINARY

            def dump(self, array: bytes) -> bytes:
                return array

        return Array, ArrayDumper

    return {kind: made(kind) for kind in _OIDS}


def _array(kind: Kind, column: tuple[Value, ...]) -> bytes:
    cells = [_NULL if value is None else _cell(value) for value in column]
    return _ARRAY(1, None in column, _OIDS[kind].one, len(column), 1) + b"".join(cells)


def _cell(value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _EIGHT + value.to_bytes(8, signed=True)
    data = value.encode() if isinstance(value, str) else value
    return _LENGTH(len(data)) + data
