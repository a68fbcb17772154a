"""Owns the JSON Lines copy of the log: one object an entry, for programs. It must not know where lines come from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from operator import attrgetter

from vault.audit.lines import Line

_values = attrgetter(*(field.name for field in fields(Line)))
_NAMES = tuple(field.name for field in fields(Line))
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def write(pages: Iterable[list[Line]]) -> Iterator[bytes]:
    """One JSON object a line (UTF-8, ``\\n``); parts that are absent are left out."""
    for page in pages:
        yield b"".join(_object(line) for line in page)


def _object(line: Line) -> bytes:
    record = {name: value for name, value in zip(_NAMES, _values(line), strict=True) if value is not None and value != ""}
    record["severity"] = int(line.severity)
    return _encode(record).encode("utf-8") + b"\n"


def trailer(count: int, last: int) -> bytes:
    """The last line: a copy without it was cut."""
    return json.dumps({"complete": True, "count": count, "last": last}, separators=(",", ":")).encode() + b"\n"
