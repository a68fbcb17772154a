"""Owns what is said about a document and sealed with it: type, date, name, media type, digest. It must not know SQL."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date

from kms.keys import Secret
from vault.errors import Tampered
from vault.model import DocumentId, PatientId, PersonId, TenantId
from vault.sealing.binding import field_context
from vault.sealing.fields import open_field, seal_field


@dataclass(frozen=True, slots=True)
class Description:
    """Everything about one version of a document that is not a size, an id or a date of deposit."""

    type: str
    act_date: date | None
    file_name: str = field(repr=False)
    media_type: str
    sha256: str = field(repr=False)
    """Of the bytes as received, hexadecimal."""
    note: str = field(default="", repr=False)
    scan: str = ""
    """What the virus scanner said (``vault.model.Scan``)."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a description is bound to, beside its scope: change any of it in the rows, and it no longer opens.

    That a document was moved to another patient, or called somebody else's deposit, behind the vault's back shows thereby.
    """

    document: DocumentId
    version: int
    patient: PatientId
    deposited_by: PersonId


def _context(tenant: TenantId, place: Place) -> bytes:
    row = f"{place.document}/{place.version}/{place.patient}/{place.deposited_by}"
    return field_context(tenant, "document_versions", "description", row)


def seal_description(scope_key: Secret, tenant: TenantId, place: Place, description: Description) -> bytes:
    """The description as JSON under the scope's field key, bound to ``place``."""
    fields = {
        "type": description.type,
        "act_date": description.act_date.isoformat() if description.act_date else None,
        "file_name": description.file_name,
        "media_type": description.media_type,
        "sha256": description.sha256,
        "note": description.note,
        "scan": description.scan,
    }
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return seal_field(scope_key, _context(tenant, place), text.encode())


def open_description(scope_key: Secret, tenant: TenantId, place: Place, sealed: bytes) -> Description:
    """The description again. Raises Tampered where it was altered or belongs to another place."""
    try:
        fields = json.loads(open_field(scope_key, _context(tenant, place), sealed))
        act_date = fields.pop("act_date")
        return Description(act_date=date.fromisoformat(act_date) if act_date else None, **fields)
    except (ValueError, TypeError, KeyError) as error:
        raise Tampered(f"the description of {place.document} can't be read", kind="field") from error
