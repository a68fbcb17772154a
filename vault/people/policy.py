"""Owns who may do what: role × act × relation, in one pure function. It must not know storage, time or HTTP.

Whoever asks builds a ``Relation`` (``vault.people.relations``) and calls ``decide``; what the matrix does not allow is refused.
docs/roles.md is printed from the matrix below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from vault.errors import Forbidden, NotFound, StepUpRequired
from vault.model import Actor, Micros, Role

FRESH_FACTOR_S = 5 * 60
"""A step-up act wants a second factor that is no older than this (OWASP ASVS 5.0, 7.5.3)."""
OWN_UPLOAD_GRACE_H = 24
"""How long reception may still open its own upload after a clinician has integrated it."""


class Act(StrEnum):
    """Everything that the matrix judges."""

    PATIENT_CREATE = "patient.create"
    PATIENT_SEARCH = "patient.search"
    PATIENT_VIEW = "patient.view"
    PATIENT_UPDATE = "patient.update"
    PATIENT_QUALIFY = "patient.qualify"
    PATIENT_DOUBLES = "patient.doubles"
    PATIENT_MERGE = "patient.merge"
    PATIENT_RESTRICT = "patient.restrict"
    PATIENT_ERASE = "patient.erase"
    PATIENT_EXPORT = "patient.export"
    TEAM_CHANGE = "team.change"
    ACCESS_GRANT = "access.grant"
    BREAK_GLASS = "access.breakglass"
    BREAK_GLASS_REVIEW = "access.review"
    DOCUMENT_UPLOAD = "document.upload"
    DOCUMENT_LIST = "document.list"
    DOCUMENT_DESCRIPTION = "document.description"
    DOCUMENT_DESCRIBE = "document.describe"
    DOCUMENT_REFILE = "document.refile"
    DOCUMENT_INTEGRATE = "document.integrate"
    DOCUMENT_REPLACE = "document.replace"
    DOCUMENT_VIEW = "document.view"
    DOCUMENT_DOWNLOAD = "document.download"
    DOCUMENT_PRINT = "document.print"
    INBOX_USE = "inbox.use"
    QUARANTINE_MANAGE = "quarantine.manage"
    HOLD_SET = "hold.set"
    DISPOSAL_PROPOSE = "disposal.propose"
    DISPOSAL_APPROVE = "disposal.approve"
    AUDIT_READ = "audit.read"
    AUDIT_EXPORT = "audit.export"
    AUDIT_VERIFY = "audit.verify"
    AUDIT_REVEAL = "audit.reveal"
    AUDIT_REVIEW = "audit.review"
    PRIVACY_MANAGE = "privacy.manage"
    PEOPLE_READ = "people.read"
    PEOPLE_MANAGE = "people.manage"
    ROLE_CHANGE = "people.role"
    FACTOR_RESET = "people.factor"
    POLICY_CHANGE = "policy.change"
    KEYS_APPROVE = "keys.approve"
    KEYS_OPERATE = "keys.operate"
    BACKUP_OPERATE = "backup.operate"
    SYSTEM_STATUS = "system.status"
    OWN_ACCOUNT = "own.account"
    OWN_FACTORS = "own.factors"


class DocumentClass(StrEnum):
    """The side of the practice that a document belongs to; its type says which."""

    ADMINISTRATIVE = "administrative"
    MEDICAL = "medical"


@dataclass(frozen=True, slots=True)
class Relation:
    """What ties the actor to the patient or the document. Nothing by default, so that a forgotten fact refuses."""

    in_care_team: bool = False
    in_locum_window: bool = False
    """The actor replaces somebody of the care team, now."""
    has_grant: bool = False
    has_breakglass: bool = False
    is_objected: bool = False
    """The patient objects to this very person."""
    is_sensitive: bool = False
    """The file is restricted: the care team alone is not enough, one must be named."""
    is_named: bool = False
    """Named on a restricted file."""
    document_class: DocumentClass | None = None
    is_own_upload: bool = False
    hours_since_integration: float | None = None
    """None until a clinician has taken the document over ("Vu et validé")."""
    is_handover: bool = False
    """Marked "à remettre au patient"."""
    likeness: str = ""
    """Whom the patient's names recall (self, colleague, same_surname): told to reviewers, never judged."""


NOBODY = Relation()


class Reach(StrEnum):
    """The condition under which a role may act; each is one function of the relation."""

    ALWAYS = "always"
    FOLLOWS = "follows"
    TREATS = "treats"
    TREATS_OR_OWN = "treats_or_own"
    RECEPTION_OPENS = "reception_opens"
    BEFORE_INTEGRATION = "before_integration"


def _treats(relation: Relation) -> bool:
    if relation.is_objected:
        return False
    if relation.is_sensitive:
        return relation.is_named or relation.has_breakglass
    return relation.in_care_team or relation.in_locum_window or relation.has_grant or relation.has_breakglass


def _follows(relation: Relation) -> bool:
    """Of the team itself: who merely has leave (grant, locum, emergency) may not make that leave last, nor pass it on."""
    return not relation.is_objected and relation.in_care_team and (relation.is_named or not relation.is_sensitive)


def _before_integration(relation: Relation) -> bool:
    return relation.hours_since_integration is None


def _is_own_and_recent(relation: Relation) -> bool:
    hours = relation.hours_since_integration
    return relation.is_own_upload and (hours is None or 0 <= hours <= OWN_UPLOAD_GRACE_H)


def _reception_opens(relation: Relation) -> bool:
    administrative = relation.document_class is DocumentClass.ADMINISTRATIVE
    return not relation.is_objected and (administrative or relation.is_handover or _is_own_and_recent(relation))


_REACHES: Mapping[Reach, Callable[[Relation], bool]] = MappingProxyType(
    {
        Reach.ALWAYS: lambda _relation: True,
        Reach.FOLLOWS: _follows,
        Reach.TREATS: _treats,
        Reach.TREATS_OR_OWN: lambda relation: _treats(relation) or (_before_integration(relation) and relation.is_own_upload),
        Reach.RECEPTION_OPENS: _reception_opens,
        Reach.BEFORE_INTEGRATION: _before_integration,
    }
)

_EVERYBODY = tuple(Role)
_CARERS = (Role.CLINICIAN, Role.LOCUM, Role.OWNER)
_FRONT = (Role.RECEPTION, *_CARERS)


def _allow(reach: Reach, *roles: Role) -> dict[Role, Reach]:
    return dict.fromkeys(roles, reach)


MATRIX: Mapping[Act, Mapping[Role, Reach]] = MappingProxyType(
    {
        Act.PATIENT_CREATE: _allow(Reach.ALWAYS, *_FRONT),
        Act.PATIENT_SEARCH: _allow(Reach.ALWAYS, *_FRONT),
        Act.PATIENT_VIEW: _allow(Reach.ALWAYS, *_FRONT),
        Act.PATIENT_UPDATE: _allow(Reach.ALWAYS, *_FRONT),
        Act.PATIENT_QUALIFY: _allow(Reach.ALWAYS, *_CARERS),
        Act.PATIENT_DOUBLES: _allow(Reach.ALWAYS, Role.RECEPTION, Role.CLINICIAN, Role.OWNER),
        Act.PATIENT_MERGE: _allow(Reach.FOLLOWS, Role.CLINICIAN, Role.OWNER),
        Act.PATIENT_RESTRICT: _allow(Reach.FOLLOWS, Role.CLINICIAN, Role.OWNER),
        Act.PATIENT_ERASE: _allow(Reach.ALWAYS, Role.OWNER, Role.DPO),
        Act.PATIENT_EXPORT: _allow(Reach.FOLLOWS, Role.CLINICIAN, Role.OWNER),
        Act.TEAM_CHANGE: _allow(Reach.FOLLOWS, Role.CLINICIAN, Role.OWNER),
        Act.ACCESS_GRANT: _allow(Reach.FOLLOWS, Role.CLINICIAN, Role.OWNER),
        Act.BREAK_GLASS: _allow(Reach.ALWAYS, *_CARERS),
        Act.BREAK_GLASS_REVIEW: _allow(Reach.ALWAYS, Role.OWNER, Role.AUDITOR, Role.DPO),
        Act.DOCUMENT_UPLOAD: _allow(Reach.ALWAYS, *_FRONT),
        Act.DOCUMENT_LIST: _allow(Reach.ALWAYS, Role.RECEPTION) | _allow(Reach.TREATS, *_CARERS),
        Act.DOCUMENT_DESCRIPTION: _allow(Reach.RECEPTION_OPENS, Role.RECEPTION) | _allow(Reach.TREATS_OR_OWN, *_CARERS),
        Act.DOCUMENT_DESCRIBE: _allow(Reach.BEFORE_INTEGRATION, Role.RECEPTION) | _allow(Reach.TREATS_OR_OWN, *_CARERS),
        Act.DOCUMENT_REFILE: _allow(Reach.BEFORE_INTEGRATION, Role.RECEPTION) | _allow(Reach.TREATS_OR_OWN, *_CARERS),
        Act.DOCUMENT_INTEGRATE: _allow(Reach.TREATS, *_CARERS),
        Act.DOCUMENT_REPLACE: _allow(Reach.RECEPTION_OPENS, Role.RECEPTION) | _allow(Reach.TREATS_OR_OWN, *_CARERS),
        Act.DOCUMENT_VIEW: _allow(Reach.RECEPTION_OPENS, Role.RECEPTION) | _allow(Reach.TREATS_OR_OWN, *_CARERS),
        Act.DOCUMENT_DOWNLOAD: _allow(Reach.RECEPTION_OPENS, Role.RECEPTION) | _allow(Reach.TREATS_OR_OWN, *_CARERS),
        Act.DOCUMENT_PRINT: _allow(Reach.RECEPTION_OPENS, Role.RECEPTION) | _allow(Reach.TREATS_OR_OWN, *_CARERS),
        Act.INBOX_USE: _allow(Reach.ALWAYS, *_FRONT),
        Act.QUARANTINE_MANAGE: _allow(Reach.ALWAYS, Role.OWNER, Role.ADMIN),
        Act.HOLD_SET: _allow(Reach.FOLLOWS, Role.CLINICIAN) | _allow(Reach.ALWAYS, Role.OWNER, Role.DPO),
        Act.DISPOSAL_PROPOSE: _allow(Reach.FOLLOWS, Role.CLINICIAN) | _allow(Reach.ALWAYS, Role.OWNER),
        Act.DISPOSAL_APPROVE: _allow(Reach.ALWAYS, Role.OWNER, Role.DPO),
        Act.AUDIT_READ: _allow(Reach.ALWAYS, *_EVERYBODY),
        Act.AUDIT_EXPORT: _allow(Reach.ALWAYS, Role.AUDITOR, Role.DPO, Role.OWNER),
        Act.AUDIT_VERIFY: _allow(Reach.ALWAYS, Role.AUDITOR, Role.DPO, Role.OWNER, Role.ADMIN),
        Act.AUDIT_REVEAL: _allow(Reach.ALWAYS, Role.AUDITOR, Role.DPO),
        Act.AUDIT_REVIEW: _allow(Reach.ALWAYS, Role.AUDITOR, Role.DPO, Role.OWNER),
        Act.PRIVACY_MANAGE: _allow(Reach.ALWAYS, Role.DPO, Role.OWNER),
        Act.PEOPLE_READ: _allow(Reach.ALWAYS, Role.OWNER, Role.ADMIN),
        Act.PEOPLE_MANAGE: _allow(Reach.ALWAYS, Role.OWNER, Role.ADMIN),
        Act.ROLE_CHANGE: _allow(Reach.ALWAYS, Role.OWNER),
        Act.FACTOR_RESET: _allow(Reach.ALWAYS, Role.OWNER, Role.ADMIN),
        Act.POLICY_CHANGE: _allow(Reach.ALWAYS, Role.OWNER),
        Act.KEYS_APPROVE: _allow(Reach.ALWAYS, Role.OWNER),
        Act.KEYS_OPERATE: _allow(Reach.ALWAYS, Role.ADMIN),
        Act.BACKUP_OPERATE: _allow(Reach.ALWAYS, Role.ADMIN),
        Act.SYSTEM_STATUS: _allow(Reach.ALWAYS, Role.ADMIN, Role.OWNER),
        Act.OWN_ACCOUNT: _allow(Reach.ALWAYS, *_EVERYBODY),
        Act.OWN_FACTORS: _allow(Reach.ALWAYS, *_EVERYBODY),
    }
)
"""What is not written here is refused."""

STEP_UP: frozenset[Act] = frozenset(
    {
        Act.PATIENT_MERGE,
        Act.PATIENT_ERASE,
        Act.PATIENT_EXPORT,
        Act.BREAK_GLASS,
        Act.DISPOSAL_APPROVE,
        Act.AUDIT_EXPORT,
        Act.AUDIT_REVEAL,
        Act.PEOPLE_MANAGE,
        Act.ROLE_CHANGE,
        Act.FACTOR_RESET,
        Act.POLICY_CHANGE,
        Act.KEYS_APPROVE,
        Act.KEYS_OPERATE,
        Act.OWN_FACTORS,
    }
)
"""Acts that want a fresh second factor whatever the role."""

_KNOWN_TO_EXIST: frozenset[Role] = frozenset({Role.RECEPTION})
"""Reception sees every document of a patient as a line without title: hiding that it exists would be a pretence."""


class LogReach(StrEnum):
    """Which part of the access log a role reads."""

    EVERYTHING = "everything"
    PRACTICE = "practice"
    OWN_PATIENTS = "own_patients"
    OWN = "own"
    TECHNICAL = "technical"


LOG_REACH: Mapping[Role, LogReach] = MappingProxyType(
    {
        Role.RECEPTION: LogReach.OWN,
        Role.CLINICIAN: LogReach.OWN_PATIENTS,
        Role.LOCUM: LogReach.OWN,
        Role.AUDITOR: LogReach.EVERYTHING,
        Role.DPO: LogReach.EVERYTHING,
        Role.OWNER: LogReach.PRACTICE,
        Role.ADMIN: LogReach.TECHNICAL,
    }
)


def decide(role: Role, act: Act, relation: Relation = NOBODY, *, is_fresh: bool = False) -> None:
    """Return where ``role`` may do ``act`` to what ``relation`` describes; ``is_fresh``: the second factor is recent.

    Raises Forbidden where the role never may (the object need not be looked up), NotFound where the relation is missing
    (Forbidden for reception, who sees that the document exists), StepUpRequired where only a fresh factor is missing.
    """
    reach = MATRIX.get(act, {}).get(role)
    if reach is None:
        raise Forbidden(f"{role} never does {act}", act=act)
    if not _REACHES[reach](relation):
        if role in _KNOWN_TO_EXIST:
            raise Forbidden(f"{role} may not do {act} here", act=act)
        raise NotFound(f"{act}: no relation")
    if act in STEP_UP and not is_fresh:
        raise StepUpRequired(f"{act} wants a fresh second factor", act=act)


def decide_role(role: Role, act: Act) -> None:
    """The part of ``decide`` that needs no object: ask it before looking anything up. Raises Forbidden."""
    if role not in MATRIX.get(act, {}):
        raise Forbidden(f"{role} never does {act}", act=act)


def is_fresh(actor: Actor, now: Micros) -> bool:
    """Whether the actor's second factor is recent enough for a step-up act; a factor from the future is not."""
    return 0 <= now - actor.factor_at <= FRESH_FACTOR_S * 1_000_000


def authorise(actor: Actor, act: Act, now: Micros, relation: Relation = NOBODY) -> None:
    """``decide`` for somebody signed in. Raises as ``decide`` does."""
    decide(actor.role, act, relation, is_fresh=is_fresh(actor, now))


def ever_allowed(role: Role) -> frozenset[Act]:
    """Every act that the role may do to something: what a menu offers, the object still to be judged."""
    return frozenset(act for act, row in MATRIX.items() if role in row)


def rights(role: Role, relation: Relation = NOBODY) -> frozenset[Act]:
    """What menus may offer: every act allowed under ``relation``, step-up left aside."""
    return frozenset(act for act, row in MATRIX.items() if role in row and _REACHES[row[role]](relation))
