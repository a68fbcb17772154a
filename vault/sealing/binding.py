"""Owns how a context is written as bytes, so that two different contexts never read the same. It must not know any key.

Every wrapped key, sealed field and sealed body is bound to such a context: moving it elsewhere makes it unreadable.
"""

from __future__ import annotations

from vault.model import BlobId, DocumentId, ScopeId, TenantId


def bind(label: str, *parts: str | bytes | int) -> bytes:
    """``label`` and ``parts``, each behind its length (2 bytes, big-endian); text as UTF-8, numbers as 8 bytes big-endian.

    Injective: different calls give different bytes. Raises ValueError for a part over 65,535 bytes or a negative number.
    """
    encoded = bytearray()
    for part in (label, *parts):
        if isinstance(part, int):
            raw = part.to_bytes(8, "big") if part >= 0 else b""
        else:
            raw = part.encode() if isinstance(part, str) else part
        if len(raw) > 0xFFFF or (isinstance(part, int) and part < 0):
            raise ValueError("a context part is too long or negative")
        encoded += len(raw).to_bytes(2, "big") + raw
    return bytes(encoded)


def scope_context(tenant: TenantId, scope: ScopeId) -> bytes:
    """What a wrapped scope key is bound to."""
    return bind("coffre/scope/v1", tenant, scope)


def data_key_context(tenant: TenantId, scope: ScopeId, blob: BlobId) -> bytes:
    """What a sealed data key is bound to."""
    return bind("coffre/data-key/v1", tenant, scope, blob)


def quarantine_key_context(tenant: TenantId, scope: ScopeId, blob: BlobId) -> bytes:
    """What the data key of a body in quarantine is bound to: no way of opening a document or a draft unseals it."""
    return bind("coffre/quarantine-key/v1", tenant, scope, blob)


def field_context(tenant: TenantId, table: str, column: str, row: str) -> bytes:
    """What a sealed field is bound to: copied into another row, column or vault, it no longer opens."""
    return bind("coffre/field/v1", tenant, table, column, row)


def body_context(header: bytes, document: DocumentId, version: int) -> bytes:
    """What the key derivation of a sealed body takes in, besides the data key and its salt."""
    return bind("coffre/body/v1", header, document, version)
