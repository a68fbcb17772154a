"""Owns the statements over merges and suspected doubles. It knows no policy and no name.

A merge changes no document, no key and no index value: it says of one record that it is read through another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Select, func, insert, or_, select, update

from vault.model import Micros, PatientId, PersonId
from vault.records.patients.patient_rows import ACTIVE, MERGED
from vault.storage.schema import FILED, documents, merges, patients, suspected_doubles


@dataclass(frozen=True, slots=True)
class StoredMerge:
    """One merge as its row says it."""

    id: str
    kept: PatientId
    absorbed: PatientId
    merged_at: Micros
    merged_by: PersonId
    undone_at: Micros | None
    undone_by: PersonId | None


_LIVE = merges.c.undone_at.is_(None)


def stored_merge(connection: Connection, merge: str) -> StoredMerge | None:
    """One merge, undone or not."""
    row = connection.execute(select(merges).where(merges.c.id == merge)).mappings().one_or_none()
    return StoredMerge(**row) if row is not None else None


def live_merges(connection: Connection, parts: Iterable[PatientId]) -> list[StoredMerge]:
    """The merges that stand and join these records, newest first."""
    statement = select(merges).where(_LIVE, merges.c.kept.in_(tuple(parts))).order_by(merges.c.merged_at.desc(), merges.c.id)
    return [StoredMerge(**row) for row in connection.execute(statement).mappings()]


def add_merge(connection: Connection, merge: StoredMerge) -> bool:
    """Absorb one file in another; False where either stands no longer for itself: somebody was faster."""
    both = select(func.count()).where(patients.c.id.in_((merge.kept, merge.absorbed)), patients.c.state == ACTIVE)
    if connection.execute(both).scalar_one() != 2:
        return False
    part = (patients.c.id == merge.absorbed) | (patients.c.merged_into == merge.absorbed)
    values = {"state": MERGED, "merged_into": merge.kept, "merged_since": merge.merged_at}
    connection.execute(update(patients).where(part).values(**values))
    connection.execute(
        insert(merges).values(
            id=merge.id, kept=merge.kept, absorbed=merge.absorbed, merged_at=merge.merged_at, merged_by=merge.merged_by
        )
    )
    return True


def undo_merge(connection: Connection, merge: StoredMerge, at: Micros, by: PersonId) -> bool:
    """Let the absorbed file stand for itself again, with whatever it had absorbed before; False where that is done already."""
    still = (merges.c.id == merge.id) & _LIVE
    if connection.execute(update(merges).where(still).values(undone_at=at, undone_by=by)).rowcount != 1:
        return False
    alone = {"state": ACTIVE, "merged_into": None, "merged_since": None}
    connection.execute(update(patients).where(patients.c.id == merge.absorbed).values(**alone))
    _give_back(connection, merge.absorbed, merge.absorbed, Micros(0))
    return True


def _give_back(connection: Connection, root: PatientId, kept: PatientId, since: Micros) -> None:
    """Whatever ``kept`` had absorbed, directly or not, is part of ``root`` again, since the later merge on the way to it."""
    below = select(merges.c.absorbed, merges.c.merged_at).where(_LIVE, merges.c.kept == kept)
    for absorbed, merged_at in connection.execute(below).all():
        became = max(since, Micros(merged_at))
        values = {"merged_into": root, "merged_since": became}
        connection.execute(update(patients).where(patients.c.id == absorbed).values(**values))
        _give_back(connection, root, PatientId(absorbed), became)


def count_filed(connection: Connection, parts: Iterable[PatientId], since: int = -1) -> int:
    """How many documents stand in some records, those deposited after a moment."""
    here = documents.c.patient.in_(tuple(parts)) & (documents.c.deposited_at > since)
    # coalesce keeps the planner off the index by state: nearly every document is filed.
    statement = select(func.count()).where(here, func.coalesce(documents.c.state, "") == FILED)
    return connection.execute(statement).scalar_one()


# --- suspected doubles ----------------------------------------------------------------------------------------------------


def _ordered(one: PatientId, other: PatientId) -> tuple[PatientId, PatientId]:
    return (one, other) if one < other else (other, one)


def suspect(connection: Connection, patient: PatientId, others: Iterable[PatientId], at: Micros) -> None:
    """Note that ``patient`` may be one person with each of ``others``; a pair that was judged stays judged."""
    for one, other in sorted({_ordered(patient, other) for other in others if other != patient}):
        same = (suspected_doubles.c.one == one) & (suspected_doubles.c.other == other)
        if connection.execute(select(suspected_doubles.c.one).where(same)).first() is None:
            connection.execute(insert(suspected_doubles).values(one=one, other=other, found_at=at))


def _open_pairs() -> Select[*tuple[str, ...]]:
    """Pairs that nobody has judged and of which both still stand for themselves."""
    left, right = patients.alias(), patients.alias()
    columns = suspected_doubles.c
    return (
        select(columns.one, columns.other)
        .join_from(suspected_doubles, left, (left.c.id == columns.one) & (left.c.state == ACTIVE))
        .join(right, (right.c.id == columns.other) & (right.c.state == ACTIVE))
        .where(columns.dismissed_at.is_(None))
    )


def open_suspicions(connection: Connection, limit: int) -> list[tuple[PatientId, PatientId]]:
    """The pairs that wait for a judgement, newest first."""
    order = (suspected_doubles.c.found_at.desc(), suspected_doubles.c.one, suspected_doubles.c.other)
    rows = connection.execute(_open_pairs().order_by(*order).limit(limit)).all()
    return [(PatientId(row.one), PatientId(row.other)) for row in rows]


def count_suspicions(connection: Connection) -> int:
    """How many pairs wait."""
    return connection.execute(select(func.count()).select_from(_open_pairs().subquery())).scalar_one()


def suspicions_of(connection: Connection, patient: PatientId) -> list[PatientId]:
    """Who may be one person with ``patient`` and was not judged yet."""
    columns = suspected_doubles.c
    mine: ColumnElement[bool] = or_(columns.one == patient, columns.other == patient)
    rows = connection.execute(_open_pairs().where(mine).order_by(columns.found_at)).all()
    return [PatientId(row.other if row.one == patient else row.one) for row in rows]


def dismiss(connection: Connection, one: PatientId, other: PatientId, at: Micros, by: PersonId) -> bool:
    """Note that they are two persons; False where somebody has judged already."""
    suspect(connection, one, [other], at)
    first, second = _ordered(one, other)
    columns = suspected_doubles.c
    waiting = (columns.one == first) & (columns.other == second) & columns.dismissed_at.is_(None)
    statement = update(suspected_doubles).where(waiting).values(dismissed_at=at, dismissed_by=by)
    return connection.execute(statement).rowcount == 1
