"""What protects every answer and every request, whatever the route."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest

from tests.web.conftest import Browser, Practice
from web.settings import WebTable

PATHS = [
    "/sign-in",
    "/patients",
    "/nowhere",
    "/healthz",
    "/api/v1/me",
    "/api/v1/openapi.json",
    "/documents/" + "0" * 32,
    "/favicon.ico",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("username", [None, "claire"])
def test_every_answer_carries_the_headers(practice: Practice, path: str, username: str | None) -> None:
    answer = practice.browser(username).client.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy.replace("https", "http").split("script-src")[0]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] in {"no-referrer", "same-origin"}
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Permissions-Policy" in answer.headers
    assert "Server" not in answer.headers
    assert "Strict-Transport-Security" not in answer.headers


def test_an_error_of_ours_carries_them_too_and_says_nothing(practice: Practice) -> None:
    practice.vault.scopes.forget(practice.vault.installation.system_scope)  # else it is known for a minute without the token
    practice.keys.break_down()
    try:
        answer = practice.browser().post("/sign-in", {"username": "claire", "password": "x"})
    finally:
        practice.keys.repair()
    assert answer.status_code == 503
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Traceback" not in answer.get_data(as_text=True)
    assert answer.headers["Retry-After"]


def test_nonces_are_fresh_and_used_by_every_script(practice: Practice) -> None:
    seen = set()
    for _ in range(3):
        answer = practice.browser().client.get("/sign-in")
        nonce = re.search(r"'nonce-([^']+)'", answer.headers["Content-Security-Policy"])
        assert nonce
        seen.add(nonce[1])
        scripts = re.findall(r"<script[^>]*>", answer.get_data(as_text=True))
        assert scripts
        assert all(f'nonce="{nonce[1]}"' in script for script in scripts)
    assert len(seen) == 3


def test_no_page_holds_an_inline_handler_or_style(practice: Practice) -> None:
    browser = practice.browser("claire")
    for path in ("/patients", "/patients/new", "/account", "/_components"):
        page = browser.client.get(path).get_data(as_text=True)
        assert not re.search(r"<[^>]+\s(on\w+|style)=", page), path
        assert "<style" not in page
        assert not re.search(r"(src|href|action)=\"(https?:)?//", page), path


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8000", "a b", ""]
)
def test_an_unknown_host_is_refused(practice: Practice, host: str) -> None:
    answer = practice.app.test_client().get("/sign-in", headers={"Host": host})
    assert answer.status_code == 400
    assert "evil.example" not in answer.get_data(as_text=True)  # a random word of the page may hold four letters


@pytest.mark.parametrize("host", ["localhost", "localhost:8150", "127.0.0.1:8150", "[::1]:8150", "LOCALHOST"])
def test_loopback_names_are_known(practice: Practice, host: str) -> None:
    assert practice.app.test_client().get("/sign-in", headers={"Host": host}).status_code == 200


def test_forwarded_headers_of_a_stranger_are_dropped(practice: Practice) -> None:
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=1",
    }
    answer = practice.app.test_client().get("/sign-in", headers=forged)
    assert answer.status_code == 200
    assert "Strict-Transport-Security" not in answer.headers
    assert practice.app.test_client().get("/metrics", headers=forged).status_code == 403


def test_this_machine_s_monitor_gets_its_counts(practice: Practice) -> None:
    client = practice.app.test_client()
    client.get("/healthz")
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert 'coffre_requests_total{endpoint="status.alive",status="200"}' in answer.text


def test_forwarded_headers_of_a_declared_proxy_count(open_another: Callable[..., Practice]) -> None:
    table = WebTable(trusted_proxies=("10.0.0.2",), hosts=("coffre.example.fr",), bind="0.0.0.0:8000")
    practice = open_another(web=table)
    forwarded = {"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "coffre.example.fr"}
    answer = practice.app.test_client().get("/sign-in", headers=forwarded, environ_overrides={"REMOTE_ADDR": "10.0.0.2"})
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"]
    cookies = answer.headers.getlist("Set-Cookie")
    assert cookies
    for cookie in cookies:
        assert cookie.startswith("__Host-coffre")
        assert "Secure" in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie
    stranger = practice.app.test_client().get("/sign-in", headers=forwarded, environ_overrides={"REMOTE_ADDR": "10.0.0.3"})
    assert "Strict-Transport-Security" not in stranger.headers
    assert all("__Host-" not in cookie for cookie in stranger.headers.getlist("Set-Cookie"))


def test_a_form_without_the_token_changes_nothing(practice: Practice) -> None:
    browser = practice.browser("sophie")
    answer = browser.client.post("/patients/new", data={"birth_name": "Faux"})
    assert answer.status_code == 400
    assert "expiré" in answer.get_data(as_text=True)


def test_the_token_of_another_session_does_not_serve(practice: Practice) -> None:
    token = practice.browser("claire").csrf("/patients")
    answer = practice.browser("sophie").client.post("/preferences", data={"csrf_token": token, "theme": "dark"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}],
)
def test_another_site_can_not_make_our_user_act(practice: Practice, headers: dict[str, str]) -> None:
    browser = practice.browser("sophie")
    form = {"csrf_token": browser.csrf("/patients"), "theme": "dark"}
    assert browser.client.post("/preferences", data=form, headers=headers).status_code == 400
    assert browser.client.post("/preferences", data=form).status_code == 303


def test_the_cookie_alone_does_not_drive_the_api(practice: Practice) -> None:
    browser = practice.browser("claire")
    assert browser.client.post("/api/v1/patients/search", json={"q": "dup"}).status_code == 400
    token = browser.csrf("/patients")
    answer = browser.client.post("/api/v1/patients/search", json={"q": "dup"}, headers={"X-CSRF-Token": token})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y", "evil"]
)
def test_next_only_leads_to_a_page_of_ours(practice: Practice, target: str) -> None:
    browser: Browser = practice.browser("claire")
    answer = browser.post("/preferences", {"theme": "dark", "next": target})
    assert answer.headers["Location"] == "/"
    shown = browser.client.get("/sign-in", query_string={"next": target})
    assert shown.headers["Location"] in {"/", "/patients"}


def test_an_ordinary_form_can_not_carry_a_file(practice: Practice) -> None:
    browser = practice.browser("sophie")
    form = {"csrf_token": browser.csrf("/patients"), "birth_name": (io.BytesIO(b"x" * 10), "x.pdf")}
    answer = browser.client.post("/patients/new", data=form, content_type="multipart/form-data")
    assert answer.status_code == 413


def test_a_huge_form_is_refused(practice: Practice) -> None:
    browser = practice.browser()
    answer = browser.post("/sign-in", {"username": "a" * 400_000, "password": "x"})
    assert answer.status_code == 413


def test_assets_are_kept_for_good_under_their_digest_only(practice: Practice) -> None:
    client = practice.app.test_client()
    version = practice.app.config["ASSETS_VERSION"]
    with client.get(f"/assets/{version}/css/tokens.css") as current, client.get("/assets/old/css/tokens.css") as old:
        assert "immutable" in current.headers["Cache-Control"]
        assert old.headers["Cache-Control"] == "no-cache"
    assert client.get(f"/assets/{version}/../pages.py").status_code == 404
