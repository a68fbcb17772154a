"""Owns which of the serving processes a connection belongs to, and what they all see. It must not know requests.

Each process has an interpreter of its own, so that several use several processors. An address belongs to one of them: what
a process remembers of a workplace (uploads that may go on, pages just drawn, openings of the last minutes) is there for each
of its connections. Whoever accepts somebody else's connection hands it over. See docs/decisions/0087.
"""

from __future__ import annotations

import ipaddress
import mmap
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

MOST: Final = 4
"""Processes that are started without being asked for; each keeps some 40 MiB of its own."""
BOARD_BYTES: Final = 1 << 20
"""What each process may show to the others; memory is taken only where something is written."""
_FLAGS: Final = mmap.PAGESIZE
_LOOK_S: Final = 0.02


def by_default() -> int:
    """As many processes as this one may use processors, up to ``MOST``."""
    return min(MOST, len(os.sched_getaffinity(0)))


class Processes:
    """Made before the forks. In each process, ``number`` says which one it is; the first one is 0."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.number = 0
        self._doors = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count if count > 1 else 0)]
        for pair in self._doors:
            for end in pair:
                end.setblocking(False)  # noqa: FBT003  # the standard library's shape
        self._memory = mmap.mmap(-1, _FLAGS + count * BOARD_BYTES)

    @property
    def is_first(self) -> bool:
        """Whether this one also does what is done once: mails, rounds, the patrol."""
        return self.number == 0

    def board(self, number: int) -> memoryview:
        """Where process ``number`` shows something to all of them: only it writes there."""
        start = _FLAGS + number * BOARD_BYTES
        return memoryview(self._memory)[start : start + BOARD_BYTES]

    def close(self) -> None:
        """Let the doors go; idempotent."""
        for end in (end for pair in self._doors for end in pair):
            end.close()

    # --- starting

    def tell_first_is_up(self) -> bool:
        """The vault can be opened; whether this was the first time."""
        was_up, self._memory[0] = self._memory[0], 1
        return not was_up

    def await_first(self, is_wanted: Callable[[], bool]) -> bool:
        """Wait until the first one is up: it alone brings tables up to date, and tries a PIN. False once not ``is_wanted``."""
        while not (self.is_first or self._memory[0]):
            if not is_wanted():
                return False
            time.sleep(_LOOK_S)
        return True

    # --- connections

    @property
    def door(self) -> socket.socket | None:
        """Where this process hears of connections that another one accepted; None where it is alone."""
        return self._doors[self.number][0] if self._doors else None

    def owner(self, address: str) -> int:
        """The process to which an IP address belongs: neighbours are dealt out in turn, this machine is the first one's."""
        try:
            number = int(ipaddress.ip_address(address.partition("%")[0]))
        except ValueError:
            return 0
        return ((number - 1) & 0xFFFF) % self.count

    def hand_over(self, connection: socket.socket, address: str) -> bool:
        """Give a connection to its owner; False where it is ours, or the owner's door is full: then it is served here."""
        owner = self.owner(address)
        if owner == self.number or not self._doors:
            return False
        try:
            socket.send_fds(self._doors[owner][1], [b"."], [connection.fileno()])
        except OSError:
            return False
        connection.close()
        return True

    def handed_over(self) -> Iterator[socket.socket]:
        """The connections that wait at our door."""
        door = self.door
        while door is not None:
            try:
                _, found, _, _ = socket.recv_fds(door, 1, 1)
            except OSError:  # BlockingIOError: that was the last one
                return
            for descriptor in found:
                with suppress(OSError):
                    yield socket.socket(fileno=descriptor)
