"""Ways in without the old proofs: invitations, and resets that two people decide."""

from __future__ import annotations

from functools import partial

import pytest

from tests.vault.people.conftest import OFFICE, PASSWORD, House
from tests.vault.people.races import race
from vault.errors import Conflict, Forbidden, LockedOut, NotFound, PasswordRefused, SessionEnded, SignInRefused, StepUpRequired
from vault.model import PersonId, Role
from vault.people.notices import Notice
from vault.people.resets import Kind
from vault.people.sessions import Stage
from vault.people.sign_in import SignedIn

NEW = "Moulin-Verre-92"


def invited(house: House, username: str = "nouveau") -> tuple[PersonId, str]:
    person = house.people.accounts.create(house.console(), username=username, display_name="Nouveau", role=Role.CLINICIAN)
    return person, house.people.resets.invite(house.console(), person).code


@pytest.fixture
def staff(house: House) -> dict[str, SignedIn]:
    roles = {"boss": Role.OWNER, "chief": Role.OWNER, "tech": Role.ADMIN, "tech2": Role.ADMIN, "lmartin": Role.CLINICIAN}
    return {name: house.enrol(name, role)[1] for name, role in roles.items()}


def test_an_invitation_sets_a_password_and_then_a_telephone(house: House) -> None:
    _, code = invited(house)
    with pytest.raises(SignInRefused):
        house.people.sign_in.password("nouveau", "", OFFICE)
    halfway = house.people.resets.accept("nouveau", code.lower(), NEW, OFFICE)
    assert halfway.stage is Stage.ENROL
    with pytest.raises(SessionEnded):
        house.people.sessions.actor(halfway.token, OFFICE)
    secret = house.people.sign_in.enrolment(halfway.token).secret
    house.people.sign_in.confirm_enrolment(halfway.token, house.code(secret), OFFICE)


def test_a_technical_admin_does_not_become_whoever_an_owner_hires(house: House, staff: dict[str, SignedIn]) -> None:
    boss, tech = staff["boss"].actor, staff["tech"].actor
    hired = house.people.accounts.create(boss, username="nouveau", display_name="Nouveau", role=Role.CLINICIAN)
    code = house.people.resets.invite(boss, hired).code
    with pytest.raises(Forbidden):
        house.people.resets.invite(tech, hired)
    made = house.people.accounts.create(tech, username="autre", display_name="Autre", role=Role.CLINICIAN)
    house.people.resets.invite(tech, made)
    house.people.accounts.enable(boss, made)
    with pytest.raises(Forbidden):
        house.people.resets.invite(tech, made)
    assert house.people.resets.invite(boss, made).code
    assert house.people.resets.accept("nouveau", code, NEW, OFFICE).stage is Stage.ENROL


def test_an_invitation_works_once_for_one_person_and_not_for_long(house: House) -> None:
    _, code = invited(house)
    _, other = invited(house, "autre")
    for name, given in (("nouveau", other), ("nobody", code), ("nouveau", "AAAA-AAAA-AAAA"), ("nouveau", "")):
        with pytest.raises(SignInRefused):
            house.people.resets.accept(name, given, NEW, OFFICE)
    house.people.resets.accept("nouveau", code, NEW, OFFICE)
    with pytest.raises(SignInRefused):
        house.people.resets.accept("nouveau", code, NEW, OFFICE)
    house.clock.advance(days=3)
    with pytest.raises(SignInRefused):
        house.people.resets.accept("autre", other, NEW, OFFICE)


def test_a_bad_password_does_not_burn_the_invitation(house: House) -> None:
    _, code = invited(house)
    with pytest.raises(PasswordRefused):
        house.people.resets.accept("nouveau", code, "court", OFFICE)
    house.people.resets.accept("nouveau", code, NEW, OFFICE)


def test_fifty_parallel_uses_of_an_invitation_give_one(house: House) -> None:
    for name in ("un", "deux"):
        _, code = invited(house, f"nouveau-{name}")
        won, lost = race(50, partial(house.people.resets.accept, f"nouveau-{name}", code, NEW, OFFICE))
        assert len(won) == 1
        assert {type(each) for each in lost} <= {SignInRefused, LockedOut}


def test_a_second_invitation_replaces_the_first(house: House) -> None:
    person, first = invited(house)
    second = house.people.resets.invite(house.console(), person).code
    with pytest.raises(SignInRefused):
        house.people.resets.accept("nouveau", first, NEW, OFFICE)
    house.people.resets.accept("nouveau", second, NEW, OFFICE)


def test_a_known_password_is_never_replaced_by_an_invitation(house: House) -> None:
    person = house.hire()
    with pytest.raises(Conflict):
        house.people.resets.invite(house.console(), person)


def test_a_factor_is_reset_by_two_people(house: House, staff: dict[str, SignedIn]) -> None:
    doctor = staff["lmartin"]
    reset = house.people.resets.ask(staff["tech"].actor, doctor.actor.person, Kind.FACTOR)
    house.people.sessions.actor(doctor.token, OFFICE)  # nothing has happened yet
    assert house.people.resets.approve(staff["boss"].actor, reset) is None
    with pytest.raises(SessionEnded):
        house.people.sessions.actor(doctor.token, OFFICE)
    assert house.people.sign_in.password("lmartin", PASSWORD, OFFICE).stage is Stage.ENROL
    kinds = [each.kind for each in house.people.notices.of(doctor.actor)]
    assert kinds.count(Notice.RESET_REQUESTED) == kinds.count(Notice.RESET_APPROVED) == 1
    assert [each for each in house.actions() if each[0] == "auth.totp_reset"] == [
        ("auth.totp_reset", "partial"),
        ("auth.totp_reset", "success"),
    ]


def test_nobody_approves_their_own_request_nor_their_own_reset(house: House, staff: dict[str, SignedIn]) -> None:
    boss, chief, tech = staff["boss"].actor, staff["chief"].actor, staff["tech"].actor
    reset = house.people.resets.ask(boss, staff["lmartin"].actor.person, Kind.FACTOR)
    with pytest.raises(Forbidden):
        house.people.resets.approve(boss, reset)
    reset = house.people.resets.ask(tech, boss.person, Kind.FACTOR)
    with pytest.raises(Forbidden):
        house.people.resets.approve(boss, reset)
    house.people.resets.approve(chief, reset)


def test_two_technical_admins_are_not_enough(house: House, staff: dict[str, SignedIn]) -> None:
    reset = house.people.resets.ask(staff["tech"].actor, staff["lmartin"].actor.person, Kind.FACTOR)
    with pytest.raises(Forbidden):
        house.people.resets.approve(staff["tech2"].actor, reset)
    with pytest.raises(Forbidden):
        house.people.accounts.reset_totp(staff["tech"].actor, staff["lmartin"].actor.person)


def test_a_password_is_reset_by_two_people_and_the_telephone_stays(house: House, staff: dict[str, SignedIn]) -> None:
    doctor = staff["lmartin"].actor
    reset = house.people.resets.ask(staff["tech"].actor, doctor.person, Kind.PASSWORD)
    invitation = house.people.resets.approve(staff["boss"].actor, reset)
    assert invitation is not None
    with pytest.raises(SignInRefused):
        house.people.sign_in.password("lmartin", PASSWORD, OFFICE)
    halfway = house.people.resets.accept("lmartin", invitation.code, NEW, OFFICE)
    assert halfway.stage is Stage.CODE, "the reset replaces one proof, never both"


def test_a_request_is_void_after_a_day_and_once_decided(house: House, staff: dict[str, SignedIn]) -> None:
    tech, boss, doctor = staff["tech"].actor, staff["boss"].actor, staff["lmartin"].actor
    reset = house.people.resets.ask(tech, doctor.person, Kind.FACTOR)
    assert [each.id for each in house.people.resets.waiting(boss)] == [reset]
    house.people.resets.refuse(doctor, reset)
    assert house.people.resets.waiting(boss) == ()
    with pytest.raises(NotFound):
        house.people.resets.approve(boss, reset)
    late = house.people.resets.ask(tech, doctor.person, Kind.FACTOR)
    house.clock.advance(days=1)
    with pytest.raises((NotFound, StepUpRequired)):
        house.people.resets.approve(boss, late)
    assert house.people.resets.waiting(boss) == ()


def test_others_ask_for_nothing(house: House, staff: dict[str, SignedIn]) -> None:
    with pytest.raises(Forbidden):
        house.people.resets.ask(staff["lmartin"].actor, staff["boss"].actor.person, Kind.FACTOR)
    reset = house.people.resets.ask(staff["tech"].actor, staff["boss"].actor.person, Kind.FACTOR)
    with pytest.raises(Forbidden):
        house.people.resets.approve(staff["lmartin"].actor, reset)
    with pytest.raises(Forbidden):
        house.people.resets.refuse(staff["lmartin"].actor, reset)


def test_fifty_parallel_approvals_give_one(house: House, staff: dict[str, SignedIn]) -> None:
    reset = house.people.resets.ask(staff["tech"].actor, staff["lmartin"].actor.person, Kind.PASSWORD)
    won, lost = race(50, lambda: house.people.resets.approve(staff["boss"].actor, reset))
    assert len(won) == 1
    assert {type(each) for each in lost} <= {Conflict, NotFound}
