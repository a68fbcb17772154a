"""Owns how every failure is answered: one table from a stable code to a status, a page and a problem document (RFC 9457).

It must not know what was asked: a page says what happened, what is safe, what to do, and an incident number; never a name.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, current_app, g, jsonify, redirect, render_template, request
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from gunicorn.http.errors import ParseException
from werkzeug import exceptions as http

from vault.errors import VaultError
from web.forms import refused_field
from web.refusals import WHY

logger = logging.getLogger("coffre.web")

PROBLEM = "application/problem+json"
DISCLOSED = frozenset(
    {"field", "reason", "limit_bytes", "retry_after_s", "document", "recognised", "size", "offset", "known", "act"}
    | {"patient", "candidates", "kept"}
)
"""The only ``details`` that leave: facts that say nothing of anybody."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one code becomes."""

    status: HTTPStatus
    title: LazyString
    """What happened."""
    text: LazyString
    """What is safe and what to do."""
    icon: str = "alert"
    retry_after_s: int | None = None


S = HTTPStatus

TABLE: dict[str, Answer] = {
    "not_found": Answer(
        S.NOT_FOUND,
        _("This page or this record was not found"),
        _("It may not exist, or you may not have the right to see it. Check the address, or go back to the home page."),
        "search",
    ),
    "forbidden": Answer(
        S.FORBIDDEN,
        _("Access refused"),
        _("Your role does not allow this. If you need it for your work, ask the practice’s owner."),
        "ban",
    ),
    "step_up_required": Answer(
        S.FORBIDDEN, _("Confirm that it is you"), _("This act asks for a new code from your second factor."), "shield"
    ),
    "sign_in_refused": Answer(
        S.UNAUTHORIZED,
        _("Incorrect username, password or code"),
        _("Check the three and try again. After several failures the account is locked for a while."),
        "lock",
    ),
    "locked_out": Answer(
        S.TOO_MANY_REQUESTS,
        _("Account temporarily locked"),
        _("There were too many failures. Wait for the time shown, or ask the practice’s owner to unlock the account."),
        "lock",
    ),
    "password_refused": Answer(
        S.UNPROCESSABLE_ENTITY,
        _("This password is not accepted"),
        _("Choose another one: see the advice beside the field."),
        "key",
    ),
    "invalid": Answer(
        S.UNPROCESSABLE_ENTITY,
        _("Something in the form is not right"),
        _("Nothing was saved. Correct the field named and try again."),
    ),
    "conflict": Answer(
        S.CONFLICT,
        _("This can’t be done in the present state"),
        _("Somebody may have changed it meanwhile. Reload the page and look again."),
    ),
    "already_present": Answer(
        S.CONFLICT, _("Document already present"), _("The same file is already filed. Nothing was added."), "copy"
    ),
    "digest_mismatch": Answer(
        S.UNPROCESSABLE_ENTITY,
        _("The file was damaged on its way"),
        _("What arrived does not match the announced fingerprint. Nothing was kept: send the file again."),
    ),
    "empty_document": Answer(
        S.UNPROCESSABLE_ENTITY,
        _("The file is empty"),
        _("Nothing was kept. Scan the document again, then send it."),
        "document",
    ),
    "too_large": Answer(
        S.REQUEST_ENTITY_TOO_LARGE,
        _("The file is too large"),
        _("Nothing was kept. Scan at a lower resolution, or split the document."),
        "document",
    ),
    "unsupported_type": Answer(
        S.UNSUPPORTED_MEDIA_TYPE,
        _("This kind of file is not accepted"),
        _("The vault accepts PDF, JPEG, PNG, TIFF and HEIC, recognised by their content. Nothing was kept."),
        "ban",
    ),
    "infected": Answer(
        S.UNPROCESSABLE_ENTITY,
        _("A virus was found in this file"),
        _("Nothing was kept. Do not open it or send it again: tell whoever it came from, and the technical administrator."),
        "shield-alert",
    ),
    "quarantined": Answer(
        S.UNPROCESSABLE_ENTITY,
        _("Put in quarantine"),
        _(
            "The file is kept sealed and set apart: nobody can open it. Ask the sender for a new copy; "
            "the practice’s owner and the technical administrator were told."
        ),
        "shield-alert",
    ),
    "scanner_unavailable": Answer(
        S.SERVICE_UNAVAILABLE,
        _("The virus scanner does not answer"),
        _("Nothing may come in unscanned, so nothing was kept. Send the file again in a moment."),
        "shield-alert",
        30,
    ),
    "incomplete_body": Answer(
        S.BAD_REQUEST,
        _("The transfer was interrupted"),
        _("Nothing was kept. Check the network and send the file again."),
        "offline",
    ),
    "tampered": Answer(
        S.INTERNAL_SERVER_ERROR,
        _("Integrity not verified – do not use"),
        _(
            "The stored document does not match its proof, so nothing was released. "
            "The incident is in the log: tell the practice’s owner."
        ),
        "shield-alert",
    ),
    "not_renderable": Answer(
        S.UNPROCESSABLE_ENTITY,
        _("The pages can’t be shown"),
        _("The document itself is safe and can still be downloaded."),
        "document",
    ),
    "keys_unavailable": Answer(
        S.SERVICE_UNAVAILABLE,
        _("Key module unavailable"),
        _("Documents stay closed until it answers again. Nothing is lost and nothing was changed. Try again in a moment."),
        "key",
        5,
    ),
    "storage_full": Answer(
        S.INSUFFICIENT_STORAGE,
        _("No room left to store this document"),
        _("Nothing was kept, and what is filed is safe. Tell the technical administrator, then send the file again."),
        "inbox",
        300,
    ),
    "storage_unavailable": Answer(
        S.SERVICE_UNAVAILABLE, _("The storage does not answer"), _("Nothing was changed. Try again in a moment."), "status", 5
    ),
    "log_unavailable": Answer(
        S.SERVICE_UNAVAILABLE,
        _("Consultation suspended"),
        _("The access log can’t be written, so nothing may be opened. Documents are safe. Tell the technical administrator."),
        "log",
        5,
    ),
    "busy": Answer(
        S.TOO_MANY_REQUESTS,
        _("The vault is busy"),
        _("Too much heavy work is under way. Try again in a moment."),
        "hourglass",
        5,
    ),
    "bad_settings": Answer(
        S.INTERNAL_SERVER_ERROR, _("The installation is not set up right"), _("Tell the technical administrator.")
    ),
    "not_initialised": Answer(
        S.SERVICE_UNAVAILABLE, _("The vault is not set up yet"), _("Tell the technical administrator."), "lock"
    ),
    "not_signed_in": Answer(
        S.UNAUTHORIZED, _("You are not signed in"), _("Your session has ended. Sign in again to go on."), "lock"
    ),
    "session_ended": Answer(
        S.UNAUTHORIZED, _("Your session has ended"), _("Sign in again to go on. What is filed is safe."), "lock"
    ),
    "csrf_refused": Answer(
        S.BAD_REQUEST,
        _("This page has expired"),
        _("The session has changed since it was opened. Nothing was saved. Go back, reload the page and start again."),
        "retry",
    ),
    "unknown_host": Answer(
        S.BAD_REQUEST, _("Unknown address"), _("Ask for the vault under the address that the practice gave you."), "globe"
    ),
    "bad_request": Answer(S.BAD_REQUEST, _("The request can’t be read"), _("Nothing was changed. Go back and try again.")),
    "method_not_allowed": Answer(
        S.METHOD_NOT_ALLOWED, _("This address does not take that request"), _("Go back and try again.")
    ),
    "range_not_satisfiable": Answer(
        S.REQUESTED_RANGE_NOT_SATISFIABLE, _("The part asked for does not exist"), _("Ask for bytes inside the document.")
    ),
    "precondition_failed": Answer(S.PRECONDITION_FAILED, _("The document has changed"), _("Ask for it again.")),
    "internal": Answer(
        S.INTERNAL_SERVER_ERROR,
        _("An unexpected error occurred"),
        _("What is filed is safe. Try again; if it happens again, give the incident number to the technical administrator."),
    ),
}
"""Every code that can leave, with its answer."""

IN_QUARANTINE = "quarantine"
STAYS = {
    "already_present": _("This one stays in quarantine: it can be destroyed."),
    "scanner_unavailable": _(
        "The file stays in quarantine. Try again once the scanner works; the technical administrator knows how to check it."
    ),
}
"""What becomes of a file in quarantine whose new scan was refused, in the place of what is said of one under way."""

BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "bad_request", 416: "range_not_satisfiable"}


def incident() -> str:
    """The number of this request, under which the server's own log holds the details."""
    if "incident" not in g:
        g.incident = secrets.token_hex(5).upper()
    return str(g.incident)


def local_target(target: str | None) -> str | None:
    """``target`` where it is a path of this site, else None: ``next=`` never leaves."""
    if not target or not target.startswith("/") or "\\" in target or any(ord(sign) <= 0x20 for sign in target):
        return None
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc and not target.startswith("//") else None


def wants_json() -> bool:
    """Whether a program asked: everything under ``/api``, and a page's own script that takes nothing but JSON."""
    takes = request.accept_mimetypes
    return request.path.startswith("/api/") or (takes.accept_json and not takes.accept_html)


def back_to() -> str:
    """Where to go on after a fresh second factor: the same address for a GET, else the page that the form names as ``back``."""
    if request.method == "GET":
        return local_target(request.full_path.rstrip("?")) or "/"
    return local_target(request.form.get("back")) or "/"


def problem(code: str, answer: Answer, details: dict[str, Any]) -> dict[str, Any]:
    """The body of RFC 9457 §3.1, with ``code`` and ``incident`` as extension members."""
    return {
        "type": f"/api/v1/errors/{code}",
        "title": str(answer.title),
        "status": answer.status.value,
        "detail": explained(code, answer, details),
        "code": code,
        "incident": incident(),
        **details,
    }


def explained(code: str, answer: Answer, details: dict[str, Any]) -> str:
    """What is safe and what to do; where a field was refused, first which and why; where a state forbids it, which.

    Of a file in quarantine, first what was recognised; of one that could not be let out of it, that it stays.
    """
    if details.get("kept") == IN_QUARANTINE:
        return str(STAYS.get(code, STAYS["scanner_unavailable"]))
    if code == "conflict" and str(details.get("reason", "")) in WHY:
        return str(WHY[str(details["reason"])])
    if code == "quarantined" and details.get("reason"):
        found = _("The virus scanner recognised %(name)s.", name=details["reason"])
        return f"{found} {answer.text}"
    field = refused_field(str(details.get("field", "")), str(details.get("reason", ""))) if code == "invalid" else ""
    return f"{field} {answer.text}".strip()


def answer(code: str, details: dict[str, Any] | None = None) -> Response:
    """The response to ``code``, as a page or as a problem document; an unknown code is an internal error."""
    if code not in TABLE:
        code = "internal"
    entry = TABLE[code]
    shown = {name: value for name, value in (details or {}).items() if name in DISCLOSED}
    if code == "step_up_required" and not wants_json():
        return current_app.make_response(redirect("/step-up?" + urlencode({"next": back_to()}), S.SEE_OTHER))
    if wants_json():
        response = jsonify(problem(code, entry, shown))
        response.mimetype = PROBLEM
    else:
        page = render_template(
            "errors/error.html", answer=entry, text=explained(code, entry, shown), code=code, incident=incident(), details=shown
        )
        response = current_app.make_response(page)
    response.status_code = entry.status
    wait = shown.get("retry_after_s", entry.retry_after_s)
    if wait is not None:
        response.headers["Retry-After"] = str(max(1, int(wait)))
    if entry.status == S.REQUESTED_RANGE_NOT_SATISFIABLE and "size" in shown:
        response.headers["Content-Range"] = f"bytes */{shown['size']}"
    if entry.status == S.UNAUTHORIZED and wants_json():
        response.headers["WWW-Authenticate"] = 'Bearer realm="coffre"'
    return response


def install(app: Flask) -> None:
    """Make this table the only way out of ``app`` for an error."""

    @app.errorhandler(VaultError)
    def refused(error: VaultError) -> Response:
        level = logging.ERROR if TABLE.get(error.code, TABLE["internal"]).status >= S.INTERNAL_SERVER_ERROR else logging.INFO
        logger.log(level, "refused code=%s incident=%s endpoint=%s", error.code, incident(), request.endpoint)
        return answer(error.code, dict(error.details))

    @app.errorhandler(http.HTTPException)
    def http_error(error: http.HTTPException) -> Response:
        status = error.code or S.INTERNAL_SERVER_ERROR
        if error.response is not None or status < S.BAD_REQUEST:
            return Response(error.get_response(request.environ).get_data(), status, dict(error.get_headers()))
        default = "bad_request" if status < S.INTERNAL_SERVER_ERROR else "internal"
        response = answer(BY_STATUS.get(status, default))
        if isinstance(error, http.MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return response

    @app.errorhandler(ParseException)
    def broken_body(error: Exception) -> Response:
        """Chunks of bad sizes: the server library finds them only while a view reads the body."""
        logger.info("refused %s incident=%s endpoint=%s", type(error).__name__, incident(), request.endpoint)
        return answer("bad_request")

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        # The type and the place only: a message may hold what was being worked on.
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
        logger.error("unexpected %s at %s incident=%s endpoint=%s", type(error).__name__, place, incident(), request.endpoint)
        return answer("internal")
