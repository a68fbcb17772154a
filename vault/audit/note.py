"""Owns signed notes and checkpoints as text: C2SP signed-note and tlog-checkpoint. Pure.

It must not know where keys are, nor SQL.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

ED25519: Final = 0x01
"""signed-note, "Signature types": Ed25519 of the note text; the key id hashes name, type and the 32 bytes of the key."""
ECDSA: Final = 0x02
"""The same: ECDSA over SHA-256, DER signature; the key id hashes the SPKI DER alone."""
ED25519_SPKI: Final = bytes.fromhex("302a300506032b6570032100")
"""SubjectPublicKeyInfo of an Ed25519 key up to its 32 bytes (RFC 8410)."""
SIGNATURES: Final = 16
"""The most signature lines that a note may carry (signed-note, "Format")."""
NOTE_BYTES: Final = 64 * 1024
_DASH: Final = "— "


class NoteRejected(Exception):
    """A note is malformed, or no known key signed it. ``kind`` is a stable slug."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key that may sign notes under a name."""

    name: str
    key_id: bytes
    public_key: bytes
    """SPKI DER."""
    kind: int = ECDSA
    """Signature type: ECDSA or ED25519."""

    def __str__(self) -> str:
        """The verifier key as one line: name+hexid+base64(type ‖ key)."""
        material = self.public_key[len(ED25519_SPKI) :] if self.kind == ED25519 else self.public_key
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.kind]) + material).decode()}"

    def verify(self, text: bytes, signature: bytes) -> None:
        """Raises InvalidSignature; NoteRejected where the key is not of its kind."""
        key = load_der_public_key(self.public_key)
        if self.kind == ED25519 and isinstance(key, Ed25519PublicKey):
            key.verify(signature, text)
        elif self.kind == ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, text, ec.ECDSA(SHA256()))
        else:
            raise NoteRejected("trust", "a trusted key is not of the kind that it says")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: which log, how many leaves, which root (tlog-checkpoint, "Note text")."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note text, with its last newline."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def verifier(name: str, public_key: bytes) -> Verifier:
    """The verifier of an ECDSA P-256 or Ed25519 key given as SPKI DER."""
    if public_key.startswith(ED25519_SPKI):
        material = name.encode() + b"\n" + bytes([ED25519]) + public_key[len(ED25519_SPKI) :]
        return Verifier(name, sha256(material).digest()[:4], public_key, ED25519)
    return Verifier(name, sha256(public_key).digest()[:4], public_key)


def parse_verifier(line: str) -> Verifier:
    """Read one line of a trust file. Raises NoteRejected."""
    try:
        name, key_id, material = line.strip().split("+", 2)
        raw = base64.b64decode(material, validate=True)
    except (ValueError, binascii.Error) as error:
        raise NoteRejected("trust", f"not a verifier key: {line[:60]!r}") from error
    found = verifier(name, (ED25519_SPKI if raw[:1] == bytes([ED25519]) else b"") + raw[1:])
    if raw[:1] != bytes([found.kind]) or found.key_id.hex() != key_id:
        raise NoteRejected("trust", f"the key and its id do not belong together: {line[:60]!r}")
    return found


def sign(text: str, signer: Verifier, sign_digest: Callable[[bytes], bytes]) -> str:
    """The note: ``text`` and one signature line. ``sign_digest`` turns a SHA-256 digest into r ‖ s (64 bytes)."""
    raw = sign_digest(sha256(text.encode()).digest())
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    return f"{text}\n{signature_line(signer, der)}"


def signature_line(signer: Verifier, signature: bytes) -> str:
    """One line of a note's end, with its newline."""
    return f"{_DASH}{signer.name} {base64.b64encode(signer.key_id + signature).decode()}\n"


def split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """(text, [(key name, key id ‖ signature)]). Raises NoteRejected for anything that is not a signed note."""
    if len(note) > NOTE_BYTES or any(letter < " " and letter != "\n" for letter in note):
        raise NoteRejected("note", "the note is too long or holds control characters")
    text, separator, block = note.rpartition("\n\n")
    lines = block.splitlines()
    if not separator or not block.endswith("\n") or not 1 <= len(lines) <= SIGNATURES:
        raise NoteRejected("note", "the note carries no signature lines")
    return text + "\n", [_signature(line) for line in lines]


def cosignatures(note: str, origin: str) -> list[tuple[str, int]]:
    """(witness's name, its time in seconds) of every line that another than ``origin`` wrote (tlog-cosignature, Ed25519).

    They are read, not verified: whoever stores a note has verified it. Raises NoteRejected.
    """
    stamped = [(name, raw[4:]) for name, raw in split(note)[1] if name != origin]
    return [(name, int.from_bytes(raw[:8])) for name, raw in stamped if len(raw) == 8 + 64]


def _signature(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise NoteRejected("note", "a signature line is not base64") from error
    if not line.startswith(_DASH) or not name or len(raw) < 5:
        raise NoteRejected("note", "a signature line is malformed")
    return name, raw


def open_note(note: str, trusted: list[Verifier]) -> tuple[str, Verifier]:
    """(text, who signed it first). Raises NoteRejected: any known key's bad signature, or no known key at all."""
    text, signatures = split(note)
    by_name = {(each.name, each.key_id): each for each in trusted}
    signer: Verifier | None = None
    for name, raw in signatures:
        known = by_name.get((name, raw[:4]))
        if known is None:
            continue
        try:
            known.verify(text.encode(), raw[4:])
        except InvalidSignature as error:
            raise NoteRejected("signature", f"the signature of {name} does not belong to this note") from error
        signer = signer or known
    if signer is None:
        raise NoteRejected("unknown_key", "no trusted key signed this note")
    return text, signer


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's note text. Raises NoteRejected."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise NoteRejected("checkpoint", "a checkpoint has at least three lines")
    origin, size, root = lines[:3]
    if not (size.isascii() and size.isdigit()) or (len(size) > 1 and size[0] == "0") or len(size) > 16:
        raise NoteRejected("checkpoint", "the tree size is not a number")
    try:
        raw = base64.b64decode(root, validate=True)
    except binascii.Error as error:
        raise NoteRejected("checkpoint", "the root is not base64") from error
    if len(raw) != 32:
        raise NoteRejected("checkpoint", "the root is not a SHA-256 hash")
    return Checkpoint(origin, int(size), raw)


def open_checkpoint(note: str, trusted: list[Verifier], origin: str) -> Checkpoint:
    """A checkpoint of the log ``origin``, its signature verified. Raises NoteRejected."""
    text, _ = open_note(note, trusted)
    checkpoint = parse_checkpoint(text)
    if checkpoint.origin != origin:
        raise NoteRejected("origin", "the checkpoint is of another log")
    return checkpoint
