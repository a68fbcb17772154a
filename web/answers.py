"""Owns how a rendered page becomes an answer with a status. It must not know what pages say.

``werkzeug.Response`` alone would call it text/plain, and browsers, told not to guess, would show its source.
"""

from __future__ import annotations

from werkzeug import Response


def html(page: str, status: int = 200) -> Response:
    """``page`` as text/html with ``status``."""
    return Response(page, status, mimetype="text/html")
