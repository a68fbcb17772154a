"""Owns the other ways in: an invitation's first password, and a recovery code while the account is locked.

It must not know how a code is judged; like signing in, it shows one answer for every cause of refusal.
"""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import LockedOut, PasswordRefused, SignInRefused
from vault.people.phrases import WORDS
from web.account import REASONS
from web.answers import html
from web.errors import TABLE
from web.routes import audited, not_audited, public
from web.safety import set_cookie
from web.session import client, vault
from web.signin import HALFWAY_S, welcome

ways_in = Blueprint("ways_in", __name__)
DAY_S = 86_400


@ways_in.get("/invitation")
@not_audited("an empty form")
@public("somebody invited has no account to sign in to yet")
def invitation() -> str:
    """Ask for the invitation's code and a first password."""
    return render_template("signin/invitation.html")


@ways_in.post("/invitation")
@audited(Action.AUTH_PASSWORD_RESET)
@public("somebody invited has no account to sign in to yet")
def accept() -> Response:
    """Set the password; on to the second factor."""
    username = request.form.get("username", "")
    try:
        halfway = vault().people.resets.accept(username, request.form.get("code", ""), request.form.get("new", ""), client())
    except (SignInRefused, LockedOut, PasswordRefused) as error:
        entry, reason = TABLE[error.code], REASONS.get(str(error.details.get("reason", "")))
        facts = {
            "error": error,
            "answer": entry,
            "reason": reason,
            "username": username[:128],
            "code": request.form.get("code", ""),
        }
        return html(render_template("signin/invitation.html", **facts), entry.status)
    response = redirect(url_for("signin.enrolment" if halfway.stage == "enrol" else "signin.code"), 303)
    set_cookie(response, "halfway", halfway.token, HALFWAY_S)
    return response


@ways_in.get("/invitation/words")
@not_audited("a list of ordinary words")
@public("the sentence helper of a first password")
def words() -> Response:
    """The words of which pass-phrases are made; the choice is made in the browser and never leaves it."""
    response = Response(" ".join(WORDS), mimetype="text/plain")
    response.headers["Cache-Control"] = f"public, max-age={DAY_S}"
    return response


@ways_in.get("/sign-in/locked")
@not_audited("an empty form")
@public("the way in for somebody whose account is locked")
def locked() -> str:
    """Ask for the password and a recovery code at once."""
    return render_template("signin/recover.html")


@ways_in.post("/sign-in/locked")
@audited(Action.AUTH_RECOVERY_CODE_USED, Action.AUTH_LOGIN)
@public("the way in for somebody whose account is locked")
def recover() -> Response:
    """Password and recovery code: they work while the account is locked."""
    username, password, code = (request.form.get(name, "") for name in ("username", "password", "code"))
    try:
        signed_in = vault().people.sign_in.recovery(username, password, code, client())
    except (SignInRefused, LockedOut) as error:
        facts = {"error": error, "answer": TABLE[error.code], "username": username[:128]}
        return html(render_template("signin/recover.html", **facts), TABLE[error.code].status)
    return welcome(signed_in.token)
