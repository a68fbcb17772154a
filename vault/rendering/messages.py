"""Owns what is said between the renderer and its sandbox, as bytes. It must not know how pages are drawn.

A request is one datagram of JSON beside three descriptors (document, answer, verdict). An answer is the length of its JSON
(4 bytes, big-endian), the JSON, then the payload. Whatever a child answers is hostile: it is bounded and checked here.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

REQUEST_BYTES = 4096
ANSWER_BYTES = 24 * 1024 * 1024
_META_BYTES = 256 * 1024
_LENGTH = struct.Struct(">I")


class Work(StrEnum):
    """What a child is asked to do with one document."""

    INSPECT = "inspect"
    PAGE = "page"
    TEXT = "text"
    CODES = "codes"
    COPY = "copy"


class PageForm(StrEnum):
    """As what a drawn page leaves, by its media type."""

    JPEG = "image/jpeg"
    """For pages: an eighth of WebP's time, at about its size for a scan."""
    WEBP = "image/webp"
    PNG = "image/png"
    """Every pixel, at five times the bytes."""


MAGIC: dict[PageForm, tuple[bytes, bytes]] = {
    PageForm.JPEG: (b"\xff\xd8\xff", b""),
    PageForm.WEBP: (b"RIFF", b"WEBP"),
    PageForm.PNG: (b"\x89PNG\r\n\x1a\n", b""),
}
"""How each begins, and what stands at its eighth byte."""


class Reason(StrEnum):
    """Why a document can't be shown; pages translate it."""

    ENCRYPTED = "encrypted"
    BROKEN = "broken"
    TOO_MANY_PAGES = "too_many_pages"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    TOO_HEAVY = "too_heavy"
    NO_SUCH_PAGE = "no_such_page"
    NO_PICTURE = "no_picture"


class Verdict(StrEnum):
    """What the warm parent saw of a child's end."""

    LEFT = "l"
    OVERDUE = "t"
    CRASHED = "c"


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to do with one document."""

    work: Work
    media_type: str
    page: int = 1
    """From 1."""
    width: int = 1240
    """Pixels."""
    watermark: str = field(default="", repr=False)
    quarter_turns: int = 0
    form: PageForm = PageForm.JPEG


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, checked for shape only."""

    facts: dict[str, Any]
    payload: bytes = field(repr=False)
    refusal: Reason | None = None


class MalformedAnswer(ValueError):
    """The child said something that no honest child says, or stopped in the middle."""


def pack_request(request: Request) -> bytes:
    """The datagram of a request."""
    return json.dumps(asdict(request)).encode()


def unpack_request(raw: bytes) -> Request:
    """The request again; only the renderer sends these, so their shape is trusted."""
    told = json.loads(raw)
    return Request(**{**told, "work": Work(told["work"]), "form": PageForm(told["form"])})


def pack_answer(facts: dict[str, Any], payload: bytes = b"", refusal: Reason | None = None) -> bytes:
    """An answer's bytes."""
    meta = json.dumps({"facts": facts, "refusal": refusal}).encode()
    return _LENGTH.pack(len(meta)) + meta + payload


def unpack_answer(raw: bytes) -> Answer:
    """A child's answer. Raises MalformedAnswer."""
    if len(raw) < _LENGTH.size:
        raise MalformedAnswer("cut short")
    (length,) = _LENGTH.unpack_from(raw)
    if length > _META_BYTES or len(raw) < _LENGTH.size + length:
        raise MalformedAnswer("cut short")
    try:
        meta = json.loads(raw[_LENGTH.size : _LENGTH.size + length])
        facts, refusal = meta["facts"], meta["refusal"]
        reason = None if refusal is None else Reason(refusal)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedAnswer("not an answer") from error
    if not isinstance(facts, dict):
        raise MalformedAnswer("not an answer")
    return Answer(facts, raw[_LENGTH.size + length :], reason)
