"""Owns what is known of a draft and sealed with it: the document that waits in the inbox, and what its pages propose.

It must not know SQL, policy or how proposals are read.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from kms.keys import Secret
from vault.errors import Tampered
from vault.model import DocumentId, Micros, PatientId, PersonId, Scan, TenantId
from vault.sealing.binding import field_context
from vault.sealing.fields import open_field, seal_field


@dataclass(frozen=True, slots=True)
class Proposal:
    """Who and what a page says it is: read from a separator sheet or a code, never filed without a person's word."""

    patient: PatientId | None = field(default=None, repr=False)
    type: str | None = None
    act_date: str | None = None
    """ISO 8601: the latest date on the page that is not the patient's birth date."""
    source: str = ""
    """``sheet`` (a separator printed here), ``ins`` (its Datamatrix), ``text`` (name and birth date stand on the page)."""


class Concordance(StrEnum):
    """Whether the first page's own text names the patient with whom somebody is about to file it."""

    AGREES = "agrees"
    """Name and birth date stand on the page."""
    PARTLY = "partly"
    """Only one of them does."""
    DIFFERS = "differs"
    """There is text, and it names somebody else or nobody."""
    UNREADABLE = "unreadable"
    """A picture without text: only a person can tell."""


@dataclass(frozen=True, slots=True)
class DraftDescription:
    """What is sealed with a draft."""

    file_name: str = field(repr=False)
    media_type: str
    sha256: str = field(repr=False)
    pages: int | None = None
    """None until its structure was read."""
    trouble: str | None = None
    """Why it can't be shown (a reason slug of NotRenderable)."""
    proposal: Proposal | None = None
    scan: str = ""
    """What the virus scanner said (``vault.model.Scan``)."""


@dataclass(frozen=True, slots=True)
class Draft:
    """One document of the inbox as people see it."""

    id: DocumentId
    file_name: str = field(repr=False)
    media_type: str
    size: int
    deposited_at: Micros
    deposited_by: PersonId
    channel: str
    pages: int | None = None
    trouble: str | None = None
    proposal: Proposal | None = None
    is_filed_elsewhere: bool = False
    """The same bytes are already filed with some patient."""
    scan: Scan = Scan.OFF


def _context(tenant: TenantId, document: DocumentId) -> bytes:
    return field_context(tenant, "document_versions", "draft", document)


def seal_draft(scope_key: Secret, tenant: TenantId, document: DocumentId, description: DraftDescription) -> bytes:
    """The description as JSON under the inbox's field key, bound to the document."""
    text = json.dumps(asdict(description), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return seal_field(scope_key, _context(tenant, document), text.encode())


def open_draft(scope_key: Secret, tenant: TenantId, document: DocumentId, sealed: bytes) -> DraftDescription:
    """The description again. Raises Tampered."""
    try:
        fields = json.loads(open_field(scope_key, _context(tenant, document), sealed))
        proposal = fields.pop("proposal")
        return DraftDescription(proposal=Proposal(**proposal) if proposal else None, **fields)
    except (ValueError, TypeError, KeyError) as error:
        raise Tampered(f"the description of draft {document} can't be read", kind="field") from error
