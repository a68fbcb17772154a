"""Owns the rehearsal of a disaster: a backup restored to scratch, opened, measured, reported, and wiped.

It must not know the command line. The vault that lives lends its settings and signs the report; only its log is changed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kms.settings import KmsSettings
from vault.audit import note
from vault.audit.events import Action, Event, Note, Outcome
from vault.errors import StorageFull, StorageUnavailable
from vault.model import Actor, BlobId, Micros, TenantId
from vault.people import policy
from vault.people.policy import Act
from vault.settings import BlobSettings, DatabaseSettings, VaultSettings
from vault.storage import snapshot
from vault.storage.blobs import DiskBlobs
from vault.upkeep import depot as places
from vault.upkeep import drill_report, manifest, staging
from vault.upkeep.backup import transfer
from vault.upkeep.backup_check import Begin, Check, Checked, listed_in, quietly
from vault.upkeep.depot import Depot
from vault.upkeep.drill_report import Drilled, Rehearsed

if TYPE_CHECKING:
    from vault.opening import Vault

ROOT = Path(__file__).parents[2]
PREFIX = ".drill-"
SLACK = 1.1
"""Room that a scratch needs beyond the bytes of the backup."""


@dataclass(frozen=True, slots=True)
class Scope:
    """How far a drill goes."""

    name: str | None = None
    sample: int = 50
    """Documents that are opened; 0 for all."""
    scratch: Path | None = None
    """Where there is room; beside the settings otherwise."""
    reports: Path | None = None
    """Where the report goes; beside the backups otherwise."""


class Drill:
    """Rehearses one backup of one vault."""

    def __init__(self, vault: Vault, depot: Depot, trusted: Callable[[TenantId], list[note.Verifier]]) -> None:
        self._vault = vault
        self._depot = depot
        self._trusted = trusted

    def run(self, actor: Actor, scope: Scope, begin: Begin = quietly, copying: Begin = quietly) -> Drilled:
        """Restore, open, verify, measure; the result, well or not, is signed, written down and in the log.

        Raises Forbidden, NotFound (no backup), StorageFull, StorageUnavailable, KeysUnavailable, LogUnavailable.
        """
        vault = self._vault
        policy.authorise(actor, Act.BACKUP_OPERATE, vault.clock())
        started_at, began = vault.clock(), time.monotonic()
        checked = Check(self._depot, self._trusted, vault.installation.tenant).run(scope.name, begin)
        rehearsed = Rehearsed()
        if checked.manifest is not None and checked.can_restore:
            with scratch(scope.scratch or vault.settings.path.parent) as directory:
                _must_have_room(directory, checked)
                bodies = self._bodies(checked, directory, copying)
                rehearsed = rehearse(vault.settings, self._depot, checked, directory, bodies=bodies, sample=scope.sample)
        seconds = time.monotonic() - began
        drilled = Drilled(checked, rehearsed, started_at, _lost(checked, started_at), seconds)
        return self._report(actor, drilled, scope)

    def _bodies(self, checked: Checked, directory: Path, copying: Begin) -> BlobSettings:
        """Every body into the scratch, as a restore does: that is most of what it takes."""
        made = checked.manifest
        target = DiskBlobs(directory / "blobs")
        if made is not None:
            source, advance = self._depot.bodies(), copying(made.documents)
            for listed in listed_in(self._depot.place(made.id) / made.blobs.file):
                if not listed.lacking:
                    transfer(source, target, BlobId(listed.blob), listed.size, bytes.fromhex(listed.sha256))
                advance(1)
        return BlobSettings(url=f"file://{directory / 'blobs'}")

    def _report(self, actor: Actor, drilled: Drilled, scope: Scope) -> Drilled:
        """Sign, write, log. A report that can't be written is told; the event stands all the same."""
        vault, name = self._vault, f"{drilled.checked.id}-{manifest.moment(drilled.at).strftime('%Y%m%dT%H%M%SZ')}"
        text = manifest.signed(manifest.DRILL, drill_report.said(drilled), vault.installation.tenant, vault.keys)
        outcome = Outcome.SUCCESS if drilled.ok else Outcome.FAILED
        words = f"{drilled.checked.id}:rpo_{drilled.rpo_minutes}:rto_{drilled.rto_minutes}"
        told = Note(count=drilled.rehearsed.opened, bytes=drilled.rehearsed.bytes, code=words)
        vault.log.record(Event(Action.SYSTEM_RESTORE_DRILL, outcome, actor, note=told))
        place = scope.reports or self._depot.drills
        paper = drill_report.paper(drilled, text)
        try:
            with snapshot.file_faults("report"):
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
            snapshot.write_file(place / f"{name}.note", text.encode())
            snapshot.write_file(place / f"{name}.txt", paper.encode())
        except (StorageUnavailable, StorageFull):
            return drilled
        return dataclasses.replace(drilled, reports=(str(place / f"{name}.note"), str(place / f"{name}.txt")))


@contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """A directory that is gone afterwards; one that a cut run left is removed first. Raises StorageUnavailable."""
    for left in beside.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    with snapshot.file_faults("directory"):
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=beside))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _must_have_room(directory: Path, checked: Checked) -> None:
    made = checked.manifest
    wanted = 0 if made is None else round((made.sealed_bytes + made.database.bytes + made.keyring.bytes) * SLACK)
    if shutil.disk_usage(directory).free < wanted:
        raise StorageFull(f"the scratch needs {wanted // (1 << 20)} MiB; name a place with room by --scratch")


def rehearse(
    settings: VaultSettings, depot: Depot, checked: Checked, directory: Path, *, bodies: BlobSettings, sample: int
) -> Rehearsed:
    """Open a backup laid out in ``directory`` in a process of its own. What went wrong there is in the answer."""
    made, kept = checked.manifest, checked.keyring
    if made is None or kept is None:
        return Rehearsed()
    staging.lay_out(depot, made, kept.path, directory)
    config = directory / "coffre.toml"
    snapshot.write_file(config, _toml(staging.settings_for(settings, directory, bodies)).encode())
    text = depot.place(made.id) / places.MANIFEST
    command = [sys.executable, "-P", "-s", "-m", "vault.upkeep.rehearsal", str(config), str(text), str(sample)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COFFRE_")}
    answer = subprocess.run(  # noqa: S603  # our own interpreter and module, paths that we made
        command, env={**environment, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    try:
        said = json.loads(answer.stdout)
    except ValueError:
        return Rehearsed(error=f"the restored vault could not be opened at all (status {answer.returncode})")
    return rehearsed_of(said)


def rehearsed_of(said: Mapping[str, Any]) -> Rehearsed:
    """The child's answer."""
    if "error" in said:
        return Rehearsed(error=f"{said['error']}: {said['detail']}")
    log = said["log"]
    return Rehearsed(
        opened=said["opened"],
        bytes=said["bytes"],
        failed=tuple(said["failed"]),
        erased=said["erased"],
        log_size=log["size"],
        log_fault=log["first_bad"] or "",
        is_done=True,
    )


def _lost(checked: Checked, now: Micros) -> float:
    """Seconds of work that a disaster at this moment would have lost."""
    return max(0.0, (now - checked.manifest.taken_at) / 1e6) if checked.manifest else 0.0


def _toml(settings: VaultSettings) -> str:
    """The tables that a vault needs to open, from settings that were read already."""
    tables: dict[str, KmsSettings | DatabaseSettings | BlobSettings]
    tables = {"kms": settings.kms, "database": settings.database, "blobs": settings.blobs}
    lines = list[str]()
    for name, table in tables.items():
        lines.append(f"[{name}]")
        for field in dataclasses.fields(table):
            value = getattr(table, field.name)
            if value not in (None, "", Path()):
                lines.append(f"{field.name} = {value if isinstance(value, int) else json.dumps(str(value))}")
    return "\n".join(lines) + "\n"
