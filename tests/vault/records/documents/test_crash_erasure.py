"""kill -9 at each system call of a destruction: what was acknowledged is gone, what was not is whole or gone, never half."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.vault.records.crash import RECEPTION, standing
from tests.vault.records.documents.test_crash import EVERY, Call, child, directory, trace
from vault.audit.events import System
from vault.audit.reading import Reader
from vault.upkeep.scrub import Scrub

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]
__all__ = ["directory"]

DECISIVE = ("pwrite64", "fdatasync", "fsync", "unlink")
ROUNDS = 5
"""Ids are random, so one destruction writes a few pages more than the next: a blow that fell beside is struck again."""


def _points(calls: list[Call]) -> list[tuple[str, int]]:
    """Where to strike: every state-changing call, or the first and last of each decisive kind."""
    points = sorted({(call.name, call.nth) for call in calls if call.is_target})
    if EVERY:
        return points
    chosen: list[tuple[str, int]] = []
    for name in DECISIVE:
        mine = [point for point in points if point[0] == name]
        chosen += dict.fromkeys(mine[:1] + mine[-1:])
    return chosen


def _said(output: str, word: str) -> set[str]:
    return {line.split()[1] for line in output.splitlines() if line.startswith(f"{word} ")}


def _look(place: Path) -> tuple[set[str], set[str], int]:
    """After a restart: drafts that wait, each whole; drafts whose end is told; how many bodies no row names."""
    with standing(place) as vault:
        waiting = {str(draft.id) for draft in vault.inbox.list(RECEPTION).items}
        reader = Reader(vault.log)
        told = {
            str((record.subject or {}).get("document"))
            for page in reader.scan(0, 1 << 30)
            for record in reader.open(page)
            if (record.action.value, record.outcome.value) == ("document.delete", "success")
        }
        report = Scrub(vault.documents.rooms, vault.blobs, by=System("test")).run()
        assert report.findings == ()  # every row has its body, and it opens to what was received
        assert list(vault.blobs.leftovers()) == []
        return waiting, told, sum(1 for _ in vault.blobs.list()) - report.checked


def test_killed_at_each_system_call_of_a_destruction(directory: Path) -> None:
    numbers = itertools.count(1)
    made: set[str] = set()
    gone: set[str] = set()
    killed: list[str] = []
    for _ in range(ROUNDS):
        calls = trace(directory, next(numbers), verb="erase")
        names = [call.name for call in calls]
        assert names.index("unlink") > names.index("fdatasync"), "a body went before its row"
        for name, nth in [point for point in _points(calls) if point[0] not in killed]:
            injected = ("-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={nth}", "-o", "/dev/null")
            done = child(directory, next(numbers), 1, *injected, verb="erase")
            killed += [name] * (done.returncode != 0)
            made |= _said(done.stdout, "DRAFT")
            gone |= _said(done.stdout, "GONE")
            waiting, told, orphans = _look(directory)
            assert not gone & waiting, "an acknowledged destruction came back"
            assert told >= gone
            assert told.isdisjoint(waiting), "told of as gone, and there"
            assert waiting | told >= made, "gone without a word in the log"
            assert orphans <= len(killed)
        if killed_everywhere := set(killed) >= set(DECISIVE):
            break
    print(f"kills {len(killed)}, acknowledged {len(gone)}, come back 0, half gone 0")  # noqa: T201  # the count is the proof
    assert killed_everywhere, killed
