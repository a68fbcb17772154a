"""Bad documents and bad names, by the API and by the page: a clear refusal each time, an event, and nothing left behind."""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
import socket
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import quote

import pytest

from tests.attacks.caller import Answer, Caller, multipart
from tests.attacks.conftest import LIMIT_MIB
from tests.attacks.instance import Instance, events

pytestmark = [pytest.mark.hsm, pytest.mark.xdist_group("attacks"), pytest.mark.timeout(170)]

MIB = 1024 * 1024
PROMPT_S = 20
"""An answer that waits for nothing comes sooner, on a loaded machine too."""


@pytest.fixture(scope="module")
def patient(reception: Caller) -> str:
    return reception.new_patient("Quatremarre")


def zipped(name: str, content: bytes = b"content") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + bytes(64)
DISGUISES: dict[str, tuple[bytes, str]] = {
    "html": (b"<!doctype html><script>alert(1)</script>", "unsupported_type"),
    "html-after-blanks": (b"\r\n \t<html><body>" + b" " * 2000, "unsupported_type"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "unsupported_type"),
    "xml": (b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "unsupported_type"),
    "windows-program": (b"MZ\x90\x00" + bytes(400), "unsupported_type"),
    "linux-program": (b"\x7fELF\x02\x01\x01" + bytes(400), "unsupported_type"),
    "shell": (b"#!/bin/sh\nrm -rf ~\n", "unsupported_type"),
    "zip": (zipped("a.txt"), "unsupported_type"),
    "docm": (zipped("word/vbaProject.bin"), "unsupported_type"),
    "old-office": (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "unsupported_type"),
    "gif": (b"GIF89a" + bytes(64), "unsupported_type"),
    "webp": (b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(32), "unsupported_type"),
    "text": (b"Cher confrere, je vous adresse ce patient.", "unsupported_type"),
    "nothing-known": (bytes(range(1, 200)), "unsupported_type"),
    "pdf-with-zip": (b"%PDF-1.7\n%%EOF\n" + zipped("evil.jar"), "unsupported_type"),
    "pdf-with-html": (b"%PDF-1.7\n<script>alert(1)</script>\n%%EOF", "unsupported_type"),
    "png-with-html": (PNG + b"<html><script>alert(1)</script></html>", "unsupported_type"),
    "html-before-pdf": (b"<html><body onload=x()>%PDF-1.7\n%%EOF", "unsupported_type"),
    "program-before-pdf": (b"MZ" + bytes(100) + b"%PDF-1.7\n%%EOF", "unsupported_type"),
    "empty": (b"", "empty_document"),
}
STATUS = {"unsupported_type": 415, "empty_document": 422}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguised_body_is_refused_and_leaves_nothing(
    installation: Instance, reception: Caller, patient: str, disguise: str
) -> None:
    body, code = DISGUISES[disguise]
    before = installation.kept()
    answer = reception.upload(patient, body, name="scan.pdf", headers={"Content-Type": "application/pdf"})
    assert (answer.status, answer.code) == (STATUS[code], code)
    assert installation.kept() == before


def test_the_same_on_the_page(
    installation: Instance, reception: Caller, browser_of: Callable[[str], Caller], patient: str
) -> None:
    sophie = browser_of("sophie.garnier")
    token = sophie.csrf(f"/patients/{patient}")
    before = installation.kept()
    for disguise in ("html", "zip", "windows-program", "pdf-with-html", "empty"):
        body, headers = multipart({"csrf_token": token, "type": "11502-2"}, "scan.pdf", DISGUISES[disguise][0])
        answer = sophie.call("POST", f"/patients/{patient}/documents", body, headers)
        assert answer.status == STATUS[DISGUISES[disguise][1]], (disguise, answer.status)
        assert answer.headers["content-type"].startswith("text/html")
        assert "<h1" in answer.text
    assert installation.kept() == before


def test_refusals_are_events(auditor: Caller, reception: Caller, patient: str) -> None:
    reception.upload(patient, DISGUISES["zip"][0])
    newest = events(auditor, "document.upload")[0]
    assert newest["outcome"] in {"denied", "failed", "failure", "refused"}, newest


def digest_of(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def test_a_wrong_digest_is_refused_and_leaves_nothing(
    installation: Instance, reception: Caller, patient: str, paper: Callable[[str], bytes]
) -> None:
    content = paper("digest")
    before = installation.kept()
    for header in ("Repr-Digest", "Content-Digest"):
        answer = reception.upload(patient, content, headers={header: digest_of(b"other bytes")})
        assert (answer.status, answer.code) == (422, "digest_mismatch")
    for nonsense in ("sha-256=:AAAA:", "sha-256=:not base64!:", "sha-256=nothing"):
        assert reception.upload(patient, content, headers={"Repr-Digest": nonsense}).status == 422
    assert installation.kept() == before
    right = reception.upload(patient, content, headers={"Repr-Digest": digest_of(content)})
    assert right.status == 201
    assert right.headers["repr-digest"] == digest_of(content)
    again = reception.upload(patient, content)
    assert (again.status, again.code, again.json["document"]) == (409, "already_present", right.json["id"])
    assert reception.content(right.json["id"]).body == content


def test_over_the_limit_is_refused_before_the_body(installation: Instance, reception: Caller, patient: str) -> None:
    """The announced size alone earns the 413: not one byte of the body is sent."""
    before = installation.kept()
    for path in (f"/api/v1/documents?patient={patient}&type=11502-2",):
        with socket.create_connection(("127.0.0.1", installation.port), timeout=PROMPT_S) as raw:
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {reception.token}\r\n"
            raw.sendall(f"{head}Content-Length: {(LIMIT_MIB + 1) * MIB}\r\n\r\n".encode())
            assert raw.recv(400).startswith(b"HTTP/1.1 413")
    assert installation.kept() == before


def test_over_the_limit_without_an_announcement(installation: Instance, reception: Caller, patient: str) -> None:
    """A chunked body that never ends is cut at the limit."""
    before = installation.kept()

    def endless() -> Iterator[bytes]:
        yield b"%PDF-1.7\n"
        for _ in range(LIMIT_MIB + 8):
            yield secrets.token_bytes(MIB)

    with suppress(BrokenPipeError, ConnectionResetError):  # it may hang up on us: as good a refusal
        answer = reception.upload(patient, endless())
        assert (answer.status, answer.code) == (413, "too_large")
    assert installation.kept() == before


def test_a_form_over_the_limit(installation: Instance, browser_of: Callable[[str], Caller], patient: str) -> None:
    sophie = browser_of("sophie.garnier")
    token = sophie.csrf(f"/patients/{patient}")
    before = installation.kept()
    content = b"%PDF-1.7\n" + secrets.token_bytes((LIMIT_MIB + 1) * MIB)
    body, headers = multipart({"csrf_token": token, "type": "11502-2"}, "scan.pdf", content)
    with suppress(BrokenPipeError, ConnectionResetError):
        assert sophie.call("POST", f"/patients/{patient}/documents", body, headers).status == 413
    assert installation.kept() == before


def test_a_sender_who_goes_away_leaves_nothing(installation: Instance, reception: Caller, patient: str) -> None:
    before = installation.kept()
    for announced, sent in ((500_000, 400_000), (3 * MIB, 2 * MIB), (10_000, 0)):
        with socket.create_connection(("127.0.0.1", installation.port), timeout=PROMPT_S) as raw:
            head = f"POST /api/v1/documents?patient={patient}&type=11502-2 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            raw.sendall(f"{head}Authorization: Bearer {reception.token}\r\nContent-Length: {announced}\r\n\r\n".encode())
            raw.sendall((b"%PDF-1.7\n" + secrets.token_bytes(sent))[:sent])
            raw.shutdown(socket.SHUT_WR)
            received = raw.recv(400)
            assert received == b"" or received.startswith(b"HTTP/1.1 400"), received
    assert installation.kept() == before


BODY = b"%PDF-1.7\n" + b"%" * (2 * MIB)
WHOLE = f"{len(BODY):x}".encode()
FRAMES: dict[str, bytes] = {
    "no number": b"zz\r\n" + BODY + b"\r\n0\r\n\r\n",
    "negative": b"-5\r\n" + BODY + b"\r\n0\r\n\r\n",
    "underscore": b"1_0\r\n" + BODY[:16] + b"\r\n0\r\n\r\n",
    "sign": b"+" + WHOLE + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    "hexadecimal prefix": b"0x" + WHOLE + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    "too large": b"f" * 32 + b"\r\n" + BODY,
    "too short": b"100\r\n" + BODY + b"\r\n0\r\n\r\n",
    "too long": f"{len(BODY) + 9:x}".encode() + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    "no line between": WHOLE + b"\r\n" + BODY + b"0\r\n\r\n",
    "no end": WHOLE + b"\r\n" + BODY + b"\r\n",
    "half an end": WHOLE + b"\r\n" + BODY + b"\r\n0\r",
    "endless size": b"1" * 100_000,
    "endless extension": WHOLE + b";" + b"a" * 100_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
}


def sent_raw(port: int, head: str, body: bytes) -> bytes:
    """What comes back to somebody who then sends nothing more."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw, suppress(ConnectionResetError, BrokenPipeError):
        raw.sendall(head.encode() + body)
        raw.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: raw.recv(65_536), b""))
    return b""


def upload_head(caller: Caller, patient: str, *headers: str) -> str:
    lines = (f"POST /api/v1/documents?patient={patient}&type=11502-2 HTTP/1.1", "Host: 127.0.0.1", "Connection: close")
    return "\r\n".join((*lines, f"Authorization: Bearer {caller.token}", *headers, "", ""))


@pytest.mark.parametrize("frame", FRAMES)
def test_chunks_of_bad_sizes_leave_nothing(installation: Instance, reception: Caller, patient: str, frame: str) -> None:
    before = installation.kept()
    answer = sent_raw(installation.port, upload_head(reception, patient, "Transfer-Encoding: chunked"), FRAMES[frame])
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:300]
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert installation.kept() == before


def test_chunks_of_bad_sizes_elsewhere(installation: Instance, reception: Caller) -> None:
    for path in ("/api/v1/patients/search", "/api/v1/sessions", "/sign-in", "/api/v1/inbox"):
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {reception.token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = sent_raw(installation.port, head, b'5\r\n{"q":\r\nzz\r\n')
        assert answer.startswith(b"HTTP/1.1 4"), (path, answer[:300])


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["announced", "chunked"])
def test_a_body_cut_on_its_way_leaves_nothing(
    installation: Instance, reception: Caller, patient: str, share: float, *, is_chunked: bool
) -> None:
    before, kept = installation.kept(), BODY[: int(len(BODY) * share)]
    framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(BODY)}"
    body = WHOLE + b"\r\n" + kept if is_chunked else kept
    answer = sent_raw(installation.port, upload_head(reception, patient, framing), body)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400"), answer[:300]
    assert installation.kept() == before


def test_a_length_that_lies(installation: Instance, reception: Caller, patient: str) -> None:
    """Too long: nothing is kept. Too short: the digest tells, and what is left over is no request of its own."""
    before, told = installation.kept(), f"Repr-Digest: {digest_of(BODY)}"
    longer = sent_raw(installation.port, upload_head(reception, patient, f"Content-Length: {len(BODY) + 1}", told), BODY)
    assert longer == b"" or longer.startswith(b"HTTP/1.1 400"), longer[:300]
    shorter = sent_raw(installation.port, upload_head(reception, patient, f"Content-Length: {len(BODY) - 1}", told), BODY)
    assert shorter.startswith(b"HTTP/1.1 422"), shorter[:300]
    assert shorter.count(b"HTTP/1.1 ") == 1
    assert installation.kept() == before


@pytest.mark.parametrize("kind", ["", "nonsense", "11502-2'--", "x" * 41, "../../etc", "11502-2\x00"])
def test_unknown_types(installation: Instance, reception: Caller, patient: str, kind: str) -> None:
    before = installation.kept()
    answer = reception.upload(patient, b"%PDF-1.7\n%%EOF", kind=quote(kind, safe=""))
    assert (answer.status, answer.code) == (422, "invalid")
    assert installation.kept() == before


@pytest.mark.parametrize("day", ["2026-13-01", "2026-02-30", "01/02/2026", "9999-12-31", "0001-01-01", "now", "20261123"])
def test_impossible_dates(installation: Instance, reception: Caller, patient: str, day: str) -> None:
    path = f"/api/v1/documents?patient={patient}&type=11502-2&act_date={quote(day, safe='')}"
    answer = reception.call("POST", path, b"%PDF-1.7\n%%EOF")
    assert (answer.status, answer.code) == (422, "invalid")


NAMES = [
    "a" * 5000, "a" * 255, "é" * 200 + ".pdf", "a\r\nSet-Cookie: coffre=stolen\r\n.pdf", "a\rb\nc.pdf", "nul\x00byte.pdf",
    "\u202efdp.exe", "compte rendu \U0001f469\u200d\u2695\ufe0f.pdf", "../../../../etc/passwd", "..\\..\\windows\\system32.pdf",
    "..", ".", "CON", "NUL.pdf", "aux.pdf", '=cmd|"/C calc"!A0.pdf', "@SUM(1+1).pdf", 'quo"te.pdf', "semi;colon.pdf", "-rf.pdf",
    "per%0d%0acent.pdf", "back\\slash.pdf", "<script>alert(1)</script>.pdf", "{{7*7}}.pdf", "${7*7}.pdf", "a\u2028b.pdf",
    "\ufeff.pdf", "   .pdf", "~", "\ud800.pdf",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.encode("unicode_escape").decode()[:24])
def test_any_file_name_is_filed_or_refused_and_always_downloads(
    reception: Caller, patient: str, paper: Callable[[str], bytes], name: str
) -> None:
    content = paper(secrets.token_hex(8))
    encoded = quote(name.encode("utf-8", "surrogatepass"), safe="")
    answer = reception.upload(patient, content, headers={"Content-Disposition": f"attachment; filename*=UTF-8''{encoded}"})
    if answer.status == 422:
        assert answer.code == "invalid"
        return
    assert answer.status == 201, answer.body
    assert_downloads(reception, answer.json["id"], content)


def assert_downloads(caller: Caller, document: str, content: bytes) -> None:
    received = caller.content(document)
    assert received.status == 200
    assert received.body == content
    disposition = received.headers["content-disposition"]
    assert disposition.startswith("attachment; filename=")
    assert "filename*=UTF-8''" in disposition
    assert disposition.isascii()
    assert disposition.isprintable()
    shown = disposition.partition("filename*=UTF-8''")[2]
    assert shown
    assert not set("/\\\"';<> ") & set(shown)
    assert "set-cookie" not in received.headers
    assert received.headers["x-content-type-options"] == "nosniff"
    assert received.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "header", ["attachment", "", 'attachment; filename="a', "attachment; filename*=UTF-16''%FF", "\xff\xfe"]
)
def test_any_disposition_header(reception: Caller, patient: str, paper: Callable[[str], bytes], header: str) -> None:
    content = paper(secrets.token_hex(8))
    answer = reception.upload(patient, content, headers={"Content-Disposition": header})
    assert answer.status in {201, 422, 400}, answer.body
    if answer.status == 201:
        assert_downloads(reception, answer.json["id"], content)


def test_evil_names_of_a_plain_form(browser_of: Callable[[str], Caller], patient: str, paper: Callable[[str], bytes]) -> None:
    sophie = browser_of("sophie.garnier")
    token = sophie.csrf(f"/patients/{patient}")
    for name in ("<img src=x onerror=alert(1)>.pdf", "a%0d%0ab.pdf", "\u202efdp.exe.pdf", "é" * 1000):
        content = paper(secrets.token_hex(8))
        body, headers = multipart({"csrf_token": token, "type": "51851-4"}, name, content)
        answer = sophie.call("POST", f"/patients/{patient}/documents", body, headers)
        assert answer.status in {303, 422}, (name[:20], answer.status)
    page = sophie.get(f"/patients/{patient}")
    assert page.status == 200
    assert "<img src=x" not in page.text


def same_but_incident(first: Answer, second: Answer) -> bool:
    one, other = first.json, second.json
    one.pop("incident"), other.pop("incident")
    return one == other and first.status == second.status == 404


def test_foreign_and_unknown_ids_answer_the_same(
    installation: Instance, signed_in: Callable[[str], Caller], clinician: Caller, reception: Caller
) -> None:
    """A clinician outside the care team learns nothing about a document: not even that it exists."""
    patient = reception.new_patient("Vraiment-Secret")
    filed = reception.upload(patient, b"%PDF-1.7\n" + secrets.token_bytes(2000) + b"\n%%EOF")
    assert filed.status == 201, filed.body
    document = filed.json["id"]
    karim = signed_in("karim.benali")
    for suffix in ("", "/content", "/pages/1"):
        foreign = karim.get(f"/api/v1/documents/{document}{suffix}")
        unknown = karim.get(f"/api/v1/documents/{secrets.token_hex(16)}{suffix}")
        assert same_but_incident(foreign, unknown), (suffix, foreign.body, unknown.body)
    for odd in ("0", "x" * 32, document.upper(), f"{document} ", f"{document}%00", "../patients", "%2e%2e", "-1", "null"):
        answer = clinician.get(f"/api/v1/documents/{quote(odd, safe='%')}/content")
        assert answer.status == 404, (odd, answer.status)
    denied = events(signed_in("nadia.roche"), "document.download", "document.preview", "document.view")
    assert any(event["outcome"] == "denied" and event["document"] == document for event in denied)
