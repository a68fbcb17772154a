"""Patients over sealed metadata: created, found, corrected, never twice by mistake."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from tests.conftest import Clock
from tests.vault.records.house import CLAIRE, TENANT, House, open_house
from vault.birth_dates import interpreted
from vault.errors import Conflict, Forbidden, Invalid, KeysUnavailable, NotFound, Tampered, VaultError
from vault.model import Identity, IdentityStatus, Micros, PatientId, Role, Sex, TenantId
from vault.people.relations import Relations
from vault.records.patients.duplicates import are_near, distance, may_be_one
from vault.records.patients.patients import Patients
from vault.sealing.index import BlindIndex, IndexName
from vault.settings import DatabaseSettings
from vault.storage.schema import care_team, patient_index, patients


@pytest.fixture
def house(databases: DatabaseSettings, clock: Clock) -> Iterator[House]:
    made = open_house(databases, clock)
    yield made
    made.close()


def count(house: House, table: object) -> int:
    with house.db.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()  # type: ignore[arg-type]  # any table


def test_reception_creates_and_everybody_at_the_front_finds(house: House) -> None:
    doctor, reception = house.person(Role.CLINICIAN), house.person(Role.RECEPTION)
    made = house.patients.create(reception, CLAIRE)
    assert made.care_team == (doctor.person,)
    for actor in (reception, doctor, house.person(Role.OWNER), house.person(Role.LOCUM)):
        for typed in ("12/03/80 dup", "moreau", "dup cla"):
            found = house.patients.search(actor, typed)
            assert [patient.identity for patient in found.items] == [CLAIRE]
            assert not found.more
    assert house.patients.get(doctor, made.id) == made
    assert house.events()[0] == ("patient.create", "success")


def test_a_carer_who_creates_joins_the_care_team(house: House) -> None:
    first, second = house.person(Role.CLINICIAN), house.person(Role.CLINICIAN)
    locum, owner = house.person(Role.LOCUM), house.person(Role.OWNER)
    names = iter(("Abadie", "Bernard", "Cordier", "Delmas"))
    teams = [
        house.patients.create(actor, replace(CLAIRE, birth_name=next(names), used_name=None)).care_team
        for actor in (first, second, locum, owner)
    ]
    assert teams == [(first.person,), (second.person,), (first.person, locum.person), (owner.person,)]


def test_the_care_team_may_be_chosen_among_carers_only(house: House) -> None:
    reception, second = house.person(Role.RECEPTION), house.person(Role.CLINICIAN)
    assert house.patients.create(reception, CLAIRE, care_team=[second.person]).care_team == (second.person,)
    gone = house.person(Role.CLINICIAN, state="disabled")
    for person in (reception.person, gone.person):
        with pytest.raises(Invalid) as refused:
            house.patients.create(reception, replace(CLAIRE, birth_name="Autre"), care_team=[person])
        assert refused.value.details["field"] == "care_team"


def test_a_practice_without_a_clinician_can_still_receive(house: House) -> None:
    assert house.patients.create(house.person(Role.RECEPTION), CLAIRE).care_team == ()


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.DPO, Role.ADMIN])
def test_others_neither_create_nor_find_nor_read(house: House, role: Role) -> None:
    made = house.patients.create(house.person(Role.CLINICIAN), CLAIRE)
    outsider = house.person(role)
    before = len(house.events())
    for act in (
        lambda: house.patients.create(outsider, CLAIRE),
        lambda: house.patients.search(outsider, "dupont"),
        lambda: house.patients.get(outsider, made.id),
        lambda: house.patients.recent(outsider),
        lambda: house.patients.update(outsider, made.id, CLAIRE),
    ):
        with pytest.raises(Forbidden):
            act()
    with pytest.raises(Forbidden):
        house.patients.similar(outsider, CLAIRE)
    assert house.events()[before:] == [
        ("patient.create", "denied"),
        ("patient.search", "denied"),
        ("patient.view", "denied"),
        ("patient.list", "denied"),
        ("patient.update", "denied"),
    ]


def test_an_unknown_patient_is_not_found_and_logged(house: House) -> None:
    with pytest.raises(NotFound):
        house.patients.get(house.person(Role.CLINICIAN), PatientId("f" * 32))
    assert house.events() == [("patient.view", "denied")]


def test_looking_twice_is_one_event(house: House) -> None:
    doctor = house.person(Role.CLINICIAN)
    made = house.patients.create(doctor, CLAIRE)
    for _ in range(3):
        house.patients.get(doctor, made.id)
    assert house.events() == [("patient.create", "success"), ("patient.view", "granted")]
    house.clock.advance(seconds=301)
    house.patients.get(doctor, made.id)
    assert house.events().count(("patient.view", "granted")) == 2


# --- doubles --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "double",
    [
        CLAIRE,
        replace(CLAIRE, birth_name="DUPOND", used_name=None),
        replace(CLAIRE, given_names=("Clare",)),
        replace(CLAIRE, birth_name="Claire", given_names=("Dupont",)),
        replace(CLAIRE, birth_name="Moreau", used_name=None),
        replace(CLAIRE, birth_name="Dupont-Moreau"),
        replace(CLAIRE, birth_date="1980-12-03"),
        Identity("Autre", ("Nom",), "1999-01-01", Sex.MALE, ins="280036912345678"),
    ],
)
def test_a_possible_double_is_shown_first(house: House, double: Identity) -> None:
    reception = house.person(Role.RECEPTION)
    made = house.patients.create(reception, replace(CLAIRE, ins="280036912345678"))
    with pytest.raises(Conflict) as refused:
        house.patients.create(reception, double)
    assert refused.value.details == {"reason": "possible_duplicate", "candidates": made.id}
    assert [patient.id for patient in house.patients.similar(reception, double)] == [made.id]
    assert (count(house, patients), count(house, care_team)) == (1, 0)
    assert house.patients.create(reception, double, anyway=True).id != made.id


@pytest.mark.parametrize(
    "other",
    [
        replace(CLAIRE, birth_date="1980-03-13"),
        replace(CLAIRE, given_names=("Marc",)),
        replace(CLAIRE, birth_name="Martin", used_name=None),
        replace(CLAIRE, birth_name="Durand", used_name=None, birth_date="1980-12-03"),
    ],
)
def test_somebody_else_is_created_at_once(house: House, other: Identity) -> None:
    reception = house.person(Role.RECEPTION)
    house.patients.create(reception, CLAIRE)
    house.patients.create(reception, other)
    assert count(house, patients) == 2


def test_nearness_is_a_slip_or_two() -> None:
    assert distance("dupont", "dupnot", 2) == 1
    assert distance("dupont", "durand", 2) == 3
    assert are_near("lefebvre", "lefevre")
    assert are_near("jean", "jeanpierre")
    assert not are_near("li", "le")
    assert not are_near("martin", "marin-dubois")
    assert not may_be_one(CLAIRE, Identity("Dupont", ("Clément",), "1980-03-12", Sex.MALE))


# --- correcting -----------------------------------------------------------------------------------------------------------


def test_a_corrected_identity_is_found_under_its_new_name_only(house: House) -> None:
    doctor = house.person(Role.CLINICIAN)
    made = house.patients.create(doctor, CLAIRE)
    corrected = replace(CLAIRE, birth_name="Delacroix", used_name=None)
    assert house.patients.update(doctor, made.id, corrected).identity == corrected
    assert house.patients.search(doctor, "dupont").items == ()
    assert house.patients.search(doctor, "moreau").items == ()
    assert [patient.id for patient in house.patients.search(doctor, "delacroix").items] == [made.id]
    with pytest.raises(NotFound):
        house.patients.update(doctor, PatientId("f" * 32), CLAIRE)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (replace(CLAIRE, birth_name=""), "birth_name"),
        (replace(CLAIRE, given_names=()), "given_names"),
        (replace(CLAIRE, birth_date="1980-02-30"), "birth_date"),
        (replace(CLAIRE, birth_date="2999-01-01"), "birth_date"),
        (replace(CLAIRE, ins="123"), "ins"),
    ],
)
def test_a_malformed_identity_leaves_nothing(house: House, wrong: Identity, field: str) -> None:
    reception = house.person(Role.RECEPTION)
    with pytest.raises(Invalid) as refused:
        house.patients.create(reception, wrong)
    assert refused.value.details["field"] == field
    assert (count(house, patients), count(house, patient_index)) == (0, 0)


# --- lists ----------------------------------------------------------------------------------------------------------------


def test_results_are_sorted_bounded_and_own_patients_come_first(house: House) -> None:
    first, second = house.person(Role.CLINICIAN), house.person(Role.CLINICIAN)
    for number, given in enumerate(("Zoé", "Ève", "Jean", "Anne", "Luc")):
        born = f"19{60 + number}-01-01"
        house.clock.advance(seconds=1)
        house.patients.create(first if given in ("Zoé", "Luc") else second, Identity("Martin", (given,), born, Sex.FEMALE))
    found = house.patients.search(first, "mar", limit=2)
    assert [patient.identity.given_names[0] for patient in found.items] == ["Luc", "Zoé"]
    assert found.more
    everybody = house.patients.search(first, "martin", limit=10)
    assert [patient.identity.given_names[0] for patient in everybody.items] == ["Anne", "Ève", "Jean", "Luc", "Zoé"]
    assert not everybody.more
    assert [patient.identity.given_names[0] for patient in house.patients.recent(first).items] == ["Luc", "Zoé"]
    assert len(house.patients.recent(house.person(Role.RECEPTION), limit=3).items) == 3


@pytest.mark.parametrize("typed", ["", "   ", "/", "(", "'; drop table patients; --", "%", "a" * 5000])
def test_a_search_for_nothing_finds_nothing(house: House, typed: str) -> None:
    reception = house.person(Role.RECEPTION)
    house.patients.create(reception, CLAIRE)
    assert house.patients.search(reception, typed).items == ()


# --- at rest --------------------------------------------------------------------------------------------------------------


def test_no_trait_stands_in_clear_in_any_database(sqlite: DatabaseSettings, clock: Clock, tmp_path: Path) -> None:
    house = open_house(sqlite, clock)
    who = Identity("Zwingelstein", ("Philomène",), "1931-07-09", Sex.FEMALE, used_name="Quatrebarbes", ins="231073012345678")
    doctor = house.person(Role.CLINICIAN)
    made = house.patients.create(doctor, who)
    house.patients.search(doctor, "zwingel")
    house.patients.get(doctor, made.id)
    house.close()
    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for mark in ("Zwingelstein", "zwingel", "Philom", "Quatrebarbes", "quatreba", "1931-07-09", "231073012345678"):
        assert mark.encode() not in held


def test_an_identity_moved_to_another_patient_does_not_open(house: House) -> None:
    doctor = house.person(Role.CLINICIAN)
    one = house.patients.create(doctor, CLAIRE)
    other = house.patients.create(doctor, replace(CLAIRE, birth_name="Martin", used_name=None))

    def swap(connection: object) -> None:
        stolen = select(patients.c.identity_sealed).where(patients.c.id == one.id).scalar_subquery()
        connection.execute(update(patients).where(patients.c.id == other.id).values(identity_sealed=stolen))  # type: ignore[attr-defined]  # a Connection

    house.db.write(swap)
    with pytest.raises(Tampered):
        house.patients.get(doctor, other.id)
    assert house.events()[-1] == ("patient.view", "failed")


def test_equal_names_in_two_vaults_have_unrelated_index_values(house: House) -> None:
    token = (IndexName.NAME, "dupont")
    here, there = BlindIndex(house.keys, TENANT), BlindIndex(house.keys, TenantId("b" * 32))
    values = {*here.values([token, (IndexName.NAME_GIVEN, "dupont")]).values(), *there.values([token]).values()}
    assert len(values) == 3
    assert all(len(value) == 16 for value in values)
    assert here.values([token]) == here.values([token, token])


def test_without_the_token_nothing_is_kept(house: House) -> None:
    reception = house.person(Role.RECEPTION)
    house.patients.create(reception, CLAIRE)
    martin = replace(CLAIRE, birth_name="Martin", used_name=None)
    failed = 0
    while count(house, patients) == 1:
        failed += 1
        house.keys.fail_at(failed)
        try:
            house.patients.create(reception, martin, anyway=True)
        except KeysUnavailable:
            assert count(house, patients) == 1
            assert house.patients.search(reception, "martin").items == ()
    assert failed > 5
    house.keys.fail_at(0)
    house.keys.break_down()
    with pytest.raises(VaultError):
        house.patients.search(reception, "dupont")
    house.keys.repair()
    assert len(house.patients.search(reception, "dupont").items) == 1


# --- statuses, uncertain dates --------------------------------------------------------------------------------------------

QUALIFIED = replace(
    CLAIRE,
    ins="269054958815780",
    ins_oid="1.2.250.1.213.1.4.8",
    birth_place="49007",
    birth_place_label="Angers",
    status=IdentityStatus.QUALIFIED,
)


def test_a_carer_vouches_for_a_qualified_identity(house: House) -> None:
    reception, doctor = house.person(Role.RECEPTION), house.person(Role.CLINICIAN)
    with pytest.raises(Forbidden):
        house.patients.create(reception, QUALIFIED)
    made = house.patients.create(reception, replace(QUALIFIED, status=IdentityStatus.RETRIEVED))
    with pytest.raises(Forbidden):
        house.patients.update(reception, made.id, QUALIFIED)
    assert house.patients.update(doctor, made.id, QUALIFIED).identity == QUALIFIED
    renamed = replace(QUALIFIED, used_name="Fontaine")
    assert house.patients.update(reception, made.id, renamed).identity == renamed, "the used name is nobody's proof"
    for changed in ({"birth_name": "Autre"}, {"birth_place": "75056"}, {"birth_date": "1980-03-13"}):
        with pytest.raises(Forbidden):
            house.patients.update(reception, made.id, replace(renamed, **changed))  # type: ignore[arg-type]  # texts
    doubtful = replace(renamed, birth_name="Autre", status=IdentityStatus.PROVISIONAL)
    assert house.patients.update(reception, made.id, doubtful).identity == doubtful, "a doubt may be said by anybody"
    assert ("patient.update", "denied") in house.events()


def test_of_two_corrections_at_once_none_is_lost_unseen(house: House) -> None:
    doctor = house.person(Role.CLINICIAN)
    made = house.patients.create(doctor, CLAIRE)
    asked = itertools.count(1)

    def late() -> Micros:
        if next(asked) == 2:  # after the identity was read, before it is changed
            house.patients.update(doctor, made.id, replace(CLAIRE, used_name="Premier"))
        return Micros(house.clock())

    slow = Patients(
        db=house.db, scopes=house.scopes, keys=house.keys, log=house.log, tenant=TENANT, relations=Relations(house.db),
        clock=late, tickets=house.tickets,
    )  # fmt: skip
    with pytest.raises(Conflict) as refused:
        slow.update(doctor, made.id, replace(CLAIRE, used_name="Second"))
    assert refused.value.details["reason"] == "changed"
    assert house.patients.get(doctor, made.id).identity.used_name == "Premier"


@pytest.mark.parametrize(
    ("birth_date", "is_lunar", "typed"),
    [
        ("1950-00-00", False, ("00/00/1950", "1950 dup", "31/12/1950")),
        ("1950-03-00", False, ("03/1950", "00/03/1950 dup", "01/03/1950")),
        ("1950-02-31", True, ("31/02/1950", "31/02/1950 dup")),
        ("1950-20-12", True, ("12/20/1950", "31/12/1950 dup")),
    ],
)
def test_an_uncertain_date_is_found_as_it_is_known_and_as_others_write_it(
    house: House, birth_date: str, typed: tuple[str, ...], *, is_lunar: bool
) -> None:
    reception = house.person(Role.RECEPTION)
    who = replace(CLAIRE, birth_date=birth_date, is_lunar=is_lunar)
    made = house.patients.create(reception, who)
    for text in typed:
        assert [patient.id for patient in house.patients.search(reception, text).items] == [made.id], text
    assert house.patients.search(reception, "12/03/1950").items == ()
    with pytest.raises(Conflict):
        house.patients.create(reception, replace(CLAIRE, birth_date=interpreted(birth_date)))


def test_who_has_an_uncertain_date_may_be_somebody_whose_day_is_known(house: House) -> None:
    reception = house.person(Role.RECEPTION)
    known = house.patients.create(reception, replace(CLAIRE, birth_date="1950-07-04"))
    with pytest.raises(Conflict) as refused:
        house.patients.create(reception, replace(CLAIRE, birth_date="1950-00-00"))
    assert refused.value.details["candidates"] == known.id
    assert house.patients.create(reception, replace(CLAIRE, birth_date="1951-00-00")).doubles == ()
