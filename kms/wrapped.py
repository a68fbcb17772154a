"""Owns the bytes of a WrappedKey (docs/format.md, "Wrapped keys") and what its authentication covers.

It must not know the token.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from kms.errors import UnknownSuite
from kms.keys import WrappedKey

VERSION = 1
HEADER = struct.Struct(">BBIIB")
"""Version, suite, master key number, CKM_ mechanism number, IV length in bytes."""
LABEL = b"coffre/wrapped-key/v1\x00"
SMALLEST, LARGEST = 16, 64
"""Bytes that a secret may have."""


class Suite(IntEnum):
    """How a secret is wrapped; an unknown number is an error, never a fallback."""

    GCM = 1
    """AES-256-GCM in the token, IV chosen by us (NIST SP 800-38D, 12 random bytes)."""
    GCM_TOKEN_IV = 2
    """AES-256-GCM in the token, IV chosen by the token."""
    KEY_WRAP = 3
    """A fresh 32-byte key under AES key wrap in the token (RFC 3394).

    It seals the secret through HKDF, which binds the context.
    """


_SUITES = {suite.value: suite for suite in Suite}


class Parts(NamedTuple):
    """A WrappedKey taken apart."""

    suite: Suite
    number: int
    """Master key version."""
    mechanism: int
    iv: bytes
    body: bytes

    @property
    def header(self) -> bytes:
        return HEADER.pack(VERSION, self.suite, self.number, self.mechanism, len(self.iv))

    def associated_data(self, context: bytes) -> bytes:
        """What authentication covers besides the secret: the header, and the caller's ``context``."""
        return LABEL + self.header + context


def join(parts: Parts) -> WrappedKey:
    """The bytes to store."""
    return WrappedKey(parts.header + parts.iv + parts.body)


def take_apart(wrapped: bytes) -> Parts:
    """Raises UnknownSuite for anything that this version of the program did not write."""
    if len(wrapped) < HEADER.size:
        raise UnknownSuite(f"a wrapped key has at least {HEADER.size} bytes, this one {len(wrapped)}")
    version, suite, number, mechanism, iv_length = HEADER.unpack_from(wrapped)
    known = _SUITES.get(suite)
    if version != VERSION or known is None:
        raise UnknownSuite(
            f"wrapped key of version {version}, suite {suite}: this program knows version {VERSION}, suites 1 to 3. "
            "Use the program version that wrote it, or a newer one."
        )
    end = HEADER.size + iv_length
    if len(wrapped) <= end:
        raise UnknownSuite("a wrapped key ends before its ciphertext")
    return Parts(known, number, mechanism, wrapped[HEADER.size : end], wrapped[end:])
