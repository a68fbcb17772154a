"""Pairs of files that may be one patient: noted when somebody is created all the same, judged once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.vault.records.desk import Desk, actor_of, identity, open_desk
from tests.vault.records.patients.test_merging import merge, merging
from vault.errors import Conflict, Forbidden, NotFound
from vault.model import Patient, PatientId, Role


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with open_desk(tmp_path, clock) as desk:
        yield desk


def test_who_is_created_all_the_same_is_noted_and_judged_once(desk: Desk) -> None:
    room = merging(desk)
    owner = actor_of(desk.house, "titulaire", Role.OWNER, desk.clock)
    made = desk.patients.create(desk.reception, identity("MARTAIN"), anyway=True).id
    for who in (desk.reception, owner):
        (pair,) = room.suspected(who)
        assert {patient.id for patient in pair} == {desk.patient, made}
        assert room.count(who) == 1
    assert room.doubles_of(desk.reception, made) == (desk.patient,)
    assert room.doubles_of(desk.auditor, made) == ()
    for outsider in (desk.auditor,):
        with pytest.raises(Forbidden):
            room.suspected(outsider)
        with pytest.raises(Forbidden):
            room.dismiss(outsider, made, desk.patient)
    room.dismiss(desk.reception, made, desk.patient)
    assert room.suspected(owner) == ()
    with pytest.raises(Conflict):
        room.dismiss(owner, made, desk.patient)
    with pytest.raises(NotFound):
        room.dismiss(owner, made, PatientId("f" * 32))
    desk.patients.update(desk.reception, made, identity("MARTIM"))
    assert room.suspected(owner) == (), "a pair that was judged stays judged"


def test_a_correction_that_makes_two_alike_is_noted(desk: Desk) -> None:
    made: Patient = desk.patients.create(desk.clinician, identity("DELACROIX"))
    assert merging(desk).suspected(desk.reception) == ()
    desk.patients.update(desk.reception, made.id, identity("MARTIN"))
    (pair,) = merging(desk).suspected(desk.reception)
    assert made.id in {patient.id for patient in pair}
    merge(desk, made.id)
    assert merging(desk).suspected(desk.reception) == (), "one file now"
