"""Owns the end of the log as this process knows it, and how it moves on. It must not know events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from vault.audit.entries import leaves_from
from vault.audit.tree import Frontier, leaf_hash

AT_ONCE: Final = 256
"""Entries of other processes that are taken in one by one; after more the right edge is read anew."""
COUNTERS: Final = 20_000
"""Counters kept in memory; more are read again."""


@dataclass(slots=True)
class Head:
    """The end of the log as this process last saw it."""

    frontier: Frontier
    last_leaf: bytes | None
    last_at: int
    counters: dict[bytes, int] = field(default_factory=dict)
    """What is durable; ``counted`` is added when the batch is."""
    counted: dict[bytes, int] = field(default_factory=dict)

    def copy(self) -> Head:
        return Head(self.frontier.copy(), self.last_leaf, self.last_at, self.counters)

    def moved_on(self, connection: Connection, size: int, at: int) -> Head | None:
        """The head after what another process has appended up to ``size``; its counters are not known.

        None where our last leaf is no longer in its place, or where more came than is worth taking in one by one.
        """
        if not 0 < size - self.frontier.size <= AT_ONCE:
            return None
        ours, *added = leaves_from(connection, self.frontier.size - 1)
        if ours != self.last_leaf or len(added) != size - self.frontier.size:
            return None
        frontier = self.frontier.copy()
        for leaf in added:
            frontier.append(leaf_hash(leaf))
        return Head(frontier, added[-1], at)

    def settle(self) -> None:
        """The batch became durable."""
        self.counters.update(self.counted)
        if len(self.counters) > COUNTERS:
            self.counters = self.counted
        self.counted = {}
