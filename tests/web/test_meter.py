"""The meter beside a new password: true to the rule, open to somebody invited, forging nothing, keeping nothing, at a pace."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.conftest import Clock
from tests.web.conftest import Browser, Practice
from vault.errors import Busy
from web.meter import BURST, SOURCES, Pace

GOOD = "Moulin-Verre-92"
PHRASE = "grue-neige-pavot-hibou-lacet-moulin-verre"
PATH = "/password/strength"


def ask(browser: Browser, password: Any, page: str = "/invitation", **more: Any) -> Any:
    headers = {"X-CSRF-Token": browser.csrf(page), "Accept": "application/json"}
    return browser.client.post(PATH, json={"password": password, **more}, headers=headers)


@pytest.fixture
def visitor(practice: Practice) -> Browser:
    practice.clock.advance(minutes=1)
    return practice.browser()


def test_it_says_what_the_rule_will_say(visitor: Browser) -> None:
    answers = [ask(visitor, each).get_json() for each in ("azerty", "Azerty123456!", GOOD, PHRASE)]
    assert [each["mark"] for each in answers] == sorted(each["mark"] for each in answers)
    assert [each["mark"] >= 2 for each in answers] == [False, False, True, True]
    assert "trop court" in answers[0]["words"]
    assert answers[-1]["words"] == "Très solide"


def test_one_s_own_names_count_before_and_after_the_first_sign_in(practice: Practice, visitor: Browser) -> None:
    assert ask(visitor, "Zacharie!kzq-94", username="zacharie").get_json()["mark"] <= 1
    assert ask(visitor, "Zacharie!kzq-94", username="other").get_json()["mark"] >= 2
    claire = practice.browser("claire")
    assert ask(claire, "Claire!kzq-9428", "/account").get_json()["mark"] <= 1


def test_every_page_where_a_password_is_chosen_has_it_and_works_without_it(practice: Practice, visitor: Browser) -> None:
    for browser, page in ((visitor, "/invitation"), (practice.browser("claire"), "/account")):
        text = browser.client.get(page).get_data(as_text=True)
        assert f'data-module="meter" data-url="{PATH}"' in text
        assert "<meter" in text
    form = {"current": "x", "new": "azerty"}
    claire = practice.browser("claire")
    refused = claire.client.post("/account/password", data={"csrf_token": claire.csrf("/account"), **form})
    assert refused.status_code == 422
    assert "trop court" in refused.get_data(as_text=True), "without scripts the reason comes with the form"


def test_nothing_of_it_is_kept(practice: Practice, visitor: Browser, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = ask(visitor, GOOD)
    assert GOOD not in answer.get_data(as_text=True)
    assert answer.headers["Cache-Control"] == "no-store"
    assert GOOD not in caplog.text
    assert visitor.client.get(f"{PATH}?password={GOOD}").status_code == 405, "a password never travels in an address"


@pytest.mark.parametrize("password", [None, 7, ["x"], {"a": 1}, True])
def test_what_is_no_password_is_refused(visitor: Browser, password: object) -> None:
    answer = ask(visitor, password)
    assert answer.status_code in {200, 422}
    assert answer.status_code == 422 or answer.get_json()["mark"] == 0


def test_a_huge_one_is_too_long_and_a_huger_one_is_not_read(visitor: Browser) -> None:
    assert ask(visitor, "é" * 5000).get_json()["mark"] == 0
    assert ask(visitor, "x" * 1_000_000).status_code == 413


def test_without_the_page_s_token_it_does_not_answer(visitor: Browser) -> None:
    assert visitor.client.post(PATH, json={"password": GOOD}).status_code in {400, 403}


def test_an_address_that_asks_too_much_waits_and_others_do_not() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(BURST):
        pace.take("192.0.2.1")
    with pytest.raises(Busy):
        pace.take("192.0.2.1")
    pace.take("192.0.2.2")
    clock.advance(seconds=1)
    pace.take("192.0.2.1")
    clock.advance(seconds=-600)
    pace.take("192.0.2.2")
    for number in range(2 * SOURCES):
        pace.take(f"2001:db8::{number:x}")
    assert pace.remembered == SOURCES


def test_the_endpoint_keeps_the_pace(practice: Practice, visitor: Browser) -> None:
    token = visitor.csrf("/invitation")
    codes = [
        visitor.client.post(
            PATH, json={"password": "x"}, headers={"X-CSRF-Token": token, "Accept": "application/json"}
        ).status_code
        for _ in range(BURST + 1)
    ]
    assert codes == [200] * BURST + [429]
    practice.clock.advance(minutes=1)
