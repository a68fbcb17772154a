"""Owns the key process's own log: one chained line for each unwrap, written before the secret leaves, for each new
generation of the high-water mark, and for each end of a key.

It must not know the access log.

Each line is JSON with the SHA-256 of the line before it, so a line that is dropped or edited shows. The web process can't
write here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kms.errors import KeysUnavailable

FIRST = "0" * 64
DESTROY = "destroy"
"""The operation of a line that tells of a key's end, by a command on the key process's host: nothing of it over the socket."""
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
    """SHA-256 of the wrapped key asked for, hexadecimal; of a mark, the one before and the new one (generation/size); of an
    end, the key and the entry of the access log that tells of the agreement (use/number/event)."""
    outcome: str
    """``done``, or an error's code; of an end that is about to be made, ``granted``."""
    end: int
    """Where the line ends in the file, in bytes."""


class Journal:
    """Appends to one file (mode 0600); thread-safe. A command beside the serving process may append to the same file."""

    def __init__(self, path: Path, clock: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        """Raises KeysUnavailable where the file can't be opened, BrokenJournal where more than its last line is damaged."""
        self._clock = clock
        self._lock = threading.Lock()
        self._synced_at = 0.0
        self._last = FIRST
        self._end = 0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            for self._last, entry in read(path):  # it may be long: whoever serves goes on writing meanwhile
                self._end = entry.end
            with self._alone():
                self._catch_up()
                os.ftruncate(self._file, self._end)  # a last line that a power cut tore
        except BrokenJournal:
            os.close(self._file)
            raise
        except OSError as error:
            raise KeysUnavailable(f"the key process can't write its log {path} ({error.strerror})") from error

    def record(self, operation: str, caller: str, peer: int, what: str, outcome: str) -> None:  # one column each
        """Raises KeysUnavailable where the line can't be written: no line, no secret."""
        with self._lock:
            entry = {"at": self._clock(), "op": operation, "for": caller, "uid": peer, "what": what, "outcome": outcome}
            try:
                with self._alone():
                    with suppress(BrokenJournal):  # what somebody slipped in does not follow the chain: it shows
                        self._catch_up()
                    line = json.dumps(entry | {"prev": self._last}, separators=(",", ":"), sort_keys=True).encode() + b"\n"
                    if os.write(self._file, line) != len(line):
                        raise KeysUnavailable("the key process's disk is full: no log, no key")
                if time.monotonic() - self._synced_at > SYNC_SECONDS:
                    os.fdatasync(self._file)
                    self._synced_at = time.monotonic()
            except OSError as error:
                raise KeysUnavailable(f"the key process can't write its log ({error.strerror})") from error
            self._last = hashlib.sha256(line).hexdigest()
            self._end += len(line)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process appends meanwhile."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Go on behind the lines that another process appended. Raises BrokenJournal where they don't follow the chain."""
        if (more := os.fstat(self._file).st_size - self._end) > 0:
            lines = os.pread(self._file, more, self._end).splitlines(keepends=True)
            for last, entry in _chained(lines, self._last, self._end):
                self._last, self._end = last, entry.end

    def close(self) -> None:
        """Make everything durable."""
        os.fsync(self._file)
        os.close(self._file)


def read(path: Path) -> Iterator[tuple[str, Entry]]:
    """Each line's hash and entry, the chain checked. Raises BrokenJournal; a torn last line (power cut) is passed over."""
    with path.open("rb") as file:
        yield from _chained(file, FIRST, 0)


def _chained(lines: Iterable[bytes], last: str, end: int) -> Iterator[tuple[str, Entry]]:
    for number, line in enumerate(lines, 1):
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
