"""kill -9 at system calls of a disposal: a file is whole, or told as erased and unreachable; a restart does what is left."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.vault.records.crash import standing
from tests.vault.records.disposal.crash import look, prepare
from tests.vault.records.documents.test_crash import EVERY, Call, child, directory, trace
from vault.audit.events import System
from vault.upkeep.scrub import Scrub

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]
__all__ = ["directory"]

DECISIVE = ("pwrite64", "fdatasync", "fsync", "unlink")
MOST = 6
"""Of one kind of call."""
ROUNDS = 4
"""Ids are random, so one disposal writes a few pages more than the next: a blow that fell beside is struck again."""


def _points(calls: list[Call]) -> list[tuple[str, int]]:
    """Every state-changing call, or of each decisive kind the first, the last and some evenly between."""
    points = sorted({(call.name, call.nth) for call in calls if call.is_target})
    if EVERY:
        return points
    chosen: list[tuple[str, int]] = []
    for name in DECISIVE:
        mine = [point for point in points if point[0] == name]
        chosen += dict.fromkeys([*mine[:: len(mine) // MOST + 1], *mine[-1:]])
    return chosen


def test_killed_at_system_calls_of_a_disposal(directory: Path) -> None:
    numbers = itertools.count(1)
    gone: set[str] = set()
    killed: list[str] = []
    left = 0
    for _ in range(ROUNDS):
        [first] = prepare(directory, next(numbers), 1)
        calls = trace(directory, 0, verb=f"dispose {first.disposal}")
        gone.add(first.disposal)
        names = [call.name for call in calls]
        assert names.index("unlink") > names.index("fdatasync"), "a body went before the decision was durable"
        points = [point for point in _points(calls) if point[0] not in killed]
        old = prepare(directory, next(numbers) * 1000, len(points))
        for each, (name, nth) in zip(old, points, strict=True):
            injected = ("-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={nth}", "-o", "/dev/null")
            done = child(directory, 0, 0, *injected, verb=f"dispose {each.disposal}")
            killed += [name] * (done.returncode != 0)
            if f"GONE {each.disposal}" in done.stdout:
                gone.add(each.disposal)
            found = look(directory, [first, *old])
            left += found.left
            assert gone <= found.told, "an acknowledged disposal came back"
        if killed_everywhere := set(killed) >= set(DECISIVE):
            break
    with standing(directory) as vault:
        report = Scrub(vault.documents.rooms, vault.blobs, by=System("test")).run()
        assert report.findings == ()
        assert sum(1 for _ in vault.blobs.list()) == report.checked, "no body without its row"
    print(f"kills {len(killed)}, acknowledged {len(gone)}, finished by the restart {left}, half gone 0")  # noqa: T201  # the count is the proof
    assert killed_everywhere, killed
    assert left, "no blow fell between the decision and the end"
