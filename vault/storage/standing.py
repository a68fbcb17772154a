"""Owns which versions of the MAC key something still stands under, read from the rows themselves. It must not know the token.

Search values stand whole under one version for each patient (``patients.mac``), fingerprints for each version of a document.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, bindparam, func, select

from vault.storage.plain import Statement
from vault.storage.schema import document_versions, patients

PATIENTS = patients.c.mac
VERSIONS = document_versions.c.mac
_NEXT = {column: select(func.min(column)).where(column > bindparam("last")) for column in (PATIENTS, VERSIONS)}


def _ends(column: Column[int]) -> Statement:
    """The lowest and the highest: each by itself, so that each is one look into the index."""
    low, high = (select(end(column)).scalar_subquery() for end in (func.min, func.max))
    return Statement(select(low.label("low"), high.label("high")))


_ENDS = {column: _ends(column) for column in (PATIENTS, VERSIONS)}


def versions(connection: Connection, column: Column[int]) -> tuple[int, ...]:
    """The key versions in a column, ascending; one look into its index for each, however many rows there are."""
    ends = _ENDS[column].row(connection) or {}
    if ends["low"] == ends["high"]:  # nearly always: there is one key, or no row at all
        return () if ends["low"] is None else (int(ends["low"]),)
    found, last = list[int](), 0
    while (last := connection.execute(_NEXT[column], {"last": last}).scalar() or 0) > 0:
        found.append(last)
    return tuple(found)


def counts(connection: Connection, column: Column[int]) -> dict[int, int]:
    """How many rows stand under each key version."""
    rows = connection.execute(select(column, func.count()).group_by(column))
    return {int(number): int(count) for number, count in rows}
