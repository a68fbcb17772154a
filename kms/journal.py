"""Owns the key process's own log: one chained line for each unwrap, written before the secret leaves, and for each new
generation of the high-water mark.

It must not know the access log.

Each line is JSON with the SHA-256 of the line before it, so a line that is dropped or edited shows. The web process can't
write here.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kms.errors import KeysUnavailable

FIRST = "0" * 64
SYNC_SECONDS = 1.0
"""How much of the log a power cut may take."""


class BrokenJournal(Exception):
    """The chain does not hold at a line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    at: int
    """Microseconds since the epoch, UTC."""
    operation: str
    caller: str
    peer: int
    """The asking process's user id, from the kernel."""
    what: str
    """SHA-256 of the wrapped key asked for, hexadecimal; of a mark, the one before and the new one (generation/size)."""
    outcome: str
    """``done``, or an error's code."""
    end: int
    """Where the line ends in the file, in bytes."""


class Journal:
    """Appends to one file (mode 0600); thread-safe."""

    def __init__(self, path: Path, clock: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        """Raises KeysUnavailable where the file can't be opened, BrokenJournal where more than its last line is damaged."""
        self._clock = clock
        self._lock = threading.Lock()
        self._synced_at = 0.0
        self._last = FIRST
        length = 0
        if path.exists():
            for self._last, entry in read(path):
                length = entry.end
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._file, length)  # a last line that a power cut tore
        except OSError as error:
            raise KeysUnavailable(f"the key process can't write its log {path} ({error.strerror})") from error

    def record(self, operation: str, caller: str, peer: int, what: str, outcome: str) -> None:  # one column each
        """Raises KeysUnavailable where the line can't be written: no line, no secret."""
        with self._lock:
            entry = {"at": self._clock(), "op": operation, "for": caller, "uid": peer, "what": what, "outcome": outcome}
            line = json.dumps(entry | {"prev": self._last}, separators=(",", ":"), sort_keys=True).encode() + b"\n"
            try:
                if os.write(self._file, line) != len(line):
                    raise KeysUnavailable("the key process's disk is full: no log, no key")
                if time.monotonic() - self._synced_at > SYNC_SECONDS:
                    os.fdatasync(self._file)
                    self._synced_at = time.monotonic()
            except OSError as error:
                raise KeysUnavailable(f"the key process can't write its log ({error.strerror})") from error
            self._last = hashlib.sha256(line).hexdigest()

    def close(self) -> None:
        """Make everything durable."""
        os.fsync(self._file)
        os.close(self._file)


def read(path: Path) -> Iterator[tuple[str, Entry]]:
    """Each line's hash and entry, the chain checked. Raises BrokenJournal; a torn last line (power cut) is passed over."""
    last, end = FIRST, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                fields: dict[str, Any] = json.loads(line)
                entry = Entry(fields["at"], fields["op"], fields["for"], fields["uid"], fields["what"], fields["outcome"], end)
            except (ValueError, KeyError) as error:
                raise BrokenJournal(f"line {number} is not an entry") from error
            if fields.get("prev") != last:
                raise BrokenJournal(f"line {number} does not follow the line before it")
            last = hashlib.sha256(line).hexdigest()
            yield last, entry
