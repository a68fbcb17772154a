"""Suites across tokens: what one wraps another opens, and what tokens that choose their own IV give back."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from kms import constants as ck
from kms.cryptoki import CryptokiError, Mechanism
from kms.errors import BadSettings, UnknownSuite
from kms.keys import Secret, WrappedKey
from kms.profiles import PROFILES, Profile, find_profile
from kms.sessions import Pool, Session
from kms.settings import KmsSettings
from kms.structures import Template
from kms.suites import KeyInUse, unwrap, wrap
from kms.wrapped import Suite, join, take_apart

SECRET, CONTEXT = bytes(range(32)), b"tenant and scope"


def known_key(session: Session, profile: Profile, value: bytes) -> KeyInUse:
    """A session key of known value on a real token."""
    template: Template = {
        ck.CKA_CLASS: ck.CKO_SECRET_KEY,
        ck.CKA_KEY_TYPE: ck.CKK_AES,
        ck.CKA_VALUE: value,
        ck.CKA_TOKEN: False,
        ck.CKA_WRAP: True,
        ck.CKA_UNWRAP: True,
        ck.CKA_ENCRYPT: True,
        ck.CKA_DECRYPT: True,
    }
    return KeyInUse(session, session.cryptoki.create_object(session.open, template), profile, 1)


@pytest.mark.hsm
def test_suite_3_is_the_same_on_both_tokens_and_on_paper(softhsm: KmsSettings, nss: KmsSettings) -> None:
    value, profile = os.urandom(32), find_profile("nss")
    with closing(Pool(softhsm)) as one, closing(Pool(nss)) as other:

        def make(session: Session) -> WrappedKey:
            return wrap(known_key(session, profile, value), SECRET, CONTEXT, os.urandom)

        def read(wrapped: WrappedKey) -> Any:
            return lambda session: bytes(unwrap(known_key(session, profile, value), take_apart(wrapped), CONTEXT).view)

        by_softhsm, by_nss = one.run(make), other.run(make, timeout_ms=20_000)
        assert other.run(read(by_softhsm), timeout_ms=20_000) == SECRET
        assert one.run(read(by_nss)) == SECRET
    parts = take_apart(by_nss)
    inner = aes_key_unwrap(value, parts.body[:40])
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=parts.associated_data(CONTEXT)).derive(inner)
    assert AESGCM(key).decrypt(bytes(12), parts.body[40:], None) == SECRET


class SimulatedToken:
    """An HSM that insists on its own IV, as Cryptoki would show it: Luna appends it, CloudHSM writes it into the parameter."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.cipher = AESGCM(os.urandom(32))

    def _parameter(self, mechanism: Mechanism) -> tuple[bytes, bytes]:
        assert mechanism.parameter is not None
        return mechanism.parameter.iv, mechanism.parameter.aad  # what C_EncryptInit would be given

    def encrypt(self, _key: object, mechanism: Mechanism, plaintext: bytes) -> bytes:
        iv, aad = self._parameter(mechanism)
        assert iv == bytes(self.profile.iv_bytes)
        chosen = os.urandom(self.profile.iv_bytes)
        sealed = self.cipher.encrypt(chosen, bytes(plaintext), aad)
        if self.profile.name == "luna":
            return sealed + chosen
        assert mechanism.parameter is not None
        mechanism.parameter.iv = chosen  # the token writes into our buffer
        return sealed

    def decrypt(self, _key: object, mechanism: Mechanism, ciphertext: bytes) -> Secret:
        iv, aad = self._parameter(mechanism)
        return Secret(self.cipher.decrypt(iv, ciphertext, aad))


@pytest.mark.parametrize("name", ["luna", "cloudhsm"])
def test_a_token_that_chooses_its_iv(name: str) -> None:
    profile = find_profile(name)
    session = cast("Session", type("Stand", (), {"cryptoki": SimulatedToken(profile), "open": None}))
    key = KeyInUse(session, None, profile, 3)
    wrapped = wrap(key, SECRET, CONTEXT, os.urandom)
    parts = take_apart(wrapped)
    assert (parts.suite, parts.number, len(parts.iv)) == (Suite.GCM_TOKEN_IV, 3, profile.iv_bytes)
    assert parts.iv != bytes(profile.iv_bytes)
    assert unwrap(key, parts, CONTEXT).view == SECRET
    assert wrap(key, SECRET, CONTEXT, os.urandom) != wrapped


@pytest.mark.hsm
def test_a_stored_blob_can_not_choose_another_mechanism(softhsm: KmsSettings) -> None:
    with closing(Pool(softhsm)) as pool:

        def attack(session: Session) -> None:
            key = known_key(session, pool.profile, bytes(32))
            parts = take_apart(wrap(key, SECRET, CONTEXT, os.urandom))
            for mechanism in (0x1081, 0x1082, 0x1085, 0x1086, 0x2109, 0):  # ECB, CBC, CBC_PAD, CTR, key wrap, nothing
                with pytest.raises(UnknownSuite):
                    unwrap(key, parts._replace(mechanism=mechanism), CONTEXT)
            for iv in (b"", b"\x00", bytes(16)):
                with pytest.raises(UnknownSuite):
                    unwrap(key, parts._replace(iv=iv), CONTEXT)
            with pytest.raises(CryptokiError):
                unwrap(key, parts._replace(number=2), CONTEXT)

        pool.run(attack)


@pytest.mark.parametrize(
    "raw", [b"", b"\x01", b"\x02\x01" + bytes(60), b"\x01\x00" + bytes(60), b"\x01\x04" + bytes(60), b"\x01\x01" + bytes(9)]
)
def test_an_unknown_format_is_an_error_and_never_a_guess(raw: bytes) -> None:
    with pytest.raises(UnknownSuite):
        take_apart(raw)


def test_the_format_is_what_the_documentation_says() -> None:
    raw = bytes.fromhex("01 01 00000007 00001087 0c") + bytes(range(12)) + b"ciphertext and tag"
    parts = take_apart(raw)
    assert (parts.suite, parts.number, parts.mechanism, parts.iv) == (Suite.GCM, 7, ck.CKM_AES_GCM, bytes(range(12)))
    assert join(parts) == raw
    assert parts.associated_data(b"x") == b"coffre/wrapped-key/v1\x00" + raw[:11] + b"x"


def test_profiles_are_sound() -> None:
    for profile in PROFILES.values():
        assert profile.sessions >= 2
        assert (profile.suite is Suite.KEY_WRAP) is (profile.mechanism == ck.CKM_AES_KEY_WRAP)
    assert {profile.name for profile in PROFILES.values() if profile.was_run} == {"softhsm", "nss"}


@pytest.mark.parametrize("name", ["nethsm", "yubihsm"])
def test_a_module_that_lacks_what_every_suite_needs_is_refused_with_its_reason(name: str) -> None:
    with pytest.raises(BadSettings, match="can't hold these keys"):
        find_profile(name)
