"""Owns the word by which a vault lets go of a key version that a key process holds: it is read, verified and obeyed here.

It must not know what stood under the key, nor how the vault made sure that nothing does. The key process's socket knows
nothing of it: a person brings the file to the key process's host and runs a command there.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from kms.errors import KmsError, ReleaseRefused
from kms.journal import DESTROY, Journal
from kms.keys import KeyRecord, KeyState
from kms.lifecycle import Lifecycle

FORMAT: Final = "coffre-key-release/1"
"""The first line: no checkpoint, manifest or report of a vault begins so."""
VALID_US: Final = 7 * 86_400 * 1_000_000
AHEAD_US: Final = 5 * 60 * 1_000_000
"""The two sides' clocks may differ by this much."""
NOTE_BYTES: Final = 8 * 1024


@dataclass(frozen=True, slots=True)
class Release:
    """What a release says. The persons are ids, as in the access log."""

    use: str
    number: int
    key: str
    """The key's CKA_ID, hexadecimal."""
    tenant: str
    asked_by: str
    asked_at: int
    """Microseconds since the epoch, like ``at``."""
    agreed_by: str
    event: str
    """The entry of the access log that tells of the agreement."""
    at: int

    def said(self) -> dict[str, str | int]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def read(cls, said: dict[str, Any]) -> Self:
        """Raises TypeError for anything that is not a release."""
        made = cls(**said)
        if not all(type(value) is (int if name in {"number", "asked_at", "at"} else str) for name, value in said.items()):
            raise TypeError("a value is not of its kind")
        return made


def opened(note: str, public_key: bytes) -> Release:
    """What a release says, once the audit key's signature was verified (SubjectPublicKeyInfo DER). Raises ReleaseRefused."""
    text, _, ending = note.rpartition("\n\n")
    first, _, rest = text.partition("\n")
    if first != FORMAT:
        raise ReleaseRefused("this file is not a release; where the vault is, coffre keys release writes one")
    key = load_der_public_key(public_key)
    try:
        raw = base64.b64decode(ending.strip().rpartition(" ")[2], validate=True)
        if not isinstance(key, EllipticCurvePublicKey):
            raise ReleaseRefused("the audit key of this host is not a P-256 key")
        key.verify(raw[4:], f"{text}\n".encode(), ECDSA(SHA256()))  # four bytes of key id before it (C2SP signed-note)
        return Release.read(json.loads(rest))
    except (ValueError, TypeError) as error:
        raise ReleaseRefused("the release can't be read: it was cut or altered") from error
    except InvalidSignature as error:
        raise ReleaseRefused(
            "the audit key of this host did not sign this release: it was altered, or it is another vault's"
        ) from error


def destroy(life: Lifecycle, journal: Journal, record: KeyRecord, path: Path | None, now_us: int) -> KeyRecord:
    """End a version in token and registry by the release in ``path``; the journal tells of it first. Safe to repeat.

    Raises ReleaseRefused, which the journal tells of too: then nothing was changed.
    """
    what, caller = f"{record.use}/{record.number}", "system"
    try:
        release = _valid(life, record, path, now_us)
        what, caller = f"{what}/{release.event}", release.agreed_by
        journal.record(DESTROY, caller, os.getuid(), what, "granted")
        gone = life.destroy(record)
    except KmsError as error:
        journal.record(DESTROY, caller, os.getuid(), what, error.code)
        raise
    journal.record(DESTROY, caller, os.getuid(), what, "done")
    return gone


def _valid(life: Lifecycle, record: KeyRecord, path: Path | None, now_us: int) -> Release:
    if path is None:
        raise ReleaseRefused(
            "a key process ends a key by the vault's release only; where the vault is: "
            f"coffre keys release {record.use} {record.number} -o FILE, then here: --release FILE"
        )
    if record.state not in {KeyState.DECRYPT_ONLY, KeyState.DESTROYED}:
        raise ReleaseRefused(f"{record.use} {record.number} is {record.state}: only a key that is out of use can be destroyed")
    release = opened(_text(path), life.keys.public_key())
    if (release.use, release.number) != (record.use.value, record.number) or release.key != record.key_id.hex():
        raise ReleaseRefused(f"the release is for another key ({release.use} {release.number}, id {release.key})")
    if not -AHEAD_US <= now_us - release.at <= VALID_US:
        raise ReleaseRefused(
            "the release is older than seven days, or of a time to come: write a fresh one with coffre keys release"
        )
    return release


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            found = file.read(NOTE_BYTES + 1)
        if len(found) > NOTE_BYTES:
            raise ReleaseRefused(f"{path} is too long for a release")
        return found.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseRefused(f"{path} can't be read as a release") from error
