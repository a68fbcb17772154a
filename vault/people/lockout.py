"""Owns when repeated failures close a door, and for how long: pure state machines. It must not know storage, names or time.

An attempt is counted *before* the secret is looked at and given back afterwards where it was right, so that fifty parallel
guesses get no more tries than five in a row, and an aborted request counts as a failure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vault.errors import LockedOut

SECOND = 1_000_000

FAILURES = 5
"""Failures of password and code together that lock (CNIL 2022-100 asks for at most 10)."""
WINDOW_S = 15 * 60
"""Failures further apart than this from the first are forgotten."""
FIRST_LOCK_S = 15 * 60
LONGEST_LOCK_S = 24 * 60 * 60
"""Delays double up to here; after as long a time without a failure the next lock is a first one again."""

SOURCE_BURST = 60
"""Failures that one address may add up before it is slowed: a whole practice shares one address on a Monday morning."""
SOURCE_REFILL_S = 15
"""Then one more try in this many seconds, for accounts that never signed in from there."""

RECOVERY_BURST = 10
"""Failures at the recovery door, which stays open while an account is locked, for one name from one address …"""
RECOVERY_REFILL_S = 60
"""… then one more try in this many seconds."""


@dataclass(frozen=True, slots=True)
class Failures:
    """What is known about an account's (or a source's) failures; times in microseconds UTC."""

    count: int = 0
    first_at: int = 0
    last_at: int = 0
    locked_until: int | None = None
    locks: int = 0
    """Locks in a row so far."""


NONE = Failures()


def lock_seconds(locks: int) -> int:
    """How long the ``locks``-th lock in a row lasts (from 1): 15 min, doubling, at most 24 h."""
    return int(min(FIRST_LOCK_S * 2 ** min(locks - 1, 20), LONGEST_LOCK_S))


def _forgotten(state: Failures, now: int) -> Failures:
    """What still counts at ``now``."""
    if state.locked_until is not None and now >= state.locked_until:
        state = replace(state, count=0, locked_until=None)
    if state.count and now - state.first_at > WINDOW_S * SECOND:
        state = replace(state, count=0)
    if state.locks and state.locked_until is None and now - state.last_at > LONGEST_LOCK_S * SECOND:
        state = replace(state, locks=0)
    return state


def attempt(state: Failures, now: int) -> Failures:
    """Count one attempt; the one that fills the count also locks. Raises LockedOut where the door is closed already."""
    state = _forgotten(state, now)
    if state.locked_until is not None:
        raise LockedOut("too many failures", retry_after_s=-((now - state.locked_until) // SECOND))
    first_at = state.first_at if state.count else now
    counted = replace(state, count=state.count + 1, first_at=first_at, last_at=now)
    if counted.count < FAILURES:
        return counted
    locks = state.locks + 1
    return replace(counted, locks=locks, locked_until=now + lock_seconds(locks) * SECOND)


def give_back(state: Failures) -> Failures:
    """Take one counted attempt back: it was right, but the sign-in is not complete."""
    if state.count == 0:
        return state
    if state.locked_until is not None and state.count <= FAILURES:
        return replace(state, count=state.count - 1, locked_until=None, locks=state.locks - 1)
    return replace(state, count=state.count - 1)


def is_locked(state: Failures, now: int) -> bool:
    """Whether the door is closed at ``now``."""
    return state.locked_until is not None and now < state.locked_until


def slow_source(state: Failures, now: int) -> Failures:
    """Count one attempt of an address: a leaking bucket. Raises LockedOut (for seconds, not hours) where it is full."""
    return _leaked(state, now, SOURCE_BURST, SOURCE_REFILL_S)


def slow_recovery(state: Failures, now: int) -> Failures:
    """Count one attempt of a name at the recovery door, from one address. Raises LockedOut (for a minute) where it is full."""
    return _leaked(state, now, RECOVERY_BURST, RECOVERY_REFILL_S)


def _leaked(state: Failures, now: int, burst: int, refill_s: int) -> Failures:
    leaked = max(0, now - state.last_at) // (refill_s * SECOND)
    level = max(0, state.count - leaked)
    if level >= burst:
        wait = refill_s - (max(0, now - state.last_at) // SECOND) % refill_s
        raise LockedOut("too many failures from this address", retry_after_s=wait)
    last_at = now if level == 0 else state.last_at + leaked * refill_s * SECOND
    return Failures(count=level + 1, first_at=state.first_at or now, last_at=last_at)
