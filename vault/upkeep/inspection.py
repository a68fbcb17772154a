"""Owns the judgement on one stored version: is its blob the one that its row promises, and does it open? It changes nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from vault.audit.append import Receipt
from vault.errors import NotFound, StorageUnavailable, Tampered
from vault.model import DocumentId
from vault.records.documents import catalogue
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.quarantined import bound, open_apart
from vault.records.documents.rooms import Rooms
from vault.records.inbox.drafts import open_draft
from vault.sealing.documents import BLOCK_BYTES, HEADER_BYTES, MAGIC, Body
from vault.storage.blobs import BlobReader, BlobStore
from vault.storage.schema import DRAFT, QUARANTINED


class Kind(StrEnum):
    """What can be wrong with a stored version."""

    MISSING = "missing"
    """Its blob is not there."""
    NOT_A_FILE = "not_a_file"
    """Something else stands where its blob should be."""
    UNREADABLE = "unreadable"
    """The disk can't give its blob back."""
    CUT = "cut"
    EXTENDED = "extended"
    FLIPPED = "flipped"
    """The blob has the right size and another digest than its row says."""
    SWAPPED = "swapped"
    """The blob is one of this vault's, under another's name."""
    FOREIGN = "foreign"
    """The blob is none of this vault's."""
    KEY = "key"
    """A wrapped key or its data key does not open."""
    DESCRIPTION = "description"
    """What is said of the document was altered, or belongs to another place."""
    BODY = "body"
    """Everything looks right from outside, and the body does not open."""
    DIGEST = "digest"
    """The body opens to other bytes than were received."""
    VERSION = "version"
    """A newer version is there than the row calls current."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One version that is not well."""

    document: DocumentId
    version: int
    kind: Kind


class Inspection:
    """Looks at versions one by one; says nothing of those that are well."""

    def __init__(self, rooms: Rooms, blobs: BlobStore, *, receipt: Receipt | None) -> None:
        """Without ``receipt`` no key is used: sizes, headers and the ciphertext's digest are compared, and no more."""
        self._rooms = rooms
        self._blobs = blobs
        self._receipt = receipt
        self._room = bytearray(BLOCK_BYTES)

    def look_at(self, stored: StoredVersion) -> Finding | None:
        """Raises KeysUnavailable, StorageUnavailable where a part, and not the document, is not well."""
        kind = self._from_outside(stored)
        if kind is None and self._receipt is not None:
            kind = self._from_inside(stored, self._receipt)
        if kind is None or not self._is_named(stored):
            return None
        return Finding(stored.document, stored.version, kind)

    def _is_named(self, stored: StoredVersion) -> bool:
        """Whether the row still stands: what was destroyed on purpose since it was read lacks nothing."""
        with self._rooms.db.read() as connection:
            return stored.blob in catalogue.known_blobs(connection, [stored.blob])

    def _from_outside(self, stored: StoredVersion) -> Kind | None:
        try:
            reader = self._blobs.open(stored.blob, is_cold=True)
        except NotFound:
            return Kind.MISSING
        except Tampered:
            return Kind.NOT_A_FILE
        try:
            if reader.size != stored.sealed_size:
                return Kind.CUT if reader.size < stored.sealed_size else Kind.EXTENDED
            return self._digest(reader, stored)
        except Tampered:
            return Kind.CUT
        except StorageUnavailable as error:
            if error.details.get("cause") == "EIO":
                return Kind.UNREADABLE
            raise
        finally:
            reader.close()

    def _digest(self, reader: BlobReader, stored: StoredVersion) -> Kind | None:
        digest, offset = hashlib.sha256(), 0
        header = b""
        while offset < reader.size:
            with memoryview(self._room)[: min(len(self._room), reader.size - offset)] as view:
                reader.read_into(offset, view)
                digest.update(view)
                header = header or bytes(view[:HEADER_BYTES])
                offset += len(view)
        if digest.digest() == stored.sealed_sha256:
            return None
        expected = Body(self._rooms.tenant, stored.blob, stored.document, stored.version).header()
        if header == expected:
            return Kind.FLIPPED
        ours = header[:8] == MAGIC and header[16:32] == expected[16:32]
        return Kind.SWAPPED if ours and header[:16] == expected[:16] else Kind.FOREIGN

    def _from_inside(self, stored: StoredVersion, receipt: Receipt) -> Kind | None:
        try:
            sha256, bound_as = self._promised(stored)
        except NotFound:
            return None if self._is_erased(stored) else Kind.KEY
        except Tampered as error:
            return Kind.KEY if error.details.get("kind") == "wrapped_key" else Kind.DESCRIPTION
        try:
            if self._rooms.bodies.digest(receipt, bound_as).hex() != sha256:
                return Kind.DIGEST
        except Tampered as error:
            return Kind.KEY if error.details.get("kind") in {"field", "wrapped_key"} else Kind.BODY
        with self._rooms.db.read() as connection:
            newest = catalogue.newest_version(connection, stored.document)
        return Kind.VERSION if stored.version == newest > stored.current else None

    def _is_erased(self, stored: StoredVersion) -> bool:
        """Whether the key is gone on purpose, so that nothing of it can be read any more."""
        with self._rooms.db.read() as connection:
            return catalogue.patient_state(connection, stored.patient) == "erased"

    def _promised(self, stored: StoredVersion) -> tuple[str, StoredVersion]:
        """The digest that is sealed with a version, and the version as its body is bound."""
        if stored.state not in {DRAFT, QUARANTINED}:
            return self._rooms.description(stored).sha256, stored
        with self._rooms.scopes.open(stored.scope) as key:
            if stored.state == DRAFT:
                return open_draft(key, self._rooms.tenant, stored.document, stored.description_sealed).sha256, stored
            told = open_apart(key, self._rooms.tenant, stored.document, stored.description_sealed)
        return told.sha256, bound(stored, told)
