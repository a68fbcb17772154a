"""Owns one-time recovery codes: how they look, how they are stored. It must not know sign-in.

Each carries 60 random bits and is stored as a keyed hash (``Roster.keyed_hash``), so that a stolen database gives nothing
to guess at.
"""

from __future__ import annotations

import re
from collections.abc import Callable

COUNT = 10
_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ0123456789"
"""Crockford's base 32: no I, L, O, U."""
_SYMBOLS = 12
_LOOK_ALIKE = str.maketrans({"I": "1", "L": "1", "O": "0"})
_SHAPE = re.compile(rf"[{_ALPHABET}]{{{_SYMBOLS}}}", re.ASCII)


def new_codes(random: Callable[[int], bytes]) -> tuple[str, ...]:
    """Ten codes ``XXXX-XXXX-XXXX``, shown once."""
    return tuple(new_code(random) for _ in range(COUNT))


def new_code(random: Callable[[int], bytes]) -> str:
    """One code of 60 random bits."""
    symbols = "".join(_ALPHABET[byte % 32] for byte in random(_SYMBOLS))  # 256 is a multiple of 32: no bias
    return "-".join((symbols[:4], symbols[4:8], symbols[8:]))


def cleaned(code: str) -> str | None:
    """The code as stored, look-alikes read as meant, or None where it can't be one."""
    if len(code) > 64:
        return None
    bare = re.sub(r"[\s\-\u2010-\u2015]", "", code).upper().translate(_LOOK_ALIKE)
    return bare if _SHAPE.fullmatch(bare) else None
