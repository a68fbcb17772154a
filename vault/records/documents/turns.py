"""Owns turns: how many of one kind of heavy work a process does at once. It must not know the work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vault.errors import Busy
from vault.floor import Floor

WAIT_S = 15.0
"""How long one waits for a turn before the caller is asked to come back."""
RETRY_S = 10


class Turns:
    """At most ``at_once`` at the same time; the others wait, and then are told to come back. Thread-safe."""

    def __init__(self, at_once: int, what: str, floor: Floor | None = None) -> None:
        """``what`` is named in the refusal: "deposits"; ``floor``: whoever waits yields it."""
        self._floor = floor or Floor()
        self._free = threading.BoundedSemaphore(at_once)
        self._what = what
        self.wait_s: float = WAIT_S

    @contextmanager
    def take(self) -> Iterator[None]:
        """One turn. Raises Busy."""
        with self._floor.yielded():
            is_mine = self._free.acquire(timeout=self.wait_s)
        if not is_mine:
            raise Busy(f"too many {self._what} are under way", retry_after_s=RETRY_S)
        try:
            yield
        finally:
            self._free.release()
