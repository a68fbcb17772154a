"""Owns the pages of one's own account: who one is here, password, telephone, recovery codes, sessions, notices, step-up.

It must not know others' accounts.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import LockedOut, PasswordRefused, SignInRefused, VaultError
from vault.people.notices import Notice
from web.answers import html
from web.errors import TABLE, local_target
from web.routes import audited, not_audited
from web.session import actor, vault
from web.signin import drawn

account = Blueprint("account", __name__)
REFUSALS = (SignInRefused, LockedOut)

TOLD: dict[Notice, LazyString] = {
    Notice.NEW_PLACE: _("Signed in from a new place"),
    Notice.LOCKED: _("Locked after repeated failures"),
    Notice.UNLOCKED: _("Unlocked by an owner"),
    Notice.PASSWORD_CHANGED: _("Password changed"),
    Notice.FACTOR_CHANGED: _("Telephone changed"),
    Notice.PASSKEY_ADDED: _("Passkey added"),
    Notice.PASSKEY_REMOVED: _("Passkey removed"),
    Notice.RECOVERY_CODE_USED: _("A recovery code was used"),
    Notice.RECOVERY_CODES_RENEWED: _("New recovery codes were made"),
    Notice.RESET_REQUESTED: _("A reset was asked for"),
    Notice.RESET_APPROVED: _("A reset was approved"),
    Notice.RESET_REFUSED: _("A reset was refused"),
    Notice.ACCOUNT_WAITING: _("An account waits for your approval"),
    Notice.OWNER_ADDED: _("An owner was added"),
    Notice.ROLE_CHANGED: _("Your role was changed"),
    Notice.BREAK_GLASS: _("A file was opened in an emergency"),
    Notice.BREAK_GLASS_REVIEW: _("An emergency access still waits for its review"),
    Notice.QUARANTINED: _("An infected file was put in quarantine"),
    Notice.ACCOUNT_DORMANT: _("An account has not been used for a long time"),
    Notice.ACCOUNT_CLOSED: _("An unused account was closed"),
    Notice.ACCOUNT_REMOVED: _("A closed account was removed"),
    Notice.ACCOUNT_KEPT: _("An unused account waits for your decision"),
}
REASONS: dict[str, LazyString] = {
    "too_short": _("It is too short: 12 characters of four kinds, 14 of three, or a sentence of seven words."),
    "too_simple": _(
        "Mix more kinds of characters (capitals, digits, signs), make it longer, or use a sentence of seven words."
    ),
    "too_long": _("It is too long: 1,024 characters at most."),
    "common": _("It is among the first that a guesser tries: common words, keyboard rows, years."),
    "context": _("It contains your name, or the practice’s: anybody would try that."),
    "same": _("It is the same as before."),
}
"""Why a password is refused, by the vault's slug."""


def page(**facts: Any) -> str:
    """One's own account, with what an act on it has to say."""
    people = vault().people
    facts = {"refusal": None, "reason": None} | facts
    return render_template(
        "account/show.html",
        sessions=people.sessions.of(actor()),
        security=people.own.security(actor()),
        reviews_due=people.accounts.due(actor()),
        notices=people.notices.of(actor(), 20),
        passkeys=people.passkeys.of(actor()),
        told=TOLD,
        **facts,
    )


def refused(error: VaultError, place: str) -> Response:
    """The page again, with the refusal beside the form that it concerns."""
    entry = TABLE[error.code]
    reason = REASONS.get(str(error.details.get("reason", "")))
    body = page(refusal=error, place=place, answer=entry, reason=reason)
    return html(body, 422 if isinstance(error, SignInRefused) else entry.status)


@account.get("/account")
@not_audited("shows whoever asks their own account")
def show() -> str:
    """One's own account."""
    return page()


@account.post("/account/password")
@audited(Action.AUTH_PASSWORD_CHANGED)
def change_password() -> Response:
    """Change one's own password; other sessions end."""
    try:
        vault().people.own.change_password(actor(), request.form.get("current", ""), request.form.get("new", ""))
    except (PasswordRefused, *REFUSALS) as error:
        return refused(error, "password")
    return redirect(url_for("account.show", done="password-changed"), 303)


@account.post("/account/sessions/end")
@audited(Action.AUTH_SESSION_REVOKED)
def end_session() -> Response:
    """End one of one's own sessions, or all the others."""
    reference = request.form.get("reference", "")
    if reference == "others":
        vault().people.sessions.end_others(actor())
    else:
        vault().people.sessions.end_one(actor(), reference)
    return redirect(url_for("account.show", done="session-ended"), 303)


@account.post("/account/notices/read")
@not_audited("somebody has read their own notices")
def read_notices() -> Response:
    """Mark one's own notices as read."""
    vault().people.notices.read_all(actor(), vault().clock())
    return redirect(url_for("account.show") + "#notices", 303)


@account.post("/account/recovery-codes")
@audited(Action.USER_UPDATE)
def renew_recovery_codes() -> str:
    """Ten new recovery codes, shown this once."""
    codes = vault().people.own.renew_recovery_codes(actor())
    return render_template("signin/recovery_codes.html", codes=codes, target=url_for("account.show"))


@account.post("/account/phone")
@not_audited("a secret that nothing accepts yet; confirming it is logged")
def begin_phone() -> str:
    """Show another telephone's secret; the present one works until the new one has shown a code."""
    return _phone()


def _phone(**facts: Any) -> str:
    factor = vault().people.own.begin_phone(actor())
    return render_template("account/phone.html", **drawn(factor.uri, factor.secret), **facts)


@account.post("/account/phone/confirm")
@audited(Action.AUTH_TOTP_ENROLLED)
def confirm_phone() -> Response:
    """The new telephone's first code: it takes over."""
    try:
        vault().people.own.confirm_phone(actor(), request.form.get("code", ""))
    except REFUSALS as error:
        return html(_phone(error=error, answer=TABLE[error.code]), 422)
    return redirect(url_for("account.show", done="phone-changed"), 303)


@account.get("/step-up")
@not_audited("an empty form")
def step_up() -> str:
    """Ask for the second factor again, before an act that wants it fresh."""
    return _step_up(local_target(request.args.get("next")) or "")


def _step_up(target: str, **facts: Any) -> str:
    has_passkey = bool(vault().people.passkeys.of(actor()))
    return render_template("account/step_up.html", next=target, has_passkey=has_passkey, **facts)


@account.post("/step-up")
@audited(Action.AUTH_STEPUP)
def confirm_step_up() -> Response:
    """The code is right: back to where the act was asked for."""
    target = local_target(request.form.get("next")) or url_for("account.show")
    try:
        vault().people.own.step_up(actor(), request.form.get("code", ""))
    except REFUSALS as error:
        body = _step_up(target, error=error, answer=TABLE[error.code])
        return html(body, 422 if isinstance(error, SignInRefused) else TABLE[error.code].status)
    return redirect(f"{target}{'&' if '?' in target else '?'}done=factor-confirmed", 303)
