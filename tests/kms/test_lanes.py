"""Lanes: many callers on few threads, nobody behind a call that hangs or takes long, and nothing left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from kms.keys import Secret
from kms.lanes import Crowded, Hanging, Lanes

LONG_S = 30.0
"""A deadline that nothing here reaches."""


@contextmanager
def lanes(limit: int) -> Iterator[tuple[Lanes[int], list[threading.Thread]]]:
    """Lanes whose seats are numbered, and a list that is told each call that came late."""
    numbers, late = count(1), list[threading.Thread]()
    made = Lanes("lane-test", limit, lambda: next(numbers), lambda: late.append(threading.current_thread()))
    yield made, late
    made.stop()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("lane-test")])


def until(condition: Callable[[], object], what: str = "it did not happen") -> None:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < LONG_S, what
        time.sleep(0.001)


def beside(work: Callable[[], object]) -> threading.Thread:
    """``work`` in a thread; what it raises was expected."""

    def guarded() -> None:
        with suppress(Crowded, Hanging):
            work()

    thread = threading.Thread(target=guarded)
    thread.start()
    return thread


def call_until_begun(made: Lanes[int], work: Callable[[int], object]) -> None:
    """A call that is given up soon, made again where a busy machine had not even begun it."""
    while True:
        try:
            made.call(work, 0.02)
        except Crowded:
            continue
        return


def _told(number: int, _seat: int) -> int:
    return number


def test_a_crowd_gets_each_its_own_answer() -> None:
    right = list[bool]()
    with lanes(3) as (made, late):

        def ask(number: int) -> None:
            for round_ in range(200):
                right.append(made.call(partial(_told, number * round_), LONG_S) == number * round_)

        for thread in [beside(partial(ask, number)) for number in range(8)]:
            thread.join()
        assert made.in_use <= 3
    assert right == [True] * 1600
    assert late == []


def test_what_a_call_raises_is_its_caller_s() -> None:
    with lanes(1) as (made, _):
        with pytest.raises(ZeroDivisionError):
            made.call(lambda seat: seat // 0, LONG_S)
        assert made.call(lambda seat: seat, LONG_S) == 1


def test_nobody_waits_for_ever_behind_a_call_that_hangs() -> None:
    free, taken = threading.Event(), list[int]()

    def hang(seat: int) -> None:
        taken.append(seat)
        free.wait()

    with lanes(2) as (made, late):
        hanging = beside(lambda: made.call(hang, LONG_S))
        until(lambda: taken)
        begun = time.monotonic()
        the_other = 3 - taken[0]  # the second lane takes the hanging call where the first is slow to wake
        assert [made.call(lambda seat: seat, LONG_S) for _ in range(20)] == [the_other] * 20
        assert time.monotonic() - begun < LONG_S / 2
        free.set()
        hanging.join()
    assert late == []


def test_a_call_that_waits_too_long_never_runs() -> None:
    free, ran = threading.Event(), list[int]()
    with lanes(1) as (made, _):
        hanging = beside(lambda: made.call(lambda _: free.wait(), LONG_S))
        until(lambda: made.in_use == 1)
        with pytest.raises(Crowded):
            made.call(ran.append, LONG_S, 0.02)
        free.set()
        hanging.join()
        assert made.call(lambda seat: seat, LONG_S) == 1
    assert ran == []


def test_a_late_answer_is_wiped_and_the_lane_works_on() -> None:
    free, secret = threading.Event(), Secret(b"x" * 32)
    with lanes(1) as (made, late):

        def hang(_seat: int) -> Secret:
            free.wait()
            return secret

        with pytest.raises(Hanging):
            call_until_begun(made, hang)
        assert (made.hanging, made.in_use, len(secret)) == (1, 1, 32)
        free.set()
        until(lambda: late)
        assert (made.hanging, len(secret)) == (0, 0)
        assert made.call(lambda seat: seat, LONG_S) == 1


def test_calls_that_last_run_beside_one_another() -> None:
    """Both meet inside: on one lane they never would."""
    with lanes(2) as (made, _):
        for is_long in (False, True):
            meeting = threading.Barrier(2)
            both = [
                beside(lambda m=meeting, long=is_long: made.call(lambda _: m.wait(LONG_S), LONG_S, is_long=long))  # type: ignore[misc]  # bound now
                for _ in range(2)
            ]
            for each in both:
                each.join()
            assert not meeting.broken


def after_a_while(seat: int) -> int:
    time.sleep(0.005)
    return seat


def test_a_bell_that_rings_for_nothing_is_no_answer() -> None:
    with lanes(1) as (made, _):
        made.call(lambda _: None, LONG_S)
        [call] = made._spare
        os.eventfd_write(call.bell, 1)
        assert made.call(after_a_while, LONG_S) == 1
        assert made.call(lambda seat: seat, LONG_S) == 1


def test_descriptors_are_used_again() -> None:
    with lanes(2) as (made, _):
        made.call(lambda _: None, LONG_S)
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(100):
            made.call(lambda _: None, LONG_S)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


@pytest.mark.alone
def test_a_signal_takes_the_caller_away_and_nothing_is_delivered_to_the_next() -> None:
    class Away(Exception):
        pass

    def leave(*_: object) -> None:
        raise Away

    free, ran = threading.Event(), list[bool]()
    before = signal.signal(signal.SIGALRM, leave)
    try:
        with lanes(1) as (made, late):

            def hang(_seat: int) -> None:
                signal.setitimer(signal.ITIMER_REAL, 0.2)  # from the lane: the call has begun before its caller leaves
                free.wait()

            def wait_behind_it() -> None:
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                made.call(lambda _: ran.append(True), LONG_S)

            with pytest.raises(Away):
                made.call(hang, LONG_S)
            assert made.hanging == 1
            with pytest.raises(Away):
                wait_behind_it()
            free.set()
            until(lambda: late)
            assert made.call(lambda seat: seat, LONG_S) == 1
            assert ran == []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_thread_that_the_system_refuses_costs_its_caller_only(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = list[int]()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with lanes(2) as (made, _late):
        with monkeypatch.context() as scarce:
            scarce.setattr(threading.Thread, "start", refuse)
            with pytest.raises(Crowded):
                made.call(ran.append, LONG_S, 0.01)
        assert made.call(lambda _seat: "served", LONG_S) == "served"
        assert ran == [], "a call that was refused never runs later"
        until(lambda: made.in_use == 0)
