"""Owns who is asking: Flask-Login over the vault's server-side sessions, and that a view is closed unless it says otherwise.

It must not know how a session is made or stored. It is the only importer of flask_login.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, g, redirect, request, url_for
from flask_login import LoginManager, UserMixin, current_user

from kms.caller import SYSTEM, act_for
from vault.errors import NotFound, SessionEnded
from vault.model import Actor, Client
from vault.opening import Vault
from web.errors import wants_json
from web.failures import NotSignedIn
from web.routes import declaration
from web.safety import SAFE_METHODS, check_forgery, cookie_name, csrf_token

BEARER = "Bearer "
PASSIVE = frozenset({"signin.remaining", "pages.asset"})
"""Requests that a page makes by itself: they show that a session lives, and don't prolong it."""
AGENTS = ("Edg", "Firefox", "Chrome", "Safari", "curl", "python")


class SignedIn(UserMixin):  # type: ignore[misc]  # Flask-Login ships no types
    """The actor of this request, in the shape that Flask-Login wants."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor

    def get_id(self) -> str:
        """The session's non-secret reference; nothing is ever written to a client-side session."""
        return self.actor.session


def vault() -> Vault:
    """The open vault behind this application."""
    found: Vault = current_app.extensions["coffre"]
    return found


def client() -> Client:
    """Where this request comes from, as the log records it: address and family of the user agent."""
    header = request.headers.get("User-Agent", "")
    family = next((name for name in AGENTS if name in header), "other" if header else "")
    return Client(ip=request.remote_addr or "", agent={"Edg": "Edge"}.get(family, family))


def bearer() -> str | None:
    """The token of a program, from the Authorization header."""
    header = request.headers.get("Authorization", "")
    return (header[len(BEARER) :].strip() or None) if header.startswith(BEARER) else None


def token() -> str | None:
    """The opaque session token of this request: a program's bearer token, else the browser's cookie."""
    return bearer() or request.cookies.get(cookie_name("session"))


def actor() -> Actor:
    """Who is asking, with every factor shown. Raises NotSignedIn."""
    user = current_user._get_current_object()  # noqa: SLF001  # how Werkzeug opens a LocalProxy
    if not isinstance(user, SignedIn):
        raise NotSignedIn
    return user.actor


def is_signed_in() -> bool:
    """Whether somebody is, without raising."""
    return bool(current_user.is_authenticated)


def remaining_s() -> int:
    """Seconds until this session locks by itself; 0 where nobody is signed in."""
    ends_at: int = g.get("session_ends_at", 0)
    return max(0, (ends_at - vault().clock()) // 1_000_000)


class Asking(LoginManager):  # type: ignore[misc]  # as above
    """Asks the vault alone who it is, once a request: Flask-Login would look into a client-side session and a cookie first."""

    def _load_user(self) -> None:  # Flask-Login's name
        self._update_request_context_with_user(_load())


def _load() -> SignedIn | None:
    found = token()
    if not found or len(found) > 512:  # ours have 43 characters
        return None
    try:
        live = vault().people.sessions.live(found, client(), is_activity=request.endpoint not in PASSIVE)
        g.session_ends_at = min(live.expires_at, live.idle_at)
        act_for(live.actor.person)
        return SignedIn(live.actor)
    except (SessionEnded, NotFound):
        g.session_ended = True
        return None


def _guard() -> Response | None:
    """Close every view that does not declare itself public, and check state changes against forgery."""
    act_for(SYSTEM)  # until somebody is known: whoever asks for keys on this thread is metered by name
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None:
        return None
    facts = declaration(view)
    if not facts.public and not is_signed_in():
        if request.method in SAFE_METHODS and not wants_json():
            response = redirect(url_for("signin.show", next=request.full_path.rstrip("?")), 303)
            assert isinstance(response, Response)  # noqa: S101  # Flask's redirect returns Werkzeug's base class
            return response
        raise NotSignedIn
    if request.method not in SAFE_METHODS and bearer() is None and not getattr(view, "checks_forgery_itself", False):
        check_forgery(request.headers.get("X-CSRF-Token") or request.form.get("csrf_token"))
    return None


def install(app: Flask) -> None:
    """Make sign-in the default of every route."""
    app.login_manager = Asking()  # type: ignore[attr-defined]  # not init_app, which would look after a cookie at each answer
    app.before_request(_guard)

    @app.context_processor
    def signed_in() -> dict[str, Any]:
        return {"actor": actor() if is_signed_in() else None, "csrf_token": csrf_token}
