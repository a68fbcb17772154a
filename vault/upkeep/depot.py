"""Owns a place where backups lie: its directories, one run at a time, what is published and what is removed.

It must not know keys, nor what a copy of a database holds.

    backups/<id>/   manifest, coffre.db, blobs.list, coffre.toml      whole, or not there
    keyrings/       <id>.db with its signed word <id>.note            apart, with a retention of its own
    blobs/          every sealed body once, for all backups           as in the vault's own store
    drills/         reports
    tmp/            what is under way; never a backup
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from vault.audit.note import Verifier
from vault.errors import Conflict, NotFound, StorageUnavailable, Tampered
from vault.model import Micros
from vault.settings import BlobSettings, VerifyWrites
from vault.storage.blobs import BlobStore
from vault.storage.snapshot import copy_file, file_faults, sync_directory, write_file
from vault.storage.stores import open_blobs
from vault.upkeep import manifest
from vault.upkeep.manifest import KeyringCopy, Manifest, Part

MANIFEST = "manifest"
DATABASE = "coffre.db"
BLOBS = "blobs.list"
SETTINGS = "coffre.toml"
DAY_US = 86_400 * 1_000_000
EARLY_US = DAY_US // 2
"""A nightly run that starts a little earlier than the night before must not keep a copy for one more day."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A copy of the keyring that was verified."""

    word: KeyringCopy
    path: Path


class Depot:
    """One place. Reading makes nothing; ``prepare`` makes what is missing."""

    def __init__(self, root: Path, keyrings: Path | None = None, bodies: BlobSettings | None = None) -> None:
        """``keyrings``: where copies of the keyring lie, if elsewhere. ``bodies``: the store of bodies, if elsewhere."""
        self.root = root.absolute()
        self.keyrings = (keyrings or root / "keyrings").absolute()
        inside = BlobSettings(url=f"file://{self.root / 'blobs'}")
        self.store = replace(bodies or inside, verify_writes=VerifyWrites.NEVER, replica_url=None)
        """How to reach the bodies."""

    @property
    def drills(self) -> Path:
        return self.root / "drills"

    def bodies(self) -> BlobStore:
        """The bodies of all backups. Raises StorageUnavailable."""
        return open_blobs(self.store)

    # --- writing

    def prepare(self) -> None:
        """Make the directories (0700) where they are missing. Raises StorageUnavailable, StorageFull."""
        with file_faults("directory"):
            for place in (self.root, self.root / "backups", self.root / "tmp", self.keyrings):
                place.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One run at a time; what cut runs left goes. Raises Conflict where another one is under way."""
        with file_faults("lock"):
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in {errno.EAGAIN, errno.EACCES}:
                    raise StorageUnavailable("backup: the place can't be locked") from error
                raise Conflict("another backup into this place is under way") from error
            self._clear()
            yield
        finally:
            os.close(descriptor)

    def _clear(self) -> None:
        for left in (self.root / "tmp").iterdir():
            shutil.rmtree(left, ignore_errors=True)
        for left in self.keyrings.glob(".*.part"):
            left.unlink(missing_ok=True)

    @contextmanager
    def draft(self, name: str) -> Iterator[Path]:
        """A directory to fill; it goes again unless ``publish`` took it."""
        place = self.root / "tmp" / name
        with file_faults("directory"):
            place.mkdir(mode=0o700)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def publish(self, name: str, text: str) -> None:
        """The draft ``name`` becomes a backup: its manifest is written last, then one rename."""
        place, final = self.root / "tmp" / name, self.root / "backups" / name
        write_file(place / MANIFEST, text.encode())
        with file_faults("publish"):
            sync_directory(place)
            place.rename(final)
            sync_directory(final.parent)

    def add_keyring(self, copied: Path, name: str, note: str) -> None:
        """A copy of the keyring, then its signed word, without which it counts for nothing."""
        database, word = (self.keyrings / f".{name}.{suffix}.part" for suffix in ("db", "note"))
        with file_faults("publish"):
            copy_file(copied, database)
            write_file(word, note.encode())
            database.rename(self.keyrings / f"{name}.db")
            word.rename(self.keyrings / f"{name}.note")
            sync_directory(self.keyrings)

    def prune(self, now: Micros, keep_days: int, newest: str) -> tuple[list[str], list[str]]:
        """Remove copies of the keyring that are over their time, never ``newest``: (removed, could not be removed)."""
        removed, left = list[str](), list[str]()
        for path in sorted(self.keyrings.glob("*.db")):
            name = path.stem
            if name == newest or not manifest.is_backup_id(name) or now - _taken(name) < keep_days * DAY_US - EARLY_US:
                continue
            try:
                path.unlink()
                (self.keyrings / f"{name}.note").unlink(missing_ok=True)
            except OSError:  # the account that makes backups need not be able to remove them
                left.append(name)
            else:
                removed.append(name)
        if removed:
            with suppress(OSError):
                sync_directory(self.keyrings)
        return removed, left

    # --- reading

    def names(self) -> list[str]:
        """Every backup, newest first."""
        place = self.root / "backups"
        try:
            found = [each.name for each in place.iterdir() if manifest.is_backup_id(each.name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageUnavailable("backup: the place can't be read") from error
        return sorted(found, reverse=True)

    def choose(self, name: str | None) -> str:
        """The backup ``name``, or the newest. Raises NotFound."""
        names = self.names()
        if not names:
            raise NotFound(f"no backup stands in {self.root}")
        if name is not None and name not in names:
            raise NotFound(f"no backup {name} stands in {self.root}")
        return name or names[0]

    def place(self, name: str) -> Path:
        return self.root / "backups" / name

    def manifest_text(self, name: str) -> str:
        """The signed note of a backup. Raises Tampered where it is missing or no text."""
        return _text(self.place(name) / MANIFEST)

    def newest_keyring(self, trusted: list[Verifier], since: Manifest) -> Kept | None:
        """The newest good copy of the keyring of this vault, as new as the backup at least; None where there is none.

        Of two good copies the newer one is right: whatever was erased since is not in it.
        """
        for path in sorted(self.keyrings.glob("*.note"), reverse=True):
            with suppress(Tampered):
                word = manifest.keyring_of(manifest.opened(_text(path), manifest.KEYRING, trusted))
                database = path.with_suffix(".db")
                if word.tenant == since.tenant and word.taken_at >= since.taken_at and fault_of(database, word.keyring) is None:
                    return Kept(word, database)
        return None


def _taken(name: str) -> int:
    """The moment in a backup's name, microseconds."""
    return int(datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()) * 1_000_000


def _text(path: Path) -> str:
    try:
        return path.read_bytes()[: 1 << 20].decode()
    except FileNotFoundError as error:
        raise Tampered("the manifest is missing: this is no whole backup", kind="truncated") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Tampered("the manifest can't be read", kind="manifest") from error


def part_of(path: Path, name: str | None = None) -> Part:
    """A file as the manifest names it. Raises StorageUnavailable."""
    digest, size = sha256(), 0
    with file_faults("read"), path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return Part(name or path.name, size, digest.hexdigest())


def fault_of(path: Path, part: Part) -> str | None:
    """``missing``, ``truncated`` or ``damaged`` where a file is not the part that was signed; None where it is."""
    try:
        found = part_of(path, part.file)
    except StorageUnavailable as error:
        return "missing" if error.details.get("cause") == "ENOENT" else "damaged"
    if found == part:
        return None
    return "truncated" if found.bytes < part.bytes else "damaged"
