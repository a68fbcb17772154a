"""Owns what an event becomes: four salted, sealed groups, their commitments, and the keyed index values.

It must not know tables, the tree or who may read. Formats: docs/format.md, "Access log".
"""

from __future__ import annotations

import hmac
import json
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault.audit.events import Action, Anonymous, Event, System
from vault.errors import Tampered
from vault.model import Client, TenantId

SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
INDEX_BYTES: Final = 16
COMMITMENT: Final = b"vault-audit/v1\x00"

IP_CHARACTERS: Final = 45
"""The longest textual IPv6 address."""
AGENT_CHARACTERS: Final = 80
WORKSTATION_CHARACTERS: Final = 64
TOKEN_CHARACTERS: Final = 128
"""What callers give as references and codes is short; more is cut, so that nobody can fill the log with one field."""

Fields = dict[str, str | int]


class Group(StrEnum):
    """The four parts of an event that can be disclosed, withheld or erased one by one."""

    ACTOR = "actor"
    SUBJECT = "subject"
    CLIENT = "client"
    NOTE = "note"


class Flag(IntFlag):
    """What reviews look for; stands beside the leaf, unsealed, and says nothing about anybody."""

    NONE = 0
    BREAKGLASS = 1
    OUTSIDE_TEAM = 2
    RELATION = 4
    SENSITIVE = 8


RELATION_FLAGS: Final = {
    "outside_team": Flag.OUTSIDE_TEAM,
    "self": Flag.RELATION,
    "colleague": Flag.RELATION,
    "same_surname": Flag.RELATION,
    "sensitive": Flag.SENSITIVE,
}
"""Words of ``Note.relation`` that raise a flag."""


def flags_of(event: Event) -> Flag:
    """The review bits of an event."""
    return _flags(event.action.value, event.note.relation, is_breakglass=event.note.is_breakglass)


def flags_told(action: str, note: Fields) -> Flag:
    """The same, from what an entry's note says: an entry whose bits are others hides from reviews."""
    return _flags(action, str(note.get("relation", "")).split(), is_breakglass=note.get("breakglass") == 1)


def _flags(action: str, relation: Iterable[str], *, is_breakglass: bool) -> Flag:
    flags = Flag.BREAKGLASS if is_breakglass or action == Action.ACCESS_BREAKGLASS.value else Flag.NONE
    for word in relation:
        flags |= RELATION_FLAGS.get(word, Flag.NONE)
    return flags


def _text(value: str, limit: int = TOKEN_CHARACTERS) -> str:
    """At most ``limit`` characters; what is not text (lone surrogates) becomes U+FFFD."""
    return value[:limit].encode("utf-8", "replace").decode("utf-8") if value else ""


def actor_fields(event: Event) -> Fields:
    """The actor group without its counter."""
    by = event.by
    if isinstance(by, System):
        return {"kind": "system", "ref": _text(by.component)}
    if isinstance(by, Anonymous):
        return {"kind": "anonymous", "ref": _text(by.name_hash), "known": int(by.is_known)}
    return {
        "kind": "person",
        "ref": by.person,
        "role": by.role.value,
        "session": _text(by.session),
        "amr": " ".join(by.methods),
    }


def counted_as(actor: Fields) -> str:
    """Whose events are counted together: a person's, a component's; everybody who is not signed in shares one count."""
    return f"{actor['kind']} {'' if actor['kind'] == 'anonymous' else actor['ref']}"


def client_fields(event: Event) -> Fields:
    """The client group; empty where the installation itself acted."""
    client = Client() if isinstance(event.by, System) else event.by.client
    fields = {
        "ip": _text(client.ip, IP_CHARACTERS),
        "agent": _text(client.agent, AGENT_CHARACTERS),
        "workstation": _text(client.workstation, WORKSTATION_CHARACTERS),
    }
    return {name: value for name, value in fields.items() if value}


def note_fields(event: Event) -> Fields:
    """The note group."""
    note = event.note
    fields: dict[str, str | int | None] = {
        "purpose": note.purpose.value if note.purpose else None,
        "reason": note.reason,
        "breakglass": 1 if note.is_breakglass else None,
        "relation": _text(" ".join(note.relation)) or None,
        "bytes": note.bytes,
        "count": note.count,
        "changed": _text(" ".join(note.changed)) or None,
        "code": _text(note.code) if note.code else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def subject_fields(event: Event, reference: str | None) -> Fields:
    """The subject group without its counter; ``reference`` is the patient's log reference, None where the id is not known."""
    subject = event.subject
    fields: dict[str, str | int | None] = {
        "patient": reference,
        "asked": _text(subject.patient) if subject.patient and reference is None else None,
        "document": _text(subject.document) if subject.document else None,
        "version": subject.version,
        "class": _text(subject.document_class) if subject.document_class else None,
        "person": _text(subject.person) if subject.person else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


_NOBODY: Final = bytes(INDEX_BYTES)
_COMMITS: Final = {group.value: COMMITMENT + group.encode() + b"\x00" for group in Group}


def commitment(group: str, opened: bytes) -> str:
    """Base64 SHA-256("vault-audit/v1" ‖ 0 ‖ group ‖ 0 ‖ salt ‖ JSON); ``opened`` is salt ‖ JSON."""
    return b2a_base64(sha256(_COMMITS[group] + opened).digest(), newline=False).decode()


@dataclass(frozen=True, slots=True)
class PatientKeys:
    """How the log knows one patient; without it their groups can't be opened."""

    reference: str
    blind: bytes
    cipher: AESGCM


Opened = tuple[bytes | None, bytes | None, bytes | None, bytes | None]
"""Salt ‖ JSON of the four groups in the order of ``Group``; None where one is withheld, expired or erased."""


class LogKeys:
    """Everything derived from the LOG scope key: kept in the process, because every access writes to the log."""

    def __init__(self, secret: bytes | bytearray, tenant: TenantId) -> None:
        self._prefix = b"coffre/log/v1\x00" + bytes.fromhex(tenant)
        master = bytes(secret)
        self._master = master
        self._index = self._derive(b"index")
        self._ciphers = {group: AESGCM(self._derive(group.encode())) for group in Group}
        self._open_actor, self._open_subject, self._open_client, self._open_note = [
            cipher.decrypt for cipher in self._ciphers.values()
        ]
        self.blind = lru_cache(maxsize=16_384)(self._blind)
        self._mac = hmac.new(self._index, digestmod=sha256)

    def __repr__(self) -> str:
        return "LogKeys(<redacted>)"

    def _derive(self, use: bytes, salt: bytes | None = None) -> bytes:
        return HKDF(SHA256(), 32, salt, b"coffre log " + use).derive(self._master)

    def _blind(self, kind: str, value: str) -> bytes:
        """The keyed index value of a reference, 16 bytes; unrelated for two kinds."""
        mac = self._mac.copy()
        mac.update(f"{kind}\x00{value}".encode())
        return mac.digest()[:INDEX_BYTES]

    def patient(self, reference: str, salt: bytes) -> PatientKeys:
        """The keys of one patient's groups: subject and note of the events about them."""
        return PatientKeys(reference, self.blind("patient", reference), AESGCM(self._derive(b"patient", salt)))

    def cipher(self, group: Group, patient: PatientKeys | None) -> AESGCM:
        """Which key seals a group: the patient's own for what is about them, else the log's."""
        return patient.cipher if patient and group in {Group.SUBJECT, Group.NOTE} else self._ciphers[group]

    def context(self, group: Group, position: int, leaf: bytes, patient_index: bytes | None) -> bytes:
        """The associated data that binds a group to its place: tenant, position, leaf hash, patient's index value, group."""
        return self._prefix + position.to_bytes(8) + leaf + (patient_index or _NOBODY) + group.encode()

    def seal(self, group: Group, opened: bytes, context: bytes, nonce: bytes, patient: PatientKeys | None) -> bytes:
        """Nonce ‖ AES-256-GCM(salt ‖ JSON)."""
        return nonce + self.cipher(group, patient).encrypt(nonce, opened, context)

    def open(self, group: Group, sealed: bytes, context: bytes, patient: PatientKeys | None) -> bytes:
        """Salt ‖ JSON. Raises Tampered."""
        try:
            return self.cipher(group, patient).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise Tampered(f"log group {group}", kind="group") from error

    def open_all(
        self,
        sealed: Sequence[bytes | None],
        position: int,
        leaf: bytes,
        patient_index: bytes | None,
        patient: PatientKeys | None,
    ) -> Opened:
        """The four groups of a row as ``open`` gives them; those of an erased patient are None. Raises Tampered.

        Written out without a loop, because exports call it for every entry.
        """
        place = self._prefix + position.to_bytes(8) + leaf + (patient_index or _NOBODY)
        actor, subject, client, note = sealed
        if patient_index is None:
            open_subject, open_note = self._open_subject, self._open_note
        elif patient is not None:
            open_subject = open_note = patient.cipher.decrypt
        else:
            subject = note = None
        try:
            return (
                None if actor is None else self._open_actor(actor[:NONCE_BYTES], actor[NONCE_BYTES:], place + b"actor"),
                None if subject is None else open_subject(subject[:NONCE_BYTES], subject[NONCE_BYTES:], place + b"subject"),
                None if client is None else self._open_client(client[:NONCE_BYTES], client[NONCE_BYTES:], place + b"client"),
                None if note is None else open_note(note[:NONCE_BYTES], note[NONCE_BYTES:], place + b"note"),
            )
        except (InvalidTag, ValueError) as error:
            raise Tampered(f"a log group of entry {position}", kind="group", index=position) from error


def fields_of(opened: bytes) -> Fields:
    """The fields of an opened group (salt ‖ JSON)."""
    fields: Fields = json.loads(opened[SALT_BYTES:])
    return fields
