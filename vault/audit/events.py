"""Owns the catalogue of events: which actions exist, and what one event says. It must not know storage or ciphers.

An event holds ids, roles, counts and codes; never a name, a title, a file name, a code, search text or a key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Self

from vault.errors import Invalid
from vault.model import Actor, Client, DocumentId, EventId, PatientId

REASON_CHARACTERS = 200
"""The longest reason that a person may type for the record."""


class Outcome(StrEnum):
    """How it ended, as far as is known when the event is written."""

    GRANTED = "granted"
    SUCCESS = "success"
    DENIED = "denied"
    FAILED = "failed"
    PARTIAL = "partial"


class Purpose(StrEnum):
    """Why, in the words of HL7 v3 PurposeOfUse."""

    TREAT = "TREAT"
    ETREAT = "ETREAT"
    BTG = "BTG"
    HOPERAT = "HOPERAT"
    PATRQT = "PATRQT"
    HSYSADMIN = "HSYSADMIN"
    HCOMPL = "HCOMPL"
    HLEGAL = "HLEGAL"


class Severity(IntEnum):
    """Syslog severities (RFC 5424 §6.2.1): the smaller, the graver."""

    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


class Keeps(StrEnum):
    """Retention class: how long the groups of an event stay readable (vault/audit/retention.py has the durations)."""

    ACCESS = "access"
    TECHNICAL = "technical"


class Kind(StrEnum):
    """FHIR R4 AuditEvent.type: DICOM (DCM) codes, and ``rest`` for create, read, update, delete and search."""

    REST = "rest"
    APPLICATION = "110100"
    LOG_USED = "110101"
    EXPORT = "110106"
    IMPORT = "110107"
    SECURITY_ALERT = "110113"
    AUTHENTICATION = "110114"


_INFO, _NOTICE, _WARNING, _ERROR, _CRITICAL = (
    Severity.INFO,
    Severity.NOTICE,
    Severity.WARNING,
    Severity.ERROR,
    Severity.CRITICAL,
)
_ACCESS, _TECHNICAL = Keeps.ACCESS, Keeps.TECHNICAL
_REST, _APP, _LOG, _EXPORT = Kind.REST, Kind.APPLICATION, Kind.LOG_USED, Kind.EXPORT
_IMPORT, _ALERT, _AUTH = Kind.IMPORT, Kind.SECURITY_ALERT, Kind.AUTHENTICATION


class Action(StrEnum):
    """Every action that can be logged; an unknown one cannot be written.

    Columns: slug · severity · retention class · FHIR type · CRUDE letter (FHIR AuditEvent.action) · subject fields that a
    successful event must name.
    """

    severity: Severity
    keeps: Keeps
    kind: Kind
    crude: str
    needs: tuple[str, ...]

    def __new__(  # noqa: PLR0917  # the columns of the table below
        cls, slug: str, severity: Severity, keeps: Keeps, kind: Kind, crude: str, needs: str = ""
    ) -> Self:
        member = str.__new__(cls, slug)
        member._value_ = slug
        member.severity = severity
        member.keeps = keeps
        member.kind = kind
        member.crude = crude
        member.needs = tuple(needs.split())
        return member

    AUTH_LOGIN = "auth.login", _INFO, _ACCESS, _AUTH, "E"
    AUTH_TOTP = "auth.totp", _INFO, _ACCESS, _AUTH, "E"
    AUTH_STEPUP = "auth.stepup", _INFO, _ACCESS, _AUTH, "E"
    AUTH_LOGOUT = "auth.logout", _INFO, _ACCESS, _AUTH, "E"
    AUTH_SESSION_EXPIRED = "auth.session_expired", _INFO, _TECHNICAL, _AUTH, "E"
    AUTH_SESSION_REVOKED = "auth.session_revoked", _NOTICE, _ACCESS, _AUTH, "E"
    AUTH_LOCKED = "auth.locked", _WARNING, _ACCESS, _AUTH, "E"
    AUTH_UNLOCKED = "auth.unlocked", _NOTICE, _ACCESS, _AUTH, "E"
    AUTH_PASSWORD_CHANGED = "auth.password_changed", _NOTICE, _ACCESS, _AUTH, "U"
    AUTH_PASSWORD_RESET = "auth.password_reset", _NOTICE, _ACCESS, _AUTH, "U"
    AUTH_TOTP_ENROLLED = "auth.totp_enrolled", _NOTICE, _ACCESS, _AUTH, "U"
    AUTH_TOTP_RESET = "auth.totp_reset", _NOTICE, _ACCESS, _AUTH, "U"
    AUTH_RECOVERY_CODE_USED = "auth.recovery_code_used", _WARNING, _ACCESS, _AUTH, "E"
    AUTH_PASSKEY_ADDED = "auth.passkey_added", _NOTICE, _ACCESS, _AUTH, "U"
    AUTH_SWITCH_USER = "auth.switch_user", _INFO, _ACCESS, _AUTH, "E"

    USER_CREATE = "user.create", _NOTICE, _ACCESS, _ALERT, "C", "person"
    USER_UPDATE = "user.update", _NOTICE, _ACCESS, _ALERT, "U", "person"
    USER_DISABLE = "user.disable", _NOTICE, _ACCESS, _ALERT, "U", "person"
    USER_ENABLE = "user.enable", _NOTICE, _ACCESS, _ALERT, "U", "person"
    USER_DELETE = "user.delete", _NOTICE, _ACCESS, _ALERT, "D", "person"
    ROLE_GRANT = "role.grant", _NOTICE, _ACCESS, _ALERT, "U", "person"
    ROLE_REVOKE = "role.revoke", _NOTICE, _ACCESS, _ALERT, "U", "person"
    TEAM_ADD = "team.add", _INFO, _ACCESS, _ALERT, "U", "patient person"
    TEAM_REMOVE = "team.remove", _INFO, _ACCESS, _ALERT, "U", "patient person"
    LOCUM_WINDOW_SET = "locum.window_set", _NOTICE, _ACCESS, _ALERT, "U", "person"

    PATIENT_CREATE = "patient.create", _INFO, _ACCESS, _REST, "C", "patient"
    PATIENT_VIEW = "patient.view", _INFO, _ACCESS, _REST, "R", "patient"
    PATIENT_LIST = "patient.list", _INFO, _ACCESS, _REST, "R"
    PATIENT_SEARCH = "patient.search", _INFO, _ACCESS, _REST, "E"
    PATIENT_UPDATE = "patient.update", _INFO, _ACCESS, _REST, "U", "patient"
    PATIENT_MERGE = "patient.merge", _NOTICE, _ACCESS, _REST, "U", "patient"
    PATIENT_UNMERGE = "patient.unmerge", _NOTICE, _ACCESS, _REST, "U", "patient"
    PATIENT_RESTRICT = "patient.restrict", _NOTICE, _ACCESS, _REST, "U", "patient"
    PATIENT_ERASE = "patient.erase", _WARNING, _ACCESS, _REST, "D"
    PATIENT_REPORT_GIVEN = "patient.report_given", _NOTICE, _ACCESS, _EXPORT, "R", "patient"

    DOCUMENT_UPLOAD = "document.upload", _INFO, _ACCESS, _IMPORT, "C", "document"
    DOCUMENT_VIEW = "document.view", _INFO, _ACCESS, _REST, "R", "document"
    DOCUMENT_PREVIEW = "document.preview", _INFO, _ACCESS, _REST, "R", "document"
    DOCUMENT_DOWNLOAD = "document.download", _INFO, _ACCESS, _EXPORT, "R", "document"
    DOCUMENT_PRINT = "document.print", _INFO, _ACCESS, _EXPORT, "R", "document"
    DOCUMENT_REPLACE = "document.replace", _INFO, _ACCESS, _IMPORT, "U", "document"
    DOCUMENT_METADATA = "document.metadata", _INFO, _ACCESS, _REST, "U", "document"
    DOCUMENT_REFILE = "document.refile", _NOTICE, _ACCESS, _REST, "U", "document"
    DOCUMENT_INTEGRATE = "document.integrate", _INFO, _ACCESS, _REST, "U", "document"
    DOCUMENT_SEND = "document.send", _NOTICE, _ACCESS, _EXPORT, "R", "document"
    DOCUMENT_LINK_CREATE = "document.link_create", _NOTICE, _ACCESS, _EXPORT, "C", "document"
    DOCUMENT_LINK_OPEN = "document.link_open", _NOTICE, _ACCESS, _EXPORT, "R", "document"
    DOCUMENT_LINK_REVOKE = "document.link_revoke", _NOTICE, _ACCESS, _EXPORT, "U", "document"
    DOCUMENT_HOLD_SET = "document.hold_set", _NOTICE, _ACCESS, _REST, "U", "patient"
    DOCUMENT_HOLD_CLEAR = "document.hold_clear", _NOTICE, _ACCESS, _REST, "U", "patient"
    DOCUMENT_DELETE = "document.delete", _NOTICE, _ACCESS, _REST, "D", "document"
    DOCUMENT_RESTORE = "document.restore", _NOTICE, _ACCESS, _REST, "U", "document"
    DOCUMENT_QUARANTINE = "document.quarantine", _CRITICAL, _ACCESS, _ALERT, "C", "document"
    DOCUMENT_RESCAN = "document.rescan", _NOTICE, _ACCESS, _APP, "E", "document"
    DOCUMENT_RELEASE = "document.release", _WARNING, _ACCESS, _ALERT, "U", "document"
    DOCUMENT_INTEGRITY_CHECK = "document.integrity_check", _INFO, _TECHNICAL, _APP, "E"
    DOCUMENT_INTEGRITY_FAILURE = "document.integrity_failure", _CRITICAL, _ACCESS, _ALERT, "E", "document"

    ACCESS_DENIED = "access.denied", _WARNING, _ACCESS, _ALERT, "E"
    ACCESS_REQUEST = "access.request", _NOTICE, _ACCESS, _ALERT, "E"
    ACCESS_GRANT = "access.grant", _NOTICE, _ACCESS, _ALERT, "U"
    ACCESS_REVOKE = "access.revoke", _NOTICE, _ACCESS, _ALERT, "U"
    ACCESS_BREAKGLASS = "access.breakglass", _WARNING, _ACCESS, _ALERT, "E", "patient"
    ACCESS_BREAKGLASS_END = "access.breakglass_end", _NOTICE, _ACCESS, _ALERT, "E", "patient"
    ACCESS_BREAKGLASS_REVIEW = "access.breakglass_review", _NOTICE, _ACCESS, _LOG, "U"

    EXPORT_PORTABILITY = "export.portability", _NOTICE, _ACCESS, _EXPORT, "R"
    EXPORT_PATIENT_COPY = "export.patient_copy", _NOTICE, _ACCESS, _EXPORT, "R", "patient"
    EXPORT_BULK = "export.bulk", _WARNING, _ACCESS, _EXPORT, "R"

    AUDIT_VIEW = "audit.view", _INFO, _ACCESS, _LOG, "R"
    AUDIT_SEARCH = "audit.search", _INFO, _ACCESS, _LOG, "E"
    AUDIT_EXPORT = "audit.export", _NOTICE, _ACCESS, _LOG, "R"
    AUDIT_REVEAL_IDENTITY = "audit.reveal_identity", _WARNING, _ACCESS, _LOG, "R"
    AUDIT_VERIFY = "audit.verify", _INFO, _ACCESS, _LOG, "E"
    AUDIT_ALERT_RAISED = "audit.alert_raised", _WARNING, _ACCESS, _ALERT, "C"
    AUDIT_ALERT_CLOSED = "audit.alert_closed", _NOTICE, _ACCESS, _LOG, "U"
    AUDIT_SAMPLE_REVIEWED = "audit.sample_reviewed", _INFO, _ACCESS, _LOG, "U"
    AUDIT_SUBJECT_ERASED = "audit.subject_erased", _WARNING, _ACCESS, _LOG, "D"
    AUDIT_PURGE = "audit.purge", _NOTICE, _ACCESS, _LOG, "D"

    KEY_CREATE = "key.create", _NOTICE, _ACCESS, _ALERT, "C"
    KEY_ROTATE = "key.rotate", _NOTICE, _ACCESS, _ALERT, "U"
    KEY_REWRAP = "key.rewrap", _INFO, _TECHNICAL, _ALERT, "U"
    KEY_DESTROY = "key.destroy", _WARNING, _ACCESS, _ALERT, "D"
    KEY_UNWRAP_REFUSED = "key.unwrap_refused", _CRITICAL, _ACCESS, _ALERT, "E"
    HSM_UNAVAILABLE = "hsm.unavailable", _ERROR, _TECHNICAL, _ALERT, "E"
    HSM_RECOVERED = "hsm.recovered", _NOTICE, _TECHNICAL, _ALERT, "E"
    HSM_LOGIN_FAILED = "hsm.login_failed", _CRITICAL, _ACCESS, _ALERT, "E"

    LOG_GENESIS = "log.genesis", _NOTICE, _ACCESS, _APP, "C"
    LOG_HEARTBEAT = "log.heartbeat", _INFO, _TECHNICAL, _APP, "E"
    LOG_KEY_ROTATED = "log.key_rotated", _NOTICE, _ACCESS, _ALERT, "U"
    LOG_EPOCH_OPENED = "log.epoch_opened", _NOTICE, _ACCESS, _APP, "C"
    LOG_WITNESS_CONFLICT = "log.witness_conflict", _CRITICAL, _ACCESS, _ALERT, "E"
    LOG_ROLLBACK_DETECTED = "log.rollback_detected", _CRITICAL, _ACCESS, _ALERT, "E"

    SYSTEM_START = "system.start", _NOTICE, _TECHNICAL, _APP, "E"
    SYSTEM_STOP = "system.stop", _NOTICE, _TECHNICAL, _APP, "E"
    SYSTEM_UNCLEAN_START = "system.unclean_start", _WARNING, _TECHNICAL, _APP, "E"
    SYSTEM_CONFIG_CHANGED = "system.config_changed", _NOTICE, _ACCESS, _ALERT, "U"
    SYSTEM_BACKUP = "system.backup", _NOTICE, _ACCESS, _APP, "R"
    SYSTEM_RESTORE = "system.restore", _WARNING, _ACCESS, _APP, "U"
    SYSTEM_RESTORE_DRILL = "system.restore_drill", _NOTICE, _ACCESS, _APP, "E"
    SYSTEM_CLOCK_STEP = "system.clock_step", _WARNING, _TECHNICAL, _ALERT, "E"

    PRIVACY_BREACH_DECLARED = "privacy.breach_declared", _CRITICAL, _ACCESS, _ALERT, "C"
    PRIVACY_BREACH_CLOSED = "privacy.breach_closed", _NOTICE, _ACCESS, _ALERT, "U"
    PRIVACY_REQUEST_OPENED = "privacy.request_opened", _NOTICE, _ACCESS, _REST, "C"
    PRIVACY_REQUEST_CLOSED = "privacy.request_closed", _NOTICE, _ACCESS, _REST, "U"
    PRIVACY_RETENTION_PROPOSED = "privacy.retention_proposed", _NOTICE, _ACCESS, _REST, "C"
    PRIVACY_RETENTION_APPROVED = "privacy.retention_approved", _NOTICE, _ACCESS, _REST, "U"


_BY_SLUG = {action.value: action for action in Action}


def action_of(slug: str) -> Action:
    """The action of a slug. Raises ValueError for one that the catalogue does not hold."""
    try:
        return _BY_SLUG[slug]
    except KeyError:
        raise ValueError(f"unknown action {slug!r}") from None


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Who acted, where nobody is signed in: a keyed hash of the name that was typed, and whether it exists."""

    name_hash: str = ""
    is_known: bool = False
    client: Client = field(default_factory=Client)


@dataclass(frozen=True, slots=True)
class System:
    """The installation itself acted: start, stop, heartbeat, scheduled work."""

    component: str = "vault"


@dataclass(frozen=True, slots=True)
class Subject:
    """What was acted on."""

    patient: PatientId | None = None
    document: DocumentId | None = None
    version: int | None = None
    document_class: str | None = None
    person: str | None = None
    """The account acted on (people, roles, teams)."""


@dataclass(frozen=True, slots=True)
class Note:
    """Circumstances. ``reason`` is what a person typed for the record, at most REASON_CHARACTERS."""

    purpose: Purpose | None = None
    reason: str | None = field(default=None, repr=False)
    is_breakglass: bool = False
    relation: tuple[str, ...] = ()
    bytes: int | None = None
    count: int | None = None
    changed: tuple[str, ...] = ()
    code: str | None = None
    """An error code, for refusals and failures."""

    def __post_init__(self) -> None:
        if self.reason is None:
            return
        if len(self.reason) > REASON_CHARACTERS:
            raise Invalid("a reason is too long", field="reason", reason="too_long", limit=REASON_CHARACTERS)
        if any("\ud800" <= letter <= "\udfff" for letter in self.reason):
            raise Invalid("a reason is not text", field="reason", reason="not_text")


@dataclass(frozen=True, slots=True)
class Event:
    """One meaning, once: who did what to what, with which outcome. Raises ValueError where the catalogue asks for more."""

    action: Action
    outcome: Outcome
    by: Actor | Anonymous | System
    subject: Subject = Subject()
    note: Note = Note()
    ref: EventId | None = None
    """The event that this one continues (a failure after a grant)."""
    op: str | None = None
    """Shared by the events of one operation over many documents."""

    def __post_init__(self) -> None:
        if self.outcome in (Outcome.GRANTED, Outcome.SUCCESS):
            for need in self.action.needs:
                if getattr(self.subject, need) is None:
                    raise ValueError(f"{self.action} must name its {need}")

    @property
    def severity(self) -> Severity:
        """The action's severity; a refusal or a failure is a warning at least."""
        if self.outcome in (Outcome.DENIED, Outcome.FAILED):
            return min(self.action.severity, Severity.WARNING)
        return self.action.severity
