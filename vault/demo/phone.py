"""Owns the demonstration's telephone: it shows one-time codes, so that trying the vault out needs no real one.

It must not know the vault's own reading of codes (vault/people/totp.py); both follow RFC 6238.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

STEP_S = 30
ROOM_S = 3
"""What a slow machine may need between the telephone and the reading of its code."""


def code(secret: str, at_s: float) -> str:
    """Six digits for the base-32 ``secret`` at ``at_s`` seconds since the epoch: HMAC-SHA-1 of the 30 s step (RFC 6238 §4)."""
    counter = int(at_s // STEP_S).to_bytes(8, "big")
    digest = hmac.digest(base64.b32decode(secret.upper() + "=" * (-len(secret) % 8)), counter, hashlib.sha1)
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF  # RFC 4226 §5.3
    return f"{number % 1_000_000:06d}"


def seconds_left(at_s: float) -> int:
    """How long the code of that moment still lasts."""
    return STEP_S - int(at_s % STEP_S)


def present(clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep) -> float:
    """This moment, or the beginning of the next step where this one is nearly over.

    The code of the step before is read in this step only: shown in its last moments, it would come too late.
    """
    while (left := STEP_S - clock() % STEP_S) < ROOM_S:
        sleep(left)
    return clock()
