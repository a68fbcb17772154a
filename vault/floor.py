"""Owns who has the floor, among the threads that serve requests. It must not know what they work at.

The interpreter serves one thread at a time whatever we do. Left alone it goes from one to the next at every read of a row or a
file, a hundred times in a request, and each of these changes costs more than the read. Here a request keeps the floor until it
waits for something. It is a courtesy and no lock: nothing is protected by it. See docs/decisions/0086.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final

LONGEST_S: Final = 0.02
"""Who has the floor for longer ends the courtesy for ``FREE_S``: it hangs, or works at something long."""
FREE_S: Final = 0.1
"""So that those who hang cost the others a sixth of their time at most, however many they are."""
SLOW_S: Final = 0.25
"""Who waited for longer at once works on without the floor: four hundred slow lines must not queue for every byte."""
WATCH: Final = 5
"""Those further back in the queue look less often, at most so many times ``LONGEST_S``, whether somebody hangs."""


class Floor:
    """One thread at a time, in the order in which they asked; ``with floor:`` around a request. Thread-safe."""

    def __init__(
        self,
        *,
        is_shared: bool = True,
        longest_s: float = LONGEST_S,
        slow_s: float = SLOW_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Not ``is_shared``: everybody works at once, as they would without it."""
        self._longest_s = longest_s
        self.slow_s = slow_s
        self.monotonic = monotonic
        self._lock = threading.Lock()
        self._queue: deque[tuple[int, threading.Lock]] = deque()
        """Threads in the order in which they asked, each with a gate that opens at its turn."""
        self._owner = 0
        self._since = 0.0
        self._free_until = 0.0 if is_shared else float("inf")
        self._spent: dict[int, float] = {}
        """Thread → for how long it had the floor in its request, in seconds."""
        self._yielded = _Yielded(self)

    def __enter__(self) -> None:
        me = threading.get_ident()
        self._spent[me] = 0.0
        self._take(me)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        me = threading.get_ident()
        self._give(me)
        self._spent.pop(me, None)

    def yielded(self) -> _Yielded:
        """``with floor.yielded():`` around a wait, for a disk, a line or another thread: the next one goes on meanwhile."""
        return self._yielded

    def _take(self, me: int) -> None:
        """Return with the floor, or without it where the courtesy has ended."""
        with self._lock:
            now = self.monotonic()
            if now < self._free_until or self._is_stale(now):
                return
            if not self._owner:
                self._owner, self._since = me, now
                return
            gate = threading.Lock()
            gate.acquire()
            self._queue.append((me, gate))
            watch_s = min(len(self._queue), WATCH) * self._longest_s
        while not gate.acquire(timeout=watch_s):
            with self._lock:
                self._is_stale(self.monotonic())  # then our gate is open now

    def _is_stale(self, now: float) -> bool:
        """Whether somebody has had the floor for too long; then everybody works on without it, for a while."""
        if not self._owner or now - self._since < self._longest_s:
            return False
        self._owner, self._free_until = 0, max(self._free_until, now + FREE_S)
        while self._queue:
            self._queue.popleft()[1].release()
        return True

    def _give(self, me: int) -> bool:
        """Let the next one go on; whether there is a floor to come back to."""
        with self._lock:
            if self._owner != me:
                return False
            now = self.monotonic()
            spent = self._spent[me] = self._spent.get(me, 0.0) + now - self._since
            if self._queue:
                (self._owner, gate), self._since = self._queue.popleft(), now
                gate.release()
            else:
                self._owner = 0
        return spent < self._longest_s


class _Yielded:
    """What ``Floor.yielded`` gives: one for all threads, each of which remembers whether it has a floor to come back to."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._mine = threading.local()

    def __enter__(self) -> None:
        self._mine.had_it = self._floor._give(threading.get_ident())  # noqa: SLF001  # one thing in two classes
        self._mine.since = self._floor.monotonic()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._mine.had_it and self._floor.monotonic() - self._mine.since < self._floor.slow_s:
            self._floor._take(threading.get_ident())  # noqa: SLF001  # as above
