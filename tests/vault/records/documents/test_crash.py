"""kill -9, full disks and failing system calls while documents are deposited: acknowledged ones are there, others are not."""

from __future__ import annotations

import errno
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import pytest

from tests.vault.records.crash import BEGIN, deposit, ids, look, standing
from vault.errors import StorageFull, VaultError
from vault.storage.blobs import DiskBlobs

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

STRACE = shutil.which("strace")
DECISIVE = ("openat", "write", "pwrite64", "fsync", "fdatasync", "rename")
STATE_CHANGING = ("openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "mkdir", "unlink", "close", "ftruncate")
EVERY = os.environ.get("COFFRE_EVERY_CRASH") == "1"
"""Kill at every state-changing system call instead of at a sample of them: minutes instead of seconds."""
RUNS = 200 if EVERY else 8
ROUNDS = 40
"""Ids are random, so one run makes a few calls more than the next: a blow that fell beside is struck again.

One in four or five falls beside where the last call of a kind is meant; what is found afterwards is judged each time.
"""
SAME_CALLS = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
"""With these a child makes as many calls while it starts as the one before it, on a fresh clone too."""


def need_strace() -> str:
    if STRACE is None:
        pytest.skip("strace is not installed")
    return STRACE


def child(directory: Path, first: int, count: int, *strace: str, verb: str = "") -> subprocess.CompletedProcess[str]:
    """Deposit ``count`` documents in a process of its own, under strace with these options where there are any."""
    command = [sys.executable, "-m", "tests.vault.records.crash", str(directory), str(first), str(count), *verb.split()]
    if strace:
        command = [need_strace(), "-f", "-qq", *strace, *command]
    environment = {**os.environ, **SAME_CALLS}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


def acknowledged(output: str) -> dict[str, str]:
    return dict(line.split()[1:3] for line in output.splitlines() if line.startswith("ACK "))


def assert_nothing_lost(directory: Path, promised: dict[str, str], attempted: int) -> None:
    """What was acknowledged is there and right; nothing half-visible; the vault is ready at once and by itself."""
    found = look(directory)
    assert promised.items() <= found.contents.items()
    assert len(found.contents) <= attempted
    assert found.scrub.findings == ()
    assert found.ready_s < 3


@dataclass(frozen=True)
class Call:
    """One system call of a trace."""

    thread: str
    name: str
    line: str
    nth: int
    """The how-manieth of its name in its thread, as strace counts for an injection."""
    is_target: bool
    """Whether a blow at this count falls here or later: no thread had made so many calls of this name when it began."""


def trace(directory: Path, number: int, verb: str = "") -> list[Call]:
    """The state-changing system calls of one deposit, or of another verb, in order."""
    output, names = directory.parent / "trace", ",".join((*STATE_CHANGING, "newfstatat", "stat"))
    done = child(directory, number, 1, "-e", f"trace={names}", "-o", str(output), verb=verb)
    assert done.returncode == 0, done.stderr
    counts: dict[tuple[str, str], int] = {}
    before: dict[str, int] = {}
    calls: list[Call] = []
    inside = False
    for line in output.read_text(errors="replace").splitlines():
        match = re.match(r"(\d+)\s+(\w+)\(", line)
        if match is None:
            continue
        thread, name = match[1], match[2]
        counts[thread, name] = counts.get((thread, name), 0) + 1
        if BEGIN in line:
            inside = not inside
        elif inside and name in STATE_CHANGING:
            calls.append(Call(thread, name, line, counts[thread, name], counts[thread, name] > before.get(name, 0)))
        elif not inside:
            before[name] = max(before.get(name, 0), counts[thread, name])
    assert calls
    return calls


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A vault with one document, in a directory of its own."""
    place = tmp_path / "vault"
    place.mkdir()
    made = ids(0)  # in another folder of the store than those of the children: a call that makes theirs is made
    with standing(place, new_id=lambda: next(made)) as vault:
        deposit(vault, 0)
    return place


def test_the_order_of_durability(directory: Path) -> None:
    """Directory durable → blob written → fsync → rename → fsync of the directory → row and event committed, synced → answer."""
    calls = trace(directory, 1)
    text = [call.line for call in calls]

    def at(pattern: str, after: int = -1) -> int:
        return next(i for i, line in enumerate(text) if i > after and re.search(pattern, line))

    created = at(
        r'openat\(.*/blobs/[0-9a-f]{2}/[0-9a-f]{32}\.part", O_WRONLY\|O_CREAT\|O_EXCL\|O_NOFOLLOW\|O_CLOEXEC, 0600\) = (\d+)'
    )
    blob = re.search(r"= (\d+)$", text[created])
    assert blob is not None
    written = max(i for i, line in enumerate(text) if re.search(rf"write\({blob[1]}, ", line) and i < at(r" rename\("))
    synced = at(rf"fsync\({blob[1]}\) += 0", written)
    renamed = at(r'rename\(".*/blobs/[0-9a-f]{2}/[0-9a-f]{32}\.part"', synced)
    directory_synced = at(r"fsync\(\d+\) += 0", at(r"openat\(.*/blobs/[0-9a-f]{2}\".*O_DIRECTORY", renamed))
    logged = at(r"pwrite64\(", directory_synced)
    committed = max(i for i, line in enumerate(text) if re.search(r"(fdatasync|fsync)\(\d+\) += 0", line))
    answered = at(r"write\(1, \"ACK ")
    assert created < written < synced < renamed < directory_synced < logged < committed < answered
    assert all(i < committed for i, line in enumerate(text) if "pwrite64(" in line)
    stands = at(r"fsync\(\d+\) += 0", at(r'openat\(.*/blobs", .*O_DIRECTORY'))
    assert stands < created, "the name of its directory is durable, whoever made it"
    assert all(i < stands for i, line in enumerate(text) if "mkdir(" in line)


def _sample(calls: list[Call]) -> dict[str, tuple[str, int]]:
    """Where to strike, by a name for the point: every distinct (call, count), or some of each call."""
    points = sorted({(call.name, call.nth) for call in calls if call.is_target})
    if EVERY:
        return {f"{name} {nth}": (name, nth) for name, nth in points}
    chosen: dict[str, tuple[str, int]] = {}
    for name in STATE_CHANGING:
        mine = [point for point in points if point[0] == name]
        if mine:
            chosen[f"first {name}"] = mine[0]
        if len(mine) > 1 and name in {"fsync", "fdatasync", "pwrite64", "write"}:
            chosen[f"last {name}"] = mine[-1]
    return chosen


def test_killed_at_each_system_call_of_a_deposit(directory: Path) -> None:
    promised = look(directory).contents
    numbers = itertools.count(1)
    struck: set[str] = set()
    for _ in range(ROUNDS):
        sample = _sample(trace(directory, number := next(numbers)))
        promised = look(directory).contents | promised
        for point, (name, nth) in sample.items():
            if point in struck:
                continue
            number = next(numbers)
            injected = ("-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={nth}", "-o", "/dev/null")
            done = child(directory, number, 1, *injected)
            struck |= {point} if done.returncode else set()
            promised |= acknowledged(done.stdout)
            assert_nothing_lost(directory, promised, attempted=number + 1)
        if is_struck_everywhere := struck >= sample.keys():
            break
    print(f"kills {len(struck)}, acknowledged {len(promised)}, lost 0, corrupt 0")  # noqa: T201  # the count is the proof
    assert is_struck_everywhere or EVERY, sample.keys() - struck
    assert {f"first {name}" for name in DECISIVE} <= struck or EVERY


WHERE = {"upload": "blobs/{fan}/{blob}.part", "folder": "blobs/{fan}", "wal": "coffre.db-wal"}
FAILURES = [
    ("openat", "upload", "EMFILE"), ("write", "upload", "ENOSPC"), ("write", "upload", "EIO"), ("fsync", "upload", "EIO"),
    ("rename", "upload", "EIO"), ("fsync", "folder", "EIO"), ("pwrite64", "wal", "ENOSPC"), ("fdatasync", "wal", "EIO"),
]  # fmt: skip
MORE_FAILURES = [
    ("openat", "upload", "ENOSPC"), ("openat", "upload", "EIO"), ("openat", "upload", "EROFS"), ("fsync", "upload", "ENOSPC"),
    ("write", "upload", "EDQUOT"), ("rename", "upload", "ENOSPC"), ("close", "upload", "EIO"), ("openat", "folder", "EMFILE"),
    ("mkdir", "folder", "ENOSPC"), ("pwrite64", "wal", "EIO"), ("fdatasync", "wal", "ENOSPC"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "where", "error"), FAILURES + (MORE_FAILURES if EVERY else []))
def test_a_system_call_that_fails(directory: Path, name: str, where: str, error: str) -> None:
    """One call fails once: a clear refusal, nothing kept, and the next deposit works in the same process."""
    first = 10
    made = ids(first)
    next(made)
    blob = next(made)
    path = directory / WHERE[where].format(blob=blob, fan=blob[:2])
    promised = look(directory).contents
    done = child(directory, first, 2, "-P", str(path), "-e", f"inject={name}:error={error}:when=1", "-o", "/dev/null")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.match(r"REFUSED storage_(full|unavailable) 10", lines[0]), lines
    is_told = (name, where) != ("fdatasync", "wal")  # SQLite says that a sync failed, never why
    assert ("full" in lines[0]) == (is_told and error in {"ENOSPC", "EDQUOT"})
    assert lines[1].startswith("ACK "), lines
    assert_nothing_lost(directory, promised | acknowledged(done.stdout), attempted=3)
    assert not list((directory / "blobs").rglob("*.part"))


def test_killed_at_any_moment_under_load(tmp_path: Path) -> None:
    """Four threads deposit; the process is killed at a random moment, again and again."""
    place = tmp_path / "vault"
    place.mkdir()
    with standing(place):
        pass
    promised: dict[str, str] = {}
    dice = random.Random(20261123)
    attempted = 0
    for run in range(RUNS):
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.vault.records.crash", str(place), str(100_000 * worker + 1_000 * run + 1), "900"],
                stdout=subprocess.PIPE, text=True,
            )
            for worker in (1, 2)
        ]  # fmt: skip
        first = processes[0].stdout
        assert first is not None
        lines = [first.readline()]  # it is at work
        time.sleep(dice.random() * 0.6)
        for process in processes:
            process.send_signal(signal.SIGKILL)
        outputs = [process.communicate()[0] for process in processes]
        output = "".join((lines[0], *outputs))
        promised |= acknowledged(output)
        attempted += 1_800
    assert_nothing_lost(place, promised, attempted)
    print(f"kills {2 * RUNS}, acknowledged {len(promised)}, lost 0, corrupt 0")  # noqa: T201  # the count is the proof
    assert len(promised) >= RUNS


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of ``size`` in memory."""
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("optional: only root can mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"optional: this machine lets nobody mount: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_full_disk_refuses_and_forgets(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "16m") as place, standing(place) as vault:
        promised: list[str] = []

        def fill() -> None:
            for number in range(100):
                promised.append(deposit(vault, number))  # noqa: PERF401  # kept as far as it came

        with pytest.raises(StorageFull):
            fill()
        assert promised
        assert list(vault.blobs.leftovers()) == []
        assert len(list(vault.blobs.list())) <= len(promised) + 1


def _fill(file: FileIO) -> None:
    try:
        while True:
            file.write(bytes(65_536))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def test_a_full_disk_recovers_by_itself(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "16m") as place:
        ballast = place / "ballast"
        with standing(place) as vault:
            first = deposit(vault, 1)
            with ballast.open("wb", buffering=0) as file:
                _fill(file)
            refusals = 0
            for number in range(2, 6):
                try:
                    deposit(vault, number)
                except VaultError as error:
                    refusals += isinstance(error, StorageFull) or error.retryable
            assert refusals >= 1
            ballast.unlink()
            second = deposit(vault, 10)
        found = look(place)
        assert {first, second} <= set(found.contents)
        assert found.scrub.findings == ()
        assert found.leftovers == 0


def test_a_read_only_store_refuses(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "16m") as place:
        (place / "blobs").mkdir()
        store = DiskBlobs(place / "blobs")
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        with pytest.raises(VaultError) as caught:
            store.probe()
        assert caught.value.retryable
        subprocess.run(["mount", "-o", "remount,rw", place], check=True)
        store.probe()
