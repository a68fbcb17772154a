"""Owns how one secret is wrapped and unwrapped under a master key's handle, suite by suite.

It must not know registries nor retries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kms import constants as ck
from kms.cryptoki import CryptokiError, KeyObject, Mechanism
from kms.errors import UnknownSuite
from kms.keys import Secret, WrappedKey
from kms.profiles import IvMode, Profile
from kms.sessions import Session
from kms.structures import Template
from kms.wrapped import Parts, Suite, join

ONCE = bytes(12)
"""Suite 3 seals with a key that is used once, so its nonce may be constant (NIST SP 800-38D 8.2.1)."""
STANDARD = {Suite.GCM: ck.CKM_AES_GCM, Suite.GCM_TOKEN_IV: ck.CKM_AES_GCM, Suite.KEY_WRAP: ck.CKM_AES_KEY_WRAP}
IV_LENGTHS = {Suite.GCM: (12,), Suite.GCM_TOKEN_IV: (12, 16), Suite.KEY_WRAP: (0,)}
"""A stored blob may not talk the token into another mechanism (an unauthenticated one, say)."""
KEY_WRAP_BYTES = 40
"""32 bytes under RFC 3394."""
_INNER: Template = {
    ck.CKA_CLASS: ck.CKO_SECRET_KEY,
    ck.CKA_KEY_TYPE: ck.CKK_GENERIC_SECRET,
    ck.CKA_TOKEN: False,
    ck.CKA_PRIVATE: True,
    ck.CKA_SENSITIVE: False,
    ck.CKA_EXTRACTABLE: True,
}


@dataclass(frozen=True, slots=True)
class KeyInUse:
    """A key version, ready for use in one session."""

    session: Session
    key: KeyObject
    profile: Profile
    number: int


def wrap(key: KeyInUse, secret: bytes | bytearray, context: bytes, random: Callable[[int], bytes]) -> WrappedKey:
    """``secret`` under the master key, bound to ``context``; ``random`` gives IVs and inner keys."""
    profile, session = key.profile, key.session
    if profile.suite is Suite.KEY_WRAP:
        return _key_wrap(key, secret, context, random)
    iv = random(profile.iv_bytes) if profile.iv_mode is IvMode.CLIENT else bytes(profile.iv_bytes)
    parts = Parts(profile.suite, key.number, profile.mechanism, iv, b"")
    mechanism = Mechanism.gcm(profile.mechanism, iv, parts.associated_data(context))
    body = session.cryptoki.encrypt(key.key, mechanism, secret)
    if profile.iv_mode is IvMode.WRITTEN:
        iv = mechanism.parameter.iv if mechanism.parameter else b""
    elif profile.iv_mode is IvMode.APPENDED:
        body, iv = body[: -profile.iv_bytes], body[-profile.iv_bytes :]
    return join(Parts(profile.suite, key.number, profile.mechanism, iv, body))


def unwrap(key: KeyInUse, parts: Parts, context: bytes) -> Secret:
    """The secret again. Raises CryptokiError where the token refuses, whyever; UnknownSuite for a foreign mechanism."""
    if parts.mechanism not in (STANDARD[parts.suite], key.profile.mechanism) or len(parts.iv) not in IV_LENGTHS[parts.suite]:
        raise UnknownSuite(f"wrapped key of suite {parts.suite} with mechanism 0x{parts.mechanism:x}: refused")
    if parts.suite is Suite.KEY_WRAP:
        return _key_unwrap(key, parts, context)
    mechanism = Mechanism.gcm(parts.mechanism, parts.iv, parts.associated_data(context))
    return key.session.cryptoki.decrypt(key.key, mechanism, parts.body)


def _inner_cipher(inner: bytes | bytearray, parts: Parts, context: bytes) -> AESGCM:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=parts.associated_data(context)).derive(bytes(inner))
    return AESGCM(key)


def _key_wrap(key: KeyInUse, secret: bytes | bytearray, context: bytes, random: Callable[[int], bytes]) -> WrappedKey:
    cryptoki, session = key.session.cryptoki, key.session.open
    with Secret(random(32)) as inner:
        temporary = cryptoki.create_object(session, {**_INNER, ck.CKA_VALUE: bytes(inner.view)})
        try:
            wrapped = cryptoki.wrap_key(key.key, Mechanism(key.profile.mechanism), temporary)
        finally:
            cryptoki.destroy_object(temporary)
        parts = Parts(key.profile.suite, key.number, key.profile.mechanism, b"", wrapped)
        sealed = _inner_cipher(inner.view, parts, context).encrypt(ONCE, bytes(secret), None)
    return join(parts._replace(body=wrapped + sealed))


def _key_unwrap(key: KeyInUse, parts: Parts, context: bytes) -> Secret:
    cryptoki = key.session.cryptoki
    wrapped, sealed = parts.body[:KEY_WRAP_BYTES], parts.body[KEY_WRAP_BYTES:]
    temporary = cryptoki.unwrap_key(key.key, Mechanism(parts.mechanism), wrapped, _INNER)
    try:
        inner = Secret(cryptoki.attribute(temporary, ck.CKA_VALUE))
    finally:
        cryptoki.destroy_object(temporary)
    with inner:
        try:
            return Secret(_inner_cipher(inner.view, parts, context).decrypt(ONCE, sealed, None))
        except InvalidTag:
            raise CryptokiError("C_UnwrapKey", ck.CKR_ENCRYPTED_DATA_INVALID) from None
