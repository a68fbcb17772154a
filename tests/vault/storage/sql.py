"""Jobs for the writer, from plain SQL."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, text


def run(sql: str, **values: object) -> Callable[[Connection], None]:
    """A job that executes one statement."""

    def work(connection: Connection) -> None:
        connection.execute(text(sql), values)

    return work
