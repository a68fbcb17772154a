"""Owns the pages of coming in and going out: password, code, second factor's set-up, lock page, switching user.

It must not know how a proof is judged; it shows one answer for every cause of refusal.
"""

from __future__ import annotations

from contextlib import suppress

import segno
from flask import Blueprint, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import LockedOut, SessionEnded, SignInRefused, VaultError
from web.answers import html
from web.errors import TABLE, incident, local_target
from web.routes import audited, not_audited, public
from web.safety import cookie_name, drop_cookie, set_cookie
from web.session import client, is_signed_in, remaining_s, token, vault

signin = Blueprint("signin", __name__)

HALFWAY_S = 5 * 60
REFUSALS = (SignInRefused, LockedOut)
SECRET_GROUP = 4


def _halfway() -> str:
    return request.cookies.get(cookie_name("halfway"), "")


def _target() -> str:
    return local_target(request.values.get("next")) or ""


def _refused(page: str, error: VaultError, **facts: object) -> Response:
    """The same form again with the refusal, and the status that goes with it."""
    entry = TABLE[error.code]
    response = html(
        render_template(page, error=error, answer=entry, next=_target(), incident=incident(), **facts), entry.status
    )
    if isinstance(error, LockedOut):
        response.headers["Retry-After"] = str(error.details.get("retry_after_s", 900))
    return response


def welcome(session_token: str, done: str = "") -> Response:
    """A new session: its cookie, the half-way one gone, and on to where the visitor wanted to go."""
    target = _target() or url_for("pages.home")
    response = redirect(f"{target}{'&' if '?' in target else '?'}done={done}" if done else target, 303)
    set_cookie(response, "session", session_token)
    drop_cookie(response, "halfway")
    drop_cookie(response, "visit")
    return response


@signin.get("/sign-in")
@not_audited("an empty form")
@public("the way in")
def show() -> Response | str:
    """Ask for the username and the password."""
    if is_signed_in():
        return redirect(_target() or url_for("pages.home"), 303)
    return render_template("signin/password.html", next=_target())


@signin.post("/sign-in")
@audited(Action.AUTH_LOGIN, Action.AUTH_LOCKED)
@public("the way in")
def password() -> Response:
    """First proof; on to the second, or to its set-up."""
    username = request.form.get("username", "")
    try:
        halfway = vault().people.sign_in.password(username, request.form.get("password", ""), client())
    except REFUSALS as error:
        return _refused("signin/password.html", error, username=username[:128])
    page = "signin.enrolment" if halfway.stage == "enrol" else "signin.code"
    response = redirect(url_for(page, next=_target() or None), 303)
    set_cookie(response, "halfway", halfway.token, HALFWAY_S)
    return response


@signin.get("/sign-in/code")
@not_audited("an empty form")
@public("the way in, half-way")
def code() -> Response | str:
    """Ask for the six digits."""
    if not _halfway():
        return redirect(url_for("signin.show", next=_target() or None), 303)
    return render_template("signin/code.html", next=_target(), has_passkey=vault().people.passkeys.is_offered(_halfway()))


@signin.post("/sign-in/code")
@audited(Action.AUTH_TOTP, Action.AUTH_LOGIN, Action.AUTH_RECOVERY_CODE_USED, Action.AUTH_LOCKED)
@public("the way in, half-way")
def check_code() -> Response:
    """Second proof: the session begins."""
    given = "".join(request.form.get("code", "").split())
    try:
        signed_in = vault().people.sign_in.code(_halfway(), given, client())
    except SessionEnded:
        return redirect(url_for("signin.show", next=_target() or None), 303)
    except REFUSALS as error:
        page = "signin/recovery.html" if request.form.get("way") == "recovery" else "signin/code.html"
        return _refused(page, error, has_passkey=vault().people.passkeys.is_offered(_halfway()))
    return welcome(signed_in.token)


@signin.get("/sign-in/recovery")
@not_audited("an empty form")
@public("the way in, half-way")
def recovery() -> Response | str:
    """Ask for a recovery code in place of the six digits."""
    if not _halfway():
        return redirect(url_for("signin.show", next=_target() or None), 303)
    return render_template("signin/recovery.html", next=_target())


@signin.get("/sign-in/set-up")
@not_audited(
    "shows the secret of an account that has no second factor yet, to whoever holds its password; confirming it is logged"
)
@public("the way in, half-way")
def enrolment() -> Response | str:
    """Show the second factor's secret, as a picture and as text."""
    try:
        factor = vault().people.sign_in.enrolment(_halfway())
    except (SessionEnded, *REFUSALS):
        return redirect(url_for("signin.show", next=_target() or None), 303)
    return render_template("signin/enrolment.html", next=_target(), **drawn(factor.uri, factor.secret))


@signin.post("/sign-in/set-up")
@audited(Action.AUTH_TOTP_ENROLLED, Action.AUTH_LOGIN)
@public("the way in, half-way")
def enrol() -> Response | str:
    """Confirm the second factor by a first code; show the recovery codes once and begin the session."""
    given = "".join(request.form.get("code", "").split())
    try:
        signed_in = vault().people.sign_in.confirm_enrolment(_halfway(), given, client())
    except SessionEnded:
        return redirect(url_for("signin.show", next=_target() or None), 303)
    except REFUSALS as error:
        factor = vault().people.sign_in.enrolment(_halfway())
        return _refused("signin/enrolment.html", error, **drawn(factor.uri, factor.secret))
    answered = welcome(signed_in.token)
    target = answered.headers["Location"]
    page = html(render_template("signin/recovery_codes.html", codes=signed_in.recovery_codes, target=target))
    for cookie in answered.headers.getlist("Set-Cookie"):
        page.headers.add("Set-Cookie", cookie)
    return page


def drawn(uri: str, secret: str) -> dict[str, object]:
    """The secret as an inline SVG picture (no image request could hold it) and in groups that one can type."""
    picture = segno.make(uri, error="m").svg_inline(scale=1, border=2, omitsize=True, svgclass=None, lineclass=None)
    groups = [secret[at : at + SECRET_GROUP] for at in range(0, len(secret), SECRET_GROUP)]
    return {"picture": Markup(picture), "groups": groups}  # noqa: S704  # made by segno from our own text: digits and path data only


@signin.post("/sign-out")
@audited(Action.AUTH_LOGOUT)
@public("a session that has just ended must be able to leave too")
def sign_out() -> Response:
    """End this session here and on the server, and wipe what the browser holds."""
    return _leave(url_for("signin.goodbye"), Action.AUTH_LOGOUT)


@signin.post("/switch")
@audited(Action.AUTH_SWITCH_USER)
@public("a session that has just ended must be able to leave too")
def switch() -> Response:
    """Leave the workstation to a colleague: this session ends, the sign-in form is there at once."""
    return _leave(url_for("signin.show"), Action.AUTH_SWITCH_USER)


def _leave(target: str, action: Action) -> Response:
    found = token()
    if found:
        with suppress(SessionEnded):
            vault().people.sessions.end(found, action)
    response = redirect(target, 303)
    for use in ("session", "halfway", "visit"):
        drop_cookie(response, use)
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


@signin.get("/signed-out")
@not_audited("says good-bye")
@public("nobody is signed in any more")
def goodbye() -> str:
    """Say that the session has ended."""
    return render_template("signin/goodbye.html")


@signin.get("/locked")
@not_audited("shows nothing of anybody")
@public("where an idle workstation ends up")
def locked() -> str:
    """The lock page of a workstation that stood idle."""
    return render_template("signin/locked.html", next=_target())


@signin.post("/session/keep")
@not_audited("somebody at the workstation asks to stay signed in")
def keep() -> dict[str, int]:
    """Push the idle limit back; answers how many seconds are left."""
    return {"remaining_s": remaining_s()}


@signin.get("/session")
@not_audited("a page asks how long its session still lasts, without prolonging it")
def remaining() -> dict[str, int]:
    """How many seconds this session still lasts."""
    return {"remaining_s": remaining_s()}
