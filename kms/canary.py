"""Owns the known answers by which a key proves that it is the right one. It must not know how keys are found.

MASTER: a wrapped known secret. MAC: the MAC of a known message. AUDIT and AUDIT_ED: the public key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from kms import constants as ck
from kms.cryptoki import Mechanism
from kms.errors import WrongToken
from kms.keys import KeyRecord, KeyUse
from kms.suites import KeyInUse, unwrap, wrap
from kms.wrapped import take_apart

CONTEXT = b"coffre/canary/v1"
HANDOVER = b"coffre/audit-handover/v1\x00"


def _known(use: KeyUse, number: int) -> bytes:
    """32 bytes that everybody knows; they protect nothing."""
    return hashlib.sha256(b"coffre/canary/v1\x00%s\x00%d" % (use.encode(), number)).digest()


def make(key: KeyInUse, use: KeyUse, random: Callable[[int], bytes]) -> bytes:
    """The canary of a new MASTER or MAC key."""
    known = _known(use, key.number)
    if use is KeyUse.MASTER:
        return wrap(key, known, CONTEXT, random)
    return _mac(key, known)


def check(key: KeyInUse, record: KeyRecord) -> None:
    """Let the canary sing. Raises CryptokiError where the token fails.

    Raises WrongToken where the key under this label and id is not the one that the registry knows.
    """
    known, session = _known(record.use, record.number), key.session
    match record.use:
        case KeyUse.MASTER:
            with unwrap(key, take_apart(record.canary), CONTEXT) as secret:
                is_right = hmac.compare_digest(secret.view, known)
        case KeyUse.MAC:
            is_right = hmac.compare_digest(_mac(key, known), record.canary)
        case KeyUse.AUDIT:
            raw = session.cryptoki.sign(key.key, Mechanism(ck.CKM_ECDSA), known)
            is_right = verifies(record.canary, known, raw)
        case KeyUse.AUDIT_ED:
            raw = session.cryptoki.sign(key.key, Mechanism(ck.CKM_EDDSA), known)
            is_right = verifies_text(record.canary, known, raw)
    if not is_right:
        raise WrongToken(f"{record.use} key {record.number} on the token is not the one that the registry knows")


def _mac(key: KeyInUse, message: bytes) -> bytes:
    return key.session.cryptoki.sign(key.key, Mechanism(ck.CKM_SHA256_HMAC), message)


def handover(public_key: bytes) -> bytes:
    """The digest by which an audit key vouches for a new one (docs/format.md); ``public_key`` is SubjectPublicKeyInfo DER."""
    return hashlib.sha256(HANDOVER + public_key).digest()


def verifies(public_key: bytes, digest: bytes, raw: bytes) -> bool:
    """Whether ``raw`` (r ‖ s) is the P-256 signature of a SHA-256 ``digest`` under a SubjectPublicKeyInfo DER key."""
    key = load_der_public_key(public_key)
    if not isinstance(key, EllipticCurvePublicKey) or len(raw) != 64:
        return False
    signature = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    try:
        key.verify(signature, digest, ECDSA(Prehashed(SHA256())))
    except InvalidSignature:
        return False
    return True


def verifies_text(public_key: bytes, text: bytes, raw: bytes) -> bool:
    """Whether ``raw`` is the Ed25519 signature of ``text`` under a SubjectPublicKeyInfo DER key."""
    key = load_der_public_key(public_key)
    if not isinstance(key, Ed25519PublicKey):
        return False
    try:
        key.verify(raw, text)
    except InvalidSignature:
        return False
    return True
