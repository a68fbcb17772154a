"""The end of an account: warned, closed, removed; what is erased, what stays, what stands against it; and a departure."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select, update

from tests.vault.people.conftest import OFFICE, PASSWORD, House
from tests.vault.people.test_ties import admit
from vault.errors import Conflict, Forbidden, NotFound, SessionEnded, SignInRefused, StepUpRequired
from vault.model import Actor, Micros, PersonId, Role
from vault.people.accounts import Account
from vault.people.notices import Notice
from vault.people.removal import ERASED
from vault.people.resets import Kind
from vault.people.roster import State
from vault.people.sessions import Stage
from vault.people.unused import DAY, TERMS, Duty, Step
from vault.storage.schema import (
    failures,
    familiar,
    links,
    notices,
    passkeys,
    people,
    recovery_codes,
    resets,
    sessions,
)


def round_of(house: House) -> dict[Step, int]:
    return {step: count for step, count in house.people.rounds.look_for_unused().items() if count}


def account(house: House, person: PersonId) -> Account:
    return house.people.accounts.get(house.console(), person)


def told(house: House, actor: Actor) -> list[tuple[Notice, str | None]]:
    return [(each.kind, each.about) for each in house.people.notices.of(actor)]


def keep_in_use(house: House, username: str, secret: str, days: float) -> None:
    """Let time pass while ``username`` signs in now and then."""
    for _ in range(int(days // 300)):
        house.clock.advance(days=300)
        house.sign_in(username, secret)
    house.clock.advance(days=days % 300)
    house.sign_in(username, secret)


# --- by itself


def test_an_unused_account_is_warned_then_closed_then_removed(house: House) -> None:
    boss_secret, boss = house.enrol("boss", Role.OWNER)
    secret, somebody = house.enrol("lmartin")
    person = somebody.actor.person
    keep_in_use(house, "boss", boss_secret, TERMS.warning.days - 1)
    assert round_of(house) == {}
    keep_in_use(house, "boss", boss_secret, 2)
    assert round_of(house) == {Step.WARN: 1}
    assert round_of(house) == {}, "once"
    warned = account(house, person)
    assert warned.warned_at == house.clock.now
    assert warned.closes_at
    assert warned.removes_at is None
    keep_in_use(house, "boss", boss_secret, (warned.closes_at - house.clock.now) / DAY)
    assert round_of(house) == {Step.CLOSE: 1}
    with pytest.raises(SignInRefused):
        house.sign_in("lmartin", secret)
    closed = account(house, person)
    assert (closed.state, closed.closed_at is not None, closed.closes_at) == (State.DISABLED, True, None)
    assert closed.removes_at
    keep_in_use(house, "boss", boss_secret, (closed.removes_at - house.clock.now) / DAY)
    assert round_of(house) == {Step.REMOVE: 1}
    removed = account(house, person)
    assert (removed.state, removed.username, removed.display_name) == (State.REMOVED, "", "Prénom lmartin")
    assert removed.removed_at == house.clock.now
    assert [kind for kind, about in told(house, boss.actor) if about == person] == [
        Notice.ACCOUNT_REMOVED,
        Notice.ACCOUNT_CLOSED,
        Notice.ACCOUNT_DORMANT,
    ]
    for event in (("user.update", "success"), ("user.disable", "success"), ("user.delete", "success")):
        assert event in house.actions()
    assert round_of(house) == {}


def test_a_sign_in_undoes_the_warning_and_opening_undoes_the_closing(house: House) -> None:
    house.enrol("boss", Role.OWNER)
    secret, somebody = house.enrol("lmartin")
    person = somebody.actor.person
    house.clock.advance(days=TERMS.warning.days)
    assert round_of(house) == {Step.WARN: 2}
    house.sign_in("lmartin", secret)
    assert account(house, person).warned_at is None
    house.clock.advance(days=TERMS.warning.days)
    assert round_of(house) == {Step.WARN: 1}, "a new life, a new warning"
    house.clock.advance(days=TERMS.closing.days)
    assert round_of(house)[Step.CLOSE] == 1
    house.people.accounts.enable(house.console(), person)
    opened = account(house, person)
    assert (opened.state, opened.warned_at, opened.closed_at) == (State.ACTIVE, None, None)
    house.sign_in("lmartin", secret)


def test_the_last_owner_is_kept_and_the_owners_are_told_once(house: House) -> None:
    _, boss = house.enrol("boss", Role.OWNER)
    _, chief = house.enrol("chief", Role.OWNER)
    for _ in range(3):
        house.clock.advance(days=TERMS.closing.days)
        house.people.rounds.look_for_unused()
        house.people.rounds.look_for_unused()
    states = {each.username: each.state for each in house.people.accounts.all(house.console())}
    assert sorted(states.values()) == [State.ACTIVE, State.REMOVED], "one of two goes, the last one stays"
    (left,) = (who for who in (boss, chief) if account(house, who.actor.person).state is State.ACTIVE)
    assert account(house, left.actor.person).duties == (Duty.LAST_OWNER,)
    assert [kind for kind, _ in told(house, left.actor)].count(Notice.ACCOUNT_KEPT) == 1


def test_a_doctor_whom_patients_have_alone_is_never_removed_by_itself(house: House) -> None:
    boss_secret, boss = house.enrol("boss", Role.OWNER)
    _, somebody = house.enrol("lmartin")
    person = somebody.actor.person
    shared = admit(house, somebody.actor, boss.actor)
    house.people.accounts.disable(house.console(), person)
    assert account(house, person).duties == ()
    alone = admit(house, somebody.actor)
    assert account(house, person).duties == (Duty.SOLE_CARER,)
    keep_in_use(house, "boss", boss_secret, TERMS.closing.days + 1)
    assert round_of(house) == {}
    assert (Notice.ACCOUNT_KEPT, person) in told(house, boss.actor)
    with pytest.raises(Conflict) as refusal:
        house.people.accounts.remove(house.console(), person)
    assert refusal.value.details["duties"] == Duty.SOLE_CARER
    house.people.accounts.remove(house.console(), person, anyway=True)
    assert account(house, person).state is State.REMOVED
    assert shared != alone


# --- what goes, what stays


def test_a_removed_account_leaves_its_number_and_name_and_nothing_else(house: House) -> None:
    _, somebody = house.enrol("lmartin")
    person = somebody.actor.person
    house.clock.advance(seconds=30)
    with pytest.raises(SignInRefused):
        house.people.sign_in.password("lmartin", "wrong", OFFICE)
    passkey = {"credential": b"c", "person": person, "public_key": b"k", "name_sealed": b"n", "created_at": 0}
    house.people.roster.run(insert(passkeys).values(**passkey))
    sealed = house.people.roster.seal("people", "email", person, b"lea@example.org")
    house.people.roster.run(update(people).where(people.c.id == person).values(email_sealed=sealed))
    house.people.accounts.disable(house.console(), person)
    house.people.accounts.remove(house.console(), person)
    with house.db.read() as connection:
        row = connection.execute(select(people).where(people.c.id == person)).mappings().one()
        for table in (recovery_codes, sessions, links, passkeys, familiar, notices, resets):
            assert connection.execute(select(table).where(table.c.person == person)).all() == [], table.name
        counted = set(connection.execute(select(failures.c.subject)).scalars())
    assert house.people.roster.account_mark("lmartin") not in counted
    assert len(counted) == 1, "only the address's own"
    kept = {name for name, value in row.items() if value not in (None, "")}
    assert kept == {
        "id", "username_key", "display_name_sealed", "role", "state", "totp_step", "created_at", "created_by", "signed_in_at",
        "closed_at", "removed_at",
    }  # fmt: skip
    assert "lmartin" not in row["username_key"]
    assert house.people.roster.display_names()[person] == "Prénom lmartin", "authorship is kept"
    assert house.actions()[-1] == ("user.delete", "success")
    assert {"username", "email", "password"} <= set(ERASED)


def test_the_name_is_free_again_and_the_number_never(house: House) -> None:
    first = house.hire("lmartin")
    house.people.accounts.disable(house.console(), first)
    house.people.accounts.remove(house.console(), first)
    second = house.hire("LMartin")
    assert second != first
    assert house.people.sign_in.password("lmartin", PASSWORD, OFFICE).stage is Stage.ENROL
    for typed in (f"removed/{first}", f"\x1f{first}", first, ""):
        with pytest.raises(SignInRefused):
            house.people.sign_in.password(typed, PASSWORD, OFFICE)


def test_nothing_is_done_to_a_removed_account(house: House) -> None:
    _, boss = house.enrol("boss", Role.OWNER)
    person = house.hire("lmartin")
    accounts, console = house.people.accounts, house.console()
    with pytest.raises(Conflict):
        accounts.remove(console, person)
    accounts.disable(console, person)
    accounts.remove(console, person)
    for act in (
        lambda: accounts.enable(console, person),
        lambda: accounts.disable(console, person),
        lambda: accounts.change_role(console, person, Role.OWNER),
        lambda: accounts.unlock(console, person),
        lambda: accounts.confirm(console, person),
        lambda: accounts.reset_totp(console, person),
        lambda: accounts.remove(console, person),
        lambda: house.people.resets.invite(console, person),
        lambda: house.people.resets.ask(boss.actor, person, Kind.PASSWORD),
    ):
        with pytest.raises(Conflict):
            act()
    with pytest.raises(NotFound):
        accounts.named(console, "lmartin")
    assert not account(house, person).is_due


@pytest.mark.parametrize("role", [Role.ADMIN, Role.CLINICIAN, Role.DPO])
def test_only_an_owner_removes_and_with_a_fresh_factor(house: House, role: Role) -> None:
    _, actor = house.enrol("somebody", role)
    _, boss = house.enrol("boss", Role.OWNER)
    person = house.hire("lmartin")
    house.people.accounts.disable(house.console(), person)
    with pytest.raises(Forbidden):
        house.people.accounts.remove(actor.actor, person)
    assert house.actions()[-1] == ("user.delete", "denied")
    house.clock.advance(minutes=6)
    with pytest.raises(StepUpRequired):
        house.people.accounts.remove(boss.actor, person)


# --- a departure is one act


def test_whoever_leaves_loses_every_way_in_at_once(house: House) -> None:
    secret, somebody = house.enrol("lmartin")
    _, boss = house.enrol("boss", Role.OWNER)
    person = somebody.actor.person
    patient = admit(house, boss.actor)
    house.people.ties.grant(boss.actor, patient, person, until=house.clock.now + DAY)
    house.people.accounts.disable(boss.actor, person, has_left=True)
    with pytest.raises(SessionEnded):
        house.people.sessions.actor(somebody.token, OFFICE)
    left = account(house, person)
    assert (left.state, left.has_password, left.is_enrolled) == (State.DISABLED, False, False)
    with house.db.read() as connection:
        relation = house.people.relations.to_patient(connection, somebody.actor, patient, Micros(house.clock.now))
    assert not relation.has_grant
    house.people.accounts.enable(boss.actor, person)
    with pytest.raises(SignInRefused):
        house.sign_in("lmartin", secret)
    with pytest.raises(Conflict):  # an owner alone lets nobody in again: that would be a reset by one person
        house.people.resets.invite(boss.actor, person)


def test_whoever_comes_back_is_let_in_by_two_people(house: House) -> None:
    _, somebody = house.enrol("lmartin")
    _, boss = house.enrol("boss", Role.OWNER)
    _, admin = house.enrol("tech", Role.ADMIN)
    person = somebody.actor.person
    house.people.accounts.disable(boss.actor, person, has_left=True)
    house.people.accounts.enable(boss.actor, person)
    reset = house.people.resets.ask(admin.actor, person, Kind.PASSWORD)
    code = house.people.resets.approve(boss.actor, reset)
    assert code
    assert house.people.resets.accept("lmartin", code.code, PASSWORD, OFFICE).stage is Stage.ENROL


def test_closing_voids_codes_and_resets_that_wait(house: House) -> None:
    _, boss = house.enrol("boss", Role.OWNER)
    _, admin = house.enrol("tech", Role.ADMIN)
    _, somebody = house.enrol("lmartin")
    newcomer = house.people.accounts.create(house.console(), username="new", display_name="New", role=Role.RECEPTION)
    code = house.people.resets.invite(house.console(), newcomer).code
    reset = house.people.resets.ask(admin.actor, somebody.actor.person, Kind.FACTOR)
    for person in (newcomer, somebody.actor.person):
        house.people.accounts.disable(house.console(), person)
        house.people.accounts.enable(house.console(), person)
    with pytest.raises(SignInRefused):
        house.people.resets.accept("new", code, PASSWORD, OFFICE)
    with pytest.raises(NotFound):
        house.people.resets.approve(boss.actor, reset)
