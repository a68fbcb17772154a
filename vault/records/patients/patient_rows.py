"""Owns the statements over patients, their index and their care team, and the sealing of identities. It knows no policy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, exists, insert, select, union, update

from kms.keys import Secret
from vault.errors import Conflict, NotFound, Tampered
from vault.model import Identity, IdentityStatus, Micros, PatientId, PersonId, Role, ScopeId, Sex, TenantId
from vault.sealing.binding import field_context
from vault.sealing.fields import open_field, seal_field
from vault.sealing.index import Entry
from vault.storage.schema import care_team, patient_index, patients, people

ACTIVE = "active"
MERGED = "merged"
"""Read through the file that was kept; the record itself stays as it was."""
_PRESENT = (ACTIVE, MERGED)
_CARING = (Role.CLINICIAN.value, Role.OWNER.value)


@dataclass(frozen=True, slots=True)
class StoredPatient:
    """A patient's row, the identity still sealed."""

    id: PatientId
    scope: ScopeId
    identity_sealed: bytes
    created_at: Micros
    created_by: PersonId
    merged_into: PatientId | None = None


def _context(tenant: TenantId, patient: PatientId) -> bytes:
    return field_context(tenant, "patients", "identity", patient)


def seal_identity(scope_key: Secret, tenant: TenantId, patient: PatientId, identity: Identity) -> bytes:
    """The identity as JSON under the scope's field key, bound to the patient."""
    text = json.dumps(asdict(identity), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return seal_field(scope_key, _context(tenant, patient), text.encode())


def open_identity(scope_key: Secret, tenant: TenantId, patient: PatientId, sealed: bytes) -> Identity:
    """The identity again. Raises Tampered where it was altered or is another patient's."""
    try:
        fields = json.loads(open_field(scope_key, _context(tenant, patient), sealed))
        kinds = {"sex": Sex(fields["sex"]), "status": IdentityStatus(fields["status"])}
        return Identity(**{**fields, **kinds, "given_names": tuple(fields["given_names"])})
    except (ValueError, TypeError, KeyError) as error:
        raise Tampered(f"the identity of patient {patient} can't be read", kind="field") from error


def _patients() -> Select[*tuple[object, ...]]:
    columns = patients.c
    return select(
        columns.id, columns.scope, columns.identity_sealed, columns.created_at, columns.created_by, columns.merged_into
    )


def _stored(row: Row[*tuple[object, ...]]) -> StoredPatient:
    return StoredPatient(*row)  # type: ignore[arg-type]  # the columns of _patients, in its order


def _is_of(patient: ColumnElement[str], person: PersonId) -> ColumnElement[bool]:
    part, team = patients.alias(), care_team.c
    own = exists().where((team.patient == patient) & (team.person == person))
    joined = (part.c.merged_into == patient) & (team.patient == part.c.id) & (team.person == person)
    return own | exists().where(joined)


def stored_patient(connection: Connection, patient: PatientId) -> StoredPatient:
    """The record of a file that stands for itself. Raises NotFound, Conflict (``merged``: it is read through another one)."""
    stored = _present(connection, patient)
    if stored.merged_into is not None:
        raise Conflict("this file was merged into another one", reason="merged", patient=stored.merged_into)
    return stored


def kept_patient(connection: Connection, patient: PatientId) -> StoredPatient:
    """The record that stands for the file of ``patient``: its own, or the one it was merged into. Raises NotFound."""
    stored = _present(connection, patient)
    return stored if stored.merged_into is None else _present(connection, stored.merged_into)


def _present(connection: Connection, patient: PatientId) -> StoredPatient:
    row = connection.execute(_patients().where(patients.c.id == patient, patients.c.state.in_(_PRESENT))).one_or_none()
    if row is None:
        raise NotFound(f"patient {patient}")
    return _stored(row)


def stored_patients(connection: Connection, wanted: Sequence[PatientId]) -> list[StoredPatient]:
    """Those of ``wanted`` who are there, merged into others or not."""
    statement = _patients().where(patients.c.id.in_(wanted), patients.c.state.in_(_PRESENT))
    return [_stored(row) for row in connection.execute(statement)]


def kept_patients(connection: Connection, found: Sequence[StoredPatient]) -> dict[PatientId, StoredPatient]:
    """By each record's id, the record that stands for its file."""
    absorbed = {stored.merged_into for stored in found if stored.merged_into is not None}
    kept = stored_patients(connection, sorted(absorbed)) if absorbed else ()
    roots = {stored.id: stored for stored in (*found, *kept)}
    return {stored.id: roots[stored.merged_into or stored.id] for stored in found}


def latest(connection: Connection, person: PersonId | None, limit: int) -> list[StoredPatient]:
    """The newest patients, of one person's care team or of the whole practice."""
    statement = _patients().where(patients.c.state == ACTIVE)
    if person is not None:
        statement = statement.where(_is_of(patients.c.id, person))
    statement = statement.order_by(patients.c.created_at.desc(), patients.c.id).limit(limit)
    return [_stored(row) for row in connection.execute(statement)]


def candidates(connection: Connection, sets: Sequence[Sequence[bytes]], person: PersonId, limit: int) -> list[PatientId]:
    """The records that hold every index value of at least one set, merged ones too; those whom ``person`` treats first.

    Each set begins with the value that the fewest hold: the others are looked up for those alone. No patient's row is read
    here: of the thousands that bear a common name, only those that are shown cost more than an entry of the index.
    """
    found = union(*(_holding(values) for values in sets)).subquery()
    statement = select(found.c.patient).order_by(_is_of(found.c.patient, person).desc(), found.c.patient).limit(limit)
    return [PatientId(patient) for patient in connection.execute(statement).scalars()]


def _holding(values: Sequence[bytes]) -> Select[str]:
    first = patient_index.alias()
    statement = select(first.c.patient).where(first.c.value == values[0])
    for value in values[1:]:
        other = patient_index.alias()
        statement = statement.where(exists().where((other.c.value == value) & (other.c.patient == first.c.patient)))
    return statement


def add(connection: Connection, stored: StoredPatient, index: Entry, team: Iterable[PersonId]) -> None:
    """Insert a patient with index values and care team."""
    connection.execute(
        insert(patients).values(
            id=stored.id,
            scope=stored.scope,
            identity_sealed=stored.identity_sealed,
            state=ACTIVE,
            created_at=stored.created_at,
            created_by=stored.created_by,
            mac=index.mac,
        )
    )
    _add_index(connection, stored.id, index)
    members = [{"patient": stored.id, "person": person, "since": stored.created_at} for person in team]
    if members:
        connection.execute(insert(care_team), members)


def change(connection: Connection, patient: PatientId, identity_sealed: bytes, index: Entry) -> None:
    """Replace the identity and everything under which it is found."""
    same = patients.c.id == patient
    connection.execute(update(patients).where(same).values(identity_sealed=identity_sealed, mac=index.mac))
    connection.execute(delete(patient_index).where(patient_index.c.patient == patient))
    _add_index(connection, patient, index)


def reindex(connection: Connection, patient: PatientId, read: bytes, index: Entry) -> bool:
    """Replace everything under which the identity ``read`` is found; False where it was changed or erased meanwhile."""
    same = (patients.c.id == patient) & (patients.c.identity_sealed == read)
    if connection.execute(update(patients).where(same).values(mac=index.mac)).rowcount != 1:
        return False
    connection.execute(delete(patient_index).where(patient_index.c.patient == patient))
    _add_index(connection, patient, index)
    return True


def _add_index(connection: Connection, patient: PatientId, index: Entry) -> None:
    connection.execute(insert(patient_index), [{"value": value, "patient": patient} for value in sorted(index.values)])


def team_of(connection: Connection, parts: Iterable[PatientId]) -> tuple[PersonId, ...]:
    """Who treats a patient, in the order of joining; ``parts``: the records of the file."""
    mine = care_team.c.patient.in_(tuple(parts))
    statement = select(care_team.c.person).where(mine).order_by(care_team.c.since, care_team.c.person)
    return tuple(dict.fromkeys(PersonId(person) for person in connection.execute(statement).scalars()))


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
