"""Owns the one way in which a record becomes bytes before it is hashed. It must not know what the record says.

A subset of RFC 8785 (JSON Canonicalization Scheme): one object, keys of lower-case ASCII letters and ``_``, values that are
strings or integers. Written by hand because it stands in the path of every access.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from json.encoder import encode_basestring

LARGEST = 2**53 - 1
"""RFC 8785 §3.2.2.3: integers beyond this do not survive a JavaScript reader."""

_KEY = re.compile(r"[a-z_]+\Z")
_known: set[str] = set()
"""Keys that were found well formed; there are a few dozen in all."""


def _value(key: str, value: str | int) -> str:
    if key not in _known:
        if not _KEY.match(key):
            raise ValueError(f"not a canonical key: {key!r}")
        _known.add(key)
    if isinstance(value, str):
        return f'"{key}":{encode_basestring(value)}'
    if type(value) is int and -LARGEST <= value <= LARGEST:
        return f'"{key}":{value}'
    raise ValueError(f"neither text nor an integer of 53 bits: {key}")


def encode(record: Mapping[str, str | int]) -> bytes:
    """The canonical bytes (UTF-8). Raises ValueError for anything outside the subset (floats, booleans, lone surrogates)."""
    return f"{{{','.join([_value(key, record[key]) for key in sorted(record)])}}}".encode()


def decode(data: bytes) -> dict[str, str | int]:
    """The record again. Raises ValueError unless ``data`` is exactly what ``encode`` gives for it."""
    record = json.loads(data)
    if not isinstance(record, dict) or encode(record) != data:
        raise ValueError("not canonical JSON")
    return record
