"""Slowloris in three shapes: headers, bodies and reads that dribble, while somebody else works."""

from __future__ import annotations

import os
import secrets
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.attacks.caller import Caller
from tests.attacks.instance import Instance

pytestmark = [pytest.mark.hsm, pytest.mark.alone, pytest.mark.timeout(170)]

SLOW = int(os.environ.get("COFFRE_SLOW_CLIENTS", "400"))
WATCH_S = 8.0
PACE_S = 0.005
P99_S = 2.0


def _headers(_caller: Caller) -> bytes:
    return b"GET /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


def _form(_caller: Caller) -> bytes:
    form = b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    return form + b"Content-Length: 100000\r\n\r\nusername="


def _chunks(_caller: Caller) -> bytes:
    head = b"POST /api/v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return head + b"Transfer-Encoding: chunked\r\n\r\n"


def _upload(caller: Caller) -> bytes:
    """Somebody who is signed in, on a bad line."""
    patient = caller.post_json("/api/v1/patients/search", {"q": "dupont"}).json["patients"][0]["id"]
    head = f"POST /api/v1/documents?patient={patient}&type=11502-2 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    return f"{head}Authorization: Bearer {caller.token}\r\nContent-Length: 5000000\r\n\r\n%PDF-1.7\n".encode()


def _read(caller: Caller) -> bytes:
    """Asks for a large document and takes none of it."""
    patient = caller.post_json("/api/v1/patients/search", {"q": "dupont"}).json["patients"][0]["id"]
    large = b"%PDF-1.7\n" + secrets.token_bytes(3_000_000) + b"\n%%EOF"
    document = caller.upload(patient, large).json["id"]
    head = f"GET /api/v1/documents/{document}/content HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    return f"{head}Authorization: Bearer {caller.token}\r\n\r\n".encode()


SHAPES: dict[str, tuple[Callable[[Caller], bytes], bytes]] = {
    "headers": (_headers, b"a"),
    "form": (_form, b"a"),
    "chunks": (_chunks, b""),
    "upload": (_upload, b"a"),
    "read": (_read, b""),
}


@contextmanager
def dribbling(port: int, opening: bytes, drop: bytes, count: int, *, is_read: bool = False) -> Iterator[list[socket.socket]]:
    """``count`` connections that send ``opening`` and then one ``drop`` a second, for as long as the block lasts.

    Where it ``is_read``, each one's answer has begun before the next one asks: the vault opens a document for each, and what is
    measured afterwards is not that work.
    """
    over = threading.Event()

    def drip(sockets: list[socket.socket]) -> None:
        while not over.wait(1):
            for each in sockets:
                with suppress(OSError):  # the server hung up on it: its right
                    if drop:
                        each.sendall(drop)

    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        dropper = threading.Thread(target=drip, args=(sockets,), daemon=True)
        dropper.start()
        for _ in range(count):
            time.sleep(PACE_S)
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(5)
            with suppress(OSError):
                one.connect(("127.0.0.1", port))
                one.sendall(opening)
                if is_read:
                    one.recv(1, socket.MSG_PEEK)
                sockets.append(one)
        yield sockets
        over.set()
        dropper.join()


def probe(caller: Caller) -> float:
    """Seconds that somebody else's request takes; AssertionError where it gets no answer."""
    began = time.monotonic()
    with suppress(OSError):
        assert caller.call("GET", "/api/v1/me", timeout=15).status == 200
        return time.monotonic() - began
    raise AssertionError(f"no answer within {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("shape", SHAPES)
def test_others_work_on(installation: Instance, reception: Caller, shape: str) -> None:
    make, drop = SHAPES[shape]
    opening, spent = make(reception), []
    with dribbling(installation.port, opening, drop, SLOW, is_read=shape == "read") as slow:
        assert len(slow) == SLOW
        until = time.monotonic() + WATCH_S
        while time.monotonic() < until:
            spent.append(probe(reception))
            time.sleep(0.05)
    while probe(reception) > 0.5:  # what they left behind is not the next one's fault
        time.sleep(0.2)
    spent.sort()
    p99 = spent[int(len(spent) * 0.99)]
    assert p99 < P99_S, f"{SLOW} slow, {len(spent)} probes, median {statistics.median(spent):.3f} s, p99 {p99:.3f} s"


def test_a_dribbling_client_is_hung_up_on_and_a_merely_slow_one_is_not(installation: Instance, reception: Caller) -> None:
    patient = reception.post_json("/api/v1/patients/search", {"q": "dupont"}).json["patients"][0]["id"]
    document = b"%PDF-1.7\n" + secrets.token_bytes(30_000) + b"\n%%EOF"

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(document), 1000):
            time.sleep(1)
            yield document[start : start + 1000]

    with dribbling(installation.port, _form(reception), b"a", 5) as sockets:
        filed = reception.upload(patient, slowly())
        assert filed.status == 201
        for each in sockets:
            each.settimeout(5)
            with suppress(ConnectionResetError):  # hung up on as well: its last drops came too late
                assert each.recv(100)[:12] in {b"", b"HTTP/1.1 400", b"HTTP/1.1 408"}


def test_those_who_never_hang_up_cost_nothing(installation: Instance, reception: Caller) -> None:
    """Asked to close, answered, and staying: the accepting thread must not wait for them."""
    opening = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with dribbling(installation.port, opening, b"", 40):
        spent = [probe(reception) for _ in range(10)]
    assert max(spent) < P99_S, spent


def test_a_refusal_reaches_a_sender_who_is_still_sending(installation: Instance, reception: Caller) -> None:
    patient = reception.post_json("/api/v1/patients/search", {"q": "dupont"}).json["patients"][0]["id"]
    for content, status in ((bytes(6_000_000), 415), (b"%PDF-1.7\n" + bytes(20_000_000), 413)):
        assert reception.upload(patient, content).status == status
