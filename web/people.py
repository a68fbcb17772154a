"""Owns the administration pages: people, roles, invitations, resets, locums, the practice's mode, the access review.

It must not know how rights are judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import Conflict, Forbidden, Invalid, NotFound
from vault.model import PersonId, Role
from vault.people.accounts import Account
from vault.people.policy import Act, rights
from vault.people.relations import Mode
from vault.people.resets import Kind
from vault.people.roster import State
from vault.people.unused import TERMS
from web.answers import html
from web.errors import TABLE
from web.refusals import DUTIES, why
from web.routes import audited, not_audited
from web.session import actor, vault

people = Blueprint("people", __name__)


def overview(**facts: Any) -> str:
    """Everybody, and what waits for a decision."""
    room, who = vault().people, actor()
    accounts = room.accounts.all(who)
    return render_template(
        "people/index.html",
        accounts=[account for account in accounts if account.removed_at is None],
        ending=sorted((account for account in accounts if account.warned_at or account.closed_at), key=_end_of),
        duties=DUTIES,
        names={account.id: account.display_name for account in accounts},
        doctors=_chosen(accounts, Role.CLINICIAN, Role.OWNER),
        locums=_chosen(accounts, Role.LOCUM),
        resets=room.resets.waiting(who),
        windows=room.ties.windows(who),
        mode=room.ties.mode(),
        modes=tuple(Mode),
        gives_roles=Act.ROLE_CHANGE in rights(who.role),
        **facts,
    )


def _end_of(account: Account) -> tuple[bool, int]:
    """What happens next comes first; what is over comes last, the newest before."""
    coming = account.closes_at or account.removes_at
    return account.removed_at is not None, coming or -(account.removed_at or 0)


def _chosen(accounts: Iterable[Account], *roles: Role) -> list[tuple[PersonId, str]]:
    """Who may be named in a replacement: those of these roles who work here."""
    return [(each.id, each.display_name) for each in accounts if each.role in roles and each.state is State.ACTIVE]


@people.get("/people")
@not_audited("who works here, for those who keep the accounts; a refusal is logged")
def index() -> str:
    """The people of the practice."""
    return overview()


@people.get("/people/new")
@not_audited("who works here, for those who keep the accounts; a refusal is logged")
def new() -> str:
    """The form of a new account."""
    vault().people.accounts.all(actor())
    return render_template("people/new.html", typed={}, errors={}, roles=tuple(Role))


@people.post("/people/new")
@audited(Action.USER_CREATE)
def create() -> Response:
    """A new account, and the invitation to hand over."""
    typed = {name: request.form.get(name, "").strip() for name in ("username", "display_name", "role", "email")}
    try:
        role = _role(typed["role"])
        made = vault().people.accounts.create(
            actor(),
            username=typed["username"],
            display_name=typed["display_name"],
            role=role,
            email=typed["email"] or None,
        )
    except (Invalid, Conflict) as error:
        errors = {str(error.details.get("field", "")): why(error)}
        return html(render_template("people/new.html", typed=typed, errors=errors, roles=tuple(Role)), 422)
    return html(_invited(made))


def _invited(person: PersonId) -> str:
    invitation = vault().people.resets.invite(actor(), person)
    account = vault().people.accounts.get(actor(), person)
    return render_template("people/invited.html", account=account, invitation=invitation)


@people.get("/people/<person>")
@not_audited("who works here, for those who keep the accounts; a refusal is logged")
def show(person: str) -> str:
    """One account and what may be done to it."""
    return _one(PersonId(person))


def _one(person: PersonId, **facts: Any) -> str:
    account = vault().people.accounts.get(actor(), person)
    gives_roles = Act.ROLE_CHANGE in rights(actor().role)
    return render_template(
        "people/show.html", account=account, roles=tuple(Role), gives_roles=gives_roles, duties=DUTIES, terms=TERMS, **facts
    )


@people.post("/people/<person>/invite")
@audited(Action.USER_UPDATE)
def invite(person: str) -> str:
    """Another invitation for somebody who has never signed in; the earlier one stops working."""
    return _invited(PersonId(person))


@people.post("/people/<person>/act")
@audited(
    Action.USER_DISABLE,
    Action.USER_ENABLE,
    Action.USER_DELETE,
    Action.USER_UPDATE,
    Action.AUTH_UNLOCKED,
    Action.ROLE_GRANT,
    Action.AUTH_TOTP_RESET,
)
def act(person: str) -> Response:
    """Close, open, remove, confirm, unlock, give another role, ask for a reset."""
    room, who, target = vault().people, actor(), PersonId(person)
    wanted = request.form.get("act", "")
    acts: dict[str, Callable[[], object]] = {
        "disable": lambda: room.accounts.disable(who, target),
        "depart": lambda: room.accounts.disable(who, target, has_left=True),
        "remove": lambda: room.accounts.remove(who, target, anyway=request.form.get("anyway") == "yes"),
        "enable": lambda: room.accounts.enable(who, target),
        "confirm": lambda: room.accounts.confirm(who, target),
        "unlock": lambda: room.accounts.unlock(who, target),
        "role": lambda: room.accounts.change_role(who, target, _role(request.form.get("role", ""))),
        "reset-factor": lambda: room.resets.ask(who, target, Kind.FACTOR),
        "reset-password": lambda: room.resets.ask(who, target, Kind.PASSWORD),
    }
    if wanted not in acts:
        raise NotFound("no such act")
    try:
        acts[wanted]()
    except Conflict as error:
        return html(_one(target, refusal=why(error)), TABLE["conflict"].status)
    if request.form.get("place") == "review":
        return redirect(url_for("people.index", done=f"account-{wanted}") + "#review", 303)
    return redirect(url_for("people.show", person=person, done=f"account-{wanted}"), 303)


def _role(text: str) -> Role:
    if text not in set(Role):
        raise Invalid("no such role", field="role", reason="empty")
    return Role(text)


@people.post("/people/resets/<reset>")
@audited(Action.AUTH_TOTP_RESET, Action.AUTH_PASSWORD_RESET)
def decide_reset(reset: str) -> Response:
    """Be the second person of a reset, or put it aside."""
    room, who = vault().people, actor()
    if request.form.get("decision") != "approve":
        room.resets.refuse(who, reset)
        return redirect(url_for("people.index", done="reset-refused"), 303)
    target = next((each.person for each in room.resets.waiting(who) if each.id == reset), None)
    try:
        invitation = room.resets.approve(who, reset)
    except Forbidden as error:
        return html(overview(refusal=why(error)), TABLE["forbidden"].status)
    if invitation is None or target is None:
        return redirect(url_for("people.index", done="reset-approved"), 303)
    account = room.accounts.get(who, target)
    return html(render_template("people/invited.html", account=account, invitation=invitation))


@people.post("/people/windows")
@audited(Action.LOCUM_WINDOW_SET)
def set_window() -> Response:
    """Let a locum replace a doctor between two minutes."""
    form = request.form
    locum, replaces = PersonId(form.get("locum", "")), PersonId(form.get("replaces", ""))
    try:
        since, until = _moment(form.get("since", ""), "since"), _moment(form.get("until", ""), "until")
        vault().people.ties.set_window(actor(), locum, replaces, since=since, until=until)
    except Invalid as error:
        return html(overview(refusal=why(error)), 422)
    return redirect(url_for("people.index", done="window-set") + "#locums", 303)


@people.post("/people/windows/<window>/end")
@audited(Action.LOCUM_WINDOW_SET)
def end_window(window: str) -> Response:
    """End a locum's window now."""
    vault().people.ties.end_window(actor(), window)
    return redirect(url_for("people.index", done="window-ended") + "#locums", 303)


@people.post("/people/mode")
@audited(Action.SYSTEM_CONFIG_CHANGED)
def set_mode() -> Response:
    """How the practice shares its patients."""
    wanted = request.form.get("mode", "")
    if wanted not in set(Mode):
        raise Invalid("no such mode", field="mode", reason="empty")
    vault().people.ties.set_mode(actor(), Mode(wanted))
    return redirect(url_for("people.index", done="mode-set"), 303)


def _moment(text: str, field: str) -> int:
    """A local date and time, as a datetime-local field sends it, in microseconds UTC. Raises Invalid."""
    try:
        local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(current_app.config["BABEL_DEFAULT_TIMEZONE"]))
    except ValueError:
        raise Invalid("not a date and time", field=field, reason="shape") from None
    return int(local.timestamp() * 1_000_000)
