"""Owns which versions of the MAC key something still stands under, read from the rows themselves. It must not know the token.

Search values stand whole under one version for each patient (``patients.mac``), fingerprints for each version of a document.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, bindparam, func, select

from vault.storage.schema import document_versions, patients

PATIENTS = patients.c.mac
VERSIONS = document_versions.c.mac
_NEXT = {column: select(func.min(column)).where(column > bindparam("last")) for column in (PATIENTS, VERSIONS)}
"""Built once: every deposit and every search asks."""


def versions(connection: Connection, column: Column[int]) -> tuple[int, ...]:
    """The key versions in a column, ascending; one look into its index for each, however many rows there are."""
    found, last = list[int](), 0
    while (last := connection.execute(_NEXT[column], {"last": last}).scalar() or 0) > 0:
        found.append(last)
    return tuple(found)


def counts(connection: Connection, column: Column[int]) -> dict[int, int]:
    """How many rows stand under each key version."""
    rows = connection.execute(select(column, func.count()).group_by(column))
    return {int(number): int(count) for number, count in rows}
