"""Owns the statements over ``audit_entries`` and ``audit_counters``. It must not know what the groups say."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select

from vault.storage.schema import audit_counters, audit_entries


class Entry(NamedTuple):
    """One row of ``audit_entries``, in the order of its columns."""

    position: int
    leaf: bytes
    at: int
    action: str
    outcome: str
    actor_sealed: bytes | None
    subject_sealed: bytes | None
    client_sealed: bytes | None
    note_sealed: bytes | None
    actor_index: bytes | None
    patient_index: bytes | None
    document_index: bytes | None
    person_index: bytes | None
    flags: int


# The statements of every batch are plain text for the driver, the same words on SQLite and PostgreSQL: they stand in the path
# of every access, and composing them anew costs more than running them.
_COLUMNS = ", ".join(Entry._fields)
_LAST = "SELECT position, leaf, at FROM audit_entries ORDER BY position DESC LIMIT 1"
_INSERT = f"INSERT INTO audit_entries ({_COLUMNS}) VALUES ({', '.join(['{0}'] * len(Entry._fields))})"  # noqa: S608  # our own names
_UPSERT = (
    "INSERT INTO audit_counters (subject, count) VALUES ({0}, {0}) ON CONFLICT (subject) DO UPDATE SET count = excluded.count"
)


def _words(connection: Connection, statement: str) -> str:
    return statement.format("?" if connection.dialect.name == "sqlite" else "%s")


def insert_entries(connection: Connection, entries: list[Entry]) -> None:
    """Append rows, all in one statement."""
    connection.exec_driver_sql(_words(connection, _INSERT), list(entries))


def last_leaf(connection: Connection) -> tuple[int, bytes | None, int]:
    """(size of the log, its last leaf, the time of that entry); (0, None, 0) for an empty log."""
    row = connection.exec_driver_sql(_LAST).one_or_none()
    return (0, None, 0) if row is None else (row.position + 1, row.leaf, row.at)


def leaf_at(connection: Connection, position: int) -> bytes | None:
    """The leaf at ``position``, None where there is none."""
    return connection.execute(select(audit_entries.c.leaf).where(audit_entries.c.position == position)).scalar_one_or_none()


def entry_at(connection: Connection, position: int) -> Entry | None:
    """The row at ``position``, None where there is none."""
    columns = [audit_entries.c[name] for name in Entry._fields]
    row = connection.execute(select(*columns).where(audit_entries.c.position == position)).one_or_none()
    return None if row is None else Entry(*row)


def counts(connection: Connection, subjects: list[bytes]) -> dict[bytes, int]:
    """The counters of those among ``subjects`` that have one."""
    found: dict[bytes, int] = {}
    for start in range(0, len(subjects), 500):
        query = select(audit_counters).where(audit_counters.c.subject.in_(subjects[start : start + 500]))
        found.update((row["subject"], row["count"]) for row in connection.execute(query).mappings())
    return found


def store_counts(connection: Connection, counted: dict[bytes, int]) -> None:
    """Set counters, inserting those that are new."""
    if not counted:
        return
    connection.exec_driver_sql(_words(connection, _UPSERT), list(counted.items()))
