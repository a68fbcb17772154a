"""Owns the statements over ``audit_entries`` and ``audit_counters``. It must not know what the groups say."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, select

from vault.audit.events import Action
from vault.storage import plain
from vault.storage.plain import Rows, Statement
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
    detector_index: bytes | None


# The statements of every batch, said to the driver itself.
_LAST = "SELECT position, leaf, at FROM audit_entries ORDER BY position DESC LIMIT 1"
_FROM = Statement(
    select(audit_entries.c.leaf)
    .where(audit_entries.c.position >= bindparam("position", type_=BigInteger))
    .order_by(audit_entries.c.position)
)
_COUNT = Statement(
    select(audit_counters.c.count).where(audit_counters.c.subject == bindparam("subject", type_=audit_counters.c.subject.type))
)
_ENTRIES = Rows(
    "audit_entries",
    {"position": int, "leaf": bytes, "at": int, "action": str, "outcome": str}
    | dict.fromkeys(("actor_sealed", "subject_sealed", "client_sealed", "note_sealed"), bytes)
    | dict.fromkeys(("actor_index", "patient_index", "document_index", "person_index"), bytes)
    | {"flags": int, "detector_index": bytes},
)
_COUNTERS = Rows(
    "audit_counters", {"subject": bytes, "count": int}, "ON CONFLICT (subject) DO UPDATE SET count = excluded.count"
)


class Told(NamedTuple):
    """An entry by what stands in clear."""

    position: int
    id: str
    action: str


def of_operation(connection: Connection, op: str, actions: Iterable[Action]) -> list[Told]:
    """The entries of one operation, in order; ``actions`` are few among all: their entries are read through."""
    rare = audit_entries.c.action.in_([action.value for action in actions])
    rows = connection.execute(
        select(audit_entries.c.position, audit_entries.c.leaf).where(rare).order_by(audit_entries.c.position)
    )
    told = ((row.position, json.loads(row.leaf)) for row in rows)
    return [Told(position, leaf["id"], leaf["action"]) for position, leaf in told if leaf.get("op") == op]


def insert_entries(connection: Connection, entries: list[Entry]) -> None:
    """Append rows, all in one statement."""
    plain.insert(connection, _ENTRIES, entries)


def last_leaf(connection: Connection) -> tuple[int, bytes | None, int]:
    """(size of the log, its last leaf, the time of that entry); (0, None, 0) for an empty log."""
    row = plain.first(connection, _LAST)
    return (0, None, 0) if row is None else (row[0] + 1, row[1], row[2])


def leaves_from(connection: Connection, position: int) -> list[bytes]:
    """The leaves at ``position`` and after it, in order."""
    return [row["leaf"] for row in _FROM.rows(connection, position=position)]


def leaf_at(connection: Connection, position: int) -> bytes | None:
    """The leaf at ``position``, None where there is none."""
    return connection.execute(select(audit_entries.c.leaf).where(audit_entries.c.position == position)).scalar_one_or_none()


def entry_at(connection: Connection, position: int) -> Entry | None:
    """The row at ``position``, None where there is none."""
    columns = [audit_entries.c[name] for name in Entry._fields]
    row = connection.execute(select(*columns).where(audit_entries.c.position == position)).one_or_none()
    return None if row is None else Entry(*row)


def counts(connection: Connection, subjects: Iterable[bytes]) -> dict[bytes, int]:
    """The counters of those among ``subjects`` that have one."""
    found = ((subject, _COUNT.row(connection, subject=subject)) for subject in subjects)
    return {subject: row["count"] for subject, row in found if row is not None}


def store_counts(connection: Connection, counted: dict[bytes, int]) -> None:
    """Set counters, inserting those that are new."""
    if counted:
        plain.insert(connection, _COUNTERS, list(counted.items()))
