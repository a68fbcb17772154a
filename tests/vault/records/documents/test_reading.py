"""What a carer has still to read, taking it over, handing it to the patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.vault.records.desk import Desk, open_desk, scan
from tests.vault.rendering import papers
from vault.audit.events import Action
from vault.errors import Forbidden, NotFound
from vault.model import DocumentId
from vault.records.documents.reading import Reading
from vault.records.tickets import Tickets


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with open_desk(tmp_path, clock) as made:
        yield made


@pytest.fixture
def reading(desk: Desk) -> Reading:
    return Reading(desk.documents.rooms, desk.patients, Tickets(desk.documents.rooms.clock))


def test_what_reception_files_waits_for_the_carer_until_it_is_seen(desk: Desk, reading: Reading) -> None:
    first, second = desk.deposit(), desk.deposit(data=scan(seed=2))
    waiting = reading.unread(desk.clinician)
    assert {item.document.id for item in waiting.items} == {first.id, second.id}
    assert {item.patient.identity.birth_name for item in waiting.items} == {"MARTIN"}
    assert reading.count(desk.clinician) == 2
    taken = reading.integrate(desk.clinician, first.id)
    assert taken.integrated_at is not None
    assert [item.document.id for item in reading.unread(desk.clinician).items] == [second.id]
    assert desk.documents.describe(desk.clinician, first.id).integrated_at == taken.integrated_at


def test_taking_over_twice_is_one_event(desk: Desk, reading: Reading) -> None:
    document = desk.deposit()
    for _ in range(3):
        reading.integrate(desk.clinician, document.id)
    assert desk.told().count(("document.integrate", "success")) == 1


def test_others_patients_and_ones_own_deposits_do_not_wait(desk: Desk, reading: Reading) -> None:
    desk.deposit(actor=desk.clinician)
    desk.deposit(data=scan(seed=2), patient=desk.other_patient)
    assert reading.unread(desk.clinician).items == ()
    assert reading.count(desk.clinician) == 0
    assert reading.count(desk.stranger) == 1


def test_only_carers_of_the_patient_take_over(desk: Desk, reading: Reading) -> None:
    document = desk.deposit()
    for who in (desk.reception, desk.auditor):
        with pytest.raises(Forbidden):
            reading.integrate(who, document.id)
        with pytest.raises(Forbidden):
            reading.unread(who)
        with pytest.raises(Forbidden):
            reading.count(who)
    with pytest.raises(NotFound):
        reading.integrate(desk.stranger, document.id)
    with pytest.raises(NotFound):
        reading.integrate(desk.clinician, DocumentId("f" * 32))
    assert desk.told().count(("document.integrate", "denied")) == 4
    assert reading.count(desk.clinician) == 1


def test_a_document_to_be_handed_over_opens_for_reception(desk: Desk, reading: Reading) -> None:
    document = desk.deposit(actor=desk.clinician)
    with pytest.raises(Forbidden):
        desk.documents.open(desk.reception, document.id, Action.DOCUMENT_PRINT)
    reading.hand_over(desk.clinician, document.id, is_wanted=True)
    with desk.documents.open(desk.reception, document.id, Action.DOCUMENT_PRINT) as opened:
        assert opened.size == document.size
    reading.hand_over(desk.clinician, document.id, is_wanted=False)
    with pytest.raises(Forbidden):
        desk.documents.open(desk.reception, document.id, Action.DOCUMENT_VIEW)
    with pytest.raises(Forbidden):
        reading.hand_over(desk.reception, document.id, is_wanted=True)


def test_the_text_of_a_page_is_read_under_the_right_to_view(desk: Desk) -> None:
    document = desk.deposit(data=papers.pdf(2, text="Compte rendu"))
    assert desk.documents.text(desk.clinician, document.id, 2) == "Compte rendu 2"
    with pytest.raises(NotFound):
        desk.documents.text(desk.stranger, document.id, 1)
    with pytest.raises(NotFound):
        desk.documents.text(desk.clinician, document.id, 3)


def test_listing_is_one_event_a_visit(desk: Desk, reading: Reading) -> None:
    desk.deposit()
    for _ in range(3):
        reading.unread(desk.clinician)
    lists = [record for record in desk.log() if record.action.value == "patient.list"]
    assert len(lists) == 1
    reading.unread(replace(desk.clinician, session="e" * 32))
    assert len([record for record in desk.log() if record.action.value == "patient.list"]) == 2
