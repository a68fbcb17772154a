"""Turns: one works while others wait, in order; who waits for something lets the next one go; nobody is held up for long."""

from __future__ import annotations

import threading
import time

import pytest

from vault.turn import LONGEST_S, Turn

PATIENCE_S = 30


class Worker:
    """A thread that takes its turn, says so, and keeps it until it is told to go on."""

    def __init__(self, turn: Turn, *, aside: bool = False) -> None:
        self.works = threading.Event()
        self.is_aside = threading.Event()
        self.go = threading.Event()
        self._turn = turn
        self._aside = aside
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._turn:
            if self._aside:
                with self._turn.aside():
                    self.is_aside.set()
                    self.go.wait(PATIENCE_S)
            self.works.set()
            if not self._aside:
                self.go.wait(PATIENCE_S)

    def end(self) -> None:
        self.go.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def patient() -> Turn:
    """Turns that nobody loses by the clock."""
    return Turn(longest_s=PATIENCE_S)


def test_one_works_while_another_waits(patient: Turn) -> None:
    first = Worker(patient)
    assert first.works.wait(PATIENCE_S)
    second = Worker(patient)
    assert not second.works.wait(0.05)
    first.end()
    assert second.works.wait(PATIENCE_S)
    second.end()


def test_who_steps_aside_lets_the_next_one_work_and_comes_back(patient: Turn) -> None:
    first = Worker(patient, aside=True)
    assert first.is_aside.wait(PATIENCE_S)
    second = Worker(patient)
    assert second.works.wait(PATIENCE_S)
    first.go.set()
    assert not first.works.wait(0.05), "two work at once"
    second.end()
    first.end()
    assert first.works.is_set()


def test_nobody_waits_for_one_who_hangs() -> None:
    turn = Turn()
    hanging = Worker(turn)
    assert hanging.works.wait(PATIENCE_S)
    start = time.monotonic()
    others = [Worker(turn) for _ in range(3)]
    for other in others:
        assert other.works.wait(PATIENCE_S)
    assert time.monotonic() - start >= LONGEST_S * 0.9
    for each in (*others, hanging):
        each.end()


def test_who_worked_long_takes_no_turn_until_the_next_request() -> None:
    turn = Turn()
    with turn:
        time.sleep(LONGEST_S * 1.5)
        with turn.aside():
            other = Worker(turn)
            assert other.works.wait(PATIENCE_S)
        # Back at once, although the other one has its turn: this is a long piece of work that nobody should wait for.
    other.end()


def test_stepping_aside_without_a_turn_is_nothing() -> None:
    turn = Turn()
    with turn.aside():
        pass
    worker = Worker(turn)
    assert worker.works.wait(PATIENCE_S)
    worker.end()


def test_an_error_gives_the_turn_back(patient: Turn) -> None:
    with pytest.raises(ValueError, match="oops"), patient, patient.aside():
        raise ValueError("oops")
    worker = Worker(patient)
    assert worker.works.wait(PATIENCE_S)
    worker.end()


def test_all_come_to_their_turn() -> None:
    """Sixteen threads, two hundred turns each, some with a wait in between: everybody ends."""
    turn = Turn()

    def work(number: int) -> None:
        for n in range(200):
            with turn:
                if (n + number) % 3 == 0:
                    with turn.aside():
                        time.sleep(0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)
