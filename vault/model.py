"""Owns the vault's words: ids, choices and frozen records. No SQL, no I/O, no cipher."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Generic, NewType, TypeVar

T = TypeVar("T")

TenantId = NewType("TenantId", str)
PersonId = NewType("PersonId", str)
PatientId = NewType("PatientId", str)
DocumentId = NewType("DocumentId", str)
BlobId = NewType("BlobId", str)
ScopeId = NewType("ScopeId", str)
EventId = NewType("EventId", str)
# Ids are 32 lower-case hexadecimal digits. All but EventId (UUIDv7, RFC 9562) carry 122 random bits (UUIDv4).

Micros = NewType("Micros", int)
"""Microseconds since 1970-01-01 UTC."""


class Role(StrEnum):
    """Who someone is in the practice; what that allows is vault/people/policy.py."""

    RECEPTION = "reception"
    CLINICIAN = "clinician"
    LOCUM = "locum"
    AUDITOR = "auditor"
    DPO = "dpo"
    OWNER = "owner"
    ADMIN = "admin"


class ScopeKind(StrEnum):
    """What a scope key protects: one patient's file, the shared inbox, the installation's own secrets, the log's groups."""

    PATIENT = "patient"
    INBOX = "inbox"
    SYSTEM = "system"
    LOG = "log"


class Sex(StrEnum):
    """As the INS reference writes it."""

    FEMALE = "F"
    MALE = "M"
    INDETERMINATE = "I"


class IdentityStatus(StrEnum):
    """How far an identity is proven (Référentiel national d'identitovigilance)."""

    PROVISIONAL = "provisional"
    """As told: "provisoire"."""
    VALIDATED = "validated"
    """An identity document was seen: "validée"."""
    RETRIEVED = "retrieved"
    """The national service (INSi) gave it, no document was seen: "récupérée"."""
    QUALIFIED = "qualified"
    """Both: "qualifiée". What is filed may go under the INS."""


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from, as the log records it."""

    ip: str = ""
    agent: str = ""
    """User-agent family, never the full header."""
    workstation: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody signed in with every factor, not locked, role known. Only ``vault.people.sessions`` makes one.

    Use cases take an Actor as their first argument, so "signed in" is a type and not a check that one may forget.
    """

    person: PersonId
    username: str = field(repr=False)
    display_name: str = field(repr=False)
    role: Role = field()
    session: str = field()
    """A non-secret reference to the session (not the cookie's value)."""
    methods: tuple[str, ...] = ()
    """RFC 8176 authentication methods: ("pwd", "otp"), ("pwd", "hwk") …; ("cli",) for an operator at the console."""
    factor_at: Micros = Micros(0)
    """When the second factor was last shown: what step-up looks at."""
    client: Client = Client()


@dataclass(frozen=True, slots=True)
class Identity:
    """A patient's identity traits. Plaintext: never logged, never in a URL."""

    birth_name: str = field(repr=False)
    given_names: tuple[str, ...] = field(repr=False)
    birth_date: str = field(repr=False)
    """ISO 8601 ``YYYY-MM-DD``; an uncertain day or month is 00. Where ``is_lunar``, as the papers say, in no calendar."""
    sex: Sex = field(repr=False)
    used_name: str | None = field(default=None, repr=False)
    ins: str | None = field(default=None, repr=False)
    ins_oid: str | None = field(default=None, repr=False)
    """Which register gave the matricule (``vault.records.patients.identity.OIDS``)."""
    birth_place: str | None = field(default=None, repr=False)
    """INSEE code of the commune, or of the country for those born abroad (99…)."""
    birth_place_label: str | None = field(default=None, repr=False)
    """The place as it was typed."""
    is_lunar: bool = field(default=False, repr=False)
    """The birth date stands in no calendar (31/02, month 20): kept as the card shows it."""
    status: IdentityStatus = IdentityStatus.PROVISIONAL


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient as the actor may see them."""

    id: PatientId
    identity: Identity = field(repr=False)
    created_at: Micros = Micros(0)
    care_team: tuple[PersonId, ...] = ()
    absorbed: tuple[Identity, ...] = field(default=(), repr=False)
    """What the files are called that were merged into this one; from a search, only those by which it was found."""
    doubles: tuple[PatientId, ...] = ()
    """Of a patient who was just created: the files that may be of the same person."""


class Scan(StrEnum):
    """What the virus scanner said of a document on its way in; an infected one never becomes a document."""

    OFF = ""
    """No scanner was set up."""
    CLEAN = "clean"
    MISSED = "missed"
    """It could not be scanned, and the practice's settings let it in all the same."""


@dataclass(frozen=True, slots=True)
class Document:
    """One version of a document as the actor may see it; sealed fields already opened."""

    id: DocumentId
    patient: PatientId
    version: int
    type: str
    act_date: date | None
    file_name: str = field(repr=False)
    media_type: str = ""
    size: int = 0
    """Bytes, as received."""
    sha256: str = field(default="", repr=False)
    """SHA-256 of the bytes as received, hexadecimal; itself sealed at rest."""
    sealed_sha256: str = ""
    """SHA-256 of the stored ciphertext, hexadecimal; in clear, for scrubbing without keys."""
    deposited_by: PersonId = PersonId("")
    deposited_at: Micros = Micros(0)
    channel: str = "browser"
    is_masked: bool = False
    """The actor may know that it exists, not what it is: type, date, name and digest are left out."""
    is_elsewhere: bool = False
    """The same bytes are filed with another patient too: to be checked by whoever has just filed it."""
    integrated_at: Micros | None = None
    """When a clinician took it over."""
    is_handover: bool = False
    """"À remettre au patient": reception may open and print it."""
    is_urgent: bool = False
    """To be read first."""
    scan: Scan = Scan.OFF


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A bounded answer and whether more exists."""

    items: tuple[T, ...]
    more: bool = False
