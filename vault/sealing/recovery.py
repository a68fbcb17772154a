"""Owns the recovery slot's cryptography: a seed split into words, and scope keys sealed to its public key.

It must not know where copies are stored. HPKE (RFC 9180) base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; the
seed is split by SLIP-39 (shamir-mnemonic), m of n.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics

from kms.keys import Secret
from vault.errors import Invalid, Tampered
from vault.model import ScopeId, TenantId
from vault.sealing.binding import bind
from vault.storage.keyring import RecoveryCopy, RecoverySlot

SEED_BYTES = 32
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_INFO = b"coffre/recovery-seed/v1"


def _context(tenant: TenantId, scope: ScopeId) -> bytes:
    return bind("coffre/recovery/v1", tenant, scope)


def private_key(seed: Secret) -> X25519PrivateKey:
    """The slot's private key; it exists only while a quorum's words are on the table."""
    return X25519PrivateKey.from_private_bytes(HKDFExpand(SHA256(), 32, _INFO).derive(bytes(seed.view)))


def split(seed: Secret, needed: int, shares: int) -> list[str]:
    """``shares`` lines of 33 words, any ``needed`` of which give the seed back (SLIP-39). Raises Invalid."""
    if not 1 <= needed <= shares <= 16 or (needed == 1 and shares > 1):
        raise Invalid("from 2 of 2 up to 16 of 16 shares, or 1 of 1", field="needed", reason="out_of_range")
    return list(generate_mnemonics(1, [(needed, shares)], bytes(seed.view))[0])


def combine(lines: Sequence[str]) -> Secret:
    """The seed from a quorum's lines of words. Raises Invalid, saying what is wrong with them."""
    try:
        return Secret(combine_mnemonics([" ".join(line.lower().split()) for line in lines]))
    except MnemonicError as error:
        sentence = re.sub(r'"[^"]*"', "this slot", str(error))  # the library quotes the first words of a card
        raise Invalid(f"the words do not make a key: {sentence}", field="words", reason="not_a_quorum") from error


def recovery_copy(slot: RecoverySlot | None, tenant: TenantId, scope: ScopeId, key: Secret) -> RecoveryCopy | None:
    """The scope key sealed to the slot; None where there is no slot."""
    if slot is None:
        return None
    public = X25519PublicKey.from_public_bytes(slot.public_key)
    return RecoveryCopy(scope, slot.id, _SUITE.encrypt(bytes(key.view), public, _context(tenant, scope)))


def open_copy(private: X25519PrivateKey, tenant: TenantId, scope: ScopeId, sealed: bytes) -> Secret:
    """The scope key from its copy. Raises Tampered."""
    try:
        return Secret(_SUITE.decrypt(sealed, private, _context(tenant, scope)))
    except (InvalidTag, ValueError) as error:
        raise Tampered(f"the recovery copy of scope {scope} failed authentication", kind="recovery_copy") from error
