"""``coffre user``: what an operator types, and what comes back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.vault.people.conftest import OFFICE, PASSWORD, House
from vault.errors import Conflict, NotFound, PasswordRefused, SignInRefused
from vault.people.cli import user
from vault.people.opening import People
from vault.people.sessions import Stage


@dataclass
class FakeVault:
    people: People


@dataclass
class FakeConsole:
    vault: FakeVault


def run(house: House, *words: str, typed: str = "") -> Result:
    console = FakeConsole(FakeVault(house.people))
    return CliRunner().invoke(user, list(words), obj=console, input=typed, catch_exceptions=False)


def said(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_an_account_with_a_made_up_phrase_signs_in(house: House) -> None:
    made = said(run(house, "add", "--role", "owner", "--name", "Dr Hélène Marchetti", "--json", "hmarchetti"))
    assert (made["username"], made["role"]) == ("hmarchetti", "owner")
    assert house.people.sign_in.password("hmarchetti", made["password"], OFFICE).stage is Stage.ENROL


def test_a_password_comes_from_standard_input_and_is_not_echoed(house: House) -> None:
    result = run(house, "add", "--role", "clinician", "--password-stdin", "--json", "lmartin", typed=PASSWORD + "\n")
    assert PASSWORD not in result.output
    assert "password" not in said(result)
    assert house.people.sign_in.password("lmartin", PASSWORD, OFFICE).stage is Stage.ENROL


def test_a_bad_password_makes_no_account(house: House) -> None:
    with pytest.raises(PasswordRefused):
        run(house, "add", "--role", "clinician", "--password-stdin", "lmartin", typed="azerty\n")
    assert said(run(house, "list", "--json")) == {"users": []}


def test_an_invitation_is_a_code_that_works_once(house: House) -> None:
    code = said(run(house, "invite", "--role", "reception", "--json", "sgarnier"))["code"]
    house.people.resets.accept("sgarnier", code, PASSWORD, OFFICE)
    with pytest.raises(SignInRefused):
        house.people.resets.accept("sgarnier", code, PASSWORD, OFFICE)


def test_the_list_says_where_everybody_stands(house: House) -> None:
    assert "Nobody yet" in run(house, "list").output
    house.enrol("lmartin")
    house.hire("jdurand")
    for _ in range(5):
        with pytest.raises(SignInRefused):
            house.people.sign_in.password("jdurand", "wrong", OFFICE)
    users = {each["username"]: each for each in said(run(house, "list", "--json"))["users"]}
    assert (users["lmartin"]["is_enrolled"], users["lmartin"]["is_locked"]) == (True, False)
    assert (users["jdurand"]["is_enrolled"], users["jdurand"]["is_locked"]) == (False, True)
    text = run(house, "list").output
    assert "no telephone yet" in text
    assert "locked" in text


def test_disable_wants_a_yes_and_enable_brings_back(house: House) -> None:
    secret, _ = house.enrol()
    assert run(house, "disable", "lmartin", "--json").exit_code == 2, "programs say --yes"
    said(run(house, "disable", "LMARTIN", "--yes", "--json"))
    with pytest.raises(SignInRefused):
        house.sign_in("lmartin", secret)
    said(run(house, "enable", "lmartin", "--json"))
    house.sign_in("lmartin", secret)


def test_a_closed_account_is_removed_for_good(house: House) -> None:
    person = house.hire("lmartin")
    assert run(house, "remove", "lmartin", "--json").exit_code == 2, "programs say --yes"
    with pytest.raises(Conflict):
        run(house, "remove", "lmartin", "--yes")
    closed = said(run(house, "disable", "lmartin", "--yes", "--json"))
    assert closed["removes_at"].endswith("Z")
    (listed,) = said(run(house, "list", "--json"))["users"]
    assert (listed["state"], listed["removes_at"], listed["removed_at"]) == ("disabled", closed["removes_at"], None)
    assert f"removed from {closed['removes_at'][:10]} on" in run(house, "list").output
    assert said(run(house, "remove", "lmartin", "--yes", "--json"))["id"] == person
    (listed,) = said(run(house, "list", "--json"))["users"]
    assert (listed["state"], listed["username"], listed["name"]) == ("removed", "", "Prénom lmartin")
    with pytest.raises(NotFound):
        run(house, "enable", "lmartin")


def test_whoever_left_comes_back_with_a_code(house: House) -> None:
    house.enrol()
    said(run(house, "disable", "lmartin", "--left", "--yes", "--json"))
    code = said(run(house, "enable", "lmartin", "--json"))["code"]
    assert house.people.resets.accept("lmartin", code, PASSWORD, OFFICE).stage is Stage.ENROL


def test_unlock_and_reset(house: House) -> None:
    house.enrol()
    for _ in range(5):
        with pytest.raises(SignInRefused):
            house.people.sign_in.password("lmartin", "wrong", OFFICE)
    assert "may try again" in run(house, "unlock", "lmartin").output
    said(run(house, "reset-totp", "lmartin", "--yes", "--json"))
    assert house.people.sign_in.password("lmartin", PASSWORD, OFFICE).stage is Stage.ENROL
    assert ("auth.totp_reset", "success") in house.actions()


def test_unknown_and_taken_names_are_errors(house: House) -> None:
    house.hire()
    with pytest.raises(NotFound):
        run(house, "unlock", "nobody")
    with pytest.raises(Conflict):
        run(house, "add", "--role", "owner", "lmartin")
    assert run(house, "add", "--role", "emperor", "x").exit_code == 2


@pytest.mark.parametrize("verb", ["add", "invite", "list", "disable", "enable", "remove", "unlock", "reset-totp"])
def test_every_verb_shows_an_example(house: House, verb: str) -> None:
    assert f"coffre user {verb}" in run(house, verb, "--help").output
