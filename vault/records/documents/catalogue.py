"""Owns the statements over documents and their versions. It must not know keys, policy or what the sealed columns say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Select, bindparam, func, insert, literal, select, tuple_, update

from vault.errors import AlreadyPresent, Conflict, NotFound
from vault.model import BlobId, DocumentId, Micros, PatientId, PersonId, ScopeId
from vault.people.files import refuse_merged
from vault.storage.plain import Row, Statement
from vault.storage.schema import FILED, document_versions, documents, patients, tombstones

NOBODY = PatientId("")
"""Whose a draft is, in records that want a patient."""


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version of a document as its row says it, sealed columns still sealed."""

    document: DocumentId
    patient: PatientId
    version: int
    current: int
    state: str
    first_deposited_at: Micros
    """When version 1 came in: what lists are ordered by."""
    blob: BlobId
    scope: ScopeId
    data_key_sealed: bytes
    description_sealed: bytes
    size: int
    sealed_size: int
    sealed_sha256: bytes
    fingerprint: bytes
    mac: int
    deposited_at: Micros
    deposited_by: PersonId
    channel: str
    integrated_at: Micros | None
    is_handover: bool
    is_urgent: bool


def _versions() -> Select[*tuple[object, ...]]:
    one, whole = document_versions.c, documents.c
    return select(
        one.document,
        whole.patient,
        one.version,
        whole.version.label("current"),
        whole.state,
        whole.deposited_at.label("first_deposited_at"),
        one.blob,
        one.scope,
        one.data_key_sealed,
        one.description_sealed,
        one.size,
        one.sealed_size,
        one.sealed_sha256,
        one.fingerprint,
        one.mac,
        one.deposited_at,
        one.deposited_by,
        one.channel,
        whole.integrated_at,
        whole.is_handover,
        whole.is_urgent,
    ).join(documents, whole.id == one.document)


def _stored(row: Row) -> StoredVersion:
    marks = {name: bool(row[name]) for name in ("is_handover", "is_urgent")}
    return StoredVersion(**{**row, **marks, "patient": row["patient"] or ""})


# Statements of every deposit and opening.
_FILING = Statement(select(patients.c.scope, patients.c.merged_into).where(patients.c.id == bindparam("patient")))
_WHOLE = _versions().where(document_versions.c.document == bindparam("document"), documents.c.state == FILED)
_CURRENT = Statement(_WHOLE.where(document_versions.c.version == documents.c.version))
_OLDER = Statement(_WHOLE.where(document_versions.c.version == bindparam("version")))
_TWINS = Statement(
    select(documents.c.id, documents.c.patient)
    .join(document_versions, document_versions.c.document == documents.c.id)
    .where(document_versions.c.fingerprint == bindparam("fingerprint"), document_versions.c.version == documents.c.version)
    .where(func.coalesce(documents.c.state, "") == FILED)
)
# coalesce keeps the planner off the index by state: nearly every document is filed, so it would read them all.
_ADD_DOCUMENT = Statement(insert(documents), ("id", "patient", "version", "state", "deposited_at", "deposited_by", "is_urgent"))
_ADD_VERSION = Statement(
    insert(document_versions),
    (
        "document", "version", "blob", "scope", "data_key_sealed", "description_sealed", "size", "sealed_size",
        "sealed_sha256", "fingerprint", "mac", "deposited_at", "deposited_by", "channel",
    ),
)  # fmt: skip


def patient_scope(connection: Connection, patient: PatientId) -> ScopeId:
    """The scope of a patient's file. Raises NotFound."""
    row = _FILING.row(connection, patient=patient)
    if row is None:
        raise NotFound(f"patient {patient}")
    return ScopeId(row["scope"])


def filing_scope(connection: Connection, patient: PatientId) -> ScopeId:
    """The scope under which something new is filed with a patient. Raises NotFound, Conflict (``merged`` into another file)."""
    row = _FILING.row(connection, patient=patient)
    if row is None:
        raise NotFound(f"patient {patient}")
    refuse_merged(row["merged_into"])
    return ScopeId(row["scope"])


def patient_state(connection: Connection, patient: PatientId) -> str | None:
    """A patient's state; None for an unknown one."""
    return connection.execute(select(patients.c.state).where(patients.c.id == patient)).scalar_one_or_none()


def stored_version(connection: Connection, document: DocumentId, version: int | None = None) -> StoredVersion:
    """One version, the current one by default. Raises NotFound, also for what only left a tombstone."""
    if version is None:
        row = _CURRENT.row(connection, document=document)
    else:
        row = _OLDER.row(connection, document=document, version=version)
    if row is None:
        raise NotFound(f"document {document}")
    return _stored(row)


def stored_versions(connection: Connection, document: DocumentId) -> list[StoredVersion]:
    """Every version of a document, newest first."""
    statement = _versions().where(document_versions.c.document == document, documents.c.state == FILED)
    return [_stored(row) for row in connection.execute(statement.order_by(document_versions.c.version.desc())).mappings()]


def patient_documents(
    connection: Connection, parts: Sequence[PatientId], *, before: tuple[Micros, DocumentId] | None, limit: int
) -> list[StoredVersion]:
    """The current versions filed in the records of one file, newest deposit first, from just after ``before``."""
    statement = _versions().where(
        documents.c.patient == parts[0] if len(parts) == 1 else documents.c.patient.in_(parts),
        func.coalesce(documents.c.state, "") == FILED,
        document_versions.c.version == documents.c.version,
    )
    if before is not None:
        at, document = before
        older = documents.c.deposited_at < at
        statement = statement.where(older | ((documents.c.deposited_at == at) & (documents.c.id < document)))
    statement = statement.order_by(documents.c.deposited_at.desc(), documents.c.id.desc()).limit(limit)
    return [_stored(row) for row in connection.execute(statement).mappings()]


def every_version(connection: Connection, after: tuple[DocumentId, int], limit: int) -> list[StoredVersion]:
    """The next versions of all documents, whatever their state, by id: for a check of the whole vault."""
    document, version = after
    key = tuple_(document_versions.c.document, document_versions.c.version)
    statement = _versions().where(key > tuple_(literal(document), literal(version)))
    statement = statement.order_by(document_versions.c.document, document_versions.c.version).limit(limit)
    return [_stored(row) for row in connection.execute(statement).mappings()]


def count_versions(connection: Connection) -> tuple[int, int]:
    """How many versions there are, and the bytes of all their blobs."""
    total = func.coalesce(func.sum(document_versions.c.sealed_size), 0)
    count, size = connection.execute(select(func.count(), total).select_from(document_versions)).one()
    return int(count), int(size)


def known_blobs(connection: Connection, blobs: list[BlobId]) -> set[BlobId]:
    """Those of ``blobs`` that a version names."""
    found = connection.execute(select(document_versions.c.blob).where(document_versions.c.blob.in_(blobs)))
    return {BlobId(blob) for blob in found.scalars()}


def newest_version(connection: Connection, document: DocumentId) -> int:
    """The highest version number of a document's rows."""
    statement = select(func.max(document_versions.c.version)).where(document_versions.c.document == document)
    return int(connection.execute(statement).scalar_one() or 0)


def same_bytes(connection: Connection, fingerprints: Iterable[bytes]) -> list[tuple[DocumentId, PatientId]]:
    """The documents, wherever filed, whose current version has one of these fingerprints."""
    found = [row for each in fingerprints for row in _TWINS.rows(connection, fingerprint=each)]
    return sorted((DocumentId(row["id"]), PatientId(row["patient"])) for row in found)


def refuse_twin(
    twins: Iterable[tuple[DocumentId, PatientId]], parts: Sequence[PatientId], *, besides: DocumentId | None = None
) -> None:
    """Equal bytes are filed once in a file. Raises AlreadyPresent naming the document that has them, ``besides`` left aside."""
    for twin, owner in twins:
        if owner in parts and twin != besides:
            raise AlreadyPresent(f"these bytes are filed as document {twin}", document=twin)


def add_document(connection: Connection, stored: StoredVersion) -> None:
    """Insert a new document with its first version."""
    _ADD_DOCUMENT.run(
        connection,
        id=stored.document,
        patient=stored.patient,
        version=stored.version,
        state=stored.state,
        deposited_at=stored.first_deposited_at,
        deposited_by=stored.deposited_by,
        is_urgent=int(stored.is_urgent),
    )
    add_version(connection, stored)


def add_version(connection: Connection, stored: StoredVersion) -> None:
    """Insert the row of one version."""
    _ADD_VERSION.run(
        connection,
        document=stored.document,
        version=stored.version,
        blob=stored.blob,
        scope=stored.scope,
        data_key_sealed=stored.data_key_sealed,
        description_sealed=stored.description_sealed,
        size=stored.size,
        sealed_size=stored.sealed_size,
        sealed_sha256=stored.sealed_sha256,
        fingerprint=stored.fingerprint,
        mac=stored.mac,
        deposited_at=stored.deposited_at,
        deposited_by=stored.deposited_by,
        channel=stored.channel,
    )


def supersede(connection: Connection, document: DocumentId, version: int) -> None:
    """Make ``version`` the current one after the one before it. Raises Conflict where somebody has just replaced that."""
    before = (documents.c.id == document) & (documents.c.version == version - 1) & (documents.c.state == FILED)
    if connection.execute(update(documents).where(before).values(version=version)).rowcount != 1:
        raise Conflict("somebody else has just replaced this document", reason="already_replaced")


def move(connection: Connection, document: DocumentId, source: PatientId, target: PatientId) -> None:
    """Give a document to another patient. Raises Conflict where somebody has just moved it."""
    here = (documents.c.id == document) & (documents.c.patient == source) & (documents.c.state == FILED)
    if connection.execute(update(documents).where(here).values(patient=target, is_handover=0)).rowcount != 1:
        raise Conflict("somebody else has just moved this document", reason="already_moved")


def rekey(connection: Connection, stored: StoredVersion) -> None:
    """Put one version under ``stored.scope``: its data key and its description, sealed anew."""
    here = (document_versions.c.document == stored.document) & (document_versions.c.version == stored.version)
    values = {
        "scope": stored.scope,
        "data_key_sealed": stored.data_key_sealed,
        "description_sealed": stored.description_sealed,
    }
    connection.execute(update(document_versions).where(here).values(**values))


def bury(connection: Connection, document: DocumentId, patient: PatientId, at: Micros, by: PersonId) -> None:
    """Leave a tombstone in the file where a document stood by mistake."""
    connection.execute(insert(tombstones).values(document=document, patient=patient, moved_at=at, moved_by=by))


def buried(connection: Connection, parts: Sequence[PatientId]) -> list[tuple[DocumentId, Micros, PersonId]]:
    """What once stood in the records of a file and was moved away: document, when, by whom; newest first."""
    statement = select(tombstones).where(tombstones.c.patient.in_(parts)).order_by(tombstones.c.moved_at.desc())
    return [(DocumentId(row.document), Micros(row.moved_at), PersonId(row.moved_by)) for row in connection.execute(statement)]
