"""Owns sealed fields: small values in database rows, bound to their place. It must not know what they say, nor SQL.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce, under a key that HKDF-Expand-SHA-256 (RFC 5869 §2.3) derives from
the scope key. Format: docs/format.md, "Sealed fields".
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from kms.keys import Secret
from vault.errors import Tampered

FORMAT = b"\x01"
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = len(FORMAT) + NONCE_BYTES + TAG_BYTES
_INFO = b"coffre/field-key/v1"


def _cipher(scope_key: Secret) -> AESGCM:
    return AESGCM(HKDFExpand(SHA256(), 32, _INFO).derive(scope_key.view))


def seal_field(scope_key: Secret, context: bytes, plaintext: bytes | bytearray) -> bytes:
    """``plaintext`` under the scope's field key, bound to ``context`` (``binding.field_context``): 29 bytes longer."""
    nonce = os.urandom(NONCE_BYTES)
    return FORMAT + nonce + _cipher(scope_key).encrypt(nonce, plaintext, FORMAT + context)


def open_field(scope_key: Secret, context: bytes, sealed: bytes) -> bytes:
    """The plaintext again. Raises Tampered where it was altered, cut or moved from another row, column or vault."""
    if len(sealed) < OVERHEAD_BYTES or sealed[:1] != FORMAT:
        raise Tampered("a sealed field has no known format", kind="field")
    nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        return _cipher(scope_key).decrypt(nonce, body, FORMAT + context)
    except InvalidTag as error:
        raise Tampered("a sealed field failed authentication", kind="field") from error
