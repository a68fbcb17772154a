"""Owns the statements over drafts: documents without a patient, until they are filed. It must not know keys or policy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from vault.errors import Conflict, NotFound
from vault.model import DocumentId, PatientId, ScopeId
from vault.records.documents import catalogue
from vault.records.documents.catalogue import NOBODY, StoredVersion
from vault.storage.schema import DRAFT, FILED, document_versions, documents


def add(connection: Connection, stored: StoredVersion) -> None:
    """Insert a draft with its only version."""
    row = {"id": stored.document, "version": 1, "state": DRAFT}
    connection.execute(
        insert(documents).values(deposited_at=stored.first_deposited_at, deposited_by=stored.deposited_by, **row)
    )
    catalogue.add_version(connection, stored)


def find(connection: Connection, draft: DocumentId) -> StoredVersion:
    """One draft. Raises NotFound where it never was, and where it is no draft any more."""
    found = _drafts(connection, draft, 1)
    if not found:
        raise NotFound(f"draft {draft}")
    return found[0]


def latest(connection: Connection, limit: int) -> list[StoredVersion]:
    """The drafts, newest first."""
    return _drafts(connection, None, limit)


def _drafts(connection: Connection, draft: DocumentId | None, limit: int) -> list[StoredVersion]:
    wanted = documents.c.id == draft if draft is not None else documents.c.state == DRAFT
    rows = connection.execute(
        select(document_versions)
        .join(documents, documents.c.id == document_versions.c.document)
        .where(wanted, documents.c.state == DRAFT)
        .order_by(documents.c.deposited_at.desc(), documents.c.id)
        .limit(limit)
    ).mappings()
    facts: dict[str, Any] = {"patient": NOBODY, "current": 1, "state": DRAFT, "integrated_at": None}
    facts |= {"is_handover": False, "is_urgent": False}
    return [StoredVersion(first_deposited_at=row["deposited_at"], **facts, **row) for row in rows]


def count(connection: Connection) -> int:
    """How many drafts wait."""
    return connection.execute(select(func.count()).select_from(documents).where(documents.c.state == DRAFT)).scalar_one()


def twin(connection: Connection, fingerprints: Iterable[bytes]) -> DocumentId | None:
    """The draft that holds the same bytes, known under one of ``fingerprints``."""
    statement = (
        select(documents.c.id)
        .join(document_versions, document_versions.c.document == documents.c.id)
        .where(document_versions.c.fingerprint.in_(list(fingerprints)), documents.c.state == DRAFT)
        .limit(1)
    )
    found = connection.execute(statement).scalar_one_or_none()
    return DocumentId(found) if found is not None else None


def filed_twins(connection: Connection, fingerprints: Iterable[bytes]) -> set[bytes]:
    """Those of ``fingerprints`` under which a document is already filed with some patient."""
    filed = exists().where((documents.c.id == document_versions.c.document) & (documents.c.state == FILED))
    statement = select(document_versions.c.fingerprint).where(document_versions.c.fingerprint.in_(list(fingerprints)), filed)
    return {bytes(found) for found in connection.execute(statement).scalars()}


def describe(connection: Connection, draft: DocumentId, description_sealed: bytes) -> None:
    """Replace what is said of a draft; nothing happens where it was filed meanwhile."""
    waiting = exists().where((documents.c.id == draft) & (documents.c.state == DRAFT))
    connection.execute(
        update(document_versions)
        .where(document_versions.c.document == draft, waiting)
        .values(description_sealed=description_sealed)
    )


def move(
    connection: Connection,
    document: DocumentId,
    *,
    patient: PatientId | None,
    scope: ScopeId,
    data_key_sealed: bytes,
    description_sealed: bytes,
    is_urgent: bool = False,
) -> None:
    """From the inbox to ``patient``, or back for None; the blob stays. Raises Conflict where somebody was faster."""
    before, after = (DRAFT, FILED) if patient is not None else (FILED, DRAFT)
    here = (documents.c.id == document) & (documents.c.state == before) & documents.c.integrated_at.is_(None)
    changed = connection.execute(
        update(documents).where(here, documents.c.version == 1).values(state=after, patient=patient, is_urgent=int(is_urgent))
    ).rowcount
    if changed != 1:
        raise Conflict("somebody else has just filed or moved this document", reason="already_moved")
    connection.execute(
        update(document_versions)
        .where(document_versions.c.document == document)
        .values(scope=scope, data_key_sealed=data_key_sealed, description_sealed=description_sealed)
    )


def remove(connection: Connection, draft: DocumentId) -> None:
    """Forget a draft. Raises Conflict where it was filed meanwhile."""
    here = (documents.c.id == draft) & (documents.c.state == DRAFT)
    waiting = exists().where(here & (documents.c.id == document_versions.c.document))
    connection.execute(delete(document_versions).where(document_versions.c.document == draft, waiting))
    if connection.execute(delete(documents).where(here)).rowcount != 1:
        raise Conflict("somebody else has just filed this document", reason="already_moved")
