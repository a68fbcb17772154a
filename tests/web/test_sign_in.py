"""Coming in and going out: two proofs, one answer for every refusal, cookies that are out of reach."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyotp
import pytest

from tests.web.conftest import PASSWORD, Browser, Practice
from vault.model import Role


def begin(practice: Practice, username: str, password: str = PASSWORD) -> tuple[Browser, Any]:
    browser = practice.browser()
    return browser, browser.post("/sign-in", {"username": username, "password": password})


def test_two_proofs_open_a_session_with_a_new_cookie(practice: Practice) -> None:
    browser, first = begin(practice, "claire")
    assert first.status_code == 303
    assert first.headers["Location"] == "/sign-in/code"
    assert not any(cookie.startswith("coffre=") for cookie in first.headers.getlist("Set-Cookie"))
    second = browser.post("/sign-in/code", {"code": practice.code("claire")})
    assert second.status_code == 303
    cookies = second.headers.getlist("Set-Cookie")
    session = next(cookie for cookie in cookies if cookie.startswith("coffre="))
    assert re.match(r"coffre=[A-Za-z0-9_-]{43};", session)
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in session.split(";")}
    assert any(cookie.startswith("coffre-halfway=;") for cookie in cookies)
    assert browser.client.get("/patients").status_code == 200


@pytest.mark.parametrize(
    ("username", "password"), [("claire", "wrong"), ("nobody", PASSWORD), ("nobody", ""), ("claire", "x" * 9000)]
)
def test_every_refusal_reads_the_same(open_another: Callable[..., Practice], username: str, password: str) -> None:
    practice = open_another()
    browser, answer = begin(practice, username, password)
    _, reference = begin(practice, "somebody", "something")
    assert answer.status_code == reference.status_code == 401
    page, other = (
        text.get_data(as_text=True).replace(f'value="{name}"', 'value=""')
        for text, name in ((answer, username), (reference, "somebody"))
    )
    for pattern in (r'nonce="[^"]+"', r'content="[^"]{40,}"', r'value="[^"]{40,}"'):
        page, other = re.sub(pattern, "", page), re.sub(pattern, "", other)
    assert page == other
    assert "Identifiant, mot de passe ou code incorrect" in page
    assert browser.client.get("/patients").status_code == 303


def test_a_wrong_and_a_replayed_code_are_refused(practice: Practice) -> None:
    browser, _ = begin(practice, "sophie")
    assert browser.post("/sign-in/code", {"code": practice.wrong_code(practice.secrets["sophie"])}).status_code == 401
    code = practice.code("sophie")
    assert browser.post("/sign-in/code", {"code": code}).status_code == 303
    again, _ = begin(practice, "sophie")
    replayed = again.post("/sign-in/code", {"code": code})
    assert replayed.status_code == 401
    assert again.client.get("/patients").status_code == 303


def test_a_telephone_that_runs_late_is_told_so_and_only_after_the_password(open_another: Callable[..., Practice]) -> None:
    practice = open_another()
    practice.tell_codes_apart("claire")
    late = pyotp.TOTP(practice.secrets["claire"]).at(practice.clock.now // 1_000_000 - 150)
    browser, _ = begin(practice, "claire")
    told = browser.post("/sign-in/code", {"code": late})
    assert told.status_code == 401
    assert "L’horloge du téléphone est décalée" in told.get_data(as_text=True)
    assert "3 minutes de retard" in told.get_data(as_text=True)
    early = pyotp.TOTP(practice.secrets["claire"]).at(practice.clock.now // 1_000_000 + 150)
    silent = browser.post("/sign-in/code", {"code": early}).get_data(as_text=True)
    assert "horloge" not in silent, "to say that a code will be right would help a guesser"
    assert "incorrect" in silent


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_both_steps_of_signing_in_lead_to_a_page_of_ours(practice: Practice, target: str) -> None:
    browser = practice.browser()
    first = browser.post("/sign-in", {"username": "nadia", "password": PASSWORD, "next": target})
    assert first.headers["Location"] == "/sign-in/code"
    second = browser.post("/sign-in/code", {"code": practice.code("nadia"), "next": target})
    assert second.headers["Location"] == "/"


def test_five_failures_lock_and_the_right_proofs_get_the_same_answer(open_another: Callable[..., Practice]) -> None:
    practice = open_another()
    for _ in range(5):
        begin(practice, "claire", "wrong")
    browser, locked = begin(practice, "claire")
    assert locked.status_code == 429
    assert 0 < int(locked.headers["Retry-After"]) <= 900
    assert "15 min" in locked.get_data(as_text=True)
    _, unknown = begin(practice, "personne")
    for _ in range(5):
        _, unknown = begin(practice, "personne", "wrong")
    assert unknown.status_code == 429
    problem = practice.app.test_client().post(
        "/api/v1/sessions", json={"username": "claire", "password": PASSWORD, "code": practice.code("claire")}
    )
    assert problem.status_code == 429
    assert problem.get_json()["code"] == "locked_out"
    assert problem.headers["Retry-After"]
    assert browser.client.get("/patients").status_code == 303


def test_a_first_sign_in_sets_up_the_second_factor_before_anything_else(open_another: Callable[..., Practice]) -> None:
    practice = open_another()
    practice.hire("lea", Role.CLINICIAN, enrolled=False)
    browser, first = begin(practice, "lea")
    assert first.headers["Location"] == "/sign-in/set-up"
    page = browser.client.get("/sign-in/set-up")
    text = page.get_data(as_text=True)
    assert "<svg" in text
    assert "otpauth" not in page.headers.get("Location", "")
    secret = re.search(r'class="secret">([A-Z2-7 ]+)<', text)
    assert secret
    practice.secrets["lea"] = secret[1].replace(" ", "")
    assert browser.client.get("/patients").status_code == 303
    done = browser.post("/sign-in/set-up", {"code": practice.code("lea")})
    codes = re.findall(r"<li>([^<]+)</li>", done.get_data(as_text=True))
    assert len(codes) == 10
    assert browser.client.get("/patients").status_code == 200
    other, _ = begin(practice, "lea")
    assert other.post("/sign-in/code", {"code": codes[0], "way": "recovery"}).status_code == 303
    third, _ = begin(practice, "lea")
    assert third.post("/sign-in/code", {"code": codes[0], "way": "recovery"}).status_code == 401


def test_signing_out_ends_the_session_on_the_server(practice: Practice) -> None:
    browser = practice.browser()
    token = practice.fresh_token("nadia")
    browser.client.set_cookie("coffre", token)
    answer = browser.client.post("/sign-out", data={"csrf_token": browser.csrf("/account")})
    assert answer.status_code == 303
    assert answer.headers["Clear-Site-Data"]
    thief = practice.app.test_client()
    thief.set_cookie("coffre", token)
    assert thief.get("/account").status_code == 303


def test_switching_user_leaves_nothing_of_the_first_one(practice: Practice) -> None:
    browser = practice.browser()
    browser.client.set_cookie("coffre", practice.fresh_token("sophie"))
    answer = browser.client.post("/switch", data={"csrf_token": browser.csrf("/patients")})
    assert answer.headers["Location"] == "/sign-in"
    assert browser.client.get("/patients").status_code == 303
    assert "Sophie" not in browser.client.get("/sign-in").get_data(as_text=True)
    assert practice.events("auth.switch_user")[-1] == "success"


def test_an_idle_session_locks_and_looking_does_not_prolong_it(open_another: Callable[..., Practice]) -> None:
    practice = open_another()
    browser = practice.browser("claire")
    practice.clock.advance(minutes=9)
    left = browser.client.get("/session").get_json()["remaining_s"]
    assert 0 < left <= 60
    assert browser.client.get("/session").get_json()["remaining_s"] == left
    token = browser.csrf("/account")
    kept = browser.client.post("/session/keep", headers={"X-CSRF-Token": token})
    assert kept.get_json()["remaining_s"] > 500
    practice.clock.advance(minutes=11)
    assert browser.client.get("/session").status_code == 303
    assert browser.client.get("/patients").status_code == 303
    assert practice.program("claire").ask("GET", "/me").status_code == 200


def test_a_program_signs_in_at_once_and_out(practice: Practice) -> None:
    client = practice.app.test_client()
    begun = client.post("/api/v1/sessions", json={"username": "claire", "password": PASSWORD, "code": practice.code("claire")})
    assert begun.status_code == 201
    token = begun.get_json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/v1/me", headers=headers).get_json()["role"] == "clinician"
    assert client.delete("/api/v1/sessions/current", headers=headers).status_code == 204
    assert client.get("/api/v1/me", headers=headers).status_code == 401


@pytest.mark.parametrize("extra", [{"role": "owner"}, {"remember": True}])
def test_unknown_fields_of_a_sign_in_are_refused(practice: Practice, extra: dict[str, object]) -> None:
    body = {"username": "claire", "password": "x", "code": "000000", **extra}
    answer = practice.app.test_client().post("/api/v1/sessions", json=body)
    assert answer.status_code == 422
    assert answer.get_json()["reason"] == "unknown_field"
