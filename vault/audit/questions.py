"""Owns what auditors ask, under short names: the same for screens, exports and the command line. It must not know SQL.

What has no name here is asked by person, patient, document or period; mass access, after hours and the like are alerts
(vault/audit/detect.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from vault.audit.events import Action, Outcome
from vault.audit.groups import Flag
from vault.audit.search import Filters
from vault.errors import Invalid


def _family(*starts: str) -> tuple[Action, ...]:
    return tuple(action for action in Action if action.value.startswith(starts))


QUESTIONS: Final[Mapping[str, Filters]] = MappingProxyType(
    {
        "opened": Filters(actions=(Action.DOCUMENT_VIEW, Action.DOCUMENT_DOWNLOAD, Action.DOCUMENT_PRINT)),
        "filed": Filters(actions=(Action.DOCUMENT_UPLOAD, Action.DOCUMENT_REPLACE, Action.DOCUMENT_REFILE)),
        "left": Filters(
            actions=(
                Action.DOCUMENT_DOWNLOAD,
                Action.DOCUMENT_PRINT,
                Action.DOCUMENT_SEND,
                *_family("export.", "document.link_"),
            )
        ),
        "outside": Filters(flags=Flag.OUTSIDE_TEAM),
        "breakglass": Filters(actions=_family("access.breakglass")),
        "related": Filters(flags=Flag.RELATION | Flag.SENSITIVE),
        "refused": Filters(outcomes=(Outcome.DENIED,)),
        "signin": Filters(
            actions=(
                Action.AUTH_LOGIN,
                Action.AUTH_TOTP,
                Action.AUTH_STEPUP,
                Action.AUTH_LOCKED,
                Action.AUTH_RECOVERY_CODE_USED,
            ),
            outcomes=(Outcome.DENIED, Outcome.FAILED),
        ),
        "locks": Filters(actions=(Action.AUTH_LOCKED, Action.AUTH_UNLOCKED)),
        "alerts": Filters(actions=(Action.AUDIT_ALERT_RAISED, Action.AUDIT_ALERT_CLOSED, Action.AUDIT_SAMPLE_REVIEWED)),
        "integrity": Filters(
            actions=(
                Action.DOCUMENT_INTEGRITY_FAILURE,
                Action.DOCUMENT_QUARANTINE,
                Action.DOCUMENT_RELEASE,
                Action.LOG_ROLLBACK_DETECTED,
                Action.LOG_WITNESS_CONFLICT,
                Action.LOG_EPOCH_OPENED,
                Action.KEY_UNWRAP_REFUSED,
                Action.SYSTEM_CLOCK_STEP,
                Action.SYSTEM_UNCLEAN_START,
            )
        ),
        "rights": Filters(actions=_family("user.", "role.", "team.", "locum.", "access.grant", "access.revoke")),
        "keys": Filters(actions=_family("key.", "hsm.", "system.", "log.")),
        "privacy": Filters(
            actions=_family("privacy.", "patient.erase", "patient.report_given", "audit.subject_erased", "audit.purge")
        ),
        "log": Filters(actions=_family("audit.")),
    }
)
"""Short name → filters. A sign-in that locks is refused too, so "signin" holds failures only; "locks" tells who unlocked."""

NOISE: Final = (Action.AUDIT_VIEW, Action.AUDIT_SEARCH, Action.AUDIT_VERIFY, Action.LOG_HEARTBEAT)
"""What the log says about its own readers and its own pulse: on the first page of a screen it would hide everything else."""


def narrowed_by(question: str, filters: Filters) -> Filters:
    """The filters with what a question adds; an action or an outcome chosen by hand goes before it. No question: as they are.

    Raises Invalid for a question that has no such name.
    """
    if question and question not in QUESTIONS:
        raise Invalid("there is no such question", field="question", reason="unknown_value")
    asked = QUESTIONS.get(question, Filters())
    return replace(
        filters,
        actions=filters.actions or asked.actions,
        outcomes=filters.outcomes or asked.outcomes,
        flags=filters.flags or asked.flags,
    )
