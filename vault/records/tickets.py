"""Owns view tickets: one opening, one event, however many pages and ranges it takes. It must not know what is opened.

A ticket spares the log a second line, never a check: policy is asked at every request.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from vault.model import Actor, Micros

T = TypeVar("T")

TICKET_SECONDS = 5 * 60
MOST_TICKETS = 4096
"""Enough for every screen of a large practice; beyond, the oldest opening is logged again."""


class Tickets(Generic[T]):
    """What was granted to a session a moment ago. Thread-safe, in this process only."""

    def __init__(self, clock: Callable[[], Micros]) -> None:
        self._clock = clock
        self._tickets: OrderedDict[Hashable, tuple[int, T]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, actor: Actor, *what: Hashable) -> T | None:
        """What this very session was given for ``what`` in the last five minutes."""
        key = (actor.session, actor.person, *what)
        with self._lock:
            issued = self._tickets.get(key)
            if issued is None or not 0 <= self._clock() - issued[0] < TICKET_SECONDS * 1_000_000:
                self._tickets.pop(key, None)
                return None
            return issued[1]

    def keep(self, actor: Actor, value: T, *what: Hashable) -> None:
        """Remember ``value`` for this session and ``what``."""
        with self._lock:
            self._tickets[actor.session, actor.person, *what] = (self._clock(), value)
            while len(self._tickets) > MOST_TICKETS:
                self._tickets.popitem(last=False)

    def drop(self, actor: Actor, *what: Hashable) -> None:
        """Forget one ticket: the opening failed."""
        with self._lock:
            self._tickets.pop((actor.session, actor.person, *what), None)
