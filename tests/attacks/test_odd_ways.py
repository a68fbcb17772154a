"""Odd ways of asking and of keeping, over real connections: parts and heads, refusals before the body, no file for a body."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.attacks.caller import Answer, Caller
from tests.attacks.instance import Instance, served
from tests.demonstration import copy
from vault.demo.stage import Demo

pytestmark = [pytest.mark.hsm, pytest.mark.xdist_group("attacks"), pytest.mark.timeout(170)]

VAST_MIB = 1 << 30
"""A limit that no disk reaches: what stands in the way of a large document is the room that there is."""
PROMPT_S = 20
"""An answer that waits for nothing comes sooner, on a loaded machine too."""


@pytest.fixture(scope="module")
def installation(pristine: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    room = tmp_path_factory.mktemp("odd")
    with served(room, copy(pristine, room), {"COFFRE_LIMITS_DOCUMENT_MIB": str(VAST_MIB)}) as instance:
        yield instance


@pytest.fixture(scope="module")
def clinician(installation: Instance) -> Caller:
    return installation.sign_in("claire.martin")


@pytest.fixture(scope="module")
def patient(clinician: Caller) -> str:
    return clinician.new_patient("Impair")


@pytest.fixture
def filed(clinician: Caller, patient: str, paper: Callable[[str], bytes]) -> tuple[str, bytes]:
    """A document and its bytes."""
    content = paper(os.urandom(8).hex())
    answer = clinician.upload(patient, content)
    assert answer.status == 201, answer.body
    return str(answer.json["id"]), content


# --- parts and heads


def test_parts_over_a_real_connection(clinician: Caller, filed: tuple[str, bytes]) -> None:
    document, content = filed
    place, size = f"/api/v1/documents/{document}/content", len(content)
    whole = clinician.get(place)
    tag = whole.headers["etag"]

    def asked(**headers: str) -> Answer:
        return clinician.get(place, **headers)

    for value, first, last in (
        ("0-0", 0, 0),
        ("10-200", 10, 200),
        (f"{size - 5}-", size - 5, size - 1),
        ("-7", size - 7, size - 1),
    ):
        part = asked(Range=f"bytes={value}")
        assert (part.status, part.body) == (206, content[first : last + 1]), value
        assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert part.headers["content-length"] == str(last - first + 1)
    for value in (f"{size}-", f"{size + 9}-{size + 10}"):
        outside = asked(Range=f"bytes={value}")
        assert (outside.status, outside.headers["content-range"]) == (416, f"bytes */{size}")
    several = "bytes=0-4,8-9", "bytes=" + ",".join(f"{at}-{at}" for at in range(0, 1000, 2))
    for value in (*several, "bytes=5-1", "pages=1-2", "bytes=a-b", "bytes=--1", "bytes=0x1-2"):
        answer = asked(Range=value)
        assert (answer.status, answer.body) == (200, content), value[:40]
        assert "content-range" not in answer.headers
    for condition, status in ((tag, 206), ('"another"', 200), (f"W/{tag}", 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200)):
        answer = asked(Range="bytes=1-3", If_Range=condition)
        assert (answer.status, answer.body) == (status, content[1:4] if status == 206 else content), condition
    assert asked(If_None_Match=tag).status == 304
    assert asked(If_Match='"another"').status == 412


def test_a_head_has_no_body_and_the_connection_goes_on(clinician: Caller, filed: tuple[str, bytes]) -> None:
    """What a HEAD would leave behind on the connection would be read as the next answer's beginning."""
    document, content = filed
    place, headers = f"/api/v1/documents/{document}/content", {"Authorization": f"Bearer {clinician.token}"}
    connection = HTTPConnection("127.0.0.1", clinician.port, timeout=30)
    try:
        said: list[tuple[int, dict[str, str], bytes]] = []
        for method in ("HEAD", "GET", "HEAD"):
            connection.request(method, place, headers=headers)
            response = connection.getresponse()
            kept = {name: response.headers[name] for name in ("Content-Length", "ETag", "Repr-Digest", "Content-Type")}
            said.append((response.status, kept, response.read()))
    finally:
        connection.close()
    one, two, three = said
    assert one == three == (200, two[1], b"")
    assert two[2] == content
    assert two[1]["Content-Length"] == str(len(content))
    with socket.create_connection(("127.0.0.1", clinician.port), timeout=30) as raw:
        raw.sendall(
            f"HEAD {place} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Authorization: Bearer {clinician.token}\r\n\r\n".encode()
        )
        received = b"".join(iter(lambda: raw.recv(65_536), b""))
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b"\r\n\r\n"), "not one byte after the head"


# --- refused before the body


def first_words(caller: Caller, patient: str, length: int, begun: bytes) -> bytes:
    """What comes back to somebody who announces much, sends the beginning and then waits; TimeoutError where nothing does."""
    head = (
        f"POST /api/v1/documents?patient={patient}&type=11502-2 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {caller.token}\r\nContent-Length: {length}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", caller.port), timeout=PROMPT_S) as raw:
        raw.sendall(head.encode() + begun)
        return raw.recv(4000)


EARLY: dict[int, tuple[int, bytes]] = {
    413: ((VAST_MIB + 1) << 20, b""),
    507: ((VAST_MIB << 20) - 1, b"%PDF-1.7\n" + b"%" * 9000),
    415: (50_000_000, b"MZ" + bytes(3_000_000)),
}
"""What is announced and what is sent of it, by the answer that comes: too large, no room, no document."""


@pytest.mark.parametrize("status", EARLY)
def test_refused_while_the_body_is_still_to_come(installation: Instance, clinician: Caller, patient: str, status: int) -> None:
    length, begun = EARLY[status]
    before = installation.kept()
    words = first_words(clinician, patient, length, begun)
    assert words.startswith(f"HTTP/1.1 {status}".encode()), words[:300]
    assert installation.kept() == before


# --- what is no file, where a body should be


def blob_of(own: Instance, document: str) -> Path:
    with own.database() as connection:
        (name,) = connection.execute("SELECT blob FROM document_versions WHERE document = ?", (document,)).fetchone()
    return own.blobs()[name]


@contextmanager
def replaced(place: Path, make: Callable[[Path], object]) -> Iterator[None]:
    """Something else stands at ``place``, for a while."""
    aside = place.with_name(place.name + ".aside")
    place.rename(aside)
    try:
        make(place)
        yield
    finally:
        place.unlink(missing_ok=True) if place.is_symlink() or not place.is_dir() else shutil.rmtree(place)
        aside.rename(place)


ODD: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "link to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "link to the right bytes": lambda path: path.symlink_to(path.with_name(path.name + ".aside")),
    "link to itself": lambda path: path.symlink_to(path),
    "directory": Path.mkdir,
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_file_is_never_opened(installation: Instance, clinician: Caller, filed: tuple[str, bytes], odd: str) -> None:
    """A named pipe would hold a thread for ever, a link would lead out of the store: both are told at once."""
    document, content = filed
    place = f"/api/v1/documents/{document}"
    with replaced(blob_of(installation, document), ODD[odd]):
        began = time.monotonic()
        for path, headers in (("/content", {}), ("/content", {"Range": "bytes=0-9"}), ("/pages/1", {})):
            answer = clinician.call("GET", place + path, headers=headers)
            assert (answer.status, answer.code) == (500, "tampered"), (path, answer.body[:300])
        assert time.monotonic() - began < 4 * PROMPT_S
    assert clinician.content(document).body == content


def test_the_check_names_it(installation: Instance, filed: tuple[str, bytes]) -> None:
    document, _content = filed
    with replaced(blob_of(installation, document), os.mkfifo):
        found = installation.verified("documents")["findings"]
        assert [(each["document"], each["kind"]) for each in found] == [(document, "not_a_file")]
