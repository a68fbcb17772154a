"""Replacing a document by a corrected one, and moving it to the right patient."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.vault.records.desk import Desk, open_desk, scan
from vault.audit.events import Action, System
from vault.audit.incidents import Incidents
from vault.errors import AlreadyPresent, Conflict, Forbidden, Invalid, NotFound, UnsupportedType
from vault.model import Actor, Document, DocumentId, PatientId
from vault.upkeep.scrub import Scrub


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with open_desk(tmp_path, clock) as desk:
        yield desk


def replace(desk: Desk, document: DocumentId, data: bytes, actor: Actor | None = None) -> Document:
    body = io.BytesIO(data)
    return desk.documents.replace(actor or desk.clinician, document, file_name="corrigé.pdf", body=body)


def content(desk: Desk, document: DocumentId, version: int | None = None, actor: Actor | None = None) -> bytes:
    with desk.documents.open(actor or desk.clinician, document, Action.DOCUMENT_DOWNLOAD, version=version) as opened:
        return b"".join(opened.read())


def scrubbed(desk: Desk) -> None:
    assert Scrub(desk.documents.rooms, desk.blobs, by=System("test")).run().findings == ()


def test_a_corrected_document_is_a_new_version_and_the_old_one_stays(desk: Desk) -> None:
    filed = desk.deposit(data=scan(seed=1))
    corrected = replace(desk, filed.id, scan(seed=2))
    assert (corrected.id, corrected.version, corrected.type) == (filed.id, 2, filed.type)
    assert content(desk, filed.id) == scan(seed=2)
    assert content(desk, filed.id, version=1) == scan(seed=1)
    assert [d.version for d in desk.documents.versions(desk.clinician, filed.id)] == [2, 1]
    assert [d.version for d in desk.documents.list(desk.clinician, desk.patient).items] == [2]
    assert ("document.replace", "success") in desk.told()
    scrubbed(desk)


def test_a_refused_correction_changes_nothing(desk: Desk) -> None:
    filed = desk.deposit(data=scan(seed=1))
    for data, error in ((b"MZ" + bytes(50), UnsupportedType), (scan(seed=1), AlreadyPresent)):
        with pytest.raises(error):
            replace(desk, filed.id, data)
    with pytest.raises(NotFound):
        replace(desk, filed.id, scan(seed=3), desk.stranger)
    with pytest.raises(Forbidden):
        replace(desk, filed.id, scan(seed=3), desk.auditor)
    assert len(desk.files()) == 1
    assert content(desk, filed.id) == scan(seed=1)


def test_of_two_corrections_at_once_one_wins(desk: Desk) -> None:
    filed = desk.deposit(data=scan(seed=1))
    answers: list[object] = []
    barrier = threading.Barrier(2)

    class Together(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            block = super().read(size)
            if not block:
                barrier.wait(10)
            return block

    def correct(seed: int) -> None:
        try:
            body = Together(scan(seed=seed))
            answers.append(desk.documents.replace(desk.clinician, filed.id, file_name="x.pdf", body=body).version)
        except Conflict as error:
            answers.append(error.details["reason"])

    threads = [threading.Thread(target=correct, args=(seed,)) for seed in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, answers)) == ["2", "already_replaced"]
    assert len(desk.files()) == 2
    scrubbed(desk)


def test_a_misfiled_document_moves_and_its_bodies_stay(desk: Desk) -> None:
    filed = desk.deposit(data=scan(seed=1))
    replace(desk, filed.id, scan(seed=2), desk.reception)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in desk.files()}
    refiled = desk.documents.refile(desk.reception, filed.id, desk.other_patient)
    assert refiled.document.patient == desk.other_patient
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in desk.files()} == before
    assert content(desk, filed.id, actor=desk.stranger) == scan(seed=2)
    assert content(desk, filed.id, version=1, actor=desk.stranger) == scan(seed=1)
    with pytest.raises(NotFound):
        content(desk, filed.id)
    assert desk.documents.list(desk.clinician, desk.patient).items == ()
    (tombstone,) = desk.documents.tombstones(desk.clinician, desk.patient)
    assert (tombstone.document, tombstone.moved_by) == (filed.id, desk.reception.person)
    scrubbed(desk)


def test_the_wrong_patients_key_opens_nothing_afterwards(desk: Desk) -> None:
    filed = desk.deposit(data=scan(seed=1))
    desk.documents.refile(desk.reception, filed.id, desk.other_patient)
    desk.house.people.roster.scopes.forget(desk.scope())
    desk.erase_scope(desk.patient)
    assert content(desk, filed.id, actor=desk.stranger) == scan(seed=1)


def test_whoever_had_opened_it_is_named(desk: Desk) -> None:
    filed = desk.deposit(data=scan(seed=1))
    desk.documents.open(desk.clinician, filed.id, Action.DOCUMENT_VIEW).close()
    assert desk.documents.refile(desk.reception, filed.id, desk.other_patient).seen_by == (desk.clinician.person,)
    other = desk.deposit(data=scan(seed=5))
    content(desk, other.id)
    refiled = desk.documents.refile(desk.reception, other.id, desk.other_patient)
    assert refiled.taken_by == (desk.clinician.person,)
    refilings = [r for r in desk.log() if r.action is Action.DOCUMENT_REFILE and r.outcome == "success"]
    assert {r.patient for r in refilings} == {desk.patient, desk.other_patient}


def test_a_copy_taken_in_the_wrong_file_drafts_an_incident(desk: Desk) -> None:
    looked, taken, own = (desk.deposit(data=scan(seed=seed)) for seed in (1, 2, 3))
    desk.documents.open(desk.clinician, looked.id, Action.DOCUMENT_VIEW).close()
    content(desk, taken.id)
    content(desk, own.id)
    desk.documents.refile(desk.reception, looked.id, desk.other_patient)
    desk.documents.refile(desk.reception, taken.id, desk.other_patient)
    refiled = desk.documents.refile(desk.clinician, own.id, desk.other_patient)
    assert (refiled.seen_by, refiled.taken_by) == ((), (desk.clinician.person,))
    raised = [each for each in desk.log() if each.action is Action.AUDIT_ALERT_RAISED]
    assert [(each.patient, (each.subject or {}).get("document")) for each in raised] == [
        (desk.patient, taken.id),
        (desk.patient, own.id),
    ]
    assert [((each.note or {}).get("code"), (each.note or {}).get("count")) for each in raised] == [("misfiled", 1)] * 2
    incident = Incidents(desk.house.log).draft(raised[0].position, {desk.clinician.person: "Dr Martin"})
    assert (incident.filed, incident.closed) != (None, None)
    assert incident.corrected is not None
    assert (incident.corrected.actor_ref, incident.alert.op) == (desk.reception.person, incident.corrected.op)
    assert [(each.actor_name, each.action) for each in incident.accesses] == [("Dr Martin", Action.DOCUMENT_DOWNLOAD)]
    assert incident.tell_before - incident.alert.at == 72 * 3_600_000_000
    with pytest.raises(NotFound):
        Incidents(desk.house.log).draft(raised[0].position - 1, {})


def test_after_integration_a_reason_is_wanted(desk: Desk) -> None:
    filed = desk.deposit(desk.clinician, scan(seed=1))
    desk.execute("UPDATE documents SET integrated_at = ?, integrated_by = ?", desk.clock(), desk.clinician.person)
    with pytest.raises(Forbidden):
        desk.documents.refile(desk.reception, filed.id, desk.other_patient)
    for reason in ("", "  ", "x" * 201):
        with pytest.raises(Invalid):
            desk.documents.refile(desk.clinician, filed.id, desk.other_patient, reason=reason)
    desk.documents.refile(desk.clinician, filed.id, desk.other_patient, reason="Homonyme")


def test_a_document_moves_only_where_it_may(desk: Desk) -> None:
    filed = desk.deposit(data=scan(seed=1))
    twin = desk.deposit(data=scan(seed=1), patient=desk.other_patient)
    with pytest.raises(AlreadyPresent) as caught:
        desk.documents.refile(desk.reception, filed.id, desk.other_patient)
    assert caught.value.details["document"] == twin.id
    with pytest.raises(Conflict):
        desk.documents.refile(desk.reception, filed.id, desk.patient)
    with pytest.raises(NotFound):
        desk.documents.refile(desk.reception, filed.id, PatientId("0" * 32))
    with pytest.raises(NotFound):
        desk.documents.refile(desk.stranger, filed.id, desk.other_patient)
    assert content(desk, filed.id) == scan(seed=1)
    scrubbed(desk)
