"""Whoever tries to get in: wrong, replayed, locked, disguised, in parallel, half-way. One answer for every cause."""

from __future__ import annotations

import secrets
import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.attacks.caller import Answer, Caller
from tests.attacks.instance import Instance, events
from vault.demo.stage import Account

pytestmark = [pytest.mark.hsm, pytest.mark.xdist_group("attacks"), pytest.mark.timeout(170)]

VOLATILE = {"incident", "date"}


def attempt(caller: Caller, account: Account, code: str, *, username: str | None = None, password: str | None = None) -> Answer:
    credentials = {"username": username or account.username, "password": password or account.password, "code": code}
    return caller.post_json("/api/v1/sessions", credentials)


def gist(answer: Answer) -> tuple[object, ...]:
    """What an outsider can tell two refusals apart by."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"date", "content-security-policy"}}
    body = {name: value for name, value in answer.json.items() if name not in VOLATILE}
    return answer.status, tuple(sorted(headers.items())), tuple(sorted(body.items())), len(answer.body)


def test_every_cause_of_refusal_reads_the_same(installation: Instance) -> None:
    claire = installation.account("claire.martin")
    installation.coffre("user", "disable", "karim.benali", "--yes")
    karim = installation.account("karim.benali")
    installation.coffre("user", "add", "--role", "clinician", "--password-stdin", "not.enrolled", words="Vert-Olive-27-Tram!\n")
    caller = installation.caller()
    answers = [
        attempt(caller, claire, "000000"),
        attempt(caller, claire, claire.code(time.time()), password="Wrong-Horse-Battery-9"),
        attempt(caller, claire, "000000", username="nobody.at.all"),
        attempt(caller, karim, karim.code(time.time())),
        attempt(caller, claire, "000000", username="not.enrolled", password="Vert-Olive-27-Tram!"),
        attempt(caller, claire, ""),
    ]
    refused = answers[:-1]
    assert {answer.status for answer in refused} == {401}
    assert {answer.code for answer in refused} == {"sign_in_refused"}
    assert len({gist(answer) for answer in refused}) == 1
    assert answers[-1].status in {401, 422}


@pytest.mark.alone
def test_known_and_unknown_names_take_the_same_time(installation: Instance) -> None:
    louis, caller = installation.account("louis.perrin"), installation.caller()
    spent: dict[str, list[float]] = {"known": [], "unknown": []}
    for turn in range(3):
        for kind, name in (("known", louis.username), ("unknown", f"nobody{turn}")):
            began = time.perf_counter()
            attempt(caller, louis, "000000", username=name, password="Wrong-Horse-Battery-9")
            spent[kind].append(time.perf_counter() - began)
    known, unknown = min(spent["known"]), min(spent["unknown"])
    assert 0.4 < known / unknown < 2.5, spent


@pytest.mark.parametrize("code", ["１２３４５６", "12345", "1234567", "-12345", "12 34 5６", "٠١٢٣٤٥", "1e5000", "000000\n"])
def test_codes_of_other_shapes_are_never_codes(installation: Instance, code: str) -> None:
    account, caller = installation.account("paul.lemaire"), installation.caller()
    answer = attempt(caller, account, code, username=f"shape-{secrets.token_hex(4)}")
    assert answer.status in {401, 422}


def test_fullwidth_digits_of_the_right_code_are_refused(installation: Instance) -> None:
    account, caller = installation.account("paul.lemaire"), installation.caller()
    right = account.code(time.time())
    assert attempt(caller, account, "".join(chr(ord(digit) + 0xFEE0) for digit in right)).status == 401


def test_a_code_works_once(installation: Instance) -> None:
    account, caller = installation.account("thomas.weber"), installation.caller()
    code = installation.telephones.code(account)
    assert attempt(caller, account, code).status == 201
    again = attempt(caller, account, code)
    assert again.status == 401
    assert again.code == "sign_in_refused"


def test_fifty_parallel_tries_of_one_code_give_one_session(installation: Instance) -> None:
    account = installation.account("helene.marchetti")
    code = installation.telephones.code(account)
    with ThreadPoolExecutor(50) as crowd:
        answers = list(crowd.map(lambda _: attempt(installation.caller(), account, code).status, range(50)))
    assert answers.count(201) == 1, answers
    assert set(answers) <= {201, 401, 429}, answers


VARIANTS: list[Callable[[str], str]] = [
    str.upper,
    str.title,
    lambda name: f"  {name} ",
    lambda name: unicodedata.normalize("NFD", name),
    lambda name: "".join(chr(ord(letter) + 0xFEE0) if letter.isalpha() else letter for letter in name),
]


def test_name_variants_share_one_counter_and_locked_tells_nothing(installation: Instance) -> None:
    """Wrong passwords under different spellings lock; then the right credentials get the same answer as wrong ones."""
    account, caller = installation.account("sophie.garnier"), installation.caller()
    for variant in VARIANTS:
        attempt(caller, account, "000000", username=variant(account.username), password="Wrong-Horse-Battery-9")
    right = attempt(caller, account, installation.telephones.code(account))
    wrong = attempt(caller, account, "000000", password="Wrong-Horse-Battery-9")
    unknown_name = f"unknown-{secrets.token_hex(4)}"
    for _ in range(5):
        attempt(caller, account, "000000", username=unknown_name)
    unknown = attempt(caller, account, "000000", username=unknown_name)
    for answer in (right, wrong, unknown):
        assert answer.status == 429, answer.body
        assert answer.code == "locked_out"
        assert 0 < int(answer.headers["retry-after"]) <= 900
    assert set(right.json) == set(wrong.json) == set(unknown.json)
    page = installation.caller()
    form = {"csrf_token": page.csrf(), "username": account.username, "password": account.password}
    shown = page.post_form("/sign-in", form)
    assert shown.status == 429
    assert "coffre-halfway" not in page.cookies
    locks = events(installation.sign_in("nadia.roche"), "auth.locked")
    assert len(locks) >= 2


def test_a_lock_survives_a_restart_and_an_aborted_try_counts(fresh: Instance) -> None:
    fresh.start()
    account, caller = fresh.account("claire.martin"), fresh.caller()
    for _ in range(5):
        attempt(caller, account, "000000")
    fresh.kill()
    fresh.start()
    assert attempt(caller, account, fresh.telephones.code(account)).status == 429


def test_half_way_opens_nothing_but_the_code_page(installation: Instance) -> None:
    account, visitor = installation.account("claire.martin"), installation.caller()
    form = {"csrf_token": visitor.csrf(), "username": account.username, "password": account.password}
    assert visitor.post_form("/sign-in", form).status == 303
    token = visitor.cookies["coffre-halfway"]
    for disguise in (visitor, Caller(installation.port, token=token), Caller(installation.port, cookies={"coffre": token})):
        for path in ("/", "/patients", "/account", "/audit", "/status"):
            answer = disguise.get(path)
            assert answer.status == 303, (path, answer.status)
            assert answer.headers["location"].startswith("/sign-in"), path
        assert disguise.get("/api/v1/me").status == 401
        assert disguise.post_json("/api/v1/patients/search", {"q": "dupont"}).status == 401
    assert visitor.get("/sign-in/set-up").status == 303  # the second factor can't be set up again half-way


def test_a_session_is_new_at_each_step_and_never_the_visitors_choice(installation: Instance) -> None:
    account = installation.account("claire.martin")
    planted = secrets.token_urlsafe(32)
    visitor = Caller(installation.port, cookies={"coffre": planted, "coffre-halfway": planted, "coffre-visit": planted})
    visitor.post_form("/sign-in", {"csrf_token": visitor.csrf(), "username": account.username, "password": account.password})
    halfway = visitor.cookies["coffre-halfway"]
    assert halfway != planted
    code = {"csrf_token": visitor.csrf("/sign-in/code"), "code": installation.telephones.code(account)}
    entered = visitor.post_form("/sign-in/code", code)
    assert entered.status == 303
    assert visitor.cookies["coffre"] not in {planted, halfway}
    for flags in [value for name, value in entered.pairs if name.lower() == "set-cookie" and value.startswith("coffre=")]:
        assert {"httponly", "samesite=strict", "path=/"} <= {part.strip().lower() for part in flags.split(";")}
    assert Caller(installation.port, token=planted).get("/api/v1/me").status == 401
    replayed = Caller(installation.port, cookies={"coffre-halfway": halfway})
    again = {"csrf_token": replayed.csrf("/sign-in/code"), "code": account.code(time.time() + 30)}
    assert replayed.post_form("/sign-in/code", again).headers.get("location", "").startswith("/sign-in")
    assert "coffre" not in replayed.cookies
