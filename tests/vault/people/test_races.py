"""Fifty at once, and exactly one winner; recovery codes."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import select

from tests.vault.people.conftest import OFFICE, PASSWORD, House
from tests.vault.people.races import WRONG, race
from vault.errors import LockedOut, SessionEnded, SignInRefused
from vault.people.lockout import RECOVERY_BURST, RECOVERY_REFILL_S
from vault.storage.schema import sessions


def test_fifty_parallel_tries_of_one_code_give_one_session(house: House) -> None:
    secret, _ = house.enrol()
    for _ in range(3):
        house.clock.advance(seconds=30)
        code = house.code(secret)
        won, lost = race(50, partial(house.people.sign_in.at_once, "lmartin", PASSWORD, code, OFFICE))
        assert len(won) == 1
        assert {type(each) for each in lost} <= {SignInRefused, LockedOut}
    house.clock.advance(seconds=30)
    house.people.sign_in.at_once("lmartin", PASSWORD, house.code(secret), OFFICE)  # the race locked nobody out


def test_fifty_parallel_tries_on_one_half_way_session_give_one_session(house: House) -> None:
    secret, _ = house.enrol()
    halfway = house.people.sign_in.password("lmartin", PASSWORD, OFFICE)
    won, lost = race(50, lambda: house.people.sign_in.code(halfway.token, house.code(secret), OFFICE))
    assert len(won) == 1
    assert {type(each) for each in lost} <= {SignInRefused, LockedOut, SessionEnded}
    with house.db.read() as connection:
        stages = connection.execute(select(sessions.c.stage)).scalars().all()
    assert sorted(stages) == ["full", "full"], "the one from enrolment and the one that won"


def test_fifty_parallel_recovery_codes_give_one_session(house: House) -> None:
    _, first = house.enrol()
    assert first.recovery_codes is not None
    for code in first.recovery_codes[:2]:
        won, _ = race(50, partial(house.people.sign_in.recovery, "lmartin", PASSWORD, code, OFFICE))
        assert len(won) == 1
        house.clock.advance(seconds=RECOVERY_BURST * RECOVERY_REFILL_S)  # whoever came after the winner has filled the door


def test_parallel_guesses_get_five_looks(house: House) -> None:
    house.enrol()
    halfway = house.people.sign_in.password("lmartin", PASSWORD, OFFICE)
    guesses = iter([f"{number:06}" for number in range(50)])
    _, lost = race(50, lambda: house.people.sign_in.code(halfway.token, next(guesses), OFFICE))
    assert sum(isinstance(each, SignInRefused) for each in lost) <= 5
    assert sum(isinstance(each, LockedOut) for each in lost) >= 45


# --- recovery codes


def test_recovery_code_works_once_even_while_locked(house: House) -> None:
    _, first = house.enrol()
    assert first.recovery_codes is not None
    for _ in range(5):
        with pytest.raises(SignInRefused):
            house.people.sign_in.password("lmartin", WRONG, OFFICE)
    spoken = first.recovery_codes[0].lower().replace("-", " ").replace("0", "o")
    signed_in = house.people.sign_in.recovery("lmartin", PASSWORD, spoken, OFFICE)
    assert signed_in.actor.methods == ("pwd", "recovery")
    with pytest.raises(SignInRefused):
        house.people.sign_in.recovery("lmartin", PASSWORD, first.recovery_codes[0], OFFICE)
    with pytest.raises(SignInRefused):
        house.people.sign_in.recovery("lmartin", WRONG, first.recovery_codes[1], OFFICE)


def test_recovery_code_serves_on_the_code_page_and_in_one_request(house: House) -> None:
    _, first = house.enrol()
    assert first.recovery_codes is not None
    halfway = house.people.sign_in.password("lmartin", PASSWORD, OFFICE)
    assert house.people.sign_in.code(halfway.token, first.recovery_codes[0], OFFICE).actor.username == "lmartin"
    assert house.people.sign_in.at_once("lmartin", PASSWORD, first.recovery_codes[1], OFFICE).actor.username == "lmartin"


def test_recovery_code_of_another_person_is_worthless(house: House) -> None:
    _, first = house.enrol("lmartin")
    house.enrol("jdurand")
    assert first.recovery_codes is not None
    with pytest.raises(SignInRefused):
        house.people.sign_in.recovery("jdurand", PASSWORD, first.recovery_codes[0], OFFICE)
