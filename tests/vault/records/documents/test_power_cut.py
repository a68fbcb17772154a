"""The power goes while documents are deposited: after the restart every acknowledged one is there and right.

An ext4 of its own on a loop device is shut down without flushing its journal (FS_IOC_SHUTDOWN): whatever was not synced is
gone, as after a power cut. What a disk's own cache would lose on top of that is the disk's affair.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.vault.records.crash import standing
from tests.vault.records.documents.test_crash import EVERY, acknowledged, assert_nothing_lost

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

FS_IOC_SHUTDOWN = 0x8004587D
"""_IOR('X', 125, __u32), linux/fs.h."""
NO_LOG_FLUSH = 2
CUTS = 20 if EVERY else 3
IMAGE_BYTES = 512 << 20


def _run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"optional: this machine can't {command[0]} {command[1]}: {done.stderr.strip()}")


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """The file system in ``image``, as a machine finds it when it starts."""
    _run("mount", "-o", "loop", image, place)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def cut_power(place: Path) -> None:
    """Nothing that was not synced before this moment survives it."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    except OSError as error:
        pytest.skip(f"optional: this kernel can't shut a file system down: {error.strerror}")
    finally:
        os.close(descriptor)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An empty ext4 in a file."""
    if os.geteuid() != 0:
        pytest.skip("optional: only root can mount a file system of its own")
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("optional: mkfs.ext4 is not installed")
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    _run("mkfs.ext4", "-q", "-F", image)
    return image


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "mounted"
    place.mkdir()
    return place


def test_the_cut_takes_what_was_not_synced(image: Path, place: Path) -> None:
    """Else the test below would prove nothing."""
    with mounted(image, place):
        for name in ("synced", "forgotten"):
            with (place / name).open("wb") as file:
                file.write(b"x" * 100_000)
                if name == "synced":
                    file.flush()
                    os.fsync(file.fileno())
        cut_power(place)
    with mounted(image, place):
        assert (place / "synced").read_bytes() == b"x" * 100_000
        assert not (place / "forgotten").exists() or (place / "forgotten").stat().st_size == 0


def _until(stream: IO[str], lines: int) -> str:
    """What the child says until it has acknowledged so much."""
    return "".join(stream.readline() for _ in range(lines))


def test_what_was_acknowledged_survives_a_power_cut(image: Path, place: Path) -> None:
    promised: dict[str, str] = {}
    dice = random.Random(20261126)
    with mounted(image, place), standing(place):
        pass
    for turn in range(CUTS):
        with mounted(image, place):
            command = [sys.executable, "-m", "tests.vault.records.crash", str(place), str(1000 * turn + 1), "900"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            assert process.stdout is not None
            output = _until(process.stdout, 1 + dice.randrange(40))
            cut_power(place)
            process.send_signal(signal.SIGKILL)
            promised |= acknowledged(output + process.communicate()[0])
        with mounted(image, place):
            assert_nothing_lost(place, promised, attempted=1000 * (turn + 1))
    print(f"power cuts {CUTS}, acknowledged {len(promised)}, lost 0, corrupt 0")  # noqa: T201  # the count is the proof
    assert len(promised) >= CUTS
