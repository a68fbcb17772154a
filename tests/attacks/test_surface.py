"""Every address, as a stranger and in each role; hosts, forwarded headers, targets, the headers of every answer."""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast
from urllib.parse import quote

import pytest

from tests.attacks.caller import Answer, Caller
from tests.attacks.instance import Instance, events
from vault.opening import Vault, now_micros
from web import create_app
from web.settings import load

pytestmark = [pytest.mark.hsm, pytest.mark.xdist_group("attacks"), pytest.mark.timeout(170)]

OPEN = {
    "/healthz", "/readyz", "/metrics", "/sign-in", "/sign-in/code", "/sign-in/recovery", "/sign-in/set-up", "/sign-in/locked",
    "/signed-out", "/locked", "/favicon.ico", "/preferences", "/sign-out", "/switch", "/invitation", "/api/v1/openapi.json",
    "/api/v1/errors/{code}", "/api/v1/sessions", "/_components", "/password/strength",
}  # fmt: skip
"""What a stranger may touch; none of it says anything of the practice."""
PEOPLE = ["sophie.garnier", "claire.martin", "louis.perrin", "nadia.roche", "paul.lemaire", "helene.marchetti", "thomas.weber"]
NO_CONTENT = ["nadia.roche", "paul.lemaire", "thomas.weber"]
"""Auditor, data protection officer and technical admin: never a document."""
WANTED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.fixture(scope="module")
def operations(installation: Instance) -> list[tuple[str, str]]:
    """Every operation of the API as it describes itself: method and path template."""
    paths = installation.caller().get("/api/v1/openapi.json").json["paths"]
    return [
        (method.upper(), f"/api/v1{path}") for path, methods in paths.items() for method in methods if method != "parameters"
    ]


def filled(template: str, value: str = "0" * 32) -> str:
    """A path template with something in its holes."""
    return re.sub(r"\{\w+\}", lambda hole: "1" if "number" in hole[0] else value, template)


@pytest.fixture(scope="module")
def pages(installation: Instance) -> list[tuple[str, str]]:
    """Every page of the application, from its own URL map: method and path template."""
    settings = load(installation.demo.config, {})
    app = create_app(settings, cast("Vault", SimpleNamespace(settings=settings.vault, clock=now_micros)))
    return [
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if not rule.rule.startswith("/api/")
    ]


def is_closed(answer: Answer) -> bool:
    """Whether a stranger was turned away: sent to sign in, or a plain refusal."""
    if answer.status == 303:
        return answer.headers["location"].startswith("/sign-in")
    return answer.status in {400, 401, 404, 405}


def test_strangers_get_nothing(installation: Instance, operations: list[tuple[str, str]], pages: list[tuple[str, str]]) -> None:
    stranger = installation.caller()
    assert len(operations) >= 14
    assert len(pages) >= 25
    for method, template in operations + pages:
        body, headers = b"{}" if method != "GET" else None, {"Content-Type": "application/json"}
        answer = stranger.call(method, filled(template), body, headers)
        assert answer.status < 500, (method, template)
        assert "coffre" not in stranger.cookies, (method, template)
        if template in OPEN or template.startswith(("/assets/", "/sign-in", "/invitation")):
            continue
        assert is_closed(answer), (method, template, answer.status)
        for disguise in ({"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}, {"Cookie": "coffre=x"}):
            again = stranger.call(method, filled(template), None, disguise)
            assert is_closed(again), (method, template, disguise, again.status)


@pytest.mark.parametrize("username", PEOPLE)
def test_no_role_breaks_an_operation(
    signed_in: Callable[[str], Caller], operations: list[tuple[str, str]], username: str
) -> None:
    """Unknown ids and empty bodies: refusals in the API's own words, never a failure of ours, never a success."""
    caller = signed_in(username)
    for method, template in operations:
        if template in OPEN or template.endswith("/sessions/current"):
            continue
        body = {"Content-Type": "application/json"}
        answer = caller.call(method, filled(template), None if method == "GET" else b"{}", body)
        if answer.status >= 400:
            assert answer.status < 500, (method, template, answer.body)
            assert answer.code


@pytest.mark.parametrize("username", NO_CONTENT)
def test_roles_without_content_never_open_a_document(
    signed_in: Callable[[str], Caller], browser_of: Callable[[str], Caller], reception: Caller, username: str
) -> None:
    patient = reception.post_json("/api/v1/patients/search", {"q": "dupont"}).json["patients"][0]["id"]
    document = reception.documents(patient)[0]["id"]
    caller = signed_in(username)
    for path in ("", "/content", "/pages/1"):
        assert caller.get(f"/api/v1/documents/{document}{path}").status in {403, 404}, path
    assert caller.get(f"/api/v1/documents?patient={patient}").status in {403, 404}
    assert caller.upload(patient, b"%PDF-1.7\n%%EOF").status in {403, 404}
    for path in ("", "/download", "/pages/1"):
        answer = caller.get(f"/documents/{document}{path}")
        assert answer.status in {403, 404}, path
        assert "Dupont" not in answer.text


def test_reception_sees_no_title_of_what_others_filed(installation: Instance, reception: Caller, clinician: Caller) -> None:
    patient = reception.post_json("/api/v1/patients/search", {"q": "dupont claire"}).json["patients"][0]["id"]
    body = b"%PDF-1.7\n" + secrets.token_bytes(100) + b"\n%%EOF"
    filed = clinician.upload(patient, body, name="Résultat confidentiel.pdf")
    assert filed.status == 201, filed.body
    masked = next(each for each in reception.documents(patient) if each["id"] == filed.json["id"])
    assert (masked["type"], masked["file_name"], masked["sha256"]) == (None, None, None)
    assert reception.content(filed.json["id"]).status in {403, 404}
    assert "confidentiel" not in installation.sign_in("sophie.garnier").get(f"/patients/{patient}").text


def test_only_readers_of_the_log_read_it(signed_in: Callable[[str], Caller]) -> None:
    for username in ("sophie.garnier", "louis.perrin"):
        assert signed_in(username).post_json("/api/v1/audit/export", {"format": "csv"}).status == 403
    for username in ("nadia.roche",):
        exported = signed_in(username).post_json("/api/v1/audit/export", {"format": "csv"})
        assert exported.status == 200
        assert "Dupont" not in exported.text


EVIL = re.compile(r"\bevil\b")
"""The word by itself: among the random letters of a page it stands now and then."""
HOSTS = [
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil.example:8000",
    "[::1].evil",
    "127.0.0.1@evil",
    "",
]


@pytest.mark.parametrize("host", HOSTS)
def test_unknown_hosts(installation: Instance, host: str) -> None:
    for path in ("/sign-in", "/api/v1/openapi.json", "/healthz"):
        answer = installation.caller().call("GET", path, headers={"Host": host})
        assert answer.status == 400, (path, answer.status)
        assert not EVIL.search(answer.text)


def test_forwarded_headers_count_for_nothing(installation: Instance, auditor: Caller) -> None:
    lies = {
        "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/evil", "X-Real-IP": "203.0.113.9", "Forwarded": "for=203.0.113.9;host=evil.example;proto=https",
        "X-Original-URL": "/audit", "X-Rewrite-URL": "/audit", "X-HTTP-Method-Override": "DELETE",
    }  # fmt: skip
    shown = installation.caller().call("GET", "/patients", headers=lies)
    assert shown.status == 303
    assert not EVIL.search(str(shown.pairs))
    form = installation.caller().call("GET", "/sign-in", headers=lies)
    assert "__Host-" not in str(form.pairs)
    refused = installation.caller()
    credentials = {"username": "claire.martin", "password": "Wrong-Horse-Battery-9", "code": "000000"}
    assert refused.post_json("/api/v1/sessions", credentials, headers=lies).status == 401
    newest = events(auditor, "auth.login")[0]
    assert newest["ip"] == "127.0.0.1", newest


TARGETS = [
    "//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "/%09/evil.example", "\t//evil.example",
    "javascript:alert(1)", "///evil.example", "/%5cevil.example", "http:evil.example", "/\r\nLocation: https://evil.example",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_next_never_leaves(installation: Instance, browser_of: Callable[[str], Caller], target: str) -> None:
    claire = browser_of("claire.martin")
    shown = claire.get(f"/sign-in?next={quote(target, safe='')}")
    landed = shown.headers.get("location", "/")
    assert landed.startswith("/")
    assert not landed.startswith(("//", "/\\"))
    assert "\n" not in landed
    visitor = installation.caller()
    chosen = visitor.post_form("/preferences", {"csrf_token": visitor.csrf(), "language": "en", "next": target})
    assert chosen.status == 303
    place = chosen.headers["location"]
    assert place.startswith("/")
    assert not place.startswith(("//", "/\\"))


def every_answer(installation: Instance, claire: Caller) -> Iterator[Answer]:
    stranger = installation.caller()
    yield stranger.get("/sign-in")
    yield stranger.get("/patients")
    yield stranger.get("/nowhere")
    yield stranger.get("/assets/x/nothing.css")
    yield stranger.get("/sign-in", Host="evil.example")
    yield stranger.call("PUT", "/sign-in", b"")
    yield stranger.call("POST", "/sign-in", b"username=a")
    yield stranger.get("/api/v1/me")
    yield stranger.get("/api/v1/nowhere")
    yield stranger.get("/favicon.ico")
    yield stranger.get("/readyz")
    yield claire.get("/")
    yield claire.get("/patients")
    yield claire.get("/account")
    yield claire.get(f"/documents/{'0' * 32}")
    yield claire.get("/audit")
    yield claire.call("POST", "/patients/new", b"x" * 300_000, {"Content-Type": "application/x-www-form-urlencoded"})


def test_headers_of_every_answer(installation: Instance, browser_of: Callable[[str], Caller]) -> None:
    for answer in every_answer(installation, browser_of("claire.martin")):
        assert answer.status < 500
        for name, value in WANTED.items():
            assert answer.headers.get(name) == value, (answer.status, name, answer.pairs)
        policy, nonces = re.subn(r"'nonce-[\w-]+'", "", answer.headers["content-security-policy"])  # of any letters
        assert nonces <= 1
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["cache-control"] in {"no-store", "no-cache"}, answer.pairs
        if answer.headers.get("content-type", "").startswith("text/html"):
            assert not re.search(r"<(?:script|style)(?![^>]*nonce=)[^>]*>[^<]", answer.text)
            assert not re.search(r"\son\w+=|\sstyle=|javascript:", answer.text)
            assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", answer.text)


def test_no_banner(installation: Instance) -> None:
    for path in ("/sign-in", "/nowhere"):
        server = installation.caller().get(path).headers.get("server", "")
        assert not re.search(r"gunicorn|werkzeug|python|granian|waitress", server, re.IGNORECASE), server


RAW = [
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
    b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 200-ok\r\nContent-Length: 0\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", RAW, ids=range(len(RAW)))
def test_malformed_requests(installation: Instance, request_bytes: bytes) -> None:
    with socket.create_connection(("127.0.0.1", installation.port), timeout=10) as raw:
        raw.sendall(request_bytes)
        raw.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: raw.recv(4096), b""))
    assert received == b"" or re.match(rb"HTTP/1\.1 (?:400|404|411|413|414|417|431|501|303)", received), received[:200]
    assert b"Traceback" not in received
    assert b"aaaaaa" not in received
    if received:
        head = received.partition(b"\r\n\r\n")[0].lower()
        for name in (
            b"x-content-type-options: nosniff",
            b"content-security-policy: default-src 'none'",
            b"cache-control: no-store",
        ):
            assert name in head, received
    assert installation.caller().get("/healthz").status == 200


def test_what_is_no_request_is_repeated_nowhere(installation: Instance) -> None:
    """A form whose length lies: what follows is read as the next request, and holds a name and a password."""
    form = b"username=claire.martin&password=Chut-Secret-47&patient=Lef\xc3\xa8vre <b>Jean\x1b[31m\r\n\r\n"
    head = b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", installation.port), timeout=10) as raw:
        raw.sendall(head + form)
        raw.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: raw.recv(4096), b""))
    second = received[received.index(b"HTTP/1.1 ", 1) :]
    assert second.startswith(b"HTTP/1.1 400 ")
    for told in (received.decode("utf-8", "replace"), installation.words()):
        assert "Chut-Secret" not in told
        assert "Jean" not in told
