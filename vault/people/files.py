"""Owns which patient records make one file: a merge joins two, and nothing of either moves. It must not judge, nor know names.

The record that was kept is the file's *root*; those that were merged into it, at whatever remove, name it in ``merged_into``.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Select, bindparam, func, select

from vault.errors import Conflict
from vault.model import Micros, PatientId, PersonId
from vault.storage.schema import care_team, patients


@dataclass(frozen=True, slots=True)
class File:
    """One patient's file: the record that stands for it, and all that it is made of."""

    root: PatientId
    parts: tuple[PatientId, ...]
    """The root first."""
    since: dict[PatientId, Micros]
    """When each part but the root became one."""

    @property
    def is_merged(self) -> bool:
        return len(self.parts) > 1


def _parts() -> Select[*tuple[object, ...]]:
    asked, part = patients.alias(), patients.alias()
    root = func.coalesce(asked.c.merged_into, asked.c.id)
    return (
        select(part.c.id, part.c.merged_into, part.c.merged_since)
        .where(asked.c.id == bindparam("patient"), (part.c.id == root) | (part.c.merged_into == root))
        .order_by(part.c.merged_into.is_not(None), part.c.merged_since, part.c.id)
    )


_PARTS = _parts()


def file_of(connection: Connection, patient: PatientId) -> File:
    """The file that a record is part of; an unknown record is a file of its own, so that it can be judged like any other."""
    rows = connection.execute(_PARTS, {"patient": patient}).all()
    if not rows:
        return File(patient, (patient,), {})
    since = {PatientId(row.id): Micros(row.merged_since or 0) for row in rows if row.merged_into is not None}
    return File(PatientId(rows[0].id), tuple(PatientId(row.id) for row in rows), since)


def refuse_merged(kept: str | None) -> None:
    """Nothing is written under a record that was merged into another (``kept``): raises Conflict naming that one."""
    if kept is not None:
        raise Conflict("this file was merged into another one", reason="merged", patient=kept)


def followed_by(person: PersonId | Select[str]) -> Select[str]:
    """The records of every file in whose care team somebody is (or one of several, by a statement), merges included."""
    among = care_team.c.person == person if isinstance(person, str) else care_team.c.person.in_(person)
    mine = select(care_team.c.patient).where(among)
    own, other = patients.alias(), patients.alias()
    roots = select(own.c.merged_into).where(own.c.merged_into.is_not(None), own.c.id.in_(mine))
    joined = select(other.c.id).where(other.c.merged_into.in_(mine.union(roots)))
    return select(mine.union(roots, joined).subquery().c[0])
