"""Owns the statements over patients, their index and their care team, and the sealing of identities. It knows no policy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, exists, insert, select, union, update

from kms.keys import Secret
from vault.errors import NotFound, Tampered
from vault.model import Identity, Micros, PatientId, PersonId, Role, ScopeId, Sex, TenantId
from vault.sealing.binding import field_context
from vault.sealing.fields import open_field, seal_field
from vault.storage.schema import care_team, patient_index, patients, people

ACTIVE = "active"
_CARING = (Role.CLINICIAN.value, Role.OWNER.value)


@dataclass(frozen=True, slots=True)
class StoredPatient:
    """A patient's row, the identity still sealed."""

    id: PatientId
    scope: ScopeId
    identity_sealed: bytes
    created_at: Micros
    created_by: PersonId


def _context(tenant: TenantId, patient: PatientId) -> bytes:
    return field_context(tenant, "patients", "identity", patient)


def seal_identity(scope_key: Secret, tenant: TenantId, patient: PatientId, identity: Identity) -> bytes:
    """The identity as JSON under the scope's field key, bound to the patient."""
    fields = {
        "birth_name": identity.birth_name,
        "given_names": identity.given_names,
        "birth_date": identity.birth_date,
        "sex": identity.sex,
        "used_name": identity.used_name,
        "ins": identity.ins,
    }
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return seal_field(scope_key, _context(tenant, patient), text.encode())


def open_identity(scope_key: Secret, tenant: TenantId, patient: PatientId, sealed: bytes) -> Identity:
    """The identity again. Raises Tampered where it was altered or is another patient's."""
    try:
        fields = json.loads(open_field(scope_key, _context(tenant, patient), sealed))
        return Identity(**{**fields, "given_names": tuple(fields["given_names"]), "sex": Sex(fields["sex"])})
    except (ValueError, TypeError, KeyError) as error:
        raise Tampered(f"the identity of patient {patient} can't be read", kind="field") from error


def _patients() -> Select[*tuple[object, ...]]:
    return select(patients.c.id, patients.c.scope, patients.c.identity_sealed, patients.c.created_at, patients.c.created_by)


def _stored(row: Row[*tuple[object, ...]]) -> StoredPatient:
    return StoredPatient(**row._mapping)  # noqa: SLF001  # SQLAlchemy's public way to a row's names has this name


def _is_of(person: PersonId) -> ColumnElement[bool]:
    return exists().where((care_team.c.patient == patients.c.id) & (care_team.c.person == person))


def stored_patient(connection: Connection, patient: PatientId) -> StoredPatient:
    """Raises NotFound."""
    row = connection.execute(_patients().where(patients.c.id == patient, patients.c.state == ACTIVE)).one_or_none()
    if row is None:
        raise NotFound(f"patient {patient}")
    return _stored(row)


def stored_patients(connection: Connection, wanted: Sequence[PatientId]) -> list[StoredPatient]:
    """Those of ``wanted`` who are there."""
    statement = _patients().where(patients.c.id.in_(wanted), patients.c.state == ACTIVE)
    return [_stored(row) for row in connection.execute(statement)]


def latest(connection: Connection, person: PersonId | None, limit: int) -> list[StoredPatient]:
    """The newest patients, of one person's care team or of the whole practice."""
    statement = _patients().where(patients.c.state == ACTIVE)
    if person is not None:
        statement = statement.where(_is_of(person))
    statement = statement.order_by(patients.c.created_at.desc(), patients.c.id).limit(limit)
    return [_stored(row) for row in connection.execute(statement)]


def candidates(connection: Connection, sets: Sequence[Iterable[bytes]], person: PersonId, limit: int) -> list[StoredPatient]:
    """The patients that hold every index value of at least one set; those whom ``person`` treats first."""
    found = union(*(_holding(sorted(values)) for values in sets)).subquery()
    statement = _patients().where(patients.c.id.in_(select(found.c.patient)), patients.c.state == ACTIVE)
    statement = statement.order_by(_is_of(person).desc(), patients.c.created_at.desc(), patients.c.id).limit(limit)
    return [_stored(row) for row in connection.execute(statement)]


def _holding(values: Sequence[bytes]) -> Select[str]:
    first = patient_index.alias()
    statement = select(first.c.patient).where(first.c.value == values[0])
    for value in values[1:]:
        other = patient_index.alias()
        statement = statement.where(exists().where((other.c.value == value) & (other.c.patient == first.c.patient)))
    return statement


def add(connection: Connection, stored: StoredPatient, index: Iterable[bytes], team: Iterable[PersonId]) -> None:
    """Insert a patient with index values and care team."""
    connection.execute(
        insert(patients).values(
            id=stored.id,
            scope=stored.scope,
            identity_sealed=stored.identity_sealed,
            state=ACTIVE,
            created_at=stored.created_at,
            created_by=stored.created_by,
        )
    )
    _add_index(connection, stored.id, index)
    members = [{"patient": stored.id, "person": person, "since": stored.created_at} for person in team]
    if members:
        connection.execute(insert(care_team), members)


def change(connection: Connection, patient: PatientId, identity_sealed: bytes, index: Iterable[bytes]) -> None:
    """Replace the identity and everything under which it is found."""
    connection.execute(update(patients).where(patients.c.id == patient).values(identity_sealed=identity_sealed))
    connection.execute(delete(patient_index).where(patient_index.c.patient == patient))
    _add_index(connection, patient, index)


def _add_index(connection: Connection, patient: PatientId, index: Iterable[bytes]) -> None:
    connection.execute(insert(patient_index), [{"value": value, "patient": patient} for value in sorted(index)])


def team_of(connection: Connection, patient: PatientId) -> tuple[PersonId, ...]:
    """Who treats a patient, in the order of joining."""
    statement = select(care_team.c.person).where(care_team.c.patient == patient).order_by(care_team.c.since, care_team.c.person)
    return tuple(PersonId(person) for person in connection.execute(statement).scalars())


def first_clinician(connection: Connection) -> PersonId | None:
    """The practice's first clinician still at work; an owner where there is none."""
    statement = (
        select(people.c.id)
        .where(people.c.role.in_(_CARING), people.c.state == ACTIVE)
        .order_by(people.c.role, people.c.created_at, people.c.id)
        .limit(1)
    )
    found = connection.execute(statement).scalar_one_or_none()
    return PersonId(found) if found is not None else None


def are_carers(connection: Connection, persons: Sequence[PersonId]) -> bool:
    """Whether each of these may belong to a care team."""
    roles = (*_CARING, Role.LOCUM.value)
    statement = select(people.c.id).where(people.c.id.in_(persons), people.c.role.in_(roles), people.c.state == ACTIVE)
    return set(connection.execute(statement).scalars()) == set(persons)
