"""The offline verifier's own arithmetic, held to published vectors and to a second implementation; either signature will do."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography_vectors import open_vector_file

from tests.vault.audit.conftest import Rig
from tests.vault.audit.test_evidence import bundle, judged, log
from vault.audit import note, offline
from vault.audit.tree import Frontier

__all__ = ["log"]


def test_the_verifiers_own_signature_check(log: Rig) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for number in range(5):
        message = f"message {number}".encode()
        signature = key.sign(message, ec.ECDSA(SHA256()))
        assert offline.ecdsa_verify(spki, message, signature)
        assert not offline.ecdsa_verify(spki, message + b"x", signature)
        assert not offline.ecdsa_verify(spki, message, signature[:-1])
        assert not offline.ecdsa_verify(spki, message, b"")
    assert not offline.ecdsa_verify(spki[:-1] + bytes([spki[-1] ^ 1]), b"message 0", key.sign(b"message 0", ec.ECDSA(SHA256())))


def test_the_verifiers_own_ed25519_agrees_with_the_published_vectors() -> None:
    """RFC 8032 §7.1 is where the file begins; of the rest every eighth."""
    with open_vector_file("asymmetric/Ed25519/sign.input", "r") as file:
        lines = file.read().splitlines()
    for number, line in enumerate(lines[:8] + lines[8::8]):
        public, message, signed = (bytes.fromhex(part) for part in line.split(":")[1:4])
        signature = signed[:64]
        assert offline.ed25519_verify(public, message, signature)
        at = number % 64
        flipped = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
        assert not offline.ed25519_verify(public, message, flipped)
        assert not offline.ed25519_verify(public, message + b"x", signature)


def test_the_verifiers_own_ed25519_takes_one_encoding_only() -> None:
    key = Ed25519PrivateKey.generate()
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"m")
    s = int.from_bytes(signature[32:], "little")
    assert offline.ed25519_verify(public, b"m", signature)
    assert not offline.ed25519_verify(public, b"m", signature[:32] + (s + offline.L).to_bytes(32, "little")), "malleable"
    assert not offline.ed25519_verify(public, b"m", signature[:-1])
    assert not offline.ed25519_verify(public[:-1], b"m", signature)
    for bad in ((offline.Q + 1).to_bytes(32, "little"), (1 | 1 << 255).to_bytes(32, "little"), (2).to_bytes(32, "little")):
        assert not offline.ed25519_verify(bad, b"m", signature), "not the encoding of a point"


def test_a_checkpoint_opens_with_either_key_and_with_no_bad_signature(log: Rig) -> None:
    signed = log.auditing.checkpoint(log.auditor()).note
    trusted = offline.read_trust(log.auditing.trust())
    assert [key.kind for key in trusted] == [offline.ECDSA, offline.ED25519]
    text, first, second = signed.rpartition("\n\n")[0], *signed.splitlines(keepends=True)[-2:]
    ours = log.auditing.checkpoints.verifiers()
    for lines in (first + second, second + first, first, second):
        assert offline.open_checkpoint(f"{text}\n\n{lines}", trusted).size == 44
        assert note.open_checkpoint(f"{text}\n\n{lines}", ours, log.auditing.checkpoints.origin).size == 44
    for key, own in zip(trusted, ours, strict=True):
        assert offline.open_checkpoint(signed, [key]).size == 44
        assert note.parse_verifier(str(own)) == own
    for bad, good in ((first, second), (second, first)):
        head, _, encoded = bad.rpartition(" ")
        raw = bytearray(base64.b64decode(encoded))
        raw[-1] ^= 1
        spoilt = f"{text}\n\n{good}{head} {base64.b64encode(raw).decode()}\n"
        with pytest.raises(offline.Fault, match="signature"):
            offline.open_checkpoint(spoilt, trusted)
        with pytest.raises(note.NoteRejected) as refused:
            note.open_checkpoint(spoilt, ours, log.auditing.checkpoints.origin)
        assert refused.value.kind == "signature"


def test_a_token_without_ed25519_signs_with_p256_alone(log: Rig) -> None:
    log.keys.lose_edwards()
    assert judged(log, bundle(log)) == ("whole", None)
    assert [key.kind for key in offline.read_trust(log.auditing.trust())] == [offline.ECDSA]


def test_both_trees_agree() -> None:
    ours, theirs = Frontier(), offline.Range()
    for number in range(600):
        leaf = hashlib.sha256(str(number).encode()).digest()
        ours.append(leaf)
        theirs.append(leaf)
        assert ours.root() == theirs.root()
