"""Owns the removal of what crashes left in the blob store. It must not know why it was left, nor touch what any row names.

A blob without a row is kept longer than the longest-lived backup of the database: after a restore, a row may name it again.
"""

from __future__ import annotations

from dataclasses import dataclass

from vault.audit.events import Action, Event, Note, Outcome, System
from vault.model import Actor, BlobId
from vault.records.documents.rooms import Rooms
from vault.storage.blobs import BlobStore
from vault.upkeep.scrub import unreferenced_blobs

GRACE_DAYS = 400
"""Longer than yearly database backups are kept; ``--grace-days`` for practices that keep them for less."""
UPLOAD_HOURS = 24
"""No upload lasts that long: what is older in the place of uploads under way is what a crash left."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What was removed, or would be."""

    orphans: int
    leftovers: int
    bytes: int


class Sweep:
    """Removes orphan blobs and ended uploads."""

    def __init__(self, rooms: Rooms, blobs: BlobStore, *, by: Actor | System) -> None:
        self._rooms = rooms
        self._blobs = blobs
        self._by = by

    def run(self, *, grace_days: float = GRACE_DAYS, is_rehearsal: bool = False) -> Swept:
        """Remove what is old enough; ``is_rehearsal`` only counts. Raises StorageUnavailable, LogUnavailable."""
        return self._remove(
            list(unreferenced_blobs(self._rooms, self._blobs, older_than_s=grace_days * 86_400)), is_rehearsal=is_rehearsal
        )

    def leftovers(self) -> Swept:
        """Remove interrupted uploads alone: no backup ever names them. Raises as ``run``."""
        return self._remove([], is_rehearsal=False)

    def _remove(self, orphans: list[tuple[BlobId, int]], *, is_rehearsal: bool) -> Swept:
        before = self._rooms.clock() - UPLOAD_HOURS * 3_600_000_000
        leftovers = [(entry.blob, entry.size) for entry in self._blobs.leftovers() if entry.written_at < before]
        swept = Swept(len(orphans), len(leftovers), sum(size for _, size in orphans + leftovers))
        if not is_rehearsal and (orphans or leftovers):
            note = Note(count=swept.orphans + swept.leftovers, bytes=swept.bytes, code="swept")
            self._rooms.log.record(Event(Action.DOCUMENT_INTEGRITY_CHECK, Outcome.SUCCESS, self._by, note=note))
            for blob, _ in orphans:
                self._blobs.delete(blob)
            for blob, _ in leftovers:
                self._blobs.discard(blob)
        return swept
