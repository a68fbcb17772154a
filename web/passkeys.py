"""Owns the requests by which a browser makes and shows passkeys. It must not know how they are judged.

The site is named by the address that ``safety`` has already compared with the configured ones, never by what a request claims.
"""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import Invalid, NotFound
from vault.people.passkeys import Site
from web.routes import audited, not_audited, public
from web.safety import cookie_name
from web.session import actor, client, vault
from web.signin import welcome

passkeys = Blueprint("passkeys", __name__)
HALFWAY = "a challenge; showing the passkey is logged"


def site() -> Site:
    """This site, as the browser will name it when it signs."""
    return Site(rp_id=request.host.rpartition(":")[0] or request.host, origin=request.host_url.rstrip("/"))


def sent() -> dict[str, Any]:
    """The JSON object of this request. Raises Invalid."""
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise Invalid("a JSON object is expected", field="body", reason="shape")
    return body


def options(text: str | None) -> Response:
    """Options for the browser. Raises NotFound where there is no passkey to ask."""
    if text is None:
        raise NotFound("no passkey")
    return Response(text, mimetype="application/json")


def halfway() -> str:
    """The token of a sign-in that waits for its second proof."""
    return request.cookies.get(cookie_name("halfway"), "")


@passkeys.post("/account/passkeys/options")
@not_audited("a challenge; keeping the passkey is logged")
def begin() -> Response:
    """What the browser needs to make a passkey."""
    return options(vault().people.passkeys.begin(actor(), site()))


@passkeys.post("/account/passkeys")
@audited(Action.AUTH_PASSKEY_ADDED)
def add() -> dict[str, str]:
    """Keep the passkey that the browser has made."""
    body = sent()
    vault().people.passkeys.add(actor(), site(), json.dumps(body.get("credential")), str(body.get("name", "")))
    return {"location": url_for("account.show", done="passkey-added")}


@passkeys.post("/account/passkeys/remove")
@audited(Action.USER_UPDATE)
def remove() -> Response:
    """Forget one of one's own passkeys."""
    vault().people.passkeys.remove(actor(), request.form.get("passkey", ""))
    return redirect(url_for("account.show", done="passkey-removed") + "#passkeys", 303)


@passkeys.post("/sign-in/passkey/options")
@not_audited(HALFWAY)
@public("the way in, half-way")
def ask() -> Response:
    """What the browser needs to show a passkey in place of the code."""
    return options(vault().people.passkeys.ask(halfway(), site()))


@passkeys.post("/sign-in/passkey")
@audited(Action.AUTH_LOGIN, Action.AUTH_LOCKED)
@public("the way in, half-way")
def enter() -> Response:
    """The passkey's answer: the session begins."""
    signed_in = vault().people.passkeys.enter(halfway(), site(), json.dumps(sent().get("credential")), client())
    response = welcome(signed_in.token)
    response.set_data(json.dumps({"location": response.headers.pop("Location")}))
    response.status_code, response.mimetype = 200, "application/json"
    return response


@passkeys.post("/step-up/passkey/options")
@not_audited(HALFWAY)
def ask_again() -> Response:
    """What the browser needs for a step-up by passkey."""
    return options(vault().people.passkeys.ask_again(actor(), site()))


@passkeys.post("/step-up/passkey")
@audited(Action.AUTH_STEPUP)
def step_up() -> dict[str, bool]:
    """The passkey shown again: the factor is fresh."""
    vault().people.passkeys.step_up(actor(), site(), json.dumps(sent().get("credential")))
    return {"ok": True}
