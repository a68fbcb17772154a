"""One long day in the people room, on every database: each of its statements runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from tests.vault.people.conftest import OFFICE, PASSWORD, House
from tests.vault.people.races import WRONG, race
from tests.vault.people.test_ties import DAY, REASON, admit, fresh, treats
from vault.errors import Conflict, LockedOut, NotFound, SessionEnded, SignInRefused
from vault.model import Client, Role
from vault.people.breakglass import REVIEW_WITHIN_S, Verdict
from vault.people.relations import Mode
from vault.people.resets import Kind
from vault.people.sign_in import SignedIn
from vault.people.unused import TERMS
from vault.storage.schema import passkeys

NEW = "Moulin-Verre-92"


def staff(house: House) -> dict[str, SignedIn]:
    roles = {"martin": Role.CLINICIAN, "durand": Role.CLINICIAN, "boss": Role.OWNER, "chief": Role.OWNER, "locum": Role.LOCUM}
    return {name: house.enrol(name, role)[1] for name, role in roles.items()}


def test_signing_in_and_out(everywhere: House) -> None:
    house = everywhere
    secret, first = house.enrol()
    second = house.sign_in("lmartin", secret)
    code = house.code(secret, 1)
    house.clock.advance(seconds=30)
    won, lost = race(20, lambda: house.people.sign_in.at_once("lmartin", PASSWORD, code, OFFICE))
    assert (len(won), {type(each) for each in lost} <= {SignInRefused, LockedOut}) == (1, True)
    assert first.recovery_codes is not None
    house.people.sign_in.recovery("lmartin", PASSWORD, first.recovery_codes[0], OFFICE)
    elsewhere = Client(ip="203.0.113.7")
    for _ in range(5):
        with pytest.raises(SignInRefused):
            house.people.sign_in.password("lmartin", WRONG, elsewhere)
    with pytest.raises(LockedOut):
        house.people.sign_in.password("lmartin", WRONG, elsewhere)
    house.people.accounts.unlock(house.console(), first.actor.person)
    assert len(house.people.sessions.of(second.actor)) == 4
    house.people.sessions.end_one(second.actor, first.actor.session)
    assert house.people.sessions.end_others(second.actor) == 2
    house.people.sessions.end(second.token)
    house.clock.advance(days=1)
    assert house.people.sessions.sweep() == 0


def test_one_s_own_account(everywhere: House) -> None:
    house = everywhere
    secret, first = house.enrol()
    house.clock.advance(seconds=30)
    house.people.own.step_up(first.actor, house.code(secret))
    started = house.people.own.begin_phone(first.actor)
    house.people.own.confirm_phone(first.actor, house.code(started.secret))
    house.people.own.renew_recovery_codes(first.actor)
    house.people.own.change_password(first.actor, PASSWORD, NEW)
    row = {"credential": b"c", "public_key": b"k", "name_sealed": house.people.roster.seal("passkeys", "name", "63", b"Bureau")}
    person = first.actor.person
    house.people.roster.run(insert(passkeys).values(**row, person=person, created_at=house.clock.now))
    assert [each.name for each in house.people.passkeys.of(first.actor)] == ["Bureau"]
    assert house.people.own.security(first.actor).passkeys == 1
    house.people.passkeys.remove(first.actor, "63")
    assert house.people.notices.unread(first.actor) == 4
    house.people.notices.read_all(first.actor, house.clock.now)
    assert house.people.rounds.post(None, "") == 0


def test_accounts_invitations_and_resets(everywhere: House) -> None:
    house = everywhere
    everybody = staff(house)
    boss, chief = fresh(house, "boss", everybody), fresh(house, "chief", everybody)
    person = house.people.accounts.create(boss, username="petit", display_name="Anne Petit", role=Role.CLINICIAN)
    with pytest.raises(Conflict):
        house.people.accounts.create(boss, username="PETIT", display_name="Anne", role=Role.CLINICIAN)
    code = house.people.resets.invite(boss, person).code
    house.people.resets.accept("petit", code, NEW, OFFICE)
    martin = everybody["martin"].actor.person
    refused = house.people.resets.ask(boss, martin, Kind.FACTOR)
    house.people.resets.refuse(chief, refused)
    house.people.resets.approve(chief, house.people.resets.ask(boss, martin, Kind.FACTOR))
    assert house.people.resets.approve(chief, house.people.resets.ask(boss, martin, Kind.PASSWORD))
    assert house.people.resets.waiting(boss) == ()
    house.people.accounts.change_role(boss, person, Role.RECEPTION)
    house.people.accounts.disable(boss, person)
    house.people.accounts.enable(boss, person)
    assert len(house.people.accounts.all(boss)) == 6
    house.people.accounts.reset_totp(house.console(), everybody["durand"].actor.person)
    house.people.accounts.disable(boss, person, has_left=True)
    counts = []
    for term in (TERMS.closing, TERMS.notice, TERMS.removal):
        house.clock.advance(days=term.days)
        counts.append(tuple(house.people.rounds.look_for_unused().values()))
    assert counts == [(5, 0, 1), (0, 4, 0), (0, 0, 4)], "warned, closed, removed; the last owner stays"


def test_ties_and_emergencies(everywhere: House) -> None:
    house = everywhere
    everybody = staff(house)
    martin, durand, boss = (fresh(house, name, everybody) for name in ("martin", "durand", "boss"))
    locum = everybody["locum"]
    patient = admit(house, martin)
    ties = house.people.ties
    ties.add_to_team(martin, patient, durand.person)
    ties.remove_from_team(martin, patient, durand.person)
    grant = ties.grant(martin, patient, durand.person, until=house.clock.now + DAY)
    assert treats(house, durand, patient)
    ties.revoke(martin, grant)
    ties.object_to(martin, patient, durand.person)
    ties.withdraw_objection(martin, patient, durand.person)
    ties.restrict(martin, patient, [boss.person])
    assert ties.of(martin, patient).named == tuple(sorted((martin.person, boss.person)))
    ties.restrict(martin, patient, [])
    now = house.clock.now
    window = ties.set_window(boss, locum.actor.person, martin.person, since=now, until=now + DAY)
    assert treats(house, locum.actor, patient)
    house.people.sessions.live(locum.token, OFFICE)
    ties.end_window(boss, window)
    with pytest.raises(SessionEnded):
        house.people.sessions.actor(locum.token, OFFICE)
    ties.set_mode(boss, Mode.SOLO)
    ties.set_mode(boss, Mode.TEAMS)
    assert ties.windows(boss) == ()
    glass = house.people.breakglass.open(durand, patient, REASON)
    assert [each.id for each in house.people.breakglass.running(durand)] == [glass.id]
    house.people.breakglass.end(durand, glass.id)
    with pytest.raises(NotFound):
        house.people.breakglass.end(martin, glass.id)
    house.clock.advance(seconds=REVIEW_WITHIN_S)
    assert house.people.breakglass.escalate() == 1
    house.people.breakglass.review(boss, glass.id, Verdict.JUSTIFIED)
    assert house.people.breakglass.to_review(boss) == ()
