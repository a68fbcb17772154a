"""Owns what a request with a raw body announces about it: name, digest, size, channel. It must not know where the body goes."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, TypedDict

from flask import request
from werkzeug.http import parse_options_header

from vault.errors import Invalid
from web.uploads import Body, raw_body

FILE_NAME_CHARACTERS = 20_000
SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):")
REFUSALS = (
    "invalid", "already_present", "digest_mismatch", "empty_document", "too_large", "unsupported_type",
    "infected", "quarantined", "scanner_unavailable", "incomplete_body", "storage_full", "busy",
)  # fmt: skip
"""How a body may be refused, whoever takes it."""
RAW: dict[str, Any] = {"media": "application/octet-stream", "headers": ("Content-Disposition", "Repr-Digest")}
"""What the OpenAPI document says of every operation that takes a raw body."""


class Arrival(TypedDict):
    """A body under way and what was announced of it, named as every deposit of the vault takes them."""

    file_name: str
    body: Body
    expected_sha256: bytes | None
    declared_size: int | None
    channel: str


def arrival() -> Arrival:
    """The raw body of this request. Raises Invalid, and TooLarge before a byte is read."""
    body, declared = raw_body()
    return {
        "file_name": announced_name(),
        "body": body,
        "expected_sha256": announced_digest(),
        "declared_size": declared,
        "channel": "browser" if request.headers.get("Sec-Fetch-Site") else "api",
    }


def announced_name() -> str:
    """The name announced in Content-Disposition (RFC 6266), ``document`` where there is none. Raises Invalid."""
    _, options = parse_options_header(request.headers.get("Content-Disposition"))
    name = options.get("filename", "")
    if len(name) > FILE_NAME_CHARACTERS:
        raise Invalid("file name", field="file_name", reason="too_long")
    return name


def announced_digest() -> bytes | None:
    """The SHA-256 of ``Repr-Digest`` or ``Content-Digest`` (RFC 9530); other algorithms are ignored. Raises Invalid."""
    header = request.headers.get("Repr-Digest") or request.headers.get("Content-Digest")
    match = SHA256.search(header or "")
    if match is None:
        if header and "sha-256" in header:
            raise Invalid("digest", field="repr_digest", reason="shape")
        return None
    try:
        found = base64.b64decode(match[1], validate=True)
    except binascii.Error:
        raise Invalid("digest", field="repr_digest", reason="shape") from None
    if len(found) != 32:  # SHA-256
        raise Invalid("digest", field="repr_digest", reason="wrong_length")
    return found
