"""Owns this process's view of the registry: which keys exist, which is active, and the counting of wraps.

It must not know the token.
"""

from __future__ import annotations

import threading
import time

from kms.errors import KeyDestroyed, KeyMissing, KeyWornOut
from kms.keys import KeyRecord, KeyState, KeyUse, Registry

FRESH_SECONDS = 2.0
"""How old a view may be: a rotation by another process is noticed within this time."""
RESERVED_WRAPS = 256
"""Wraps counted in advance, so that a durable write is rare; a crash overcounts, never undercounts."""
RESERVED_CALLS = 16
"""Calls in bulk counted in advance: a rotation writes this once for some thousand wraps."""
WRAP_LIMIT = 2**32
"""NIST SP 800-38D 8.3: invocations of GCM with random 96-bit IVs under one key."""
WRAP_ALARM = 2**28


class Ledger:
    """The registry, seen through a short-lived cache; thread-safe."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._records: dict[tuple[KeyUse, int], KeyRecord] = {}
        self._active: dict[KeyUse, KeyRecord] = {}
        self._read_at = float("-inf")
        self._reserved: dict[int, int] = {}

    def _refresh(self) -> None:
        records = {(record.use, record.number): record for record in self._registry.records()}
        by_age = sorted(records.values(), key=lambda record: record.number)  # the newest wins where a crash left two active
        self._active = {record.use: record for record in by_age if record.state is KeyState.ACTIVE}
        self._records = records
        self._read_at = time.monotonic()

    def _fresh(self) -> None:
        if time.monotonic() - self._read_at > FRESH_SECONDS:
            with self._lock:
                if time.monotonic() - self._read_at > FRESH_SECONDS:
                    self._refresh()

    def forget(self) -> None:
        """Read the registry again at the next question."""
        self._read_at = float("-inf")

    def records(self) -> list[KeyRecord]:
        """Every version of every use."""
        self._fresh()
        return list(self._records.values())

    def active(self, use: KeyUse) -> KeyRecord:
        """Raises KeyMissing where no version of ``use`` is active: the vault was not initialised."""
        self._fresh()
        record = self._active.get(use)
        if record is None:
            raise KeyMissing(f"no {use} key is active; make the first keys with: coffre init")
        return record

    def versions(self, use: KeyUse) -> tuple[int, ...]:
        """The versions that may be asked, the active one first. Raises KeyMissing where none is active."""
        active = self.active(use).number
        open_still = [record for record in self._records.values() if record.state is KeyState.DECRYPT_ONLY]
        others = sorted((record.number for record in open_still if record.use is use), reverse=True)
        return (active, *others)

    def record(self, use: KeyUse, number: int) -> KeyRecord:
        """One version, to open what it closed. Raises KeyMissing where the registry has never heard of it, KeyDestroyed."""
        record = self._records.get((use, number))
        if record is None or record.state is KeyState.PENDING:
            with self._lock:
                self._refresh()
            record = self._records.get((use, number))
        else:
            self._fresh()
            record = self._records.get((use, number), record)
        if record is None:
            raise KeyMissing(f"the registry has no {use} key {number}")
        if record.state is KeyState.DESTROYED:
            raise KeyDestroyed(f"{use} key {number} was destroyed on purpose; what it wrapped is gone")
        return record

    def count_wraps(self, record: KeyRecord, wraps: int = 1) -> None:
        """Count before wrapping. Raises KeyWornOut at the limit."""
        with self._lock:
            left = self._reserved.get(record.number, 0)
            if left < wraps:
                reserve = max(RESERVED_WRAPS, RESERVED_CALLS * wraps)
                if record.wraps + reserve > WRAP_LIMIT:
                    raise KeyWornOut(f"master key {record.number} has wrapped {record.wraps} secrets; run: coffre keys rotate")
                self._registry.count_wraps(record.number, reserve)
                left += reserve
            self._reserved[record.number] = left - wraps
