"""Owns one-time codes by time (RFC 6238, SHA-1, 6 digits, 30 s: what every phone reads). The only importer of pyotp.

It must not know accounts or storage: whoever calls keeps the last step and moves it forward atomically.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest

import pyotp

from vault.model import Micros

STEP_S = 30
SECRET_BYTES = 20
"""RFC 4226 §4 R6 recommends 160 bits."""
WINDOW = 1
"""Steps before and after the present one that are accepted."""
HINT_STEPS = 20
"""How far (10 min) a clock may be off for us to say so."""

_CODE = re.compile(r"[0-9]{6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Match:
    """The step whose code was shown, and how far it stands from ours."""

    step: int
    drift_steps: int


def new_secret(random: Callable[[int], bytes]) -> str:
    """A fresh 160-bit secret in base 32, as applications take it."""
    return base64.b32encode(random(SECRET_BYTES)).decode()


def uri(secret: str, username: str, issuer: str) -> str:
    """The ``otpauth://`` URI for the QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=issuer)


def step_at(now: Micros) -> int:
    """The number of the 30-second step at ``now``."""
    return now // (STEP_S * 1_000_000)


def cleaned(code: str) -> str | None:
    """Six ASCII digits, spaces left out, or None: pyotp by itself would take full-width digits."""
    if len(code) > 32:
        return None
    bare = code.replace(" ", "").replace("\u00a0", "").replace("\u202f", "")
    return bare if _CODE.fullmatch(bare) else None


def match(secret: str, code: str, now: Micros) -> Match | None:
    """The step within the window whose code this is, or None. Whether that step was used already is the caller's to judge."""
    return _search(secret, code, now, WINDOW)


def drift(secret: str, code: str, now: Micros) -> int | None:
    """Seconds by which the phone's clock seems off (negative: late): its code belongs to a step just outside the window.

    None where the code belongs to no step near by, or is inside the window.
    """
    found = _search(secret, code, now, HINT_STEPS)
    return None if found is None or abs(found.drift_steps) <= WINDOW else found.drift_steps * STEP_S


def _search(secret: str, code: str, now: Micros, reach: int) -> Match | None:
    bare = cleaned(code)
    if bare is None:
        return None
    present, codes = step_at(now), pyotp.TOTP(secret)
    found: Match | None = None
    for offset in range(-reach, reach + 1):  # every step is tried: the time taken says nothing about which one matched
        step = present + offset
        is_it = step >= 0 and compare_digest(codes.generate_otp(step), bare)
        if is_it and (found is None or abs(offset) < abs(found.drift_steps)):
            found = Match(step, offset)
    return found
