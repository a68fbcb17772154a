"""Owns the answer to bytes that are no request: gunicorn's own would repeat them, on its page and in the journal.

What can't be read may be anything, a password or a name among it. It must not know the application, which never sees these.
"""

from __future__ import annotations

import logging
import ssl
from http import HTTPStatus

from gunicorn.http import errors

from web.safety import FIXED_HEADERS, HSTS

logger = logging.getLogger("coffre.web")

STATUSES: dict[type[Exception], HTTPStatus] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.ConfigurationProblem: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidResponseHeader: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidResponseHeaderName: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""Those that are not plainly a bad request."""
HEADERS = {
    **FIXED_HEADERS,
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Content-Type": "text/plain; charset=utf-8",
    "Connection": "close",
}


def status_of(error: BaseException) -> HTTPStatus:
    """What a failure of the server library's parser means to whoever sent it; anything else is our own failure."""
    if isinstance(error, errors.ParseException | ssl.SSLError):
        return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), HTTPStatus.BAD_REQUEST)
    return HTTPStatus.INTERNAL_SERVER_ERROR


def answer_to(error: BaseException, address: str, *, is_tls: bool) -> bytes:
    """The whole answer, and one line for the journal: kind and place of the failure, nothing of what was sent."""
    status = status_of(error)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
        logger.error("unexpected %s at %s", type(error).__name__, place)
    else:
        logger.warning("refused %s from=%s", type(error).__name__, address)
    body = f"{status.value} {status.phrase}\n".encode()
    headers = HEADERS | {"Content-Length": str(len(body))} | ({"Strict-Transport-Security": HSTS} if is_tls else {})
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
