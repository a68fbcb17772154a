"""Owns what a backup says about itself: the signed manifest, and the signed word beside each copy of the keyring.

Each is a C2SP signed note: a first line that names the format, JSON, and the signature of the log's audit key, so that the
trust file of the log (``coffre audit trust``) verifies it without a token. It must not know where the parts lie.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from kms.keys import KeyRecord, KeyService
from vault.audit import note
from vault.audit.checkpoint import origin_of
from vault.errors import Tampered
from vault.model import BlobId, Micros, TenantId
from vault.sealing.faults import key_faults
from vault.storage.blobs import is_blob_id

KEEP_DAYS: Final = 35
"""How long a copy of the keyring is kept at most: the promise made to whoever asks to be erased."""
BACKUP: Final = "coffre-backup/1"
KEYRING: Final = "coffre-keyring/1"
DRILL: Final = "coffre-drill/1"
_NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_LACKING = {"missing", "damaged"}


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a backup."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key version that the registry knew."""

    use: str
    number: int
    state: str
    id: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. Ids, counts and digests; nothing about anybody."""

    id: str
    tenant: TenantId
    taken_at: Micros
    """When the database's snapshot began: what was acknowledged before is in it."""
    finished_at: Micros
    program: str
    backend: str
    """Of the database that was copied; the copy is SQLite always."""
    revision: str
    database: Part
    keyring: Part
    """The copy of the keyring that was made with it; it lies apart, and is removed when its time is over."""
    blobs: Part
    """The list of every sealed body that the database names."""
    settings: Part
    documents: int
    """Versions, each with its body."""
    sealed_bytes: int
    lacking: int
    """Bodies that were missing or damaged in the vault itself when the backup was made; the list names them."""
    log_size: int
    checkpoint: str
    """The signed head of the log that the database's copy extends."""
    is_log_whole: bool
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class KeyringCopy:
    """What stands beside a copy of the keyring."""

    id: str
    tenant: TenantId
    taken_at: Micros
    revision: str
    keyring: Part


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the list of bodies."""

    blob: BlobId
    size: int
    sha256: str
    lacking: str = ""
    """``missing`` or ``damaged``: the vault itself did not have it any more."""


def backup_id(at: Micros, random: str) -> str:
    """A backup's name: its moment (UTC), microseconds last, and two ``random`` digits; names sort by age."""
    seconds, micros = divmod(at, 1_000_000)
    return f"{moment(seconds * 1_000_000).strftime('%Y%m%dT%H%M%SZ')}-{micros:06d}{random}"


def is_backup_id(name: str) -> bool:
    """Whether ``name`` can be a backup's."""
    return _NAME.fullmatch(name) is not None


def moment(at: int) -> datetime:
    """Microseconds as a moment, UTC."""
    return datetime.fromtimestamp(at / 1_000_000, UTC)


def gone_on(taken_at: Micros, days: int) -> str:
    """The day on which a copy taken then is removed, where a backup is made every day: YYYY-MM-DD."""
    return (moment(taken_at) + timedelta(days=days)).strftime("%Y-%m-%d")


def keys_of(records: Iterable[KeyRecord]) -> tuple[Key, ...]:
    """The registry's key versions as a manifest names them."""
    return tuple(Key(each.use.value, each.number, each.state.value, each.key_id.hex()) for each in records)


# --- signing ----------------------------------------------------------------------------------------------------------


def signed(form: str, said: Mapping[str, Any], tenant: TenantId, keys: KeyService) -> str:
    """A signed note of ``form`` that says ``said``. Raises KeysUnavailable."""
    text = f"{form}\n{json.dumps(said, indent=1, sort_keys=True)}\n"
    with key_faults():
        signature = keys.sign(sha256(text.encode()).digest())
        signer = note.verifier(origin_of(tenant), keys.public_key(signature.number))
    return note.sign(text, signer, lambda _digest: signature.raw)


def said_by(text: str, form: str) -> dict[str, Any]:
    """What a note of ``form`` says, its signature not looked at. Raises Tampered."""
    try:
        body = note.split(text)[0]
        first, _, rest = body.partition("\n")
        found = json.loads(rest)
    except (note.NoteRejected, ValueError) as error:
        raise Tampered("the manifest can't be read: it was cut or altered", kind="manifest") from error
    if first != form:
        if first.partition("/")[0] == form.partition("/")[0]:
            raise Tampered(f"it was written in another format ({first[:40]}) than this program reads", kind="format")
        raise Tampered("the manifest is not one", kind="manifest")
    if not isinstance(found, dict):
        raise Tampered("the manifest is not one", kind="manifest")
    return found


def opened(text: str, form: str, trusted: list[note.Verifier]) -> dict[str, Any]:
    """What a note of ``form`` says, once a trusted key's signature was verified.

    Raises Tampered: ``manifest`` (altered), ``foreign`` (signed by nobody whom we trust), ``format``.
    """
    found = said_by(text, form)
    try:
        note.open_note(text, trusted)
    except note.NoteRejected as error:
        if error.kind == "unknown_key":
            raise Tampered("it was signed by another vault, or by nobody", kind="foreign") from error
        raise Tampered("the manifest was altered: its signature does not hold", kind="manifest") from error
    return found


def manifest_of(said: Mapping[str, Any]) -> Manifest:
    """The manifest again. Raises Tampered."""
    try:
        parts = {name: Part(**said[name]) for name in ("database", "keyring", "blobs", "settings")}
        keys = tuple(Key(**each) for each in said["keys"])
        made = Manifest(**{**said, **parts, "keys": keys})
    except (TypeError, KeyError) as error:
        raise Tampered("the manifest can't be read", kind="manifest") from error
    if not is_backup_id(made.id) or any("/" in part.file for part in parts.values()):
        raise Tampered("the manifest can't be read", kind="manifest")
    return made


def keyring_of(said: Mapping[str, Any]) -> KeyringCopy:
    """The word on a keyring's copy again. Raises Tampered."""
    try:
        return KeyringCopy(**{**said, "keyring": Part(**said["keyring"])})
    except (TypeError, KeyError) as error:
        raise Tampered("the word on a keyring's copy can't be read", kind="manifest") from error


def words(record: Manifest | KeyringCopy) -> dict[str, Any]:
    """A record as JSON says it."""
    return dataclasses.asdict(record)


# --- the list of bodies -----------------------------------------------------------------------------------------------


def line(listed: Listed) -> str:
    """One line of the list: id, bytes, SHA-256, and what is wrong where something is."""
    return f"{listed.blob} {listed.size} {listed.sha256}{' ' if listed.lacking else ''}{listed.lacking}\n"


def lines(text: Iterable[str]) -> Iterator[Listed]:
    """The list again. Raises Tampered."""
    for each in text:
        words_ = each.split()
        if len(words_) not in (3, 4) or not is_blob_id(words_[0]) or not words_[1].isdecimal():
            raise Tampered("the list of bodies can't be read", kind="damaged")
        if len(words_) == 4 and words_[3] not in _LACKING:
            raise Tampered("the list of bodies can't be read", kind="damaged")
        yield Listed(BlobId(words_[0]), int(words_[1]), words_[2], words_[3] if len(words_) == 4 else "")
