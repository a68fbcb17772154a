"""Lockout as a state machine, against a slow and simple model."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vault.errors import LockedOut
from vault.people.lockout import (
    FAILURES,
    FIRST_LOCK_S,
    LONGEST_LOCK_S,
    NONE,
    SECOND,
    SOURCE_BURST,
    SOURCE_REFILL_S,
    WINDOW_S,
    Failures,
    attempt,
    give_back,
    is_locked,
    lock_seconds,
    slow_source,
)

START = 1_790_000_000 * SECOND


class LockoutMachine(RuleBasedStateMachine):
    """The model remembers every failure; the real thing a handful of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.state = NONE
        self.now = START
        self.failed: list[int] = []
        self.locked_until = 0
        self.locks = 0
        self.last_failure = START

    def _open(self) -> bool:
        return self.now >= self.locked_until

    def _begin(self) -> None:
        if self.locked_until and self._open():
            self.failed, self.locked_until = [], 0
        if self.failed and self.now - self.failed[0] > WINDOW_S * SECOND:
            self.failed = []
        if not self.locked_until and self.now - self.last_failure > LONGEST_LOCK_S * SECOND:
            self.locks = 0

    @rule(seconds=st.integers(0, 3 * 86_400))
    def wait(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule(seconds=st.integers(1, 200))
    def wait_a_little(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule()
    def wrong(self) -> None:
        self._begin()
        if not self._open():
            with pytest.raises(LockedOut) as locked:
                attempt(self.state, self.now)
            left = self.locked_until - self.now
            assert int(locked.value.details["retry_after_s"]) * SECOND - left in range(SECOND)
            return
        self.state = attempt(self.state, self.now)
        self.failed.append(self.now)
        self.last_failure = self.now
        if len(self.failed) == FAILURES:
            self.locks += 1
            self.locked_until = self.now + min(FIRST_LOCK_S * 2 ** (self.locks - 1), LONGEST_LOCK_S) * SECOND

    @rule()
    def right_but_not_complete(self) -> None:
        self._begin()
        if not self._open():
            with pytest.raises(LockedOut):
                attempt(self.state, self.now)
            return
        self.state = give_back(attempt(self.state, self.now))
        self.last_failure = self.now

    @rule()
    def complete(self) -> None:
        if not self._open():
            return
        attempt(self.state, self.now)
        self.state, self.failed, self.locked_until, self.locks = NONE, [], 0, 0

    @invariant()
    def agrees(self) -> None:
        assert is_locked(self.state, self.now) is (not self._open())
        assert self.state.count <= FAILURES


TestLockout = LockoutMachine.TestCase
TestLockout.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_delays_double_up_to_a_day() -> None:
    assert [lock_seconds(number) // 60 for number in range(1, 9)] == [15, 30, 60, 120, 240, 480, 960, 1440]
    assert lock_seconds(1_000_000) == LONGEST_LOCK_S


def test_five_parallel_reservations_are_all_that_anybody_gets() -> None:
    state = NONE
    for _ in range(FAILURES):
        state = attempt(state, START)
    with pytest.raises(LockedOut):
        attempt(state, START)


@given(st.integers(0, FAILURES - 1))
def test_giving_back_undoes_an_attempt(before: int) -> None:
    state = NONE
    for _ in range(before):
        state = attempt(state, START)
    after = give_back(attempt(state, START))
    assert (after.count, after.locked_until, after.locks) == (state.count, state.locked_until, state.locks)
    assert give_back(NONE) == NONE


def test_clock_set_back_unlocks_nobody() -> None:
    state = NONE
    for _ in range(FAILURES):
        state = attempt(state, START)
    with pytest.raises(LockedOut):
        attempt(state, START - 600 * SECOND)


@given(st.lists(st.integers(0, 60), min_size=100, max_size=400))
def test_an_address_never_gets_more_than_burst_plus_refill(waits: list[int]) -> None:
    state, now, passed = Failures(), START, 0
    for wait in waits:
        now += wait * SECOND
        with contextlib.suppress(LockedOut):
            state = slow_source(state, now)
            passed += 1
    assert passed <= SOURCE_BURST + (now - START) // (SOURCE_REFILL_S * SECOND) + 1


def test_a_slowed_address_may_try_after_the_time_it_was_told() -> None:
    state = Failures()
    now = START
    for _ in range(SOURCE_BURST):
        state = slow_source(state, now)
    with pytest.raises(LockedOut) as slowed:
        slow_source(state, now + SECOND)
    slow_source(state, now + SECOND + int(slowed.value.details["retry_after_s"]) * SECOND)
