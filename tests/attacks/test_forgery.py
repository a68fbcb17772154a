"""Forged requests, slipped-in fields, and sessions that must end at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks.caller import Caller
from tests.attacks.instance import Instance

pytestmark = [pytest.mark.hsm, pytest.mark.xdist_group("attacks"), pytest.mark.timeout(170)]

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_forged_forms_change_nothing(installation: Instance, browser_of: Callable[[str], Caller]) -> None:
    sophie, claire = browser_of("sophie.garnier"), browser_of("claire.martin")
    mine, hers = sophie.csrf("/patients/new"), claire.csrf("/patients/new")
    strangers = installation.caller().csrf()
    before = installation.count("patients")
    fields = {"birth_name": "Forge", "given_names": "Zoé", "birth_date": "12/03/1980", "sex": "F"}
    lies: list[tuple[str, dict[str, str]]] = [
        ("", {}), ("x", {}), (hers, {}), (strangers, {}), (mine[:-1], {}), (mine, {"Origin": "https://evil.example"}),
        (mine, {"Origin": "null"}), (mine, {"Sec-Fetch-Site": "cross-site"}), (mine, {"Sec-Fetch-Site": "same-site"}),
        ("", {"Authorization": "Bearer \xa0"}), ("", {"Authorization": "Bearer "}), ("", {"Authorization": "Bearer x"}),
    ]  # fmt: skip
    for token, headers in lies:
        answer = sophie.post_form("/patients/new", {**fields, "csrf_token": token}, headers)
        assert answer.status in {400, 401, 303}, (token, headers, answer.status)
        assert installation.count("patients") == before, (token, headers)
    assert sophie.post_form("/sign-out", {}).status == 400
    assert sophie.get("/patients").status == 200
    made = sophie.post_form("/patients/new", {**fields, "csrf_token": mine})
    assert made.status == 303
    assert installation.count("patients") == before + 1


def test_reading_changes_nothing(installation: Instance, browser_of: Callable[[str], Caller]) -> None:
    sophie = browser_of("sophie.garnier")
    before = installation.kept()
    for path in ("/sign-out", "/switch", "/preferences?theme=dark", "/patients/new?birth_name=A&sex=F", "/account/password"):
        assert sophie.get(path).status in {200, 404, 405}, path
    assert sophie.get("/patients").status == 200
    assert installation.kept() == before


def test_nothing_can_be_slipped_in(installation: Instance, reception: Caller) -> None:
    identity = {"birth_name": "Passager", "given_names": ["Zoé"], "birth_date": "1980-03-12", "sex": "F"}
    before = installation.count("patients")
    for extra in ("id", "role", "created_at", "created_by", "scope", "owner", "__proto__", "care_team_of"):
        answer = reception.post_json("/api/v1/patients", {**identity, extra: "x"})
        assert (answer.status, answer.code) == (422, "invalid"), extra
    for query in ("&sha256=x", "&id=x", "&deposited_by=x", "&type=11488-4", "&patient=x"):
        path = f"/api/v1/documents?patient={'0' * 32}&type=11502-2{query}"
        assert reception.call("POST", path, b"%PDF-1.7\n").status == 422, query
    for body in (b"[]", b"null", b'{"a":1,"a":2}', b"{", b"\xff", b"[" * 100_000, b'{"q":NaN}', b'{"q":"\\ud800"}'):
        answer = reception.call("POST", "/api/v1/patients/search", body, {"Content-Type": "application/json"})
        assert answer.status in {200, 400, 422}, body[:20]
    assert installation.count("patients") == before


def test_sessions_end_at_once(installation: Instance) -> None:
    louis = installation.sign_in("louis.perrin")
    assert louis.get("/api/v1/me").status == 200
    assert louis.call("DELETE", "/api/v1/sessions/current").status == 204
    assert louis.get("/api/v1/me").status == 401
    again, other = installation.sign_in("louis.perrin"), installation.sign_in("louis.perrin")
    assert installation.coffre("user", "disable", "louis.perrin", "--yes").returncode == 0
    for caller in (again, other):
        assert caller.get("/api/v1/me").status == 401


def test_signing_out_kills_the_cookie(installation: Instance) -> None:
    thomas = installation.browse("thomas.weber")
    stolen = Caller(installation.port, cookies=dict(thomas.cookies))
    assert stolen.get("/account").status == 200
    left = thomas.post_form("/sign-out", {"csrf_token": thomas.csrf("/account")})
    assert left.status == 303
    assert "storage" in left.headers["clear-site-data"]
    assert stolen.get("/account").status == 303
