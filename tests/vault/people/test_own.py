"""One's own account: password, telephone, recovery codes, step-up."""

from __future__ import annotations

from functools import partial

import pytest

from tests.vault.people.conftest import OFFICE, PASSWORD, House
from tests.vault.people.races import WRONG, race
from vault.errors import Conflict, LockedOut, PasswordRefused, SessionEnded, SignInRefused, StepUpRequired
from vault.model import Client, Micros
from vault.people.notices import Notice
from vault.people.policy import Act, authorise

NEW = "Moulin-Verre-92"


def told(house: House, actor: object) -> list[Notice]:
    return [each.kind for each in house.people.notices.of(actor)]  # type: ignore[arg-type]  # an Actor from a session


def test_a_changed_password_serves_and_ends_the_other_sessions(house: House) -> None:
    secret, first = house.enrol()
    second = house.sign_in("lmartin", secret)
    house.people.own.change_password(second.actor, PASSWORD, NEW)
    house.people.sessions.actor(second.token, OFFICE)
    with pytest.raises(SessionEnded):
        house.people.sessions.actor(first.token, OFFICE)
    with pytest.raises(SignInRefused):
        house.people.sign_in.password("lmartin", PASSWORD, OFFICE)
    house.people.sign_in.password("lmartin", NEW, OFFICE)
    assert ("auth.password_changed", "success") in house.actions()
    assert told(house, second.actor) == [Notice.PASSWORD_CHANGED]


def test_a_stolen_session_does_not_guess_the_password(house: House) -> None:
    _, first = house.enrol()
    for _ in range(5):
        with pytest.raises(SignInRefused):
            house.people.own.change_password(first.actor, WRONG, NEW)
    with pytest.raises(LockedOut):
        house.people.own.change_password(first.actor, PASSWORD, NEW)
    with pytest.raises(LockedOut):
        house.people.sign_in.password("lmartin", PASSWORD, OFFICE)


@pytest.mark.parametrize(("new", "reason"), [("court", "too_short"), (PASSWORD, "same"), ("Lmartin!kzq-94", "context")])
def test_a_bad_new_password_is_refused_with_the_reason(house: House, new: str, reason: str) -> None:
    _, first = house.enrol()
    with pytest.raises(PasswordRefused) as refusal:
        house.people.own.change_password(first.actor, PASSWORD, new)
    assert refusal.value.details["reason"] == reason


def test_step_up_makes_the_factor_fresh_for_this_session_only(house: House) -> None:
    secret, first = house.enrol()
    second = house.sign_in("lmartin", secret)
    house.clock.advance(minutes=6)
    with pytest.raises(StepUpRequired):
        house.people.own.renew_recovery_codes(house.people.sessions.actor(second.token, OFFICE))
    house.people.own.step_up(second.actor, house.code(secret))
    fresh = house.people.sessions.actor(second.token, OFFICE)
    authorise(fresh, Act.OWN_FACTORS, Micros(house.clock.now))
    with pytest.raises(StepUpRequired):
        authorise(house.people.sessions.actor(first.token, OFFICE), Act.OWN_FACTORS, Micros(house.clock.now))
    assert house.actions()[-1] == ("auth.stepup", "success")


def test_step_up_takes_each_code_once_and_counts_failures(house: House) -> None:
    secret, first = house.enrol()
    house.clock.advance(minutes=6)
    code = house.code(secret)
    won, _ = race(50, partial(house.people.own.step_up, first.actor, code))
    assert len(won) == 1
    house.clock.advance(seconds=30)
    for _ in range(5):
        with pytest.raises(SignInRefused):
            house.people.own.step_up(first.actor, "000000")
    with pytest.raises(LockedOut):
        house.people.own.step_up(first.actor, house.code(secret))


def test_another_telephone_takes_over_once_it_has_shown_a_code(house: House) -> None:
    secret, first = house.enrol()
    started = house.people.own.begin_phone(first.actor)
    other = house.sign_in("lmartin", secret)  # the present one works until then
    with pytest.raises(SignInRefused):
        house.people.own.confirm_phone(first.actor, "000000")
    house.people.own.confirm_phone(first.actor, house.code(started.secret))
    with pytest.raises(SessionEnded):
        house.people.sessions.actor(other.token, OFFICE)
    house.clock.advance(seconds=30)
    with pytest.raises(SignInRefused):
        house.people.sign_in.at_once("lmartin", PASSWORD, house.code(secret), OFFICE)
    house.people.sign_in.at_once("lmartin", PASSWORD, house.code(started.secret), OFFICE)
    assert Notice.FACTOR_CHANGED in told(house, first.actor)
    with pytest.raises(Conflict):
        house.people.own.confirm_phone(house.sign_in("lmartin", started.secret).actor, house.code(started.secret))


def test_changing_factors_wants_a_fresh_one(house: House) -> None:
    _, first = house.enrol()
    house.clock.advance(minutes=6)
    for act in (house.people.own.begin_phone, house.people.own.renew_recovery_codes):
        with pytest.raises(StepUpRequired):
            act(first.actor)


def test_new_recovery_codes_replace_the_old_ones(house: House) -> None:
    _, first = house.enrol()
    assert first.recovery_codes is not None
    house.people.sign_in.recovery("lmartin", PASSWORD, first.recovery_codes[0], OFFICE)
    assert house.people.own.recovery_codes_left(first.actor) == 9
    codes = house.people.own.renew_recovery_codes(first.actor)
    assert house.people.own.recovery_codes_left(first.actor) == 10
    with pytest.raises(SignInRefused):
        house.people.sign_in.recovery("lmartin", PASSWORD, first.recovery_codes[1], OFFICE)
    house.people.sign_in.recovery("lmartin", PASSWORD, codes[0], OFFICE)


# --- familiar places


def test_a_stranger_can_not_lock_a_doctor_out_of_the_practice(house: House) -> None:
    secret, _ = house.enrol()
    for number in range(6):
        with pytest.raises((SignInRefused, LockedOut)):
            house.people.sign_in.password("lmartin", WRONG, Client(ip=f"203.0.113.{number}"))
    with pytest.raises(LockedOut):
        house.people.sign_in.password("lmartin", PASSWORD, Client(ip="203.0.113.99"))
    house.sign_in("lmartin", secret)


def test_a_familiar_place_has_its_own_five_tries_and_no_more(house: House) -> None:
    house.enrol()
    for _ in range(5):
        with pytest.raises(SignInRefused):
            house.people.sign_in.password("LMARTIN", WRONG, OFFICE)
    with pytest.raises(LockedOut):
        house.people.sign_in.password("lmartin", PASSWORD, OFFICE)
    assert house.people.accounts.named(house.console(), "lmartin").is_locked


def test_a_familiar_place_is_not_slowed_by_its_neighbours(house: House) -> None:
    secret, _ = house.enrol()
    for number in range(61):
        with pytest.raises((SignInRefused, LockedOut)):
            house.people.sign_in.password(f"name{number}", WRONG, OFFICE)
    house.sign_in("lmartin", secret)


def test_a_new_place_is_told_and_the_first_is_not(house: House) -> None:
    secret, first = house.enrol()
    assert told(house, first.actor) == []
    house.people.sign_in.at_once("lmartin", PASSWORD, house.code(secret), Client(ip="203.0.113.5"))
    assert told(house, first.actor) == [Notice.NEW_PLACE]
    house.clock.advance(seconds=30)
    house.people.sign_in.at_once("lmartin", PASSWORD, house.code(secret), Client(ip="203.0.113.5"))
    assert told(house, first.actor) == [Notice.NEW_PLACE]
    assert house.people.notices.unread(first.actor) == 1
    house.people.notices.read_all(first.actor, house.clock.now)
    assert house.people.notices.unread(first.actor) == 0


def test_a_lock_is_told_to_whom_it_concerns(house: House) -> None:
    _, first = house.enrol()
    for _ in range(5):
        with pytest.raises(SignInRefused):
            house.people.sign_in.password("lmartin", WRONG, OFFICE)
    assert told(house, first.actor) == [Notice.LOCKED]
