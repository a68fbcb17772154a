"""Owns putting a backup back: checked whole, opened beside, brought up to date, and only then in its place.

It must not know the command line. Until the last step nothing that lives is touched; a cut run is repeated by the same command.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.engine import make_url

from vault.audit import note
from vault.audit.keeper import is_alive, this_run
from vault.errors import Conflict, StorageUnavailable, Tampered, VaultError
from vault.model import Actor, BlobId, TenantId
from vault.settings import VaultSettings
from vault.storage import migrate, snapshot
from vault.storage.blobs import BlobStore
from vault.storage.db import Database, open_databases
from vault.storage.readback import must_read_back
from vault.storage.schema import audit_runs
from vault.storage.stores import open_blobs
from vault.upkeep import staging
from vault.upkeep.backup import transfer
from vault.upkeep.backup_check import Begin, Check, Checked, keys_in, listed_in, quietly
from vault.upkeep.depot import Depot
from vault.upkeep.manifest import Manifest

if TYPE_CHECKING:
    from vault.opening import Vault

MARKER = "restored.json"
"""Beside the settings, after a restore without a token: the log has not been told yet."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be restored, and what was said about it."""

    name: str | None = None
    """A backup; the newest where None."""
    keyring: Path | None = None
    """A keyring that is newer than every copy: one that was rescued."""
    replaces: bool = False
    """A vault stands there: it is put aside."""
    is_older_meant: bool = False
    """Newer backups stand beside this one, and this one is wanted."""
    has_token: bool = True


@dataclass(frozen=True, slots=True)
class Restored:
    """A vault that stands again."""

    checked: Checked
    copied: int
    """Bodies that were not there yet."""
    erased: int
    subjects: int
    log_size: int
    """Entries in the backup."""
    remembered: int | None
    """Entries that the token remembers; None where it remembers none, or was not asked."""
    aside: tuple[str, ...]
    is_finished: bool
    """False where there was no token: the log has still to be told."""


class Restore:
    """Puts one backup back where ``settings`` say."""

    def __init__(
        self,
        settings: VaultSettings,
        depot: Depot,
        open_: Callable[[VaultSettings], Vault],
        trusted: list[note.Verifier] | None = None,
    ) -> None:
        """``open_`` opens a vault. ``trusted``: the log's keys from a trust file; without them the token vouches."""
        self._settings = settings
        self._depot = depot
        self._open = open_
        self._trusted = trusted

    def run(self, request: Request, by: Callable[[Vault], Actor], begin: Begin = quietly, copying: Begin = quietly) -> Restored:
        """Check, stage, settle, copy, publish. ``begin`` sees the check, ``copying`` the bodies.

        Raises Tampered (not well, foreign), Conflict (a vault stands there, a newer backup exists), KeysUnavailable (wrong
        token), NotFound, StorageFull, StorageUnavailable, LogUnavailable: until the last step, nothing that lives was changed.
        """
        marker = self._settings.path.parent / MARKER
        if request.has_token and marker.exists():
            return self._finish(marker, by)
        self._must_be_free(request)
        if self._trusted is None and not request.has_token:
            raise Conflict(
                "without a token only a trust file can vouch for a backup: --trust FILE (coffre audit trust made it)"
            )
        checked = Check(self._depot, self._keys).run(request.name, begin)
        made = must_be_well(checked)
        if checked.newer and not request.is_older_meant:
            raise Conflict(f"a newer backup stands beside it: {checked.newer[0]}; add --older if this one is meant")
        with self._staging() as directory:
            settled = self._stage(directory, checked, made, request, by)
            copied = self._bodies(made, copying, mends=request.replaces)
            if settled is None:
                erased = self._without_token(directory)
                snapshot.write_file(marker, json.dumps({"backup": made.id, "erased": erased}).encode())
            aside = self._publish(directory, made)
        if settled is None:
            return Restored(checked, copied, erased, 0, made.log_size, None, aside, is_finished=False)
        return self._told(checked, copied, settled, aside)

    # --- before anything is changed

    def _keys(self, tenant: TenantId) -> list[note.Verifier]:
        """Who may have signed: the trust file's keys; else the newest keyring's, until the token was asked."""
        if self._trusted is not None:
            return self._trusted
        for path in sorted(self._depot.keyrings.glob("*.db"), reverse=True):
            with suppress(Tampered), snapshot.reading(path) as connection:
                found = keys_in(connection, tenant)
                _must_know(found)
                return found
        return []

    def _must_be_free(self, request: Request) -> None:
        """Raises Conflict where a vault stands there and is not to be replaced, or is at work."""
        standing = [url for url in self._urls() if self._stands(url)]
        if standing and not request.replaces:
            raise Conflict(
                "a vault stands there already; nothing was changed. "
                "Add --replace to put it aside, or name another place in the settings"
            )
        if standing and not all(url.startswith("sqlite") for url in standing):
            raise Conflict("a PostgreSQL database is not put aside from here: make an empty one and name it in [database]")
        if standing and self._is_at_work():
            raise Conflict("the vault is being served from there; stop the service first")

    def _urls(self) -> tuple[str, str]:
        return self._settings.database.url, self._settings.database.keyring_url

    def _stands(self, url: str) -> bool:
        path = _file(url)
        if path is not None and not path.exists():
            return False
        history = migrate.MAIN if url == self._settings.database.url else migrate.KEYRING
        try:
            with closing(Database(url, self._settings.database.password_file)) as db:
                return not snapshot.is_empty(db, history)
        except StorageUnavailable:
            if path is None:
                raise
            return True  # something stands there that can't be read: not ours to write over

    def _is_at_work(self) -> bool:
        """Whether a process of this machine serves it; what can't be read serves nobody."""
        path = _file(self._settings.database.url)
        if path is None or not path.exists():
            return False
        host, columns = this_run("restore").host, audit_runs.c
        query = select(columns.process).where(columns.stopped_at.is_(None), columns.host == host)
        with suppress(VaultError), closing(Database(self._settings.database.url)) as db, db.read() as connection:
            return any(is_alive(row.process) for row in connection.execute(query))
        return False

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A directory beside the settings, for the length of the block."""
        directory = self._settings.path.parent / ".restoring"
        shutil.rmtree(directory, ignore_errors=True)
        with snapshot.file_faults("directory"):
            directory.mkdir(mode=0o700)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _stage(
        self, directory: Path, checked: Checked, made: Manifest, request: Request, by: Callable[[Vault], Actor]
    ) -> staging.Settled | None:
        """Both databases beside, judged by the token, and brought up to date; None where there is no token."""
        if request.keyring is not None:
            staging.must_be_as_new(request.keyring, made)
        if checked.keyring is None:
            raise Tampered("no good copy of the keyring is there", kind="keyring")
        staging.lay_out(self._depot, made, request.keyring or checked.keyring.path, directory)
        if not request.has_token:
            return None
        with closing(self._open(staging.settings_for(self._settings, directory, self._depot.store))) as staged:
            staging.must_hold_keys(staged)
            if self._trusted is None:
                staging.reopened(self._depot, made, staging.signers(staged, made.tenant))
            return staging.settle(staged, made, by(staged))

    def _without_token(self, directory: Path) -> int:
        """What needs no key: erasures since, and the end of every session. The log is told when there is a token."""
        settings = staging.settings_for(self._settings, directory, self._depot.store)
        db, keyring_db = open_databases(settings.database)
        with closing(db), closing(keyring_db):
            migrate.upgrade(db, keyring_db)
            gone = staging.erased_since(db, keyring_db)
            db.write(lambda connection: staging.forget_again(connection, gone))
        return len(gone)

    # --- bodies, which never change and may come at any time

    def _bodies(self, made: Manifest, copying: Begin, *, mends: bool) -> int:
        """Every body that is not in its place; one that is there is read, and only with ``mends`` put right."""
        source, target = self._depot.bodies(), open_blobs(self._settings.blobs)
        present, left = {entry.blob for entry in target.list()}, {entry.blob for entry in target.leftovers()}
        advance, copied = copying(made.documents), 0
        for listed in listed_in(self._depot.place(made.id) / made.blobs.file):
            digest = bytes.fromhex(listed.sha256)
            if not listed.lacking and not (listed.blob in present and _is_right(target, listed.blob, listed.size, digest)):
                if listed.blob in present:
                    _must(mends, f"body {listed.blob} stands there already with other bytes; add --replace to put it right")
                    target.delete(listed.blob)
                if listed.blob in left:  # a cut restore's
                    target.discard(listed.blob)
                _must(transfer(source, target, listed.blob, listed.size, digest), f"body {listed.blob} was damaged meanwhile")
                copied += 1
            advance(1)
        return copied

    # --- in its place

    def _publish(self, directory: Path, made: Manifest) -> tuple[str, ...]:
        """Keyring first, database last: whatever happens between the two, no vault stands there that can't be opened."""
        aside: list[str] = []
        if any(_file(url) is None for url in self._urls()):
            self._pour(directory)
        for url, name in zip(reversed(self._urls()), (staging.KEYRING, staging.DATABASE), strict=True):
            path = _file(url)
            if path is not None:
                aside += _install(directory / name, path, made.id)
        return tuple(aside)

    def _pour(self, directory: Path) -> None:
        """Into servers; each database in one transaction, the keyring first."""
        db, keyring_db = open_databases(self._settings.database)
        with closing(db), closing(keyring_db):
            migrate.upgrade(db, keyring_db)
            if not keyring_db.is_sqlite:
                snapshot.put_back(directory / staging.KEYRING, keyring_db, migrate.KEYRING)
            if not db.is_sqlite:
                snapshot.put_back(directory / staging.DATABASE, db, migrate.MAIN)

    def _told(self, checked: Checked, copied: int, settled: staging.Settled, aside: tuple[str, ...]) -> Restored:
        """The vault in its place: what the token remembers of the log is compared, and the log says so itself."""
        with closing(self._open(self._settings)) as vault:
            checkpoints = vault.auditing.checkpoints
            mark = checkpoints.marks.in_token()
            checkpoints.look_back()
            checkpoints.make(keep=True)
        size = checked.manifest.log_size if checked.manifest else 0
        remembered = mark.size if mark else None
        return Restored(checked, copied, settled.patients, settled.subjects, size, remembered, aside, is_finished=True)

    def _finish(self, marker: Path, by: Callable[[Vault], Actor]) -> Restored:
        """There is a token now: the log is told of a restore that was done without one."""
        said = json.loads(marker.read_text(encoding="utf-8"))
        with closing(self._open(self._settings)) as vault:
            staging.must_hold_keys(vault)
            checked = Check(self._depot, self._keys).run(str(said["backup"]))
            settled = staging.settle(vault, must_be_well(checked), by(vault), before=int(said["erased"]))
        told = self._told(checked, 0, settled, ())
        marker.unlink()
        return told


def must_be_well(checked: Checked) -> Manifest:
    """The manifest of a backup that can be restored. Raises Tampered, which names what is not well; nothing was changed."""
    if checked.manifest is None or not checked.can_restore:
        first = next(each for each in checked.findings if each.kind.value != "lacking")
        more = len(checked.findings) - 1
        rest = f" and {more} more" if more else ""
        raise Tampered(
            f"backup {checked.id} is not well ({first.part}: {first.kind}{rest}); nothing was changed", kind=first.kind
        )
    return checked.manifest


def _must_know(found: list[note.Verifier]) -> None:
    """Of a vault whose keys live in a key process its keyring does not know them. Raises Conflict."""
    if not found:
        raise Conflict("this vault's keys are in a key process: name its trust file with --trust (coffre audit trust made it)")


def _must(is_so: bool, sentence: str) -> None:  # reads as what it says
    if not is_so:
        raise Tampered(sentence, kind="damaged")


def _is_right(target: BlobStore, blob: BlobId, size: int, digest: bytes) -> bool:
    try:
        must_read_back(target, blob, size, digest)
    except VaultError as error:
        if error.details.get("cause") == "read_back":
            return False
        raise
    return True


def _file(url: str) -> Path | None:
    """Where a SQLite database lies; None for a server's."""
    address = make_url(url)
    return Path(address.database) if address.get_backend_name() == "sqlite" and address.database else None


def _install(staged: Path, final: Path, name: str) -> list[str]:
    """A staged database in its place, durable; what stood there is put aside with its WAL, and named."""
    aside: list[str] = []
    part = final.with_name(f".{final.name}.part")
    with snapshot.file_faults("publish"):
        final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        snapshot.copy_of(staged, part)
        for suffix in ("-wal", "-shm", ""):
            standing = final.with_name(final.name + suffix)
            if standing.exists():
                standing.rename(final.with_name(f"{final.name}.before-{name}{suffix}"))
                aside += [] if suffix else [f"{final.name}.before-{name}"]
        part.rename(final)
        snapshot.sync_directory(final.parent)
    return aside
