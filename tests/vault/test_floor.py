"""The floor: one works while others wait, in order; who waits for something yields it; nobody is held up for long."""

from __future__ import annotations

import threading
import time

import pytest

from vault.floor import FREE_S, Floor

PATIENCE_S = 30


class Worker:
    """A thread that takes the floor, says so, and keeps it until it is told to go on."""

    def __init__(self, floor: Floor, *, yields: bool = False) -> None:
        self.works = threading.Event()
        self.has_yielded = threading.Event()
        self.go = threading.Event()
        self._floor = floor
        self._yields = yields
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._floor:
            if self._yields:
                with self._floor.yielded():
                    self.has_yielded.set()
                    self.go.wait(PATIENCE_S)
            self.works.set()
            if not self._yields:
                self.go.wait(PATIENCE_S)

    def end(self) -> None:
        self.go.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def patient() -> Floor:
    """One that nobody loses by the clock."""
    return Floor(longest_s=PATIENCE_S, slow_s=PATIENCE_S)


class StandingClock:
    """The floor's clock: only the test moves it, so nobody loses the floor because the machine was busy."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_works_while_another_waits(patient: Floor) -> None:
    first = Worker(patient)
    assert first.works.wait(PATIENCE_S)
    second = Worker(patient)
    assert not second.works.wait(0.05)
    first.end()
    assert second.works.wait(PATIENCE_S)
    second.end()


def test_who_yields_lets_the_next_one_work_and_comes_back(patient: Floor) -> None:
    first = Worker(patient, yields=True)
    assert first.has_yielded.wait(PATIENCE_S)
    second = Worker(patient)
    assert second.works.wait(PATIENCE_S)
    first.go.set()
    assert not first.works.wait(0.05), "two work at once"
    second.end()
    first.end()
    assert first.works.is_set()


def test_those_who_hang_hold_nobody_up_for_long_however_many_they_are() -> None:
    longest_s = 0.2  # ten times what is shipped: a busy machine must not take longer than all of them together
    floor = Floor(longest_s=longest_s)
    hanging = [Worker(floor) for _ in range(100)]
    start = time.monotonic()
    for each in hanging:
        assert each.works.wait(PATIENCE_S)
    assert time.monotonic() - start < len(hanging) * longest_s, "each of them was waited for"
    for each in hanging:
        each.end()


def test_after_a_while_one_has_the_floor_again() -> None:
    clock = StandingClock()
    floor = Floor(longest_s=0.05, monotonic=clock)
    hanging = Worker(floor)
    assert hanging.works.wait(PATIENCE_S)
    clock.now += 0.05
    second = Worker(floor)
    assert second.works.wait(PATIENCE_S)
    second.end()
    clock.now += FREE_S
    with floor:
        third = Worker(floor)
        assert not third.works.wait(0.05)
    assert third.works.wait(PATIENCE_S)
    third.end()
    hanging.end()


@pytest.mark.parametrize(("spent_s", "comes_back"), [(0.04, True), (0.05, False)])
def test_who_had_it_long_does_not_come_back_to_it(spent_s: float, comes_back: bool) -> None:
    """They go on at once, although another one has it: this is a long piece of work that nobody should wait for."""
    clock = StandingClock()
    floor = Floor(longest_s=0.05, monotonic=clock)
    yielded, may_go_on, goes_on = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        with floor:
            clock.now += spent_s
            with floor.yielded():
                yielded.set()
                may_go_on.wait(PATIENCE_S)
            goes_on.set()

    worker = threading.Thread(target=work)
    worker.start()
    assert yielded.wait(PATIENCE_S)
    other = Worker(floor)
    assert other.works.wait(PATIENCE_S)
    may_go_on.set()
    assert goes_on.wait(0.05 if comes_back else PATIENCE_S) is not comes_back
    other.end()
    worker.join(PATIENCE_S)
    assert goes_on.is_set()


def test_a_floor_that_is_not_shared_keeps_nobody_waiting() -> None:
    floor = Floor(is_shared=False, longest_s=PATIENCE_S)
    workers = [Worker(floor) for _ in range(3)]
    for worker in workers:
        assert worker.works.wait(PATIENCE_S)
    for worker in workers:
        worker.end()


def test_yielding_without_it_is_nothing() -> None:
    floor = Floor()
    with floor.yielded():
        pass
    worker = Worker(floor)
    assert worker.works.wait(PATIENCE_S)
    worker.end()


def test_an_error_gives_it_back(patient: Floor) -> None:
    with pytest.raises(ValueError, match="oops"), patient, patient.yielded():
        raise ValueError("oops")
    worker = Worker(patient)
    assert worker.works.wait(PATIENCE_S)
    worker.end()


def test_everybody_has_it_once() -> None:
    """Sixteen threads, two hundred times each, some with a wait in between: everybody ends."""
    floor = Floor()

    def work(number: int) -> None:
        for n in range(200):
            with floor:
                if (n + number) % 3 == 0:
                    with floor.yielded():
                        time.sleep(0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)
