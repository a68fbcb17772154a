"""A backup that is killed, or finds its disk full, while the vault is at work: nothing half-made looks like a backup."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from kms.settings import KmsSettings
from tests.vault.upkeep.practice import COFFRE, ROOT, Practice, coffre, contents, found
from vault.opening import open_vault

pytestmark = [pytest.mark.hsm, pytest.mark.alone]


@pytest.fixture
def practice(tmp_path: Path, softhsm: KmsSettings) -> Practice:
    made = found(tmp_path / "vault" / "coffre.toml", softhsm)
    with made.vault() as vault:
        made.file(vault, made.patient(vault), 40)
    return made


def started(practice: Practice) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COFFRE_")}
    environment |= {"COFFRE_CONFIG": str(practice.settings.path), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*COFFRE, "backup", "create", str(practice.place)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(practice: Practice, pattern: str, process: subprocess.Popen[bytes]) -> None:
    """Until something of a run under way is there, or the run has ended."""
    until = time.monotonic() + 60
    while process.poll() is None and not list(practice.place.glob(pattern)) and time.monotonic() < until:
        time.sleep(0.002)


def test_a_killed_backup_leaves_nothing_that_looks_like_one(practice: Practice) -> None:
    """At its first file, in the middle of bodies, at the keyring's copy, just before it is published."""
    moments = ("tmp/*/coffre.db", "blobs/??/*.part", "keyrings/*.db", "tmp/*/manifest")
    for pattern in moments:
        process = started(practice)
        wait_for(practice, pattern, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for name in [path.name for path in (practice.place / "backups").glob("*")]:
            whole = practice.run("verify", str(practice.place), "--backup", name)
            assert whole.status == 0, f"killed at {pattern}: {whole.data}"
    with practice.vault() as vault:
        practice.file(vault, practice.patient(vault, "Ève"), 2)
    name = practice.create()
    said = practice.run("verify", str(practice.place))
    assert (said.status, said.data["backup"], said.data["checked"]) == (0, name, 42)
    assert list((practice.place / "tmp").iterdir()) == []
    assert not list(practice.place.rglob("*.part"))


def test_everything_acknowledged_before_the_start_is_there_after_a_restore(practice: Practice, tmp_path: Path) -> None:
    """Documents keep coming in while the backup runs; it may have those or not, and must have the ones before."""
    before = set(practice.filed)
    process = started(practice)
    with practice.vault() as vault:
        patient = practice.patient(vault, "Ève")
        while process.poll() is None:
            practice.file(vault, patient)
    assert process.returncode == 0
    assert len(practice.filed) > len(before), "nothing came in meanwhile: the test shows nothing"
    blank = practice.elsewhere(tmp_path / "blank")
    assert practice.run("restore", str(practice.place), settings=blank).status == 0
    restored = open_vault(blank)
    try:
        anne = practice.anne(restored)
        assert contents(restored, sorted(before), anne) == {each: practice.filed[each] for each in before}
    finally:
        restored.close()


def test_a_full_disk_is_told_and_leaves_nothing(practice: Practice) -> None:
    """``RLIMIT_FSIZE`` in the way of the first large file: the database's copy."""
    limit = (practice.settings.path.parent / "coffre.db").stat().st_size // 2
    if shutil.which("prlimit") is None:
        pytest.skip("optional: prlimit is not installed")
    done = coffre(
        practice.settings.path, "backup", "create", str(practice.place), token=practice.settings.kms,
        prepare=("prlimit", f"--fsize={limit}"),
    )  # fmt: skip
    assert done.returncode == 3, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert list((practice.place / "backups").iterdir()) == []
    assert list((practice.place / "tmp").iterdir()) == []
    assert practice.run("create", str(practice.place)).status == 0
