"""Owns where a version that is not well stands now: filed, in the inbox, in quarantine, or nowhere any more. It judges none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select

from vault.model import DocumentId
from vault.storage.schema import document_versions, documents
from vault.upkeep.inspection import Finding

Place = tuple[DocumentId, int]
AT_ONCE = 500
"""Ids in one statement: databases limit how many parameters one takes."""


def whereabouts(connection: Connection, findings: Iterable[Finding]) -> Mapping[Place, str]:
    """(document, version) → state of the document (``filed``, ``draft``, ``quarantined``); what is gone is not named."""
    wanted = sorted({finding.document for finding in findings})
    found: dict[Place, str] = {}
    for first in range(0, len(wanted), AT_ONCE):
        rows = connection.execute(
            select(document_versions.c.document, document_versions.c.version, documents.c.state)
            .join(documents, documents.c.id == document_versions.c.document)
            .where(documents.c.id.in_(wanted[first : first + AT_ONCE]))
        )
        found |= {(DocumentId(row.document), row.version): str(row.state) for row in rows}
    return found
