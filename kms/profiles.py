"""Owns what differs between HSMs: mechanism, IV mode, thread mode, sessions, suite. It must not know how a profile is applied.

Only ``softhsm`` and ``nss`` run in the tests; the others were put together from their makers' manuals (docs/operations.md says
what was read), never run, and ``was_run`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kms import constants as ck
from kms.errors import BadSettings
from kms.wrapped import Suite


class IvMode(StrEnum):
    """Who chooses the GCM IV and where it comes back."""

    CLIENT = "client"
    """We do, 12 random bytes."""
    WRITTEN = "written"
    """The token writes it into the parameter's buffer."""
    APPENDED = "appended"
    """The token appends it to the ciphertext."""


class Threads(StrEnum):
    """How the module is told about threads."""

    OS_LOCKING = "os_locking"
    """CKF_OS_LOCKING_OK: the module locks with the system's primitives."""
    SERIALIZE = "serialize"
    """The module can't lock (CKR_CANT_LOCK): one call at a time, ours."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of HSM."""

    name: str
    suite: Suite
    mechanism: int
    iv_mode: IvMode = IvMode.CLIENT
    iv_bytes: int = 12
    threads: Threads = Threads.OS_LOCKING
    sessions: int = 8
    """The most sessions that we may hold, the anchor included."""
    read_only_sessions: bool = True
    """Whether the module opens sessions without CKF_RW_SESSION, which is all that our calls need."""
    library_parameters: bool = False
    """NSS wants its configuration directory in C_Initialize."""
    was_run: bool = False
    """Whether the tests run it."""


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("softhsm", Suite.GCM, ck.CKM_AES_GCM, was_run=True),
        Profile("nss", Suite.KEY_WRAP, ck.CKM_AES_KEY_WRAP, library_parameters=True, was_run=True),
        Profile("luna", Suite.GCM_TOKEN_IV, ck.CKM_AES_GCM, iv_mode=IvMode.APPENDED, iv_bytes=16, sessions=32),
        Profile("luna-no-fips", Suite.GCM, ck.CKM_AES_GCM, sessions=32),
        Profile("cloudhsm", Suite.GCM_TOKEN_IV, ck.CKM_AES_GCM, iv_mode=IvMode.WRITTEN, sessions=32, read_only_sessions=False),
        Profile("utimaco", Suite.GCM, ck.CKM_AES_GCM, sessions=16),
        Profile("proteccio", Suite.GCM, ck.CKM_AES_GCM, sessions=8),
    )
}

UNSUITABLE = {
    "nethsm": "a Nitrokey NetHSM can't hold these keys: its module has AES-CBC only, no key wrap and no HMAC",
    "yubihsm": "a YubiHSM 2 can't hold these keys: its module has neither AES-GCM nor AES key wrap",
}
"""Modules that lack what every suite needs, by what their makers publish."""


def find_profile(name: str) -> Profile:
    """Raises BadSettings with the known names, or with what an unsuitable module lacks."""
    if name in UNSUITABLE:
        raise BadSettings(f"[kms] profile: {UNSUITABLE[name]}")
    try:
        return PROFILES[name]
    except KeyError:
        raise BadSettings(f"[kms] profile {name!r} is not known; known: {', '.join(PROFILES)}") from None
