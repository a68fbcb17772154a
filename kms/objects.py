"""Owns how our keys look in the token: labels, templates, search and generation.

It must not know the registry nor sessions' lives.

Every capability is written out: a library's defaults once let wrap-then-decrypt recover a sensitive key in clear.
"""

from __future__ import annotations

from kms import constants as ck
from kms.cryptoki import KeyObject
from kms.errors import BadSettings, KeyMissing
from kms.keys import KeyRecord, KeyUse
from kms.profiles import Profile
from kms.sessions import KeyNotFound, Session
from kms.structures import Template
from kms.wrapped import Suite

P256 = bytes.fromhex("06082a8648ce3d030107")
"""The named curve secp256r1, DER."""
SPKI_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
"""SubjectPublicKeyInfo of a P-256 key up to its 65-byte uncompressed point (RFC 5480)."""
ED25519 = bytes.fromhex("06032b6570")
"""The OID id-Ed25519, DER (RFC 8410)."""
ED_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""SubjectPublicKeyInfo of an Ed25519 key up to its 32 bytes (RFC 8410)."""

KEPT_INSIDE: Template = {
    ck.CKA_TOKEN: True,
    ck.CKA_PRIVATE: True,
    ck.CKA_SENSITIVE: True,
    ck.CKA_EXTRACTABLE: False,
    ck.CKA_MODIFIABLE: False,
}

_OFF = (ck.CKA_ENCRYPT, ck.CKA_DECRYPT, ck.CKA_WRAP, ck.CKA_UNWRAP, ck.CKA_SIGN, ck.CKA_VERIFY, ck.CKA_DERIVE)


def label_of(prefix: str, use: KeyUse, number: int) -> str:
    """CKA_LABEL: ``coffre/kek/0001``."""
    return f"{prefix}/{use}/{number:04d}"


def _capabilities(*on: int) -> dict[int, bool]:
    return {kind: kind in on for kind in _OFF}


def _secret_template(profile: Profile, use: KeyUse, label: str, key_id: bytes) -> Template:
    if use is KeyUse.MAC:
        capabilities, kind = _capabilities(ck.CKA_SIGN), ck.CKK_GENERIC_SECRET
    elif profile.suite is Suite.KEY_WRAP:
        capabilities, kind = _capabilities(ck.CKA_WRAP, ck.CKA_UNWRAP), ck.CKK_AES
    else:
        capabilities, kind = _capabilities(ck.CKA_ENCRYPT, ck.CKA_DECRYPT), ck.CKK_AES
    return {
        ck.CKA_CLASS: ck.CKO_SECRET_KEY,
        ck.CKA_KEY_TYPE: kind,
        ck.CKA_LABEL: label,
        ck.CKA_ID: key_id,
        ck.CKA_VALUE_LEN: 32,
        **KEPT_INSIDE,
        **capabilities,
    }


def generate(session: Session, profile: Profile, prefix: str, record: KeyRecord) -> bytes:
    """Make one key version in the token. Gives the public key (SubjectPublicKeyInfo DER) of a pair, nothing for the others.

    Raises BadSettings where the token lacks a mechanism; nothing is made instead.
    """
    require_mechanisms(session, profile, record.use)
    label = label_of(prefix, record.use, record.number)
    if record.use.is_signing:
        return _generate_pair(session, record.use, label, record.key_id)
    mechanism = ck.CKM_GENERIC_SECRET_KEY_GEN if record.use is KeyUse.MAC else ck.CKM_AES_KEY_GEN
    session.cryptoki.generate_key(session.open, mechanism, _secret_template(profile, record.use, label, record.key_id))
    return b""


def _generate_pair(session: Session, use: KeyUse, label: str, key_id: bytes) -> bytes:
    is_edwards = use is KeyUse.AUDIT_ED
    kind = ck.CKK_EC_EDWARDS if is_edwards else ck.CKK_EC
    both: Template = {ck.CKA_KEY_TYPE: kind, ck.CKA_LABEL: label, ck.CKA_ID: key_id}
    public: Template = {
        ck.CKA_CLASS: ck.CKO_PUBLIC_KEY,
        **both,
        ck.CKA_TOKEN: True,
        ck.CKA_PRIVATE: False,
        ck.CKA_MODIFIABLE: False,
        ck.CKA_VERIFY: True,
        ck.CKA_ENCRYPT: False,
        ck.CKA_WRAP: False,
        ck.CKA_EC_PARAMS: ED25519 if is_edwards else P256,
    }
    private: Template = {
        ck.CKA_CLASS: ck.CKO_PRIVATE_KEY,
        **both,
        **KEPT_INSIDE,
        ck.CKA_SIGN: True,
        ck.CKA_DECRYPT: False,
        ck.CKA_UNWRAP: False,
        ck.CKA_DERIVE: False,
    }
    mechanism = ck.CKM_EC_EDWARDS_KEY_PAIR_GEN if is_edwards else ck.CKM_EC_KEY_PAIR_GEN
    public_key, _ = session.cryptoki.generate_key_pair(session.open, mechanism, public, private)
    point: bytes = session.cryptoki.attribute(public_key, ck.CKA_EC_POINT)
    # DER OCTET STRING by the standard, bare on some tokens: the point is what comes last.
    return ED_SPKI_PREFIX + point[-32:] if is_edwards else SPKI_PREFIX + point[-65:]


def find(session: Session, prefix: str, record: KeyRecord) -> KeyObject:
    """A record's key in this session.

    Raises KeyNotFound (an empty search: maybe a lost token), KeyMissing where there are several.
    """
    kind = ck.CKO_PRIVATE_KEY if record.use.is_signing else ck.CKO_SECRET_KEY
    label = label_of(prefix, record.use, record.number)
    found = session.cryptoki.find(session.open, {ck.CKA_CLASS: kind, ck.CKA_LABEL: label, ck.CKA_ID: record.key_id})
    if not found:
        raise KeyNotFound(label, session.epoch)
    if len(found) > 1:
        raise KeyMissing(f"{len(found)} keys on the token are {label} with the same id: remove the copies, keep one")
    return found[0]


def destroy(session: Session, prefix: str, record: KeyRecord) -> int:
    """Destroy every object of a record (both halves of a pair). Gives how many there were."""
    label = label_of(prefix, record.use, record.number)
    found = session.cryptoki.find(session.open, {ck.CKA_LABEL: label, ck.CKA_ID: record.key_id})
    for half in found:
        session.cryptoki.destroy_object(half)
    return len(found)


def weaknesses(session: Session, profile: Profile, use: KeyUse, key: KeyObject) -> list[str]:
    """What in a key's attributes would let it leave the token or do more than its job; empty when all is well."""
    wanted: dict[int, tuple[str, bool]] = {
        ck.CKA_PRIVATE: ("CKA_PRIVATE", True),
        ck.CKA_SENSITIVE: ("CKA_SENSITIVE", True),
        ck.CKA_EXTRACTABLE: ("CKA_EXTRACTABLE", False),
        ck.CKA_MODIFIABLE: ("CKA_MODIFIABLE", False),
        ck.CKA_LOCAL: ("CKA_LOCAL", True),
        ck.CKA_NEVER_EXTRACTABLE: ("CKA_NEVER_EXTRACTABLE", True),
        ck.CKA_ALWAYS_SENSITIVE: ("CKA_ALWAYS_SENSITIVE", True),
        ck.CKA_DERIVE: ("CKA_DERIVE", False),
    }
    if use is KeyUse.MASTER:
        wraps = profile.suite is Suite.KEY_WRAP
        wanted |= {
            ck.CKA_WRAP: ("CKA_WRAP", wraps),
            ck.CKA_UNWRAP: ("CKA_UNWRAP", wraps),
            ck.CKA_ENCRYPT: ("CKA_ENCRYPT", not wraps),
            ck.CKA_DECRYPT: ("CKA_DECRYPT", not wraps),
        }
    return [
        f"{name} is {'false' if right else 'true'}"
        for kind, (name, right) in wanted.items()
        if bool(session.cryptoki.attribute(key, kind)) is not right
    ]


def _needs(profile: Profile, use: KeyUse) -> tuple[tuple[int, str], ...]:
    """The mechanisms behind a use, and what they are called."""
    match use:
        case KeyUse.MASTER:
            return (ck.CKM_AES_KEY_GEN, "AES key generation"), (profile.mechanism, f"mechanism 0x{profile.mechanism:x}")
        case KeyUse.MAC:
            return (ck.CKM_GENERIC_SECRET_KEY_GEN, "generic secret generation"), (ck.CKM_SHA256_HMAC, "HMAC-SHA-256")
        case KeyUse.AUDIT:
            return (ck.CKM_EC_KEY_PAIR_GEN, "EC key generation"), (ck.CKM_ECDSA, "ECDSA")
        case KeyUse.AUDIT_ED:
            return (ck.CKM_EC_EDWARDS_KEY_PAIR_GEN, "Edwards key generation"), (ck.CKM_EDDSA, "EdDSA")


def is_offered(session: Session, profile: Profile, use: KeyUse) -> bool:
    """Whether the token has every mechanism that ``use`` needs."""
    return all(session.cryptoki.has_mechanism(session.token, mechanism) for mechanism, _ in _needs(profile, use))


def require_mechanisms(session: Session, profile: Profile, use: KeyUse) -> None:
    """Raises BadSettings where the token lacks what ``use`` needs."""
    for mechanism, name in _needs(profile, use):
        if not session.cryptoki.has_mechanism(session.token, mechanism):
            raise BadSettings(
                f"the token {session.token.label!r} has no {name}, which profile {profile.name!r} needs; "
                "choose another [kms] profile"
            )
