"""Owns the making of a backup: database first, then keyring, then every sealed body, then the signed manifest, then it exists.

It must not know the command line. Nothing in it is in clear, and no key is used but the log's, to sign.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Row, select

from vault.audit.checkpoint import Signed
from vault.audit.events import Action, Event, Note, Outcome
from vault.errors import Conflict, Invalid, NotFound, StorageUnavailable, Tampered, VaultError
from vault.model import Actor, BlobId, DocumentId, Micros
from vault.people import policy
from vault.people.policy import Act
from vault.records.documents import catalogue
from vault.storage import snapshot
from vault.storage.blobs import BlobReader, BlobStore
from vault.storage.keyring import SqlRegistry
from vault.storage.migrate import KEYRING, MAIN
from vault.storage.schema import document_versions
from vault.upkeep import depot as places
from vault.upkeep import manifest
from vault.upkeep.backup_check import Begin, quietly
from vault.upkeep.depot import Depot
from vault.upkeep.manifest import KEEP_DAYS, KeyringCopy, Listed, Manifest

if TYPE_CHECKING:
    from vault.opening import Vault

ATTEMPTS: Final = 5
"""Snapshots taken anew because a draft was destroyed, with its body, while bodies were being copied."""
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Lacking:
    """A body that the vault itself does not have any more."""

    document: DocumentId
    version: int
    kind: str


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that exists."""

    manifest: Manifest
    copied: int
    """Bodies that were new."""
    copied_bytes: int
    lacking: tuple[Lacking, ...]
    gone_on: str
    """The day on which this copy of the keyring is removed."""
    pruned: tuple[str, ...]
    kept_too_long: tuple[str, ...]
    """Copies of the keyring over their time that could not be removed from here."""


class Vanished(Exception):
    """A body went together with its row: the snapshot names what was destroyed since."""


@dataclass(slots=True)
class _Copied:
    count: int = 0
    bytes: int = 0
    lacking: list[Lacking] | None = None


class Backup:
    """Makes backups of one vault in one place."""

    def __init__(self, vault: Vault, depot: Depot, *, keep_days: int = KEEP_DAYS) -> None:
        """Raises Invalid for a retention that the promise of erasure does not allow."""
        if not 1 <= keep_days <= KEEP_DAYS:
            raise Invalid(f"copies of the keyring are kept for 1 to {KEEP_DAYS} days", field="keep", reason="range")
        self._vault = vault
        self._depot = depot
        self._keep_days = keep_days

    def create(self, actor: Actor, begin: Begin = quietly) -> Made:
        """Make one; ``begin`` is told how many bodies there are, and gives what is called with each advance.

        Raises Forbidden, Conflict (another one is under way), StorageFull, StorageUnavailable, KeysUnavailable, LogUnavailable.
        """
        vault = self._vault
        policy.authorise(actor, Act.BACKUP_OPERATE, vault.clock())
        self._depot.prepare()
        with self._depot.alone():
            name = manifest.backup_id(vault.clock(), secrets.token_hex(1))
            granted = vault.log.record(Event(Action.SYSTEM_BACKUP, Outcome.GRANTED, actor, note=Note(code=name)))
            try:
                made = self._make(name, begin)
            except VaultError as error:
                with suppress(VaultError):
                    note = Note(code=f"{name}:{error.code}")
                    vault.log.record(Event(Action.SYSTEM_BACKUP, Outcome.FAILED, actor, note=note, ref=granted.event))
                raise
            outcome = Outcome.PARTIAL if made.lacking or not made.manifest.is_log_whole else Outcome.SUCCESS
            note = Note(count=made.manifest.documents, bytes=made.copied_bytes, code=name)
            vault.log.record(Event(Action.SYSTEM_BACKUP, outcome, actor, note=note, ref=granted.event))
            return made

    def _make(self, name: str, begin: Begin) -> Made:
        vault, depot = self._vault, self._depot
        with depot.draft(name) as place:
            head, is_whole = self._head()
            taken_at, copied = self._snapshot(place, begin)
            keyring = self._keyring(name, place, taken_at)
            with snapshot.reading(place / places.DATABASE) as connection:
                documents, sealed_bytes = catalogue.count_versions(connection)
            made = Manifest(
                id=name,
                tenant=vault.installation.tenant,
                taken_at=taken_at,
                finished_at=vault.clock(),
                program=version("coffre"),
                backend="sqlite" if vault.db.is_sqlite else "postgresql",
                revision=snapshot.revision_of(place / places.DATABASE) or "",
                database=places.part_of(place / places.DATABASE),
                keyring=keyring.keyring,
                blobs=places.part_of(place / places.BLOBS),
                settings=places.part_of(place / places.SETTINGS),
                documents=documents,
                sealed_bytes=sealed_bytes,
                lacking=len(copied.lacking or ()),
                log_size=head.checkpoint.size if head else 0,
                checkpoint=head.note if head else "",
                is_log_whole=is_whole,
                keys=manifest.keys_of(SqlRegistry(vault.keyring_db).records()),
            )
            depot.publish(name, manifest.signed(manifest.BACKUP, manifest.words(made), made.tenant, vault.keys))
        pruned, left = depot.prune(vault.clock(), self._keep_days, name)
        gone_on = manifest.gone_on(taken_at, self._keep_days)
        lacking = tuple(copied.lacking or ())
        return Made(made, copied.count, copied.bytes, lacking, gone_on, tuple(pruned), tuple(left))

    def _head(self) -> tuple[Signed | None, bool]:
        """The signed head that the copy will extend. A log that was altered is no reason to have no backup; it says so."""
        checkpoints = self._vault.auditing.checkpoints
        try:
            return checkpoints.make(keep=True), True
        except Tampered:
            return checkpoints.latest(), False

    def _snapshot(self, place: Path, begin: Begin) -> tuple[Micros, _Copied]:
        """The database, then the bodies that it names; anew where a draft and its body were destroyed between the two."""
        copied, database = _Copied(), place / places.DATABASE
        for _ in range(ATTEMPTS):
            taken_at = self._vault.clock()
            database.unlink(missing_ok=True)
            snapshot.take(self._vault.db, MAIN, database)
            with suppress(Vanished):
                self._bodies(place, copied, begin)
                snapshot.write_file(place / places.SETTINGS, _settings(self._vault.settings.path))
                return taken_at, copied
        raise Conflict("drafts were destroyed faster than their bodies could be copied; try again in a quiet moment")

    def _keyring(self, name: str, place: Path, taken_at: Micros) -> KeyringCopy:
        """After the database: every scope that it names is there, unless it was erased."""
        copy = place / "keyring.db"
        snapshot.take(self._vault.keyring_db, KEYRING, copy)
        revision = snapshot.revision_of(copy) or ""
        part = places.part_of(copy, f"{name}.db")
        word = KeyringCopy(name, self._vault.installation.tenant, taken_at, revision, part)
        text = manifest.signed(manifest.KEYRING, manifest.words(word), word.tenant, self._vault.keys)
        self._depot.add_keyring(copy, name, text)
        copy.unlink()
        return word

    # --- bodies

    def _bodies(self, place: Path, copied: _Copied, begin: Begin) -> None:
        """Copy what is new, and list everything. Raises Vanished."""
        pool = self._depot.bodies()
        for left in list(pool.leftovers()):  # what a cut run left; nobody else copies into this place now
            pool.discard(left.blob)
        present = {entry.blob: entry.size for entry in pool.list()}
        copied.lacking = []
        listed: list[str] = []
        with snapshot.reading(place / places.DATABASE) as connection:
            advance = begin(catalogue.count_versions(connection)[0])
            for row in _named(connection):
                kind = "" if present.get(BlobId(row.blob)) == row.sealed_size else self._copy(pool, row, present, copied)
                if kind:
                    copied.lacking.append(Lacking(DocumentId(row.document), row.version, kind))
                listed.append(manifest.line(Listed(BlobId(row.blob), row.sealed_size, row.sealed_sha256.hex(), kind)))
                advance(1)
        (place / places.BLOBS).unlink(missing_ok=True)
        snapshot.write_file(place / places.BLOBS, "".join(listed).encode())

    def _copy(self, pool: BlobStore, row: Row[str, int, str, int, bytes], present: dict[BlobId, int], copied: _Copied) -> str:
        """Copy one body, comparing its digest; the word for what is wrong with it, else nothing. Raises Vanished."""
        blob = BlobId(row.blob)
        if blob in present:  # of another size than it should be: a copy that was damaged in the place itself
            pool.delete(blob)
        try:
            if transfer(self._vault.blobs, pool, blob, row.sealed_size, row.sealed_sha256):
                copied.count += 1
                copied.bytes += row.sealed_size
                return ""
        except NotFound as error:
            if not self._is_named(blob):
                raise Vanished from error
            return "missing"
        return "damaged"

    def _is_named(self, blob: BlobId) -> bool:
        with self._vault.db.read() as connection:
            return blob in catalogue.known_blobs(connection, [blob])


def _named(connection: Connection) -> Iterator[Row[str, int, str, int, bytes]]:
    columns = document_versions.c
    query = select(columns.document, columns.version, columns.blob, columns.sealed_size, columns.sealed_sha256)
    yield from connection.execution_options(yield_per=1000).execute(query.order_by(columns.blob))


def _settings(path: Path) -> bytes:
    """The settings file: paths and names, never a secret."""
    with snapshot.file_faults("settings"):
        return path.read_bytes()


class _Unreadable(Exception):
    """The source can't give a body back as it was sealed."""


@contextmanager
def _source() -> Iterator[None]:
    """Inside, what the source itself has lost is told apart from a target that fails."""
    try:
        yield
    except Tampered as error:
        raise _Unreadable from error
    except StorageUnavailable as error:
        if error.details.get("cause") == "EIO":
            raise _Unreadable from error
        raise


def transfer(source: BlobStore, target: BlobStore, blob: BlobId, size: int, digest: bytes) -> bool:
    """Copy a body from one store to another; False, and nothing kept, where the source's is not what was sealed.

    Raises NotFound, StorageFull, StorageUnavailable.
    """
    try:
        with _source():
            reader = source.open(blob)
        try:
            return reader.size == size and _pour(reader, target, blob, digest)
        finally:
            reader.close()
    except _Unreadable:
        return False


def _pour(reader: BlobReader, target: BlobStore, blob: BlobId, digest: bytes) -> bool:
    found, offset, size = sha256(), 0, reader.size
    room = bytearray(min(BLOCK_BYTES, size) or 1)
    with target.write(blob, size) as sink:
        while offset < size:
            with memoryview(room)[: min(len(room), size - offset)] as view:
                with _source():
                    reader.read_into(offset, view)
                found.update(view)
                sink.write(view)
                offset += len(view)
        if found.digest() != digest:
            return False
        sink.commit()
    return True
