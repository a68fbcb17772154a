"""Owns what can go wrong before the vault is even asked. It must not know how a failure is shown (``web.errors``)."""

from __future__ import annotations

from vault.errors import VaultError


class WebError(VaultError):
    """Everything that this room refuses by itself."""

    code = "web_error"


class NotSignedIn(WebError):
    """Nobody is signed in, or the session has ended."""

    code = "not_signed_in"


class CsrfRefused(WebError):
    """A state change without this visit's anti-forgery token, or asked for by another site."""

    code = "csrf_refused"


class UnknownHost(WebError):
    """The Host header names a host that this vault does not answer for."""

    code = "unknown_host"


class BadRequest(WebError):
    """The request can't be read: broken JSON, a wrong content type, a malformed header."""

    code = "bad_request"


class RangeNotSatisfiable(WebError):
    """The byte range lies outside the document; ``details['size']`` is its size."""

    code = "range_not_satisfiable"


class PreconditionFailed(WebError):
    """An ``If-Match`` or ``If-None-Match`` condition does not hold."""

    code = "precondition_failed"
