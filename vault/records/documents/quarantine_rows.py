"""Owns the statements over files in quarantine. It must not know keys or policy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select

from vault.errors import Conflict, NotFound
from vault.model import DocumentId, Micros, PersonId
from vault.records.documents import catalogue
from vault.records.documents.catalogue import NOBODY, StoredVersion
from vault.storage.schema import QUARANTINED, document_versions, documents

_APART = documents.c.state == QUARANTINED


def add(connection: Connection, stored: StoredVersion) -> None:
    """Insert a file in quarantine with its only version."""
    row = {"id": stored.document, "version": 1, "state": QUARANTINED}
    connection.execute(insert(documents).values(deposited_at=stored.deposited_at, deposited_by=stored.deposited_by, **row))
    catalogue.add_version(connection, stored)


def find(connection: Connection, document: DocumentId) -> StoredVersion:
    """One file in quarantine. Raises NotFound where it never was, and where it is not there any more."""
    found = _rows(connection, documents.c.id == document, 1)
    if not found:
        raise NotFound(f"{document} is not in quarantine")
    return found[0]


def latest(connection: Connection, limit: int) -> list[StoredVersion]:
    """The files in quarantine, newest first."""
    return _rows(connection, _APART, limit)


def expired(connection: Connection, before: Micros, limit: int) -> list[StoredVersion]:
    """Those that came in before a moment."""
    return _rows(connection, documents.c.deposited_at < before, limit)


def _rows(connection: Connection, wanted: ColumnElement[bool], limit: int) -> list[StoredVersion]:
    rows = connection.execute(
        select(document_versions)
        .join(documents, documents.c.id == document_versions.c.document)
        .where(wanted, _APART)
        .order_by(documents.c.deposited_at.desc(), documents.c.id)
        .limit(limit)
    ).mappings()
    facts: dict[str, Any] = {"patient": NOBODY, "current": 1, "state": QUARANTINED, "integrated_at": None}
    facts |= {"is_handover": False, "is_urgent": False}
    return [StoredVersion(first_deposited_at=row["deposited_at"], **facts, **row) for row in rows]


def count(connection: Connection, sender: PersonId | None = None) -> int:
    """How many files are in quarantine, of one sender where one is named."""
    statement = select(func.count()).select_from(documents).where(_APART)
    if sender is not None:
        statement = statement.where(documents.c.deposited_by == sender)
    return connection.execute(statement).scalar_one()


def twin(connection: Connection, fingerprints: Iterable[bytes]) -> DocumentId | None:
    """The file in quarantine that holds the same bytes, known under one of ``fingerprints``."""
    statement = (
        select(documents.c.id)
        .join(document_versions, document_versions.c.document == documents.c.id)
        .where(document_versions.c.fingerprint.in_(list(fingerprints)), _APART)
        .limit(1)
    )
    found = connection.execute(statement).scalar_one_or_none()
    return DocumentId(found) if found is not None else None


def remove(connection: Connection, document: DocumentId) -> None:
    """Forget a file in quarantine, its data key with it. Raises Conflict where somebody was faster."""
    here = (documents.c.id == document) & _APART
    waiting = exists().where(here & (documents.c.id == document_versions.c.document))
    connection.execute(delete(document_versions).where(document_versions.c.document == document, waiting))
    if connection.execute(delete(documents).where(here)).rowcount != 1:
        raise Conflict("somebody else has just released or destroyed this file", reason="already_moved")
