"""A patient socket: everything arrives, whatever the line takes at once, and a wait within the grace is no end."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, cast

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

from vault.floor import Floor
from web.patience import GRACE_S, Connection, Patience, Worker

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

MIB = 1024 * 1024
READY = os.open(os.devnull, os.O_RDWR)
"""Something that always gives and takes at once."""


class Line:
    """A line that takes ``sip`` bytes at once, and times out now and then. Counts what it costs."""

    def __init__(self, sip: int, timeouts: int = 0) -> None:
        self.taken = bytearray()
        self.armed: list[float] = []
        self._sip = sip
        self._timeouts = timeouts

    def fileno(self) -> int:
        return READY

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


def test_who_waits_for_the_line_lets_others_work() -> None:
    floor = Floor(longest_s=30, slow_s=30)
    here, there = socket.socketpair()
    received, has_floor = Future[bytes](), threading.Event()

    def wait() -> None:
        with floor:
            has_floor.set()
            received.set_result(Patience(here, floor).recv(100))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert has_floor.wait(30)
    with floor:  # comes only once the other one has nothing to read
        there.sendall(b"at last")
    assert received.result(30) == b"at last"
    waiting.join()
    here.close()
    there.close()


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


def answering(worker: Worker, ours: socket.socket) -> Future[object]:
    """A connection of the worker's, handled in a thread of its own; what that gives back to the accepting thread."""
    connection = Connection(worker.cfg, ours, ("127.0.0.1", 1), ("127.0.0.1", 2))
    result: Future[object] = Future()
    threading.Thread(target=lambda: result.set_result(worker.handle(connection)), daemon=True).start()
    return result


@pytest.fixture
def served() -> Iterator[tuple[Worker, list[int]]]:
    """gunicorn's own worker without its accepting thread, and the threads in which it answered."""
    threads = list[int]()

    def application(_environ: object, start: StartResponse) -> list[bytes]:
        threads.append(threading.get_ident())
        start("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    settings = Config()
    worker = Worker(1, 1, [], None, 30, settings, Logger(settings))
    worker.wsgi = application
    yield worker, threads
    worker.tmp.close()


def test_requests_in_a_row_stay_with_their_thread_and_a_pause_gives_it_back(served: tuple[Worker, list[int]]) -> None:
    worker, threads = served
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(30)
        ask = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        theirs.sendall(ask * 3)  # the next ones are there when the first is answered
        result = answering(worker, ours)
        answers = b""
        while answers.count(b"\r\n\r\nok") < 3:
            answers += theirs.recv(4096)
        assert result.result(30) is True  # kept alive, and handed back
        assert len(threads) == 3
        assert len(set(threads)) == 1


def test_a_peer_that_goes_ends_the_thread_s_work(served: tuple[Worker, list[int]]) -> None:
    worker, threads = served
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        theirs.shutdown(socket.SHUT_WR)
        assert answering(worker, ours).result(30) is False
        assert len(threads) == 1
