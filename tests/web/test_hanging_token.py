"""The key module hangs for half a minute under a practice at work: what needs keys says so soon, what needs none stays fast."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kms.lifecycle import create_first_keys
from kms.settings import KmsSettings
from kms.token import TokenKeys
from tests.conftest import Clock
from tests.kms import shim as shims
from tests.kms.fake import MemoryRegistry
from tests.kms.shim import Shim
from tests.web.conftest import Practice, open_practice

HANG_S = 30
THREADS = 8
NAMES = ("Arnaud", "Bonnet", "Clement", "Dupont", "Etienne", "Fabre", "Garnier", "Henry")


@dataclass
class Met:
    """What one kind of request met."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0
    wrong: int = 0
    took: list[float] = field(default_factory=list)


@pytest.fixture
def shim(softhsm: KmsSettings, tmp_path: Path) -> Iterator[Shim]:
    (tmp_path / "built").mkdir()
    with closing(shims.load(shims.build(tmp_path / "built"), softhsm, tmp_path)) as loaded:
        yield loaded


@pytest.fixture
def practice(shim: Shim, tmp_path: Path) -> Iterator[Practice]:
    """A practice over a real token behind the fault shim, one patient a thread."""
    registry = MemoryRegistry()
    create_first_keys(shim.settings, registry)
    room = tmp_path / "room"
    room.mkdir()
    opened = open_practice(room, Clock(), token=TokenKeys(shim.settings, registry))
    for name in NAMES:
        opened.patient(name=name)
    yield opened
    shim.behave()
    opened.vault.close()


def keep(met: Met, lock: threading.Lock, begun: float, status: int, *, is_right: bool) -> None:
    now = time.monotonic()
    with lock:
        met.statuses[status] += 1
        met.slowest_s = max(met.slowest_s, now - begun)
        met.took.append(now - begun)
        if status == 200:
            met.wrong += not is_right


@pytest.mark.hsm
@pytest.mark.alone
@pytest.mark.timeout(180)
def test_a_module_that_hangs_for_half_a_minute(practice: Practice, shim: Shim) -> None:
    keyed, free, lock, stop = Met(), Met(), threading.Lock(), threading.Event()
    practice.token("claire")

    def search(name: str) -> None:
        program = practice.program("claire")
        while not stop.wait(0.05):
            begun = time.monotonic()
            answer = program.ask("POST", "/patients/search", json={"q": name})
            found = [each["birth_name"] for each in answer.get_json().get("patients", [])] if answer.status_code == 200 else []
            keep(keyed, lock, begun, answer.status_code, is_right=found == [name])

    def look() -> None:
        client = practice.app.test_client()
        while not stop.wait(0.1):
            for page in ("/sign-in", "/healthz"):
                begun = time.monotonic()
                keep(free, lock, begun, client.get(page).status_code, is_right=True)

    running = [threading.Thread(target=search, args=(name,)) for name in NAMES[:THREADS]]
    running.append(threading.Thread(target=look))
    for thread in running:
        thread.start()
    try:
        wait_for(lambda: keyed.statuses[200] > THREADS, 20, "nothing was found before the fault")
        with shim.hanging():
            time.sleep(HANG_S)
        back, done = time.monotonic(), keyed.statuses[200]
        wait_for(lambda: keyed.statuses[200] > done + THREADS, 10, "it did not come back within 10 s, without a restart")
        assert time.monotonic() - back < 10
    finally:
        shim.behave()
        stop.set()
        for thread in running:
            thread.join()
    assert keyed.wrong == 0
    assert keyed.statuses[503] > THREADS
    assert set(keyed.statuses) <= {200, 503}
    assert keyed.slowest_s <= 5
    assert set(free.statuses) == {200}
    assert free.slowest_s < 3  # less than one deadline of the token
    assert statistics.median(free.took) < 0.5


def wait_for(condition: Callable[[], bool], within_s: float, what: str) -> None:
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > within_s:
            pytest.fail(what)
        time.sleep(0.05)
