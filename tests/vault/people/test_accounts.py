"""Accounts: who may make them, close them, open them; and what that ends."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.vault.people.conftest import OFFICE, PASSWORD, House
from vault.errors import Conflict, Forbidden, Invalid, LockedOut, NotFound, PasswordRefused, SignInRefused, StepUpRequired
from vault.model import PersonId, Role
from vault.people.notices import Notice
from vault.people.roster import State
from vault.people.sessions import Stage
from vault.storage.schema import people


def test_an_account_is_made_sealed_and_listed(house: House) -> None:
    person = house.hire("hélène", Role.RECEPTION)
    (account,) = house.people.accounts.all(house.console())
    assert (account.id, account.username, account.display_name, account.role) == (
        person,
        "hélène",
        "Prénom hélène",
        Role.RECEPTION,
    )
    assert (account.state, account.is_enrolled, account.is_locked) == (State.ACTIVE, False, False)
    with house.db.read() as connection:
        row = connection.execute(select(people)).mappings().one()
    assert "Prénom".encode() not in row["display_name_sealed"]
    assert house.actions()[-1] == ("user.create", "success")


@pytest.mark.parametrize("spelling", ["LMartin", "ｌｍａｒｔｉｎ", "lmartın"])
def test_a_name_is_taken_in_every_spelling(house: House, spelling: str) -> None:
    house.hire("lmartin")
    with pytest.raises((Conflict, Invalid)):
        house.hire(spelling)


@pytest.mark.parametrize("name", ["", "a", "l martin", "../etc", "x" * 200, "\u202elmartin", "-dash", "a\x00b", "<b>"])
def test_odd_names_are_refused(house: House, name: str) -> None:
    with pytest.raises(Invalid):
        house.hire(name)


@pytest.mark.parametrize("display_name", ["", "   ", "x" * 201, "a\x00b", "a\u202eb"])
def test_odd_display_names_are_refused(house: House, display_name: str) -> None:
    with pytest.raises(Invalid):
        house.people.accounts.create(
            house.console(), username="somebody", display_name=display_name, role=Role.OWNER, password=PASSWORD
        )


def test_passwords_made_of_the_person_or_the_practice_are_refused(house: House) -> None:
    for password in ("Lmartin!kzq-94", "Tilleuls!kzq-94", "Angouleme!kzq-94"):
        with pytest.raises(PasswordRefused):
            house.hire("lmartin", password=password)
    assert house.people.accounts.all(house.console()) == ()


def test_only_owner_and_technical_admin_make_accounts(house: House) -> None:
    for role in Role:
        _, signed_in = house.enrol(f"the-{role}", role)
        if role in {Role.OWNER, Role.ADMIN}:
            house.people.accounts.create(
                signed_in.actor, username=f"by-{role}", display_name="X", role=Role.RECEPTION, password=PASSWORD
            )
        else:
            with pytest.raises(Forbidden):
                house.people.accounts.create(
                    signed_in.actor, username=f"by-{role}", display_name="X", role=Role.RECEPTION, password=PASSWORD
                )
            assert house.actions()[-1] == ("user.create", "denied")


def test_what_a_technical_admin_makes_waits_for_an_owner(house: House) -> None:
    _, admin = house.enrol("tech", Role.ADMIN)
    _, owner = house.enrol("boss", Role.OWNER)
    person = house.people.accounts.create(
        admin.actor, username="puppet", display_name="Puppet", role=Role.OWNER, password=PASSWORD
    )
    with pytest.raises(SignInRefused):
        house.people.sign_in.password("puppet", PASSWORD, OFFICE)
    with pytest.raises(Forbidden):
        house.people.accounts.enable(admin.actor, person)
    house.people.accounts.enable(owner.actor, person)
    assert house.people.sign_in.password("puppet", PASSWORD, OFFICE).stage is Stage.ENROL


def test_account_changes_want_a_fresh_factor(house: House) -> None:
    _, owner = house.enrol("boss", Role.OWNER)
    house.clock.advance(minutes=6)
    with pytest.raises(StepUpRequired):
        house.people.accounts.disable(owner.actor, PersonId("c" * 32))


def test_a_disabled_account_is_refused_and_comes_back(house: House) -> None:
    secret, signed_in = house.enrol()
    house.people.accounts.disable(house.console(), signed_in.actor.person)
    with pytest.raises(SignInRefused):
        house.sign_in("lmartin", secret)
    house.people.accounts.enable(house.console(), signed_in.actor.person)
    house.sign_in("lmartin", secret)


def test_the_last_owner_stays(house: House) -> None:
    _, first = house.enrol("boss", Role.OWNER)
    with pytest.raises(Conflict):
        house.people.accounts.disable(house.console(), first.actor.person)
    with pytest.raises(Conflict):
        house.people.accounts.change_role(house.console(), first.actor.person, Role.RECEPTION)
    house.enrol("chief", Role.OWNER)
    house.people.accounts.disable(house.console(), first.actor.person)


def test_every_owner_hears_of_another_one(house: House) -> None:
    _, boss = house.enrol("boss", Role.OWNER)
    person = house.hire("lmartin")
    house.people.accounts.change_role(house.console(), person, Role.OWNER)
    other = house.hire("chief", Role.OWNER)
    house.people.accounts.disable(house.console(), other)
    house.people.accounts.enable(house.console(), other)
    told = [(each.kind, each.about) for each in house.people.notices.of(boss.actor)]
    assert sorted(told) == sorted([(Notice.OWNER_ADDED, person), (Notice.OWNER_ADDED, other), (Notice.OWNER_ADDED, other)])


def test_nobody_changes_their_own_role_or_factor(house: House) -> None:
    house.enrol("chief", Role.OWNER)
    _, boss = house.enrol("boss", Role.OWNER)
    with pytest.raises(Conflict):
        house.people.accounts.change_role(boss.actor, boss.actor.person, Role.ADMIN)
    with pytest.raises(Forbidden):
        house.people.accounts.reset_totp(boss.actor, boss.actor.person)


def test_unlocking_lets_try_again_and_ends_no_session(house: House) -> None:
    _, signed_in = house.enrol()
    for _ in range(5):
        with pytest.raises(SignInRefused):
            house.people.sign_in.password("lmartin", "wrong", OFFICE)
    assert house.people.accounts.named(house.console(), "LMARTIN").is_locked
    with pytest.raises(LockedOut):
        house.people.sign_in.password("lmartin", PASSWORD, OFFICE)
    house.people.accounts.unlock(house.console(), signed_in.actor.person)
    assert house.people.sign_in.password("lmartin", PASSWORD, OFFICE).stage is Stage.CODE
    house.people.sessions.actor(signed_in.token, OFFICE)
    assert ("auth.unlocked", "success") in house.actions()


def test_a_lost_telephone_is_replaced_at_the_next_sign_in(house: House) -> None:
    secret, first = house.enrol()
    house.people.accounts.reset_totp(house.console(), first.actor.person)
    halfway = house.people.sign_in.password("lmartin", PASSWORD, OFFICE)
    assert halfway.stage is Stage.ENROL
    fresh = house.people.sign_in.enrolment(halfway.token).secret
    assert fresh != secret
    signed_in = house.people.sign_in.confirm_enrolment(halfway.token, house.code(fresh), OFFICE)
    assert first.recovery_codes is not None
    with pytest.raises(SignInRefused):
        house.people.sign_in.recovery("lmartin", PASSWORD, first.recovery_codes[0], OFFICE)
    assert signed_in.recovery_codes is not None


def test_unknown_accounts_are_not_found(house: House) -> None:
    with pytest.raises(NotFound):
        house.people.accounts.disable(house.console(), PersonId("d" * 32))
    with pytest.raises(NotFound):
        house.people.accounts.named(house.console(), "nobody")


def test_an_owner_s_word_holds_a_year_and_is_logged(house: House) -> None:
    secret, boss = house.enrol("boss", Role.OWNER)
    person, gone = house.hire("lmartin"), house.hire("parti")
    assert house.people.accounts.due(boss.actor) == 0, "whoever made an account has just said that it is needed"
    house.clock.advance(days=366)
    boss = house.sign_in("boss", secret)
    assert house.people.accounts.due(boss.actor) == 3
    house.people.accounts.confirm(boss.actor, person)
    assert house.actions()[-1] == ("user.update", "success")
    house.people.accounts.disable(boss.actor, gone)
    assert [account.username for account in house.people.accounts.all(boss.actor) if account.is_due] == ["boss"]
    with pytest.raises(Conflict):
        house.people.accounts.confirm(boss.actor, gone)
    house.clock.advance(days=366)
    assert house.people.accounts.get(house.console(), person).is_due


@pytest.mark.parametrize("role", [Role.ADMIN, Role.CLINICIAN, Role.RECEPTION, Role.AUDITOR])
def test_only_owners_review_accesses(house: House, role: Role) -> None:
    secret, _ = house.enrol("somebody", role)
    person = house.hire("lmartin")
    house.clock.advance(days=366)
    actor = house.sign_in("somebody", secret).actor
    assert house.people.accounts.due(actor) == 0
    with pytest.raises(Forbidden):
        house.people.accounts.confirm(actor, person)
    assert house.actions()[-1] == ("user.update", "denied")
    assert house.people.accounts.get(house.console(), person).reviewed_at is None
