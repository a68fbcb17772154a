"""Owns what protects every answer and every request, whatever the route: hosts, proxies, headers, limits, forgery.

It must not know who is signed in, nor what the routes do.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, current_app, g, request, session
from flask.sessions import SessionInterface, SessionMixin
from flask_wtf.csrf import generate_csrf, validate_csrf
from werkzeug import Response as AnyResponse
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix
from wtforms import ValidationError  # type: ignore[import-untyped]  # ships no types

from web.failures import CsrfRefused, UnknownHost
from web.settings import LOOPBACK_NAMES, WebTable, proxies

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FORM_BYTES = 256 * 1024
"""The largest body that is not a document: a form or JSON."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
FORWARDED = (
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PREFIX",
    "HTTP_X_REAL_IP",
)
PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer", "autoplay", "browsing-topics", "display-capture", "geolocation", "gyroscope", "hid", "idle-detection",
        "magnetometer", "microphone", "midi", "payment", "serial", "usb", "xr-spatial-tracking",
    )
)  # fmt: skip
FIXED_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": PERMISSIONS
    + ", camera=(), clipboard-read=(self), publickey-credentials-get=(self), publickey-credentials-create=(self)",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-DNS-Prefetch-Control": "off",
    "Cache-Control": "no-store",
}
ADDRESSES = 1024
"""Of which it is remembered whether they are a declared proxy's."""
CAMERA_PERMISSIONS = FIXED_HEADERS["Permissions-Policy"].replace("camera=()", "camera=(self)")
"""For the one page that photographs papers: no other may ask for the camera."""
HSTS = "max-age=63072000; includeSubDomains"


def content_policy(nonce: str) -> str:
    """A strict Content-Security-Policy (CSP level 3): scripts by nonce, nothing from a third party, no framing, no plug-in."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'nonce-{nonce}' 'strict-dynamic'",
            "style-src 'self'",
            "img-src 'self' blob:",
            "font-src 'self'",
            "connect-src 'self'",
            "media-src 'self' blob:",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


class Shield:
    """The outermost layer: forwarded headers count only from declared proxies, and every answer carries the headers.

    It stands outside Flask so that even an answer made by the server library itself is covered.
    """

    def __init__(self, application: WSGIApplication, settings: WebTable) -> None:
        self._application = application
        self._behind_proxy = ProxyFix(application, x_for=1, x_proto=1, x_host=1)
        self._proxies = proxies(settings)
        self._is_declared_proxy = lru_cache(ADDRESSES)(self._is_proxy)

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._proxies)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        application: WSGIApplication = self._application
        if self._is_declared_proxy(environ.get("REMOTE_ADDR", "")):
            application = self._behind_proxy
        else:
            for name in FORWARDED:
                environ["coffre.forwarded"] = environ.pop(name, None) is not None or environ.get("coffre.forwarded", False)
        nonce = environ["coffre.nonce"] = secrets.token_urlsafe(18)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            present = {name.lower() for name, _ in headers}
            wanted = {**FIXED_HEADERS, "Content-Security-Policy": content_policy(nonce)}
            if environ.get("wsgi.url_scheme") == "https":
                wanted["Strict-Transport-Security"] = HSTS
            headers = [pair for pair in headers if pair[0].lower() != "server"]
            headers += [(name, value) for name, value in wanted.items() if name.lower() not in present]
            return start_response(status, headers, exc_info)

        return application(environ, start)


class Visit(dict[str, str], SessionMixin):
    """What stands in for Flask's session: nothing but the anti-forgery secret, derived from a cookie, stored nowhere."""

    seed: str = ""
    is_fresh: bool = False

    def begin(self, request: Request) -> None:
        """Take the secret from the session's cookie, else from a cookie of its own; a program's request never comes here."""
        seed = request.cookies.get(cookie_name("session")) or request.cookies.get(cookie_name("visit"), "")
        self.is_fresh = len(seed) < 32
        self.seed = secrets.token_urlsafe(32) if self.is_fresh else seed
        self["csrf_token"] = hmac.digest(self.seed.encode(), b"coffre anti-forgery v1", "sha256").hex()


class Visits(SessionInterface):
    """Gives each browser an anti-forgery secret that follows its session: a new sign-in or another user makes a new one."""

    def __init__(self, settings: WebTable) -> None:
        self._settings = settings

    def open_session(self, app: Flask, request: Request) -> Visit:  # noqa: ARG002  # Flask's shape
        """The visit of this request; it begins when somebody asks for its secret."""
        return Visit()

    def save_session(self, app: Flask, session: SessionMixin, response: AnyResponse) -> None:  # noqa: ARG002  # Flask's shape
        """Give the browser its visit cookie once a page has used it."""
        if isinstance(session, Visit) and session.is_fresh and "csrf_token" in g:
            set_cookie(response, "visit", session.seed)


def is_secure() -> bool:
    """Whether this request came over TLS (to us or to a declared proxy)."""
    return request.is_secure


def cookie_name(use: str) -> str:
    """The name of a cookie of ours: ``__Host-`` over TLS; plain on loopback HTTP, where browsers refuse that prefix."""
    name = "coffre" if use == "session" else f"coffre-{use}"
    return f"__Host-{name}" if is_secure() else name


def set_cookie(response: AnyResponse, use: str, value: str, max_age: int | None = None, *, readable: bool = False) -> None:
    """Set one of our cookies: whole site, Strict, out of scripts' reach unless it is a mere preference."""
    response.set_cookie(
        cookie_name(use), value, max_age=max_age, path="/", secure=is_secure(), httponly=not readable, samesite="Strict"
    )


def drop_cookie(response: AnyResponse, use: str) -> None:
    """Take one of our cookies back."""
    response.delete_cookie(cookie_name(use), path="/", secure=is_secure(), httponly=True, samesite="Strict")


def csrf_token() -> str:
    """The anti-forgery token of this visit, for a hidden field or the ``X-CSRF-Token`` header."""
    token: str = generate_csrf(secret_key=_visit().seed)
    return token


def check_forgery(token: str | None) -> None:
    """Refuse a state change that no page of ours asked for. Raises CsrfRefused."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    origin = request.headers.get("Origin")
    if site not in {"same-origin", "none"} or (origin is not None and origin != request.host_url.rstrip("/")):
        raise CsrfRefused
    try:
        validate_csrf(token, secret_key=_visit().seed)
    except ValidationError as error:
        raise CsrfRefused from error


def _visit() -> Visit:
    visit = session._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  # how Werkzeug opens a LocalProxy
    if not isinstance(visit, Visit):
        raise CsrfRefused
    if not visit.seed:
        visit.begin(request)
    return visit


class BoundedRequest(Request):
    """A request whose form never reaches a disk: a file part in an ordinary form is refused, see ``web.uploads``."""

    max_form_memory_size = FORM_BYTES
    max_form_parts = 200

    def _get_file_stream(self, *_args: Any, **_named: Any) -> Any:
        raise RequestEntityTooLarge


def _hostname(host: str) -> str:
    """``Host`` without its port, lower case; an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def protect(app: Flask, settings: WebTable) -> None:
    """Put every protection of this file around ``app``."""
    trusted = {*LOOPBACK_NAMES, *(name.lower() for name in settings.hosts)}
    app.request_class = BoundedRequest
    app.session_interface = Visits(settings)
    app.config.update(MAX_CONTENT_LENGTH=FORM_BYTES, WTF_CSRF_TIME_LIMIT=None)

    @app.before_request
    def check_host() -> None:
        if _hostname(request.host) not in trusted:
            raise UnknownHost

    app.jinja_env.globals.update(csrf_token=csrf_token, csp_nonce=lambda: request.environ.get("coffre.nonce", ""))
    app.wsgi_app = Shield(app.wsgi_app, settings)  # type: ignore[method-assign]  # the way that Flask documents


def limit_bytes() -> int:
    """The largest document that this installation accepts, in bytes."""
    return int(current_app.config["DOCUMENT_BYTES"])
