"""Owns the statements over retention facts, holds and disposals. It must not know keys, policy or rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from vault.errors import Conflict, NotFound
from vault.model import Micros, PatientId, PersonId
from vault.records.patients.patient_rows import ACTIVE
from vault.storage.schema import disposals, document_versions, documents, legal_holds, patients, retention_facts


class State(StrEnum):
    """Where a disposal stands."""

    PROPOSED = "proposed"
    TAKEN_BACK = "taken_back"
    ERASING = "erasing"
    """Decided and told: the file can't be read any more; keys and bodies may still have to go."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Disposal:
    """One disposal as its row says it."""

    id: str
    patient: PatientId
    state: State
    proposed_by: PersonId
    proposed_at: Micros
    decided_by: PersonId | None = None
    decided_at: Micros | None = None
    rule: str | None = None
    kept_until: str | None = None
    documents: int = 0
    bytes: int = 0
    remains: str = ""
    finished_at: Micros | None = None


def active_after(connection: Connection, after: str, limit: int) -> list[PatientId]:
    """The next files that stand for themselves, by id."""
    statement = select(patients.c.id).where(patients.c.id > after, patients.c.state == ACTIVE).order_by(patients.c.id)
    return [PatientId(each) for each in connection.execute(statement.limit(limit)).scalars()]


def facts_of(connection: Connection, parts: Sequence[PatientId]) -> dict[PatientId, bytes]:
    """What was said of each record, sealed."""
    rows = connection.execute(select(retention_facts).where(retention_facts.c.patient.in_(parts)))
    return {PatientId(row.patient): row.facts_sealed for row in rows}


def say(connection: Connection, patient: PatientId, sealed: bytes, at: Micros, by: PersonId) -> None:
    """Replace what is said of a record."""
    connection.execute(delete(retention_facts).where(retention_facts.c.patient == patient))
    connection.execute(insert(retention_facts).values(patient=patient, facts_sealed=sealed, set_at=at, set_by=by))


def holds_of(connection: Connection, parts: Sequence[PatientId]) -> list[Row[*tuple[object, ...]]]:
    """Every hold that there was on these records, oldest first."""
    mine = select(legal_holds).where(legal_holds.c.patient.in_(parts))
    return list(connection.execute(mine.order_by(legal_holds.c.set_at, legal_holds.c.id)))


def is_held(connection: Connection, parts: Sequence[PatientId]) -> bool:
    """Whether a hold is open on any of these records."""
    still = legal_holds.c.patient.in_(parts) & legal_holds.c.cleared_at.is_(None)
    return connection.execute(select(legal_holds.c.id).where(still).limit(1)).first() is not None


def add_hold(connection: Connection, hold: str, patient: PatientId, sealed: bytes, set_: tuple[Micros, PersonId]) -> None:
    """A new hold, open; ``set_``: when and by whom."""
    connection.execute(insert(legal_holds).values(id=hold, patient=patient, hold_sealed=sealed, set_at=set_[0], set_by=set_[1]))


def hold_on(connection: Connection, hold: str) -> PatientId:
    """On whose record a hold lies. Raises NotFound."""
    found = connection.execute(select(legal_holds.c.patient).where(legal_holds.c.id == hold)).scalar_one_or_none()
    if found is None:
        raise NotFound("no such hold")
    return PatientId(found)


def clear_hold(connection: Connection, hold: str, at: Micros, by: PersonId) -> None:
    """End a hold. Raises Conflict where it is over already."""
    still = (legal_holds.c.id == hold) & legal_holds.c.cleared_at.is_(None)
    if connection.execute(update(legal_holds).where(still).values(cleared_at=at, cleared_by=by)).rowcount != 1:
        raise Conflict("this hold was cleared already", reason="cleared")


def standing(connection: Connection, parts: Sequence[PatientId]) -> tuple[object, ...]:
    """Everything that a judgement on a file rests on: equal before and after, nothing changed meanwhile."""
    who = select(patients.c.id, patients.c.identity_sealed, patients.c.merged_into)
    filed = select(document_versions.c.document, document_versions.c.version, document_versions.c.description_sealed)
    filed = filed.join(documents, documents.c.id == document_versions.c.document).where(documents.c.patient.in_(parts))
    mine = patients.c.id.in_(parts) | patients.c.merged_into.in_(parts)
    return (
        tuple(sorted(tuple(row) for row in connection.execute(who.where(mine)))),
        tuple(sorted(tuple(row) for row in connection.execute(filed))),
        tuple(sorted(facts_of(connection, parts).items())),
        tuple(tuple(row) for row in holds_of(connection, parts)),
    )


# --- disposals


def _disposal(row: Row[*tuple[object, ...]]) -> Disposal:
    fields = dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's public way to a row as a mapping
    return Disposal(**{**fields, "state": State(str(fields["state"]))})


def disposal(connection: Connection, wanted: str) -> Disposal:
    """One disposal. Raises NotFound."""
    row = connection.execute(select(disposals).where(disposals.c.id == wanted)).one_or_none()
    if row is None:
        raise NotFound("no such disposal")
    return _disposal(row)


def in_state(connection: Connection, *states: State) -> list[Disposal]:
    """The disposals in some states, oldest first."""
    statement = select(disposals).where(disposals.c.state.in_(states)).order_by(disposals.c.proposed_at, disposals.c.id)
    return [_disposal(row) for row in connection.execute(statement)]


def newest_done(connection: Connection, limit: int) -> list[Disposal]:
    """The disposals of which nothing remains, newest first."""
    statement = select(disposals).where(disposals.c.state == State.DONE)
    newest = statement.order_by(disposals.c.finished_at.desc(), disposals.c.id).limit(limit)
    return [_disposal(row) for row in connection.execute(newest)]


def _waiting(parts: Sequence[PatientId]) -> ColumnElement[bool]:
    return disposals.c.patient.in_(parts) & (disposals.c.state == State.PROPOSED)


def propose(connection: Connection, new: Disposal, parts: Sequence[PatientId]) -> None:
    """A new proposal. Raises Conflict where one waits already."""
    if connection.execute(select(disposals.c.id).where(_waiting(parts))).first() is not None:
        raise Conflict("a disposal of this file waits already", reason="proposed")
    values = {name: getattr(new, name) for name in ("id", "patient", "state", "proposed_by", "proposed_at")}
    connection.execute(insert(disposals).values(**values))


def decide(connection: Connection, wanted: str, **values: object) -> None:
    """Write how a proposal was decided. Raises Conflict where somebody was faster."""
    still = (disposals.c.id == wanted) & (disposals.c.state == State.PROPOSED)
    if connection.execute(update(disposals).where(still).values(**values)).rowcount != 1:
        raise Conflict("somebody decided already", reason="decided")


def finish(connection: Connection, wanted: str, at: Micros) -> None:
    """Nothing remains."""
    still = (disposals.c.id == wanted) & (disposals.c.state == State.ERASING)
    connection.execute(update(disposals).where(still).values(state=State.DONE, remains="", finished_at=at))
