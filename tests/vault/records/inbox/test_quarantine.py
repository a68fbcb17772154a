"""Quarantine: what is infected is kept sealed and set apart, and only a clean word lets it out."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.conftest import Clock
from tests.servers.scanner import EICAR, SIGNATURE, Clamd
from tests.vault.records.desk import scan
from tests.vault.records.infected import infected_pdf, packed, zipped
from tests.vault.records.tray import renderer as renderer  # noqa: PLC0414  # the fixture, by its own name
from tests.vault.records.ward import DAYS, HIT, NAME, Odd, Wards, document_of
from tests.vault.records.ward import odd as odd  # noqa: PLC0414  # the fixture, by its own name
from tests.vault.records.ward import wards as wards  # noqa: PLC0414  # the same
from vault.audit.events import Action
from vault.errors import (
    AlreadyPresent,
    BadSettings,
    Forbidden,
    Infected,
    NotFound,
    Quarantined,
    ScannerUnavailable,
    StorageUnavailable,
    Tampered,
    UnsupportedType,
)
from vault.model import DocumentId, Scan
from vault.records.documents import quarantine_rows
from vault.records.documents.bodies import Bodies
from vault.records.documents.scanning import Scanner
from vault.records.inbox.quarantine import Quarantine
from vault.settings import InfectedPolicy, ScanPolicy, ScanSettings
from vault.storage.schema import documents
from vault.upkeep.inspection import Inspection, Kind
from vault.upkeep.reindex import Reindexing
from vault.upkeep.scan_folder import ScanFolder
from vault.upkeep.scrub import Scrub

__all__ = ["odd", "renderer", "wards"]


# --- a real clamd


def test_a_virus_is_set_apart_and_comes_out_once_the_scanner_calls_it_clean(clamd: Clamd, wards: Wards) -> None:
    with wards(ScanSettings(clamd.socket)) as ward:
        letter = packed(EICAR)
        told = ward.send(letter)
        assert str(told.details["reason"]).startswith(SIGNATURE)
        # What the allow-list refuses is refused before a scanner is asked, as ever.
        for other in (EICAR, zipped(EICAR)):
            with pytest.raises(UnsupportedType):
                ward.tray.put(other)
        assert ward.apart() == [document_of(told)]
        assert not ward.quarantine.rescan(ward.admin, document_of(told))
        clamd.knows(eicar=False)
        try:
            assert ward.quarantine.rescan(ward.admin, document_of(told))
        finally:
            clamd.knows(eicar=True)
        (draft,) = ward.tray.inbox.list(ward.desk.reception).items
        assert (draft.id, draft.file_name, draft.deposited_by) == (document_of(told), NAME, ward.desk.reception.person)
        assert draft.scan is Scan.CLEAN
        ward.tray.file(draft)
        assert ward.tray.exact(draft.id, ward.desk.clinician) == letter
        assert ward.apart() == []
        assert len(ward.desk.files()) == 1
        assert [each for each in ward.desk.told() if each[0] != "document.upload"][:6] == [
            ("document.quarantine", "success"),
            ("document.rescan", "granted"),
            ("document.rescan", "failed"),
            ("document.rescan", "granted"),
            ("document.release", "success"),
            ("document.refile", "success"),
        ]
        assert clamd.left_behind() == []


def test_a_filed_document_and_a_correction_are_set_apart_too(clamd: Clamd, wards: Wards) -> None:
    with wards(ScanSettings(clamd.socket)) as ward:
        desk = ward.desk
        clean = desk.deposit()
        with pytest.raises(Quarantined) as filed:
            desk.deposit(data=infected_pdf())
        with pytest.raises(Quarantined) as corrected:
            desk.documents.replace(desk.clinician, clean.id, file_name="b.pdf", body=io.BytesIO(packed(EICAR)))
        assert set(ward.apart()) == {filed.value.details["document"], corrected.value.details["document"]}
        assert corrected.value.details["document"] != clean.id
        assert [document.id for document in desk.documents.list(desk.clinician, desk.patient).items] == [clean.id]
        assert [document.version for document in desk.documents.versions(desk.clinician, clean.id)] == [1]
        assert desk.log()[-1].action is not Action.DOCUMENT_REPLACE
        # A check with keys opens them, releases nothing, and finds them well; a rotation of the search key finds them too.
        report = Scrub(desk.documents.rooms, desk.blobs, by=ward.admin).run()
        assert (report.checked, report.findings) == (3, ())
        clamd.knows(eicar=False)
        try:
            for each in ward.apart():
                assert ward.quarantine.rescan(ward.owner, DocumentId(each))
        finally:
            clamd.knows(eicar=True)
        drafts = ward.tray.inbox.list(desk.reception).items
        assert {draft.file_name for draft in drafts} == {"bilan.pdf", "b.pdf"}
        bodies = set()
        for draft in drafts:
            ward.tray.file(draft)
            bodies.add(ward.tray.exact(draft.id, desk.clinician))
        assert bodies == {infected_pdf(), packed(EICAR)}


def test_a_scan_folder_lets_go_of_what_is_set_apart(clamd: Clamd, wards: Wards, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "lettre.pdf").write_bytes(infected_pdf())
    with wards(ScanSettings(clamd.socket)) as ward:
        (taken,) = ScanFolder(ward.tray.inbox, ward.desk.reception, folder, settled_seconds=0).take()
        assert (taken.outcome, taken.code, [taken.draft]) == ("quarantined", "quarantined", ward.apart())
        assert list(folder.iterdir()) == []


# --- the hit


def test_a_hit_before_the_end_sets_the_whole_body_apart(odd: Odd, wards: Wards, clock: Clock) -> None:
    body = scan(3_000_000)
    with odd(reply=HIT, dies_after=1_000_000) as scanner, wards(ScanSettings(scanner.path)) as ward:
        document = document_of(ward.send(body))
        scanner.reply, scanner.dies_after = b"stream: OK\0", None
        scanner.received.clear()
        assert ward.quarantine.rescan(ward.owner, document)
        assert bytes(scanner.received) == body
        ward.tray.file(ward.tray.inbox.get(ward.desk.reception, document))
        assert ward.tray.exact(document, ward.desk.clinician) == body


def test_equal_bytes_are_set_apart_once_and_told_each_time(odd: Odd, wards: Wards) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        first, second = ward.send(scan()), ward.send(scan(), ward.desk.clinician)
        assert document_of(first) == document_of(second)
        assert len(ward.desk.files()) == 1
        assert ward.desk.told().count(("document.quarantine", "success")) == 2
        assert ward.notices() == sorted((who.person, document_of(first)) for who in (ward.owner, ward.admin))


def test_a_morning_of_infected_scans_is_one_notice_until_it_is_read(odd: Odd, wards: Wards, clock: Clock) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        for seed in (1, 2, 3):
            ward.send(scan(seed=seed))
        assert len(ward.notices()) == 2
        ward.desk.house.people.notices.read_all(ward.owner, clock())
        ward.send(scan(seed=4))
        assert [person for person, _ in ward.notices()].count(ward.owner.person) == 2
        assert [person for person, _ in ward.notices()].count(ward.admin.person) == 1


def test_the_practice_may_refuse_instead(odd: Odd, wards: Wards) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path, infected=InfectedPolicy.REFUSE)) as ward:
        with pytest.raises(Infected):
            ward.tray.put(scan())
        with pytest.raises(Infected):
            ward.desk.deposit()
        assert ward.desk.files() == []
        assert ward.apart() == []


@pytest.mark.parametrize("how", [{"dies_after": 1_000_000}, {"reply": b"stream: Win.Test FOUN"}, {"reply": b"\0"}])
def test_a_scanner_that_dies_before_its_word_is_away_and_nothing_else(odd: Odd, wards: Wards, how: dict[str, object]) -> None:
    with odd(**how) as scanner, wards(ScanSettings(scanner.path)) as ward:
        with pytest.raises(ScannerUnavailable):
            ward.tray.put(scan(3_000_000))
        assert ward.desk.files() == []
        assert ward.apart() == []


def test_a_hit_that_can_t_be_recorded_leaves_only_bytes_without_a_key(odd: Odd, wards: Wards) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        ward.desk.execute(
            "CREATE TRIGGER full BEFORE INSERT ON documents WHEN NEW.state = 'quarantined' BEGIN SELECT RAISE(FAIL, 'x'); END"
        )
        with pytest.raises(StorageUnavailable) as refused:
            ward.tray.put(scan())
        assert refused.value.retryable
        assert ward.apart() == []
        ward.desk.execute("DROP TRIGGER full")
        ward.send(scan())
        assert len(ward.apart()) == 1


# --- what becomes of it


@pytest.mark.parametrize("policy", list(ScanPolicy))
def test_only_a_clear_word_lets_it_out(odd: Odd, wards: Wards, tmp_path: Path, policy: ScanPolicy) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path, policy)) as ward:
        document, before = document_of(ward.send(scan())), ward.desk.files()
        scanner.reply = b"stream: NOT OK\0"
        with pytest.raises(ScannerUnavailable):
            ward.quarantine.rescan(ward.owner, document)
        assert (ward.apart(), ward.desk.files()) == ([document], before)
        assert ward.desk.told()[-1] == ("document.rescan", "failed")


def test_without_a_scanner_nothing_gets_out(odd: Odd, wards: Wards) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        document, rooms = document_of(ward.send(scan())), ward.desk.documents.rooms
        none = Scanner(ScanSettings())
        bodies = Bodies(blobs=ward.desk.blobs, keys=rooms.keys, scopes=rooms.scopes, tenant=rooms.tenant, scanner=none)
        assert rooms.aside is not None
        with pytest.raises(ScannerUnavailable):
            Quarantine(rooms=replace(rooms, bodies=bodies), scope=rooms.aside, days=DAYS).rescan(ward.owner, document)
        assert ward.apart() == [document]


def test_what_waits_in_the_inbox_by_another_way_does_not_come_twice(odd: Odd, wards: Wards) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        document = document_of(ward.send(scan()))
        scanner.reply = b"stream: OK\0"
        ward.tray.put(scan())
        with pytest.raises(AlreadyPresent):
            ward.quarantine.rescan(ward.owner, document)
        assert ward.apart() == [document]
        assert len(ward.desk.files()) == 2


def test_destroying_takes_rows_key_and_bytes(odd: Odd, wards: Wards) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        document = document_of(ward.send(scan()))
        for who in (ward.desk.reception, ward.desk.clinician, ward.desk.auditor):
            for act in (ward.quarantine.discard, ward.quarantine.rescan):
                with pytest.raises(Forbidden):
                    act(who, document)
            with pytest.raises(Forbidden):
                ward.quarantine.list(who)
        ward.quarantine.discard(ward.admin, document)
        assert ward.desk.files() == []
        with ward.desk.house.db.read() as connection:
            assert connection.execute(select(documents.c.id)).all() == []
        for act in (ward.quarantine.discard, ward.quarantine.rescan):
            with pytest.raises(NotFound):
                act(ward.admin, document)
        assert ("document.delete", "success") in ward.desk.told()


def test_drafts_and_documents_are_not_reached_from_here(odd: Odd, wards: Wards) -> None:
    with odd() as scanner, wards(ScanSettings(scanner.path)) as ward:
        filed, draft = ward.desk.deposit(), ward.tray.put(scan(seed=2))
        for document in (filed.id, draft.id):
            for act in (ward.quarantine.discard, ward.quarantine.rescan):
                with pytest.raises(NotFound):
                    act(ward.owner, document)


def test_it_is_destroyed_by_itself_after_its_days(odd: Odd, wards: Wards, clock: Clock) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        ward.send(scan())
        clock.advance(seconds=(DAYS - 1) * 86_400)
        assert ward.quarantine.expire() == 0
        ward.send(scan(seed=2))
        clock.advance(seconds=86_401)
        assert ward.quarantine.expire() == 1
        assert (len(ward.apart()), len(ward.desk.files())) == (1, 1)
        last = ward.desk.log()[-1]
        assert (last.action, (last.note or {}).get("code")) == (Action.DOCUMENT_DELETE, "quarantine_expired")
        assert ward.quarantine.expire() == 0


def test_who_sees_what(odd: Odd, wards: Wards) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        ward.send(scan())
        (owners,), (admins,) = (ward.quarantine.list(who).items for who in (ward.owner, ward.admin))
        assert (owners.file_name, owners.signature, owners.deposited_by) == (NAME, "Win.Test", ward.desk.reception.person)
        assert (admins.file_name, admins.is_masked, admins.signature) == ("", True, "Win.Test")
        assert ward.quarantine.own(ward.desk.reception) == 1
        assert ward.quarantine.own(ward.desk.clinician) == 0
        assert ward.quarantine.count(ward.admin) == 1


def test_damage_is_found_and_a_new_search_key_reaches_it(odd: Odd, wards: Wards) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        desk, rooms = ward.desk, ward.desk.documents.rooms
        document = document_of(ward.send(scan()))
        desk.execute("UPDATE document_versions SET mac = 7")
        assert Reindexing(rooms.db, rooms.scopes, rooms.keys, rooms.tenant, sleep=lambda _s: None).run().failed == ()
        assert document_of(ward.send(scan())) == document
        path = desk.blob_path(document)
        damaged = bytearray(path.read_bytes())
        damaged[-1] ^= 1
        path.chmod(0o600)
        path.write_bytes(damaged)
        with rooms.db.read() as connection:
            found = Inspection(rooms, desk.blobs, receipt=None).look_at(quarantine_rows.find(connection, document))
        assert found is not None
        assert found.kind is Kind.FLIPPED
        with pytest.raises(Tampered):
            ward.quarantine.rescan(ward.owner, document)


@pytest.mark.parametrize("wrong", [ScanSettings(infected="keep"), ScanSettings(quarantine_days=0)])
def test_settings_that_make_no_sense(wrong: ScanSettings) -> None:
    with pytest.raises(BadSettings):
        wrong.judged()
