"""Owns how many unwraps somebody may ask for: a stolen web process must not empty the vault overnight.

Pure; time is an argument.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

FORGET_AT = 4096
"""Callers remembered."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Budget:
    """A token bucket for each name: ``burst`` at once, refilled at ``per_hour``."""

    def __init__(self, burst: int, per_hour: int) -> None:
        self.burst = burst
        self.per_hour = per_hour
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def spend(self, name: str, now: float) -> bool:
        """Take one; False where none is left. ``now`` in seconds of a monotonic clock."""
        with self._lock:
            bucket = self._buckets.get(name)
            if bucket is None:
                if len(self._buckets) >= FORGET_AT:
                    self._forget(now)
                bucket = self._buckets[name] = _Bucket(self.burst, now)
            bucket.tokens = min(self.burst, bucket.tokens + max(0.0, now - bucket.at) * self.per_hour / 3600)
            bucket.at = now
            if bucket.tokens < 1:
                return False
            bucket.tokens -= 1
            return True

    def _forget(self, now: float) -> None:
        """The fuller half: who has nothing left is remembered longest."""

        def level(name: str) -> float:
            bucket = self._buckets[name]
            return bucket.tokens + (now - bucket.at) * self.per_hour / 3600

        for name in sorted(self._buckets, key=level, reverse=True)[: FORGET_AT // 2]:
            del self._buckets[name]
