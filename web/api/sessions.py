"""Owns sign-in and sign-out for programs. It must not know how a proof is judged."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g

from vault.audit.events import Action
from web.api.operations import Reply, operation
from web.api.records import me_json, moment, person_json
from web.api.shapes import Shape, read_json, text
from web.failures import NotSignedIn
from web.routes import audited, not_audited, public
from web.session import actor, client, token, vault

sessions = Blueprint("sessions", __name__)

CREDENTIALS = Shape("Credentials", {"username": text(4096), "password": text(65_536), "code": text(256)})


FACTOR = Shape("Factor", {"code": text(256)})


@sessions.post("/sessions")
@audited(Action.AUTH_LOGIN, Action.AUTH_LOCKED, Action.AUTH_RECOVERY_CODE_USED)
@public("the way in")
@operation(
    "Sign in with both factors at once",
    {201: Reply("A session, with its bearer token", "Session")},
    body=CREDENTIALS,
    errors=("sign_in_refused", "locked_out", "busy", "keys_unavailable", "invalid"),
)
def create() -> tuple[dict[str, Any], int]:
    """Both factors in one request; one answer for every cause of refusal."""
    given = read_json(CREDENTIALS)
    signed_in = vault().people.sign_in.at_once(given["username"], given["password"], given["code"], client())
    answer = {"token": signed_in.token, "expires_at": moment(signed_in.expires_at), "user": person_json(signed_in.actor)}
    return answer, 201


create.checks_forgery_itself = True  # type: ignore[attr-defined]  # nobody is signed in, and JSON can't be sent by another site's form


@sessions.delete("/sessions/current")
@audited(Action.AUTH_LOGOUT)
@operation("Sign out", {204: Reply("The session has ended")})
def end() -> Response:
    """End the session of this request."""
    found = token()
    if found is None:
        raise NotSignedIn
    vault().people.sessions.end(found)
    return Response(status=204)


@sessions.post("/sessions/current/factor")
@audited(Action.AUTH_STEPUP)
@operation(
    "Show the second factor again, for a sensitive act within five minutes",
    {204: Reply("The factor is fresh")},
    body=FACTOR,
    errors=("sign_in_refused", "locked_out", "keys_unavailable", "invalid"),
)
def confirm() -> Response:
    """A fresh second factor for this session."""
    vault().people.own.step_up(actor(), read_json(FACTOR)["code"])
    return Response(status=204)


@sessions.get("/me")
@not_audited("tells whoever asks about themselves")
@operation("Who is signed in, and what their role may do", {200: Reply("Oneself", "Me")})
def me() -> dict[str, Any]:
    """Who asks."""
    return me_json(actor(), g.session_ends_at)
