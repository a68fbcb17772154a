"""Owns the pages of how long files are kept: those past their end, proposals, certificates; one file's dates and legal holds.

It must not know how an end is reckoned nor how a file is erased.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from flask import Blueprint, Flask, redirect, render_template, request, url_for
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import Conflict, Forbidden, Invalid, VaultError
from vault.model import Actor, Micros, Patient, PatientId
from vault.people.policy import Act, ever_allowed
from vault.records.disposal.facts import Facts
from vault.records.disposal.keeping import Kept, Past
from vault.records.disposal.rows import Disposal, State
from web import navigation
from web.answers import html
from web.forms import date_typed, field_errors
from web.pages import today
from web.refusals import OTHERWISE
from web.routes import audited, not_audited
from web.session import actor, vault

retention = Blueprint("retention", __name__)
STRETCHES = 5
"""Stretches of files walked for one page; further ones are asked for."""
ENOUGH = 50
"""Files past their end that one page shows at least before it stops walking."""
WHY: dict[str, LazyString] = {
    "on_hold": _(
        "A legal hold lies on this file: nothing of it goes. Once the dispute is over, clear the hold, then propose again."
    ),
    "not_due": _("This file is still to be kept: a paper or a date was added, or a date is not known. Look at its dates."),
    "recent_merge": _("This file was merged within the last 30 days, and the merge can still be undone. Come back after that."),
    "proposed": _("A proposal for this file waits already: another person approves it, or it is taken back."),
    "decided": _("Somebody decided meanwhile: there is nothing more to do for this proposal."),
    "changed": _("Something of this file changed at the same moment. Look at it again, then try once more."),
    "merged": _("This file was merged into another one meanwhile: open the one that was kept."),
    "pause": _("Whoever works alone approves seven days after proposing. Until then, the proposal can be taken back."),
    "same_person": _("Your own proposal takes a second person: another owner or the data protection officer approves it."),
    "cleared": _("This hold was cleared already."),
    "not_done": _(
        "Not all of this file is destroyed yet: the server does the rest within the hour. The certificate comes after that."
    ),
}
"""What refuses, in words and with the way out, by the slug in ``details['reason']``."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A proposal as the page shows it to one person."""

    disposal: Disposal
    patient: Patient | None
    """None for those who see no identity, and once the file is erased."""
    is_mine: bool
    open_from: Micros | None
    """From when on this person may approve it; None: never."""
    is_open: bool
    is_erasing: bool


def _named(wanted: Iterable[PatientId]) -> dict[PatientId, Patient]:
    """Identities for those whose role sees any; the list itself is logged where it was drawn."""
    ids = tuple(wanted)
    return vault().patients.named(actor(), ids) if ids and navigation.may(Act.PATIENT_VIEW) else {}


def _proposals(who: Actor) -> tuple[Disposal, ...]:
    disposals = vault().disposals
    return disposals.waiting(who) if Act.DISPOSAL_APPROVE in ever_allowed(who.role) else disposals.own(who)


def _waiting(who: Actor, found: Iterable[Disposal], named: dict[PatientId, Patient]) -> list[Waiting]:
    shown, now = [], vault().clock()
    for each in found:
        since, is_proposed = vault().disposals.open_from(who, each), each.state is State.PROPOSED
        is_open = is_proposed and since is not None and since <= now
        is_mine = each.proposed_by == who.person
        shown.append(Waiting(each, named.get(each.patient), is_mine, since, is_open, not is_proposed))
    return shown


def _past(after: str) -> tuple[list[Past], PatientId | None, int]:
    """The next files past their end: some stretches at once, as most stretches hold none."""
    found, unreadable, next_ = list[Past](), 0, PatientId(after) if after else None
    for _stretch in range(STRETCHES):
        due = vault().keeping.due(actor(), next_)
        found += due.files
        unreadable, next_ = unreadable + due.unreadable, due.after
        if next_ is None or len(found) >= ENOUGH:
            break
    return found, next_, unreadable


def _page(refused: VaultError | None = None) -> str:
    who, room = actor(), vault()
    past, after, unreadable = _past(request.args.get("after", "")[:64])
    proposals = _proposals(who)
    named = _named({*(each.patient for each in past), *(each.patient for each in proposals)})
    proposed = {each.patient for each in proposals}
    return render_template(
        "retention/index.html",
        past=[each for each in past if each.patient not in proposed],
        patients=named,
        after=after,
        unreadable=unreadable,
        waiting=_waiting(who, proposals, named),
        kept={each.id: room.keeping.glance(who, each.patient) for each in proposals if each.state is State.PROPOSED},
        done=room.disposals.done(who) if Act.DISPOSAL_APPROVE in ever_allowed(who.role) else (),
        names=room.people.roster.display_names(),
        gone_on=room.disposals.last_backup(room.clock()),
        policy=room.keeping.policy,
        refusal=_why(refused) if refused else "",
    )


def _why(error: VaultError) -> LazyString:
    return WHY.get(str(error.details.get("reason", "")), OTHERWISE)


@retention.get("/retention")
@audited(Action.PATIENT_LIST)
def index() -> str:
    """The files whose end has come, the proposals that wait, what was destroyed."""
    return _page()


@retention.post("/patients/<patient>/retention/propose")
@audited(Action.PRIVACY_RETENTION_PROPOSED)
def propose(patient: str) -> Response:
    """Propose a file; nothing goes until another person approves."""
    try:
        vault().disposals.propose(actor(), PatientId(patient))
    except Conflict as error:
        return html(_page(error), 409)
    return redirect(url_for("retention.index", done="disposal-proposed"), 303)


@retention.post("/retention/<disposal>/approve")
@audited(Action.PRIVACY_RETENTION_APPROVED)
def approve(disposal: str) -> Response:
    """Be the second person, with a fresh second factor: the file goes for good."""
    try:
        done = vault().disposals.approve(actor(), disposal)
    except Conflict as error:
        return html(_page(error), 409)
    except Forbidden as error:
        if error.details.get("reason") != "same_person":
            raise
        return html(_page(error), 403)
    told = "file-destroyed" if done.state is State.DONE else "file-erasing"
    return redirect(url_for("retention.index", done=told), 303)


@retention.post("/retention/<disposal>/take-back")
@audited(Action.PRIVACY_RETENTION_APPROVED)
def take_back(disposal: str) -> Response:
    """Put a proposal aside: the file stays."""
    try:
        vault().disposals.take_back(actor(), disposal)
    except Conflict as error:
        return html(_page(error), 409)
    return redirect(url_for("retention.index", done="disposal-taken-back"), 303)


@retention.get("/retention/<disposal>/certificate")
@not_audited("ids, days and a rule of a file that exists no more; a refusal is logged")
def certificate(disposal: str) -> Response | str:
    """The certificate of destruction, to be printed."""
    try:
        return render_template("retention/certificate.html", certificate=vault().disposals.certificate(actor(), disposal))
    except Conflict as error:
        return html(_page(error), 409)


# --- one file -----------------------------------------------------------------------------------------------------------------


def _file(kept: Kept, **facts: Any) -> str:
    said = {name: f"{day:%d/%m/%Y}" if day else "" for name, day in _days_of(kept.said).items()}
    shown = {"typed": said, "errors": {}, "refusal": "", **facts}
    return render_template(
        "retention/file.html",
        kept=kept,
        patient=_named([kept.patient]).get(kept.patient),
        is_over=kept.end is not None and kept.end.is_over(today()),
        names=vault().people.roster.display_names(),
        policy=vault().keeping.policy,
        **shown,
    )


def _days_of(said: Facts) -> dict[str, date | None]:
    return {"last_care_on": said.last_care_on, "died_on": said.died_on}


def _again(patient: str, error: VaultError) -> Response:
    """The same page with what is wrong, and what was typed."""
    kept = vault().keeping.of(actor(), PatientId(patient))
    if isinstance(error, Invalid):
        return html(_file(kept, typed=request.form, errors=field_errors(error)), 422)
    return html(_file(kept, refusal=_why(error)), 409)


def _day(name: str) -> date | None:
    """A day that may be left empty. Raises Invalid."""
    text = request.form.get(name, "").strip()
    return date_typed(text, name, today()) if text else None


@retention.get("/patients/<patient>/retention")
@audited(Action.PATIENT_VIEW)
def show(patient: str) -> Response | str:
    """Until when one file is kept, and why; its dates and legal holds."""
    kept = vault().keeping.of(actor(), PatientId(patient))
    if kept.patient != patient:  # merged into another file
        return redirect(url_for("retention.show", patient=kept.patient), 303)
    return _file(kept)


@retention.post("/patients/<patient>/retention")
@audited(Action.PATIENT_UPDATE)
def say(patient: str) -> Response:
    """Say when the last care was that no document tells of, and the day of death."""
    try:
        facts = Facts(_day("last_care_on"), _day("died_on"))
        vault().keeping.say(actor(), PatientId(patient), facts)
    except (Invalid, Conflict) as error:
        return _again(patient, error)
    return redirect(url_for("retention.show", patient=patient, done="retention-said"), 303)


@retention.post("/patients/<patient>/holds")
@audited(Action.DOCUMENT_HOLD_SET)
def hold(patient: str) -> Response:
    """Set a legal hold: nothing of the file goes until it is cleared."""
    try:
        vault().keeping.hold(actor(), PatientId(patient), request.form.get("reason", ""), _day("since"))
    except (Invalid, Conflict) as error:
        return _again(patient, error)
    return redirect(url_for("retention.show", patient=patient, done="hold-set"), 303)


@retention.post("/patients/<patient>/holds/<hold>/clear")
@audited(Action.DOCUMENT_HOLD_CLEAR)
def clear(patient: str, hold: str) -> Response:
    """Clear a legal hold, with the reason."""
    field = f"reason-{hold}"
    try:
        vault().keeping.clear(actor(), hold, request.form.get(field, ""))
    except Invalid as error:
        return _again(patient, Invalid("not a reason", field=field, reason=str(error.details.get("reason", ""))))
    except Conflict as error:
        return _again(patient, error)
    return redirect(url_for("retention.show", patient=patient, done="hold-cleared"), 303)


def _to_decide(who: Actor) -> int:
    """How many proposals wait for this person's word."""
    if Act.DISPOSAL_APPROVE not in ever_allowed(who.role):
        return 0
    return sum(each.is_open for each in _waiting(who, vault().disposals.waiting(who), {}))


def install(app: Flask) -> None:
    """Register the pages and the number beside their entry."""
    navigation.counts["retention.index"] = _to_decide
    app.register_blueprint(retention)
