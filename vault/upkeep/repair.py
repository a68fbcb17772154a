"""Owns what happens to a stored version that is not well: put back from a copy where there is one, and told. It judges none."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection

from vault.audit.append import Receipt
from vault.audit.events import Action, Event, Note, Outcome, Subject, System
from vault.errors import Conflict, NotFound, StorageFull, StorageUnavailable
from vault.model import Actor
from vault.records.documents import catalogue
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.rooms import Rooms
from vault.storage.blobs import BlobStore
from vault.upkeep.inspection import Finding, Inspection

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one look."""

    finding: Finding | None
    """What is still wrong."""
    repaired: Finding | None
    """What was wrong."""


class Care:
    """Looks at versions one by one; repairs what it can; an event for each that was not well."""

    def __init__(
        self, rooms: Rooms, blobs: BlobStore, *, by: Actor | System, replica: BlobStore | None, receipt: Receipt | None
    ) -> None:
        """``receipt``: of a check with keys; without one no key is used."""
        self._rooms = rooms
        self._blobs = blobs
        self._by = by
        self._replica = replica
        self._ref = None if receipt is None else receipt.event
        self._inspection = Inspection(rooms, blobs, receipt=receipt)
        self._outside = None if replica is None else Inspection(rooms, replica, receipt=None)

    def look_at(self, stored: StoredVersion) -> Seen:
        """Raises KeysUnavailable, StorageUnavailable, LogUnavailable where a part, and not the document, is not well."""
        found = self._inspection.look_at(stored)
        if found is None or not self._is_still_there(stored):
            return Seen(None, None)
        left = self._inspection.look_at(stored) if self._repair(stored) else found
        self._tell(stored, found, is_repaired=left is None)
        return Seen(left, found if left is None else None)

    def _is_still_there(self, stored: StoredVersion) -> bool:
        """Whether the row is unchanged: a draft that was discarded while we looked is no finding."""
        with self._rooms.db.read() as connection:
            now = self._row(connection, stored)
        return now is not None and now.blob == stored.blob

    @staticmethod
    def _row(connection: Connection, stored: StoredVersion) -> StoredVersion | None:
        rows = catalogue.every_version(connection, (stored.document, stored.version - 1), 1)
        return next((row for row in rows if (row.document, row.version) == (stored.document, stored.version)), None)

    def _tell(self, stored: StoredVersion, found: Finding, *, is_repaired: bool) -> None:
        subject = Subject(stored.patient or None, stored.document, stored.version)
        events = [
            Event(
                Action.DOCUMENT_INTEGRITY_FAILURE, Outcome.FAILED, self._by, subject, Note(code=found.kind.value), ref=self._ref
            )
        ]
        if is_repaired:
            note = Note(code="repaired", bytes=stored.sealed_size)
            events.append(Event(Action.DOCUMENT_INTEGRITY_CHECK, Outcome.SUCCESS, self._by, subject, note, ref=self._ref))
        self._rooms.log.record_all(events)

    def _repair(self, stored: StoredVersion) -> bool:
        """Put a good copy from the replica in the place of a lost or damaged blob."""
        if self._replica is None or self._outside is None:
            return False
        try:
            if self._outside.look_at(stored) is not None:
                return False
            reader = self._replica.open(stored.blob)
        except (NotFound, StorageUnavailable):
            return False
        try:
            self._blobs.delete(stored.blob)
            with self._blobs.write(stored.blob, reader.size) as sink:
                room, offset = bytearray(BLOCK_BYTES), 0
                while offset < reader.size:
                    with memoryview(room)[: min(len(room), reader.size - offset)] as view:
                        reader.read_into(offset, view)
                        sink.write(view)
                        offset += len(view)
                sink.commit()
        except (Conflict, StorageFull, StorageUnavailable):
            return False
        finally:
            with suppress(StorageUnavailable):
                reader.close()
        return True
