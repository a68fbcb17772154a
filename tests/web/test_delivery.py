"""Exact bytes, whole or in part (RFC 9110 §13–14), with their digest (RFC 9530) and a name that is always safe (RFC 6266)."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from werkzeug.http import parse_options_header

from tests.web.conftest import Practice, Program, pdf_of
from web.delivery import asked_range, disposition, safe_name
from web.failures import RangeNotSatisfiable

BODY = b"%PDF-1.4\n" + bytes(range(256)) * 40


@pytest.fixture(scope="module")
def filed(practice: Practice) -> tuple[Program, str]:
    program = practice.program("claire")
    return program, program.upload(practice.patient().id, BODY).get_json()["id"]


def fetch(filed: tuple[Program, str], method: str = "GET", **headers: str) -> Any:
    program, document = filed
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return program.ask(method, f"/documents/{document}/content", headers=given)


def test_the_whole_is_exact_and_says_its_digest(filed: tuple[Program, str]) -> None:
    answer = fetch(filed)
    sha256 = hashlib.sha256(BODY)
    assert answer.status_code == 200
    assert answer.data == BODY
    assert answer.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(sha256.digest()).decode()}:"
    assert answer.headers["ETag"] == f'"{sha256.hexdigest()}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert answer.headers["Content-Length"] == str(len(BODY))
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_head_says_the_same_without_the_bytes(filed: tuple[Program, str]) -> None:
    answer, whole = fetch(filed, "HEAD", Range="bytes=0-0"), fetch(filed)
    assert answer.status_code == 200
    assert answer.data == b""
    for name in ("ETag", "Repr-Digest", "Accept-Ranges", "Content-Length", "Content-Disposition"):
        assert answer.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=100-", 100, len(BODY)),
        ("bytes=-7", len(BODY) - 7, len(BODY)),
        (f"bytes=-{10**9}", 0, len(BODY)),
        (f"bytes=3-{10**9}", 3, len(BODY)),
        (f"bytes={len(BODY) - 1}-", len(BODY) - 1, len(BODY)),
    ],
)
def test_a_range_is_exactly_that_part(filed: tuple[Program, str], asked: str, start: int, end: int) -> None:
    answer = fetch(filed, Range=asked)
    assert answer.status_code == 206
    assert answer.data == BODY[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(BODY)}"
    assert answer.headers["Repr-Digest"] == fetch(filed, "HEAD").headers["Repr-Digest"]


@pytest.mark.parametrize("asked", [f"bytes={len(BODY)}-", f"bytes={10**12}-{10**13}", "bytes=-0", f"bytes={'9' * 30}-"])
def test_a_range_outside_is_416_with_the_size(filed: tuple[Program, str], asked: str) -> None:
    answer = fetch(filed, Range=asked)
    assert (answer.status_code, answer.get_json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(BODY)}"


@pytest.mark.parametrize(
    "asked", ["bytes=9-5", "bytes=a-b", "lines=0-5", "bytes=", "bytes=0-1,5-6", "bytes=--5", "bytes=\u0661-"]
)
def test_a_range_that_is_not_understood_is_ignored(filed: tuple[Program, str], asked: str) -> None:
    answer = fetch(filed, Range=asked.encode().decode("latin-1"))
    assert answer.status_code == 200
    assert answer.data == BODY


def test_if_range_gives_the_part_only_of_the_same_bytes(filed: tuple[Program, str]) -> None:
    tag = fetch(filed, "HEAD").headers["ETag"]
    assert fetch(filed, Range="bytes=0-3", If_Range=tag).status_code == 206
    assert fetch(filed, Range="bytes=0-3", If_Range='"other"').status_code == 200
    assert fetch(filed, Range="bytes=0-3", If_Range=f"W/{tag}").status_code == 200
    assert fetch(filed, Range="bytes=0-3", If_Range="Mon, 23 Nov 2026 00:00:00 GMT").status_code == 200


def test_conditions(filed: tuple[Program, str]) -> None:
    tag = fetch(filed, "HEAD").headers["ETag"]
    unchanged = fetch(filed, If_None_Match=tag)
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    assert unchanged.headers["ETag"] == tag
    assert fetch(filed, If_None_Match='"other"').status_code == 200
    assert fetch(filed, If_Match=tag).status_code == 200
    assert fetch(filed, If_Match="*").status_code == 200
    assert fetch(filed, If_Match='"other"').status_code == 412


def test_a_foreign_document_answers_like_an_unknown_one(practice: Practice, filed: tuple[Program, str]) -> None:
    _, document = filed
    outsider = practice.program("nadia")
    program, _ = filed
    unknown = program.ask("GET", f"/documents/{'0' * 32}/content")
    assert (unknown.status_code, unknown.get_json()["code"]) == (404, "not_found")
    for path in (f"/documents/{document}", f"/documents/{document}/content", f"/documents/{document}/pages/1"):
        real, made_up = outsider.ask("GET", path), outsider.ask("GET", path.replace(document, "0" * 32))
        assert real.status_code == made_up.status_code
        assert real.get_json()["code"] == made_up.get_json()["code"]
        assert BODY[:9] not in real.data


def test_altered_bytes_are_never_released(practice: Practice) -> None:
    program = practice.program("claire")
    document = program.upload(practice.patient().id, BODY).get_json()["id"]
    blob = max(
        (path for path in (practice.room / "blobs").rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns
    )
    sealed = bytearray(blob.read_bytes())
    sealed[-20] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(sealed)
    answer = program.ask("GET", f"/documents/{document}/content")
    assert (answer.status_code, answer.get_json()["code"]) == (500, "tampered")
    assert BODY[:9] not in answer.data
    assert practice.events("document.integrity_failure")
    page = practice.browser("claire").client.get(f"/documents/{document}")
    assert page.status_code == 500
    text = page.get_data(as_text=True)
    assert "Intégrité non vérifiée – ne pas utiliser" in text
    assert "Intégrité vérifiée" not in text


def test_without_the_token_a_document_stays_closed(practice: Practice, filed: tuple[Program, str]) -> None:
    practice.vault.scopes.close()
    practice.keys.break_down()
    try:
        answer = fetch(filed)
    finally:
        practice.keys.repair()
    assert (answer.status_code, answer.get_json()["code"]) == (503, "keys_unavailable")
    assert answer.headers["Retry-After"]
    assert fetch(filed).data == BODY


@given(st.text(max_size=300))
def test_any_name_gives_a_header_that_comes_back(name: str) -> None:
    header = disposition(name.encode("utf-8", "ignore").decode())
    assert header.isascii()
    assert header.isprintable()
    kind, options = parse_options_header(header)
    assert kind == "attachment"
    shown = options["filename"]
    assert shown == safe_name(name.encode("utf-8", "ignore").decode())
    assert shown not in {"", ".", ".."}
    assert not set('/\\"<>|:*?') & set(shown)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("bilan.pdf", "bilan.pdf"),
        ("résumé d’été.pdf", "résumé d’été.pdf"),
        ("../../etc/passwd", "etc passwd"),
        ("a\r\nSet-Cookie: x=1.pdf", "aSet-Cookie x=1.pdf"),
        ("\u202egnp.exe", "gnp.exe"),
        ("CON", "document"),
        ("nul.txt", "document"),
        ("", "document"),
        ("...", "document"),
        ("a" * 300 + ".pdf", "a" * 150 + ".pdf"),
    ],
)
def test_what_a_name_becomes(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(st.integers(1, 10**6), st.text(st.sampled_from("bytes=0123456789-, "), max_size=24))
def test_a_range_never_leaves_the_document(size: int, header: str) -> None:
    try:
        found = asked_range(header, size)
    except RangeNotSatisfiable:
        return
    if found:
        start, end = found
        assert 0 <= start < end <= size


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "image/webp"),
        ("*/*", "image/webp"),
        ("image/avif,image/webp,image/*,*/*;q=0.8", "image/webp"),
        ("image/png", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("text/html", "image/webp"),
    ],
)
def test_a_program_is_given_a_page_in_a_form_that_it_takes(practice: Practice, accept: str | None, media_type: str) -> None:
    program = practice.program("claire")
    document = program.upload(practice.patient("claire", "Formes").id, pdf_of("formes", str(accept))).get_json()["id"]
    page = program.ask("GET", f"/documents/{document}/pages/1?width=300", headers={"Accept": accept} if accept else {})
    assert (page.status_code, page.mimetype) == (200, media_type)
    assert "Accept" in page.headers["Vary"]
    assert Image.open(io.BytesIO(page.data)).get_format_mimetype() == media_type
