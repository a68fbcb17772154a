"""Owns every table of the vault, on one page. It must not know statements, rules or ciphers.

Columns that end in ``_sealed`` hold ``vault.sealing.fields`` ciphertext. Times are microseconds UTC, ids 32 hexadecimal digits.
Everything that describes a patient or a document, but sizes, ids and dates of deposit, is sealed.
"""

# ruff: noqa: D101  # a table's name says what its columns class is; each column that needs a sentence has one

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TextClause,
    TypedColumns,
    text,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)
keyring_metadata = MetaData(naming_convention=NAMING)

ID = String(32)


def _id(target: str | None = None, **options: Any) -> Column[str]:
    return Column(ID, ForeignKey(target), **options) if target else Column(ID, **options)


def _key(target: str | None = None) -> Column[str]:
    return _id(target, primary_key=True)


def _time() -> Column[int]:
    return Column(BigInteger, nullable=False)


def _time_or_none() -> Column[int | None]:
    return Column(BigInteger, nullable=True)


def _bytes() -> Column[bytes]:
    return Column(LargeBinary, nullable=False)


def _bytes_or_none() -> Column[bytes | None]:
    return Column(LargeBinary, nullable=True)


def _number(default: int | None = None) -> Column[int]:
    return Column(BigInteger, nullable=False, server_default=None if default is None else str(default))


def _word(length: int = 32) -> Column[str]:
    return Column(String(length), nullable=False)


# --- the keyring database: small, with its own short-lived backups, so that erasing a key erases it everywhere --------


class KeyRecordColumns(TypedColumns):
    use = _word(8)
    number = Column(Integer, nullable=False)
    state = _word(16)
    key_id = _bytes()
    canary = _bytes()
    created_at = _time()
    wraps = _number(0)


key_records = Table("key_records", keyring_metadata, KeyRecordColumns, PrimaryKeyConstraint("use", "number"))


class KeyRetirementColumns(TypedColumns):
    use = _word(8)
    number = Column(Integer, nullable=False)
    person = _id(nullable=False)
    """Who asked for the key's destruction; somebody else has to agree."""
    at = _time()


key_retirements = Table("key_retirements", keyring_metadata, KeyRetirementColumns, PrimaryKeyConstraint("use", "number"))


class ScopeColumns(TypedColumns):
    id = _key()
    kind = _word(16)
    wrapped = _bytes()
    master = Column(Integer, nullable=False, index=True)
    """The number of the master key under which ``wrapped`` stands, so that a rotation finds its work."""
    created_at = _time()


scopes = Table("scopes", keyring_metadata, ScopeColumns)


class RecoverySlotColumns(TypedColumns):
    id = _key()
    public_key = _bytes()
    """X25519; the private half exists only as words on cards."""
    needed = Column(Integer, nullable=False)
    shares = Column(Integer, nullable=False)
    created_at = _time()
    rehearsed_at = _time_or_none()


recovery_slots = Table("recovery_slots", keyring_metadata, RecoverySlotColumns)


class RecoveryCopyColumns(TypedColumns):
    scope = _key()
    slot = _id(nullable=False)
    sealed = _bytes()
    """The scope key under the slot's public key (HPKE, RFC 9180)."""


recovery_copies = Table("recovery_copies", keyring_metadata, RecoveryCopyColumns)


class TokenCopyColumns(TypedColumns):
    id = _key()
    place = Column(Text, nullable=False)
    """The directory of a software token's copy, as the operator named it."""
    covers = Column(Text, nullable=False)
    """The keys that it held when it was tried (``kek/1 mac/1``); one that is made later is not in it."""
    tried_at = _time()


token_copies = Table("token_copies", keyring_metadata, TokenCopyColumns)


class LogSaltColumns(TypedColumns):
    patient = _key()
    reference = _id(nullable=False, unique=True)
    """The random name under which the access log knows the patient."""
    blind = Column(LargeBinary, nullable=False, unique=True)
    """``audit_entries.patient_index`` of this reference, so that a row finds its salt."""
    salt = _bytes()
    """32 random bytes without which the patient's log groups can't be opened; erased with the patient."""


log_salts = Table("log_salts", keyring_metadata, LogSaltColumns)


class LogMarkColumns(TypedColumns):
    log = _key()
    """The tenant."""
    size = Column(BigInteger, nullable=False)
    note = Column(Text, nullable=False)
    """The newest signed checkpoint, outside of the database that it vouches for: an old main database put back shows."""


log_marks = Table("log_marks", keyring_metadata, LogMarkColumns)


# --- the main database: installation ----------------------------------------------------------------------------------


class InstallationColumns(TypedColumns):
    tenant = _key()
    system_scope = _id(nullable=False)
    log_scope = _id(nullable=False)
    inbox_scope = _id(nullable=False)
    created_at = _time()


installation = Table("installation", metadata, InstallationColumns)


# --- people -----------------------------------------------------------------------------------------------------------


class PersonColumns(TypedColumns):
    id = _key()
    username = _word(128)
    username_key = Column(String(256), nullable=False, unique=True)
    """The folded name (NFKC, case, spaces), under which every variant meets."""
    display_name_sealed = _bytes()
    email_sealed = _bytes_or_none()
    role = _word(16)
    state = _word(16)
    password_hash = Column(Text, nullable=True)
    password_changed_at = _time_or_none()
    totp_sealed = _bytes_or_none()
    totp_next_sealed = _bytes_or_none()
    """The secret of a telephone that is to replace the present one, until its first code confirms it."""
    totp_confirmed_at = _time_or_none()
    totp_step = _number(0)
    """The last accepted TOTP time step; the next one must be greater."""
    created_at = _time()
    created_by = _id(nullable=True)
    signed_in_at = _time_or_none()
    reviewed_at = _time_or_none()
    """When an owner last said that the account is still needed."""
    warned_at = _time_or_none()
    """When somebody was told that the account stands unused; a sign-in clears it."""
    closed_at = _time_or_none()
    removed_at = _time_or_none()
    """When everything but the id and the sealed name was erased."""


people = Table("people", metadata, PersonColumns)


class RecoveryCodeColumns(TypedColumns):
    person = _id("people.id", nullable=False)
    code_hash = _bytes()
    used_at = _time_or_none()


recovery_codes = Table("recovery_codes", metadata, RecoveryCodeColumns, PrimaryKeyConstraint("person", "code_hash"))


class FailureColumns(TypedColumns):
    subject = Column(LargeBinary, primary_key=True)
    """Keyed hash of an account's folded name, known or not, or of a source address."""
    count = Column(Integer, nullable=False)
    first_at = _time()
    last_at = _time()
    locked_until = _time_or_none()
    locks = Column(Integer, nullable=False, server_default="0")
    """How many locks in a row: the delay doubles with each."""


failures = Table("failures", metadata, FailureColumns)


class SessionColumns(TypedColumns):
    id_hash = Column(LargeBinary, primary_key=True)
    """SHA-256 of the opaque 256-bit id; the id itself is only with the browser."""
    reference = _word(32)
    person = _id("people.id", nullable=False)
    stage = _word(16)
    methods = Column(String(64), nullable=False, server_default="")
    created_at = _time()
    seen_at = _time()
    expires_at = _time()
    factor_at = _time_or_none()
    client_sealed = _bytes_or_none()
    challenge = _bytes_or_none()
    """What a passkey is asked to sign; used once."""


sessions = Table("sessions", metadata, SessionColumns, Index(None, "person"))


class LinkColumns(TypedColumns):
    code_hash = Column(LargeBinary, primary_key=True)
    """Keyed hash of a single-use invitation or password-reset code."""
    person = _id("people.id", nullable=False)
    created_at = _time()
    created_by = _id(nullable=True)
    expires_at = _time()
    used_at = _time_or_none()


links = Table("links", metadata, LinkColumns, Index(None, "person"))


class ResetColumns(TypedColumns):
    id = _key()
    person = _id("people.id", nullable=False)
    kind = _word(16)
    state = _word(16)
    requested_by = _id(nullable=False)
    requested_at = _time()
    expires_at = _time()
    decided_by = _id(nullable=True)
    decided_at = _time_or_none()


resets = Table("resets", metadata, ResetColumns, Index(None, "state"))


class FamiliarColumns(TypedColumns):
    mark = Column(LargeBinary, primary_key=True)
    """Keyed hash of a person with a browser or an address with which they signed in."""
    person = _id("people.id", nullable=False)
    kind = _word(16)
    first_at = _time()
    seen_at = _time()


familiar = Table("familiar", metadata, FamiliarColumns, Index(None, "person"))


class PasskeyColumns(TypedColumns):
    credential = Column(LargeBinary, primary_key=True)
    person = _id("people.id", nullable=False)
    public_key = _bytes()
    sign_count = _number(0)
    name_sealed = _bytes()
    created_at = _time()
    used_at = _time_or_none()


passkeys = Table("passkeys", metadata, PasskeyColumns, Index(None, "person"))


class NoticeColumns(TypedColumns):
    id = _key()
    person = _id("people.id", nullable=False)
    """Who is told."""
    kind = _word(40)
    about = _id(nullable=True)
    """The account or the break-glass that it is about."""
    at = _time()
    read_at = _time_or_none()
    mailed_at = _time_or_none()


notices = Table("notices", metadata, NoticeColumns, Index(None, "person", "at"), Index(None, "mailed_at"))


class LocumWindowColumns(TypedColumns):
    id = _key()
    locum = _id("people.id", nullable=False)
    replaces = _id("people.id", nullable=False)
    since = _time()
    until = _time()
    set_by = _id(nullable=True)
    set_at = _time()


locum_windows = Table("locum_windows", metadata, LocumWindowColumns, Index(None, "locum"))


class PracticeColumns(TypedColumns):
    id = Column(Integer, primary_key=True, autoincrement=False)
    """Always 1."""
    mode = _word(16)


practice = Table("practice", metadata, PracticeColumns)


# --- patients ---------------------------------------------------------------------------------------------------------


class PatientColumns(TypedColumns):
    id = _key()
    scope = _id(nullable=False, unique=True)
    identity_sealed = _bytes()
    state = _word(16)
    """``active``, or ``merged`` while the file is read through another one."""
    created_at = _time()
    created_by = _id("people.id", nullable=False)
    merged_into = _id("patients.id", nullable=True)
    """The file that was kept, at the end of every chain of merges; null where this one stands for itself."""
    merged_since = _time_or_none()
    """When this file became part of ``merged_into``."""
    mac = Column(Integer, nullable=False, index=True)
    """The number of the MAC key under which all of the patient's index values stand, so that a rotation finds its work."""


patients = Table("patients", metadata, PatientColumns)
_absorbed = patients.c.merged_into.is_not(None)
Index(None, patients.c.merged_into, sqlite_where=_absorbed, postgresql_where=_absorbed)


class MergeColumns(TypedColumns):
    id = _key()
    kept = _id("patients.id", nullable=False)
    absorbed = _id("patients.id", nullable=False)
    merged_at = _time()
    merged_by = _id("people.id", nullable=False)
    undone_at = _time_or_none()
    undone_by = _id("people.id", nullable=True)


merges = Table("merges", metadata, MergeColumns, Index(None, "kept"), Index(None, "absorbed"))


class SuspectedDoubleColumns(TypedColumns):
    one = _id("patients.id", nullable=False)
    other = _id("patients.id", nullable=False)
    """The greater of the two ids."""
    found_at = _time()
    dismissed_at = _time_or_none()
    """When somebody said that they are two persons."""
    dismissed_by = _id("people.id", nullable=True)


suspected_doubles = Table(
    "suspected_doubles",
    metadata,
    SuspectedDoubleColumns,
    PrimaryKeyConstraint("one", "other"),
    Index(None, "other"),
    Index(None, "dismissed_at", "found_at"),
)


class PatientIndexColumns(TypedColumns):
    value = Column(LargeBinary, nullable=False)
    """First 16 bytes of a MAC made in the token over (tenant, index name, normalised word)."""
    patient = _id("patients.id", nullable=False)


patient_index = Table(
    "patient_index",
    metadata,
    PatientIndexColumns,
    PrimaryKeyConstraint("value", "patient"),
    Index(None, "patient"),
    sqlite_with_rowid=False,
)


class CareTeamColumns(TypedColumns):
    patient = _id("patients.id", nullable=False)
    person = _id("people.id", nullable=False)
    since = _time()


care_team = Table("care_team", metadata, CareTeamColumns, PrimaryKeyConstraint("patient", "person"), Index(None, "person"))


class GrantColumns(TypedColumns):
    id = _key()
    patient = _id("patients.id", nullable=False)
    person = _id("people.id", nullable=False)
    since = _time()
    until = _time()
    granted_by = _id(nullable=False)
    revoked_at = _time_or_none()


grants = Table("grants", metadata, GrantColumns, Index(None, "patient", "person"))


class ObjectionColumns(TypedColumns):
    patient = _id("patients.id", nullable=False)
    person = _id("people.id", nullable=False)
    since = _time()
    recorded_by = _id(nullable=False)


objections = Table("objections", metadata, ObjectionColumns, PrimaryKeyConstraint("patient", "person"))


class RestrictionColumns(TypedColumns):
    patient = _id("patients.id", nullable=False)
    person = _id("people.id", nullable=False)
    """Named on the restricted file; a file with any row here is restricted to those named."""
    since = _time()
    set_by = _id(nullable=False)


restrictions = Table("restrictions", metadata, RestrictionColumns, PrimaryKeyConstraint("patient", "person"))


class BreakglassColumns(TypedColumns):
    id = _key()
    patient = _id("patients.id", nullable=False)
    person = _id("people.id", nullable=False)
    reason_sealed = _bytes()
    since = _time()
    until = _time()
    verdict = Column(String(16), nullable=True)
    """What the review found: justified or not."""
    reviewed_by = _id(nullable=True)
    reviewed_at = _time_or_none()
    escalated_at = _time_or_none()


breakglass = Table("breakglass", metadata, BreakglassColumns, Index(None, "patient", "person"), Index(None, "verdict"))


# --- retention --------------------------------------------------------------------------------------------------------


class RetentionFactsColumns(TypedColumns):
    patient = _key("patients.id")
    facts_sealed = _bytes()
    """Day of the last care that no document tells of, and day of death, under the patient's key."""
    set_at = _time()
    set_by = _id("people.id", nullable=False)


retention_facts = Table("retention_facts", metadata, RetentionFactsColumns)


class LegalHoldColumns(TypedColumns):
    id = _key()
    patient = _id("patients.id", nullable=False)
    hold_sealed = _bytes()
    """Reason and first day, under the patient's key."""
    set_at = _time()
    set_by = _id("people.id", nullable=False)
    cleared_at = _time_or_none()
    """Null while it is open: nothing of the file may go."""
    cleared_by = _id("people.id", nullable=True)


legal_holds = Table("legal_holds", metadata, LegalHoldColumns, Index(None, "patient"))


class DisposalColumns(TypedColumns):
    id = _key()
    patient = _id(nullable=False)
    """No foreign key: it outlives the patient's row."""
    state = _word(16)
    """``proposed``, ``taken_back``, ``erasing`` (told as erased, keys and bodies still going) or ``done``."""
    proposed_by = _id(nullable=False)
    proposed_at = _time()
    decided_by = _id(nullable=True)
    decided_at = _time_or_none()
    rule = Column(String(8), nullable=True)
    kept_until = Column(String(10), nullable=True)
    """With ``rule`` written when the file goes, never before: they tell of the patient's age."""
    documents = _number(0)
    bytes = _number(0)
    remains = Column(Text, nullable=False, server_default="")
    """JSON while it is ``erasing``: the records, scopes and blobs that have still to go."""
    finished_at = _time_or_none()


disposals = Table("disposals", metadata, DisposalColumns, Index(None, "patient"), Index(None, "state"))


# --- documents --------------------------------------------------------------------------------------------------------


DRAFT, FILED, QUARANTINED = "draft", "filed", "quarantined"
"""Where a document is. Set apart by the virus scan, it is in no statement that reads drafts or filed documents."""


class DocumentColumns(TypedColumns):
    id = _key()
    patient = _id("patients.id", nullable=True)
    """Null only while it is a ``draft`` (sealed in the inbox) or ``quarantined``: it belongs to nobody yet."""
    version = Column(Integer, nullable=False)
    """The current version."""
    state = _word(16)
    """``filed``, ``draft``, ``quarantined`` (set apart by the virus scan), or ``moved`` where only a tombstone is left (the
    document was refiled under another patient)."""
    deposited_at = _time()
    deposited_by = _id("people.id", nullable=False)
    integrated_at = _time_or_none()
    """When a clinician took it over ("Vu et validé")."""
    integrated_by = _id("people.id", nullable=True)
    is_handover = Column(Integer, nullable=False, server_default="0")
    """1 where it waits to be handed to the patient."""
    is_urgent = Column(Integer, nullable=False, server_default="0")
    """1 where whoever filed it, or a carer, wants it read first."""


documents = Table(
    "documents", metadata, DocumentColumns, Index(None, "patient", "deposited_at"), Index(None, "state", "deposited_at")
)


class DocumentVersionColumns(TypedColumns):
    document = _id("documents.id", nullable=False)
    version = Column(Integer, nullable=False)
    blob = _id(nullable=False, unique=True)
    scope = _id(nullable=False)
    """The scope whose key seals ``data_key_sealed`` and ``description_sealed``."""
    data_key_sealed = _bytes()
    description_sealed = _bytes()
    """Type, act date, file name, media type, SHA-256 of the plaintext, notes."""
    size = _number()
    sealed_size = _number()
    sealed_sha256 = _bytes()
    fingerprint = _bytes()
    """Keyed fingerprint of the plaintext: equal bytes are recognised, a guess can't be confirmed without the token."""
    mac = Column(Integer, nullable=False, index=True)
    """The number of the MAC key under which ``fingerprint`` stands."""
    deposited_at = _time()
    deposited_by = _id("people.id", nullable=False)
    channel = _word(16)


document_versions = Table(
    "document_versions",
    metadata,
    DocumentVersionColumns,
    PrimaryKeyConstraint("document", "version"),
    Index(None, "fingerprint"),
)


class TombstoneColumns(TypedColumns):
    document = _id("documents.id", nullable=False)
    patient = _id("patients.id", nullable=False)
    """In whose file it stood by mistake."""
    moved_at = _time()
    moved_by = _id("people.id", nullable=False)


tombstones = Table("tombstones", metadata, TombstoneColumns, PrimaryKeyConstraint("patient", "document", "moved_at"))


class ScrubColumns(TypedColumns):
    name = _key()
    document = _id(nullable=False)
    version = Column(Integer, nullable=False)
    """The last version that was looked at: an interrupted scrub goes on from here."""
    is_keyless = Column(Integer, nullable=False)
    checked = _number()
    bytes = _number()
    findings = Column(Text, nullable=False)
    """JSON: [[document, version, kind], …]"""
    started_at = _time()
    seen_at = _time()


scrubs = Table("scrubs", metadata, ScrubColumns)


class PatrolColumns(TypedColumns):
    name = _key()
    document = _id(nullable=False)
    version = Column(Integer, nullable=False)
    """The last version that was looked at in this round."""
    checked = _number()
    bytes = _number()
    findings = Column(Text, nullable=False)
    """JSON: [[document, version, kind, seen in the round that began at], …]"""
    started_at = _time()
    """Of this round."""
    seen_at = _time()
    ended_at = _time_or_none()
    """Of the last whole round."""
    holder = _id(nullable=False)
    """The process that goes round, until …"""
    held_until = _time()


patrols = Table("patrols", metadata, PatrolColumns)


# --- the access log ---------------------------------------------------------------------------------------------------


class AuditEntryColumns(TypedColumns):
    position = Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)
    """Leaf index in the tree, from 0, without gaps."""
    leaf = _bytes()
    """Canonical JSON of the skeleton and its commitments, verbatim (RFC 8785)."""
    at = _time()
    """Never decreases with ``position``: a period is a range of positions."""
    action = _word(40)
    outcome = _word(16)
    actor_sealed = _bytes_or_none()
    subject_sealed = _bytes_or_none()
    client_sealed = _bytes_or_none()
    note_sealed = _bytes_or_none()
    actor_index = _bytes_or_none()
    patient_index = _bytes_or_none()
    document_index = _bytes_or_none()
    person_index = _bytes_or_none()
    """The account acted on."""
    flags = Column(Integer, nullable=False, server_default="0")
    """Bits of vault.audit.groups.Flag: what a review looks for without opening every row."""
    detector_index = _bytes_or_none()
    """Of an alert: which detector raised it; empty where an earlier program wrote the alert and nobody has asked since."""


audit_entries = Table("audit_entries", metadata, AuditEntryColumns)
FLAGGED = text("flags <> 0")
REFUSALS = text("outcome IN ('denied', 'failed')")
"""Both few among millions: a search for them says this very condition, by which a database knows that an index will do."""


def _by(*columns: str, where: ColumnElement[bool] | TextClause | None = None) -> None:
    """An index that gives the entries with given values in ``columns`` in the log's own order: vault/audit/paths.py."""
    names = [audit_entries.c[column] for column in (*columns, "position")]
    Index(f"ix_audit_entries_by_{'_'.join(columns)}", *names, sqlite_where=where, postgresql_where=where)


Index(None, audit_entries.c.action, audit_entries.c.position)
for _column in ("actor_index", "patient_index", "document_index", "person_index"):
    _present = audit_entries.c[_column].is_not(None)
    Index(None, audit_entries.c[_column], audit_entries.c.position, sqlite_where=_present, postgresql_where=_present)
_by("detector_index", where=audit_entries.c.detector_index.is_not(None))
_by("actor_index", "action", where=audit_entries.c.actor_index.is_not(None))
for _who in ((), ("actor_index",)):
    _by(*_who, "flags", where=FLAGGED)
for _who in ((), ("actor_index",), ("action",)):
    _by(*_who, "outcome", where=REFUSALS)


class AuditTileColumns(TypedColumns):
    level = Column(Integer, nullable=False)
    position = Column(BigInteger, nullable=False)
    hashes = _bytes()
    """256 subtree hashes (C2SP tlog-tiles), written once, when the tile is full; the right edge follows from the entries."""


audit_tiles = Table("audit_tiles", metadata, AuditTileColumns, PrimaryKeyConstraint("level", "position"))


class AuditCounterColumns(TypedColumns):
    subject = Column(LargeBinary, primary_key=True)
    """Keyed index of an actor or a patient."""
    count = _number()


audit_counters = Table("audit_counters", metadata, AuditCounterColumns)


class AuditCheckpointColumns(TypedColumns):
    size = Column(BigInteger, primary_key=True, autoincrement=False)
    note = Column(Text, nullable=False)
    """A C2SP signed note."""
    at = _time()
    is_kept = Column(Integer, nullable=False, server_default="0")
    """1 for those given out (exports, sheets, shutdown); of the others one an hour stays."""


audit_checkpoints = Table("audit_checkpoints", metadata, AuditCheckpointColumns)


class AuditRunColumns(TypedColumns):
    run = _key()
    source = _word(16)
    host = _word(64)
    process = _word(64)
    """Process id and its start time, so that a dead run is known at once on the same host."""
    started_at = _time()
    seen_at = _time()
    stopped_at = _time_or_none()


audit_runs = Table("audit_runs", metadata, AuditRunColumns)
