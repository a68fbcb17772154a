"""Owns what is known of a file in quarantine and sealed with it, and the record that wardens see.

It must not know SQL or policy. Its context is its own: called a draft or a document behind the vault's back, it does not open.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace

from kms.keys import Secret
from vault.errors import Tampered
from vault.model import DocumentId, Micros, PersonId, TenantId
from vault.records.documents.catalogue import StoredVersion
from vault.sealing.binding import field_context
from vault.sealing.fields import open_field, seal_field


@dataclass(frozen=True, slots=True)
class ApartDescription:
    """What is sealed with a file in quarantine."""

    file_name: str = field(repr=False)
    media_type: str
    sha256: str = field(repr=False)
    signature: str
    """What the scanner recognised, by its own name for it."""
    document: str
    """To which, with ``version``, the sealed bytes are bound: another one than its row's where it was to replace a document."""
    version: int


@dataclass(frozen=True, slots=True)
class SetApart:
    """One file in quarantine as those in charge of it see it."""

    id: DocumentId
    file_name: str = field(repr=False)
    """Empty where ``is_masked``."""
    signature: str
    size: int
    deposited_at: Micros
    deposited_by: PersonId
    channel: str
    until: Micros
    """When it is destroyed by itself."""
    is_masked: bool = False
    """File names are patients' names as often as not: only who may see documents sees them."""


def _context(tenant: TenantId, document: DocumentId) -> bytes:
    return field_context(tenant, "document_versions", "quarantine", document)


def seal_apart(scope_key: Secret, tenant: TenantId, document: DocumentId, description: ApartDescription) -> bytes:
    """The description as JSON under the inbox's field key, bound to the row."""
    text = json.dumps(asdict(description), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return seal_field(scope_key, _context(tenant, document), text.encode())


def open_apart(scope_key: Secret, tenant: TenantId, document: DocumentId, sealed: bytes) -> ApartDescription:
    """The description again. Raises Tampered."""
    try:
        return ApartDescription(**json.loads(open_field(scope_key, _context(tenant, document), sealed)))
    except (ValueError, TypeError) as error:
        raise Tampered(f"the description of {document} in quarantine can't be read", kind="field") from error


def bound(stored: StoredVersion, description: ApartDescription) -> StoredVersion:
    """The row as its sealed bytes are bound."""
    return replace(stored, document=DocumentId(description.document), version=description.version)
