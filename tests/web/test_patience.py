"""A patient socket: everything arrives, whatever the line takes at once, and a wait within the grace is no end."""

from __future__ import annotations

import socket
import threading
from typing import cast

from web.patience import GRACE_S, Patience

MIB = 1024 * 1024


class Line:
    """A line that takes ``sip`` bytes at once, and times out now and then. Counts what it costs."""

    def __init__(self, sip: int, timeouts: int = 0) -> None:
        self.taken = bytearray()
        self.armed: list[float] = []
        self._sip = sip
        self._timeouts = timeouts

    def settimeout(self, seconds: float) -> None:
        self.armed.append(seconds)

    def send(self, data: memoryview) -> int:
        if self._timeouts:
            self._timeouts -= 1
            raise TimeoutError
        self.taken += data[: self._sip]
        return min(self._sip, len(data))

    def recv(self, size: int) -> bytes:
        if self._timeouts:
            self._timeouts -= 1
            raise TimeoutError
        return b"x" * min(self._sip, size)


def patient(line: Line) -> Patience:
    return Patience(cast("socket.socket", line))


def test_everything_is_sent_in_order_and_the_socket_is_armed_once() -> None:
    line, data = Line(3000), bytes(range(256)) * 4096
    patient(line).sendall(data)
    assert bytes(line.taken) == data
    assert len(line.armed) == 1
    assert line.armed[0] <= GRACE_S


def test_a_wait_within_the_grace_is_no_end() -> None:
    line = Line(1000, timeouts=2)
    patient(line).sendall(bytes(5000))
    assert len(line.taken) == 5000
    assert patient(Line(10, timeouts=1)).recv(100) == b"x" * 10


def test_a_new_request_arms_the_socket_anew() -> None:
    """gunicorn takes the time limit off between two requests."""
    line = Line(1000)
    connection = patient(line)
    connection.sendall(bytes(10))
    connection.begin()
    connection.sendall(bytes(10))
    assert len(line.armed) == 2


def test_a_real_socket_takes_more_than_it_can_hold() -> None:
    here, there = socket.socketpair()
    received = bytearray()

    def read() -> None:
        while data := there.recv(100_000):
            received.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    data = bytes(range(256)) * (4 * MIB // 256)
    Patience(here).sendall(data)
    here.close()
    reader.join()
    there.close()
    assert bytes(received) == data
