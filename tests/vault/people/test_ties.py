"""Who treats whom: teams, grants, locums to the minute, objections, restricted files, modes; and the emergency."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from sqlalchemy import Connection, insert

from tests.vault.people.conftest import OFFICE, PASSWORD, House
from vault.errors import Conflict, Forbidden, Invalid, NotFound, SessionEnded, SignInRefused, StepUpRequired, VaultError
from vault.model import Actor, Micros, PatientId, PersonId, Role
from vault.people.breakglass import OPEN_S, Verdict
from vault.people.notices import Notice
from vault.people.policy import Act, decide
from vault.people.relations import Mode
from vault.people.sign_in import SignedIn
from vault.storage.schema import breakglass, care_team
from vault.storage.schema import patients as patient_table

MINUTE = 60 * 1_000_000
DAY = 24 * 60 * MINUTE
REASON = "Malaise au cabinet, médecin traitant absent"


@pytest.fixture
def staff(house: House) -> dict[str, SignedIn]:
    roles = {
        "martin": Role.CLINICIAN,
        "durand": Role.CLINICIAN,
        "boss": Role.OWNER,
        "locum": Role.LOCUM,
        "desk": Role.RECEPTION,
        "auditor": Role.AUDITOR,
    }
    signed_in = {name: house.enrol(name, role)[1] for name, role in roles.items()}
    house.clock.now = house.clock.now // MINUTE * MINUTE + MINUTE
    return signed_in


def admit(house: House, *team: Actor) -> PatientId:
    """A patient with a care team."""
    patient = PatientId(uuid4().hex)
    row = {"id": patient, "scope": uuid4().hex, "identity_sealed": b"", "created_at": house.clock.now, "mac": 1}
    known = {column.name for column in patient_table.columns}
    extra = {"log_reference": uuid4().hex} if "log_reference" in known else {}

    def work(connection: Connection) -> None:
        connection.execute(insert(patient_table).values(**row, **extra, state="active", created_by=team[0].person))
        for member in team:
            connection.execute(insert(care_team).values(patient=patient, person=member.person, since=house.clock.now))

    house.db.write(work)
    return patient


def treats(house: House, actor: Actor, patient: PatientId) -> bool:
    with house.db.read() as connection:
        relation = house.people.relations.to_patient(connection, actor, patient, Micros(house.clock.now))
    try:
        decide(actor.role, Act.DOCUMENT_LIST, relation)
    except (NotFound, Forbidden):
        return False
    return True


def test_the_care_team_treats_and_others_do_not(house: House, staff: dict[str, SignedIn]) -> None:
    martin, durand = staff["martin"].actor, staff["durand"].actor
    patient = admit(house, martin)
    assert treats(house, martin, patient)
    assert not treats(house, durand, patient)
    house.people.ties.add_to_team(martin, patient, durand.person)
    house.people.ties.add_to_team(martin, patient, durand.person)
    assert treats(house, durand, patient)
    assert house.people.ties.of(martin, patient).team == tuple(sorted((martin.person, durand.person)))
    house.people.ties.remove_from_team(durand, patient, martin.person)
    assert not treats(house, martin, patient), "a right that is taken is gone at once"
    with pytest.raises(Conflict):
        house.people.ties.remove_from_team(durand, patient, durand.person)


def test_nobody_joins_a_team_by_their_own_hand(house: House, staff: dict[str, SignedIn]) -> None:
    patient = admit(house, staff["martin"].actor)
    for name in ("durand", "boss"):
        with pytest.raises(NotFound):
            house.people.ties.add_to_team(staff[name].actor, patient, staff[name].actor.person)
    for name in ("desk", "auditor", "locum"):
        with pytest.raises((Forbidden, NotFound)):
            house.people.ties.add_to_team(staff[name].actor, patient, staff["durand"].actor.person)
    assert house.actions()[-1] == ("team.add", "denied")


@pytest.mark.parametrize("name", ["desk", "auditor", "locum"])
def test_a_team_holds_doctors_only(house: House, staff: dict[str, SignedIn], name: str) -> None:
    patient = admit(house, staff["martin"].actor)
    with pytest.raises(Invalid):
        house.people.ties.add_to_team(staff["martin"].actor, patient, staff[name].actor.person)


def test_an_unknown_patient_and_a_foreign_one_answer_alike(house: House, staff: dict[str, SignedIn]) -> None:
    durand = staff["durand"].actor
    answers = set()
    for patient in (admit(house, staff["martin"].actor), PatientId("e" * 32)):
        with pytest.raises(NotFound) as refusal:
            house.people.ties.of(durand, patient)
        answers.add(refusal.value.code)
    assert len(answers) == 1


def test_a_grant_has_an_end_and_may_be_taken_back(house: House, staff: dict[str, SignedIn]) -> None:
    martin, durand = staff["martin"].actor, staff["durand"].actor
    patient = admit(house, martin)
    house.people.ties.grant(martin, patient, durand.person, until=house.clock.now + MINUTE)
    assert treats(house, durand, patient)
    house.clock.advance(minutes=1)
    assert not treats(house, durand, patient)
    grant = house.people.ties.grant(martin, patient, durand.person, until=house.clock.now + DAY)
    assert treats(house, durand, patient)
    house.people.ties.revoke(martin, grant)
    assert not treats(house, durand, patient)
    for until in (house.clock.now, house.clock.now - 1, house.clock.now + 400 * DAY):
        with pytest.raises(Invalid):
            house.people.ties.grant(martin, patient, durand.person, until=until)


def test_an_objection_refuses_that_person_whatever_the_tie(house: House, staff: dict[str, SignedIn]) -> None:
    martin, durand = staff["martin"].actor, staff["durand"].actor
    patient = admit(house, martin, durand)
    house.people.ties.object_to(martin, patient, durand.person)
    assert not treats(house, durand, patient)
    assert treats(house, martin, patient)
    with pytest.raises(Forbidden):
        house.people.breakglass.open(durand, patient, REASON)
    house.people.ties.withdraw_objection(martin, patient, durand.person)
    assert treats(house, durand, patient)


def test_a_restricted_file_is_for_those_named(house: House, staff: dict[str, SignedIn]) -> None:
    martin, durand, boss = (staff[name].actor for name in ("martin", "durand", "boss"))
    patient = admit(house, martin, durand, boss)
    house.people.ties.restrict(martin, patient, [boss.person])
    assert [treats(house, each, patient) for each in (martin, durand, boss)] == [True, False, True]
    house.people.ties.restrict(martin, patient, [])
    assert treats(house, durand, patient)


def test_a_locum_comes_and_goes_to_the_minute(house: House, staff: dict[str, SignedIn]) -> None:
    martin, boss = staff["martin"].actor, staff["boss"].actor
    locum = staff["locum"]
    patient, other = admit(house, martin), admit(house, staff["durand"].actor)
    since = house.clock.now + 2 * MINUTE
    house.people.ties.set_window(boss, locum.actor.person, martin.person, since=since, until=since + 5 * MINUTE)
    assert not treats(house, locum.actor, patient)
    house.clock.now = since
    assert treats(house, locum.actor, patient)
    assert not treats(house, locum.actor, other)
    live = house.people.sessions.live(locum.token, OFFICE)
    assert live.expires_at == since + 5 * MINUTE
    house.clock.now = since + 5 * MINUTE - 1
    assert treats(house, locum.actor, patient)
    house.people.sessions.actor(locum.token, OFFICE)
    house.clock.now = since + 5 * MINUTE
    assert not treats(house, locum.actor, patient)
    with pytest.raises(SessionEnded) as ended:
        house.people.sessions.actor(locum.token, OFFICE)
    assert ended.value.details["reason"] == "window"
    with pytest.raises(SignInRefused):
        house.people.sign_in.password("locum", PASSWORD, OFFICE)


def test_ending_a_window_ends_the_locum_s_sessions(house: House, staff: dict[str, SignedIn]) -> None:
    boss, locum = staff["boss"].actor, staff["locum"]
    now = house.clock.now
    window = house.people.ties.set_window(boss, locum.actor.person, staff["martin"].actor.person, since=now, until=now + DAY)
    assert [each.id for each in house.people.ties.windows(boss)] == [window]
    house.people.sessions.actor(locum.token, OFFICE)
    house.people.ties.end_window(boss, window)
    with pytest.raises(SessionEnded):
        house.people.sessions.actor(locum.token, OFFICE)
    assert house.people.ties.windows(boss) == ()


def test_windows_are_an_owner_s_act_about_a_locum_and_a_doctor(house: House, staff: dict[str, SignedIn]) -> None:
    boss, martin, locum = (staff[name].actor for name in ("boss", "martin", "locum"))
    now = house.clock.now
    with pytest.raises(Forbidden):
        house.people.ties.set_window(martin, locum.person, martin.person, since=now, until=now + DAY)
    for who, whom in ((martin, locum), (locum, staff["desk"].actor), (locum, locum)):
        with pytest.raises(Invalid):
            house.people.ties.set_window(boss, who.person, whom.person, since=now, until=now + DAY)
    for since, until in ((now, now), (now, now - DAY), (now - 2 * DAY, now - DAY), (now, now + 400 * DAY)):
        with pytest.raises(Invalid):
            house.people.ties.set_window(boss, locum.person, martin.person, since=since, until=until)


def test_a_locum_s_own_place_in_a_team_ends_with_the_window(house: House, staff: dict[str, SignedIn]) -> None:
    martin, locum = staff["martin"].actor, staff["locum"].actor
    patient = admit(house, locum, martin)
    assert not treats(house, locum, patient)
    now = house.clock.now
    house.people.ties.set_window(staff["boss"].actor, locum.person, staff["durand"].actor.person, since=now, until=now + DAY)
    assert treats(house, locum, patient)


def test_a_solo_practice_shares_everything_and_a_group_of_independents_nothing(
    house: House, staff: dict[str, SignedIn]
) -> None:
    martin, durand, boss = (staff[name].actor for name in ("martin", "durand", "boss"))
    patient = admit(house, martin)
    assert house.people.ties.mode() is Mode.TEAMS
    house.people.ties.set_mode(boss, Mode.SOLO)
    assert treats(house, durand, patient)
    assert not treats(house, staff["auditor"].actor, patient)
    house.people.ties.set_mode(boss, Mode.PARTITIONED)
    assert not treats(house, durand, patient)
    with pytest.raises(Conflict):
        house.people.ties.add_to_team(martin, patient, durand.person)
    with pytest.raises(Forbidden):
        house.people.ties.set_mode(martin, Mode.SOLO)


# --- the emergency


def test_breaking_the_glass_opens_one_patient_for_an_hour(house: House, staff: dict[str, SignedIn]) -> None:
    martin, durand = staff["martin"].actor, staff["durand"].actor
    patient, other = admit(house, martin), admit(house, martin)
    durand = fresh(house, "durand", staff)
    glass = house.people.breakglass.open(durand, patient, f"  {REASON}\n")
    assert treats(house, durand, patient)
    assert not treats(house, durand, other)
    assert not treats(house, staff["boss"].actor, patient)
    assert [each.patient for each in house.people.breakglass.running(durand)] == [patient]
    house.clock.advance(seconds=OPEN_S - 1)
    assert treats(house, durand, patient)
    house.clock.advance(seconds=1)
    assert not treats(house, durand, patient)
    assert house.people.breakglass.running(durand) == ()
    assert glass.reason == REASON
    with house.db.read() as connection:
        assert REASON.encode() not in connection.execute(breakglass.select()).mappings().one()["reason_sealed"]
    assert ("access.breakglass", "granted") in house.actions()


def fresh(house: House, name: str, staff: dict[str, SignedIn]) -> Actor:
    """The same person with a factor shown just now."""
    actor = house.people.sessions.actor(staff[name].token, OFFICE)
    house.db.write(lambda connection: house.people.sessions.refreshed(connection, actor))
    return house.people.sessions.actor(staff[name].token, OFFICE)


def test_those_concerned_are_told_at_once(house: House, staff: dict[str, SignedIn]) -> None:
    patient = admit(house, staff["martin"].actor)
    durand = fresh(house, "durand", staff)
    glass = house.people.breakglass.open(durand, patient, REASON)
    for name, expected in (("martin", 1), ("boss", 1), ("durand", 0), ("desk", 0)):
        told = [each.about for each in house.people.notices.of(staff[name].actor) if each.kind is Notice.BREAK_GLASS]
        assert told == [glass.id] * expected, name


def test_the_glass_wants_a_fresh_factor_a_reason_and_a_need(house: House, staff: dict[str, SignedIn]) -> None:
    patient = admit(house, staff["martin"].actor)
    house.clock.advance(minutes=6)
    with pytest.raises(StepUpRequired):
        house.people.breakglass.open(staff["durand"].actor, patient, REASON)
    durand = fresh(house, "durand", staff)
    for reason in ("", "urgence", "x" * 201, " " * 50, "a\x00bcdefghijkl"):
        with pytest.raises(Invalid):
            house.people.breakglass.open(durand, patient, reason)
    with pytest.raises(Conflict):
        house.people.breakglass.open(fresh(house, "martin", staff), patient, REASON)
    with pytest.raises(NotFound):
        house.people.breakglass.open(durand, PatientId("f" * 32), REASON)
    for name in ("desk", "auditor"):
        with pytest.raises(Forbidden):
            house.people.breakglass.open(staff[name].actor, patient, REASON)
    assert not treats(house, durand, patient)


def test_a_locum_outside_the_dates_breaks_no_glass(house: House, staff: dict[str, SignedIn]) -> None:
    patient = admit(house, staff["durand"].actor)
    locum = fresh(house, "locum", staff)
    with pytest.raises(Forbidden):
        house.people.breakglass.open(locum, patient, REASON)
    now = house.clock.now
    boss = fresh(house, "boss", staff)
    house.people.ties.set_window(boss, locum.person, staff["martin"].actor.person, since=now, until=now + DAY)
    house.people.breakglass.open(locum, patient, REASON)
    assert treats(house, locum, patient)


def test_whoever_broke_the_glass_does_not_let_themselves_in_for_good(house: House, staff: dict[str, SignedIn]) -> None:
    patient = admit(house, staff["martin"].actor)
    durand = fresh(house, "durand", staff)
    house.people.breakglass.open(durand, patient, REASON)
    for act in (
        lambda: house.people.ties.add_to_team(durand, patient, durand.person),
        lambda: house.people.ties.grant(durand, patient, durand.person, until=house.clock.now + DAY),
        lambda: house.people.ties.restrict(durand, patient, [durand.person]),
    ):
        with pytest.raises(NotFound):
            act()


def test_it_may_be_closed_early_by_whoever_opened_it(house: House, staff: dict[str, SignedIn]) -> None:
    patient = admit(house, staff["martin"].actor)
    durand = fresh(house, "durand", staff)
    glass = house.people.breakglass.open(durand, patient, REASON)
    with pytest.raises(NotFound):
        house.people.breakglass.end(staff["boss"].actor, glass.id)
    house.people.breakglass.end(durand, glass.id)
    house.people.breakglass.end(durand, glass.id)
    assert not treats(house, durand, patient)
    assert house.actions().count(("access.breakglass_end", "success")) == 1


def test_every_emergency_is_reviewed_once_by_somebody_else(house: House, staff: dict[str, SignedIn]) -> None:
    patient = admit(house, staff["martin"].actor)
    boss = fresh(house, "boss", staff)
    glass = house.people.breakglass.open(boss, patient, REASON)
    auditor = staff["auditor"].actor
    assert [(each.id, each.reason, each.is_overdue) for each in house.people.breakglass.to_review(auditor)] == [
        (glass.id, REASON, False)
    ]
    with pytest.raises(Forbidden):
        house.people.breakglass.review(boss, glass.id, Verdict.JUSTIFIED)
    with pytest.raises(Forbidden):
        house.people.breakglass.review(staff["martin"].actor, glass.id, Verdict.JUSTIFIED)
    house.people.breakglass.review(auditor, glass.id, Verdict.UNJUSTIFIED, "Pas d'urgence")
    assert house.people.breakglass.to_review(auditor) == ()
    with pytest.raises(Conflict):
        house.people.breakglass.review(auditor, glass.id, Verdict.JUSTIFIED)


def test_an_unreviewed_emergency_insists_after_fourteen_days(house: House, staff: dict[str, SignedIn]) -> None:
    patient = admit(house, staff["martin"].actor)
    house.people.breakglass.open(fresh(house, "durand", staff), patient, REASON)
    house.clock.advance(days=13)
    assert house.people.breakglass.escalate() == 0
    house.clock.advance(days=1)
    assert house.people.breakglass.escalate() == 1
    assert house.people.breakglass.escalate() == 0
    told = [each.kind for each in house.people.notices.of(staff["boss"].actor)]
    assert Notice.BREAK_GLASS_REVIEW in told
    assert house.people.breakglass.to_review(staff["auditor"].actor)[0].is_overdue


Doing = Callable[[], object]


def test_ids_of_others_are_not_found(house: House, staff: dict[str, SignedIn]) -> None:
    martin = staff["martin"].actor
    acts: list[Doing] = [
        lambda: house.people.ties.revoke(martin, "0" * 32),
        lambda: house.people.ties.end_window(staff["boss"].actor, "0" * 32),
        lambda: house.people.breakglass.end(martin, "0" * 32),
        lambda: house.people.ties.add_to_team(martin, PatientId("0" * 32), PersonId("0" * 32)),
    ]
    for act in acts:
        with pytest.raises(VaultError) as refusal:
            act()
        assert refusal.value.code == "not_found"
