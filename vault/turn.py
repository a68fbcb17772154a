"""Owns whose turn it is to work, among the threads that serve requests. It must not know what is worked at.

The interpreter serves one thread at a time whatever we do. Left alone it goes from one to the next at every read of a row or a
file, a hundred times in a request, and each of these changes costs more than the read. Here a request works until it waits for
something. It is a courtesy and no lock: nothing is protected by it, and nobody is held up by another for longer than
``LONGEST_S``. See docs/decisions/0086.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Final

LONGEST_S: Final = 0.02
"""Who has worked for longer takes no turns until its next request: a large document, a picture, a store that hangs."""


class Turn:
    """One thread at a time, in the order in which they asked. ``with turn:`` around a request; see ``aside``. Thread-safe."""

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, threading.Lock]] = deque()
        """Threads in the order in which they asked, each with a gate that opens at its turn."""
        self._owner = 0
        self._since = 0.0
        self._spent: dict[int, float] = {}
        """Thread → how long it has worked in its request, in seconds."""
        self._aside = _Aside(self)

    def __enter__(self) -> None:
        me = threading.get_ident()
        self._spent[me] = 0.0
        self._take(me)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        me = threading.get_ident()
        self._give(me)
        self._spent.pop(me, None)

    def aside(self) -> _Aside:
        """``with turn.aside():`` around a wait, for a disk, a line or another thread: the next one goes on meanwhile."""
        return self._aside

    def _take(self, me: int) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                left = self._since + self._longest_s - now
                if not self._owner or left <= 0:
                    self._owner, self._since = me, now
                    return
                gate = threading.Lock()
                gate.acquire()
                self._waiting.append((me, gate))
            gate.acquire(timeout=left)
            with self._lock:
                if self._owner == me:
                    return
                with suppress(ValueError):
                    self._waiting.remove((me, gate))

    def _give(self, me: int) -> bool:
        """Let the next one go; whether there is a turn to come back to."""
        with self._lock:
            if self._owner != me:
                return False
            now = time.monotonic()
            spent = self._spent[me] = self._spent.get(me, 0.0) + now - self._since
            if self._waiting:
                (self._owner, gate), self._since = self._waiting.popleft(), now
                gate.release()
            else:
                self._owner = 0
        return spent < self._longest_s


class _Aside:
    """What ``Turn.aside`` gives: one for all threads, each of which remembers whether it has a turn to come back to."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._mine = threading.local()

    def __enter__(self) -> None:
        self._mine.comes_back = self._turn._give(threading.get_ident())  # noqa: SLF001  # one thing in two classes

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._mine.comes_back:
            self._turn._take(threading.get_ident())  # noqa: SLF001  # as above
