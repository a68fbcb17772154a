"""Owns who sees which entry of the menus and where each role comes home. It must not know what the pages show.

Nobody sees an entry that they may not use; an entry whose page does not exist in this application is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import current_app, request, url_for
from flask_babel import LazyString
from flask_babel import lazy_gettext as _

from vault.model import Actor, Role
from vault.people.policy import Act, ever_allowed
from web.session import actor, is_signed_in

FRONT = frozenset({Role.RECEPTION, Role.CLINICIAN, Role.LOCUM, Role.OWNER})
CARERS = frozenset({Role.CLINICIAN, Role.LOCUM, Role.OWNER})
WATCHERS = frozenset({Role.AUDITOR, Role.DPO})


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: where it leads, what it is called, who sees it."""

    endpoint: str
    label: LazyString
    icon: str
    act: Act
    roles: frozenset[Role] | None = None
    """Narrower than everybody who has the right, where the entry is of use to some only."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One entry on a page."""

    href: str
    label: LazyString
    icon: str
    is_current: bool
    count: int


TABS = (
    Entry("inbox.show", _("Inbox"), "inbox", Act.INBOX_USE, frozenset({Role.RECEPTION})),
    Entry("patients.index", _("Patients"), "users", Act.PATIENT_SEARCH, FRONT),
    Entry("inbox.show", _("Inbox"), "inbox", Act.INBOX_USE, CARERS),
    Entry("unread.show", _("Unread"), "bell", Act.DOCUMENT_VIEW, CARERS),
    Entry("audit.index", _("Access log"), "log", Act.AUDIT_READ, WATCHERS | {Role.OWNER, Role.ADMIN}),
    Entry("audit.index", _("Accesses"), "log", Act.AUDIT_READ, frozenset({Role.RECEPTION, Role.CLINICIAN, Role.LOCUM})),
    Entry("review.index", _("To review"), "shield", Act.AUDIT_REVIEW),
    Entry("people.index", _("People"), "user", Act.PEOPLE_READ),
    Entry("status.show", _("Vault status"), "status", Act.AUDIT_VERIFY),
)
MENU = (
    Entry("account.show", _("My security"), "shield-check", Act.OWN_ACCOUNT),
    Entry("doubles.index", _("Suspected doubles"), "users", Act.PATIENT_DOUBLES),
    Entry("quarantine.index", _("Quarantine"), "shield-alert", Act.QUARANTINE_MANAGE),
    Entry("retention.index", _("Retention"), "hourglass", Act.DISPOSAL_PROPOSE),
    Entry("retention.index", _("Retention"), "hourglass", Act.DISPOSAL_APPROVE, frozenset({Role.DPO})),
    Entry("emergency.index", _("Emergencies"), "alert", Act.BREAK_GLASS_REVIEW),
    Entry("audit.mine", _("My accesses"), "log", Act.OWN_ACCOUNT),
)
HOMES = {
    Role.RECEPTION: ("inbox.show", "patients.index"),
    Role.AUDITOR: ("audit.index",),
    Role.DPO: ("audit.index",),
    Role.ADMIN: ("status.show",),
}
"""The first of these that exists is where the role arrives; everybody else arrives at the patients."""

counts: dict[str, Callable[[Actor], int]] = {}
"""Numbers shown beside an entry, by endpoint; the page that owns the number puts its function here."""


def _shown(entries: tuple[Entry, ...]) -> list[Shown]:
    who = actor()
    allowed = ever_allowed(who.role)
    found = []
    for entry in entries:
        is_open = entry.act in allowed and (entry.roles is None or who.role in entry.roles)
        if not is_open or entry.endpoint not in current_app.view_functions:
            continue
        place = entry.endpoint.partition(".")[0]
        counter = counts.get(entry.endpoint)
        number = counter(who) if counter else 0
        found.append(Shown(url_for(entry.endpoint), entry.label, entry.icon, _place() == place, number))
    return found


def _place() -> str:
    """Under which entry the present page belongs: everything below a patient's address belongs to the patients."""
    if request.path.startswith(("/patients", "/documents")):
        return "patients"
    return (request.endpoint or "").partition(".")[0]


def tabs() -> list[Shown]:
    """The main navigation of whoever is signed in."""
    return _shown(TABS)


def menu() -> list[Shown]:
    """Further entries of their own menu."""
    return _shown(MENU)


def may(act: str) -> bool:
    """Whether the role of whoever is signed in ever allows ``act`` (a slug of the policy); nobody may anything."""
    return is_signed_in() and Act(act) in ever_allowed(actor().role)


def home(role: Role) -> str:
    """The path of the role's own first page."""
    wanted = (*HOMES.get(role, ()), "patients.index")
    return url_for(next(endpoint for endpoint in wanted if endpoint in current_app.view_functions))
