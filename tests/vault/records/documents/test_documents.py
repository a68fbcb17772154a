from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.vault.records.desk import PDF, Desk, in_another_session, open_desk, scan
from tests.vault.rendering.papers import pdf
from vault.audit.events import Action
from vault.errors import (
    AlreadyPresent,
    Busy,
    DigestMismatch,
    EmptyDocument,
    Forbidden,
    IncompleteBody,
    Invalid,
    KeysUnavailable,
    LogUnavailable,
    NotFound,
    TooLarge,
    UnsupportedType,
    VaultError,
)
from vault.model import DocumentId, PatientId
from vault.rendering.recognise import HEAD_BYTES
from vault.settings import MIB, LimitSettings


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with open_desk(tmp_path, clock) as desk:
        yield desk


def content(desk: Desk, document: DocumentId, start: int = 0, stop: int | None = None) -> bytes:
    with desk.documents.open(desk.clinician, document, Action.DOCUMENT_DOWNLOAD) as opened:
        return b"".join(opened.read(start, stop))


# --- the way in and out ---------------------------------------------------------------------------------------------------


def test_reception_files_and_a_clinician_gets_the_exact_bytes(desk: Desk) -> None:
    data = scan(3_000_000)
    filed = desk.deposit(data=data, act_date=date(2026, 9, 1), file_name="Bilan été.pdf", expected_sha256=sha(data))
    assert content(desk, filed.id) == data
    found = desk.documents.describe(desk.clinician, filed.id)
    assert (found.sha256, found.size, found.media_type) == (sha(data).hex(), len(data), "application/pdf")
    assert (found.type, found.act_date, found.file_name) == ("11502-2", date(2026, 9, 1), "Bilan été.pdf")
    assert found.deposited_by == desk.reception.person
    assert desk.told() == [("document.upload", "success"), ("document.download", "granted"), ("document.preview", "granted")]


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_the_sealed_digest_is_the_blobs(desk: Desk) -> None:
    filed = desk.deposit()
    assert filed.sealed_sha256 == hashlib.sha256(desk.blob_path(filed.id).read_bytes()).hexdigest()


def test_nothing_on_disk_names_the_document(desk: Desk) -> None:
    desk.deposit(data=scan() + b"% CANARY-CONTENT\n", file_name="CANARY-NAME.pdf")
    for path in desk.directory.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"CANARY" not in data, path
            assert b"11502-2" not in data, path


def test_ranges_are_served_from_the_middle(desk: Desk) -> None:
    data = scan(2_500_000)
    filed = desk.deposit(data=data)
    for start, stop in ((0, 1), (1_000_000, 1_000_001), (2_499_999, 2_500_000), (16_383, 16_385), (5, 2_400_000)):
        assert content(desk, filed.id, start, stop) == data[start:stop]
    assert content(desk, filed.id, 2_499_000, 9_999_999) == data[2_499_000:]


def test_a_page_is_pixels(desk: Desk) -> None:
    filed = desk.deposit(data=pdf(2))
    page = desk.documents.page(desk.clinician, filed.id, 2, 300)
    assert (page.pages, page.content[:4]) == (2, b"\xff\xd8\xff\xe0")


# --- one opening, one event -----------------------------------------------------------------------------------------------


def test_pages_and_ranges_of_one_opening_share_one_event(desk: Desk) -> None:
    filed = desk.deposit()
    for start in range(0, 100_000, 20_000):
        content(desk, filed.id, start, start + 10)
    assert desk.told().count(("document.download", "granted")) == 1
    desk.clock.advance(minutes=5, seconds=1)
    content(desk, filed.id)
    assert desk.told().count(("document.download", "granted")) == 2


def test_another_session_or_another_way_of_opening_is_another_event(desk: Desk) -> None:
    filed = desk.deposit()
    content(desk, filed.id)
    desk.documents.open(desk.clinician, filed.id, Action.DOCUMENT_VIEW).close()
    desk.documents.open(in_another_session(desk.clinician), filed.id, Action.DOCUMENT_VIEW).close()
    assert desk.told().count(("document.view", "granted")) == 2


def test_a_ticket_never_spares_the_policy(desk: Desk) -> None:
    filed = desk.deposit()
    content(desk, filed.id)
    desk.execute("DELETE FROM care_team")
    with pytest.raises(NotFound):
        content(desk, filed.id)


def test_the_event_is_durable_before_the_key_is_asked_for(desk: Desk) -> None:
    """The token dies after the description was opened: the grant is in the log, and then its failure, and no byte left."""
    filed = desk.deposit()
    opened = desk.documents.open(desk.clinician, filed.id, Action.DOCUMENT_DOWNLOAD)
    assert desk.told()[-1] == ("document.download", "granted")
    desk.house.people.roster.scopes.forget(desk.scope())
    desk.house.keys.break_down()
    with pytest.raises(KeysUnavailable):
        opened.read()
    desk.house.keys.repair()
    records = desk.log()
    assert (records[-1].action, records[-1].outcome) == (Action.DOCUMENT_DOWNLOAD, "failed")
    assert records[-1].ref == records[-2].id
    assert (records[-1].note or {}).get("code") == "keys_unavailable"


def test_no_log_no_access(desk: Desk) -> None:
    filed = desk.deposit()
    desk.documents.describe(desk.clinician, filed.id)
    desk.execute("CREATE TRIGGER full BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    with pytest.raises(LogUnavailable):
        desk.documents.open(desk.clinician, filed.id, Action.DOCUMENT_DOWNLOAD)
    before = desk.files()
    with pytest.raises(VaultError):
        desk.deposit(data=scan(seed=2))
    desk.execute("DROP TRIGGER full")
    assert [d.id for d in desk.documents.list(desk.clinician, desk.patient).items] == [filed.id]
    assert len(desk.files()) <= len(before) + 1


# --- who may --------------------------------------------------------------------------------------------------------------


def test_a_foreign_document_answers_like_an_unknown_one(desk: Desk) -> None:
    filed = desk.deposit()
    for document in (filed.id, DocumentId("0" * 32)):
        for act in (
            lambda: desk.documents.describe(desk.stranger, document),  # noqa: B023  # called at once
            lambda: desk.documents.open(desk.stranger, document, Action.DOCUMENT_VIEW),  # noqa: B023  # called at once
            lambda: desk.documents.page(desk.stranger, document, 1, 100),  # noqa: B023  # same
        ):
            with pytest.raises(NotFound):
                act()
    assert {outcome for _, outcome in desk.told()[1:]} == {"denied"}


def test_an_auditor_opens_nothing(desk: Desk) -> None:
    filed = desk.deposit()
    with pytest.raises(Forbidden):
        desk.documents.open(desk.auditor, filed.id, Action.DOCUMENT_DOWNLOAD)
    with pytest.raises(Forbidden):
        desk.documents.list(desk.auditor, desk.patient)
    with pytest.raises(Forbidden):
        desk.deposit(desk.auditor, scan(seed=9))


def test_a_role_that_never_may_learns_nothing_of_ids(desk: Desk) -> None:
    filed = desk.deposit()
    for document in (filed.id, DocumentId("0" * 32)):
        with pytest.raises(Forbidden):
            desk.documents.describe(desk.auditor, document)
        with pytest.raises(Forbidden):
            desk.documents.open(desk.auditor, document, Action.DOCUMENT_VIEW)
    for patient in (desk.patient, PatientId("0" * 32)):
        with pytest.raises(Forbidden):
            desk.documents.list(desk.auditor, patient)


def test_reception_sees_that_medical_documents_exist_and_no_more(desk: Desk) -> None:
    filed = desk.deposit(desk.clinician)
    (item,) = desk.documents.list(desk.reception, desk.patient).items
    assert (item.id, item.is_masked) == (filed.id, True)
    assert (item.type, item.file_name, item.sha256, item.media_type, item.act_date) == ("", "", "", "", None)
    with pytest.raises(Forbidden):
        desk.documents.open(desk.reception, filed.id, Action.DOCUMENT_VIEW)


def test_reception_opens_its_own_upload_and_administrative_papers(desk: Desk) -> None:
    own = desk.deposit()
    paper = desk.deposit(desk.clinician, scan(seed=2), type="51851-4")
    for document in (own.id, paper.id):
        desk.documents.open(desk.reception, document, Action.DOCUMENT_VIEW).close()


def test_a_list_has_pages_and_one_event(desk: Desk) -> None:
    ids = []
    for seed in range(5):
        ids.append(desk.deposit(data=scan(seed=seed)).id)
        desk.clock.advance(seconds=1)
    first = desk.documents.list(desk.clinician, desk.patient, limit=2)
    second = desk.documents.list(desk.clinician, desk.patient, before=first.items[-1].id, limit=2)
    third = desk.documents.list(desk.clinician, desk.patient, before=second.items[-1].id, limit=2)
    assert [d.id for page in (first, second, third) for d in page.items] == ids[::-1]
    assert [page.more for page in (first, second, third)] == [True, True, False]
    views = [record for record in desk.log() if record.action is Action.PATIENT_VIEW]
    assert len(views) == 1


# --- what is refused leaves nothing ---------------------------------------------------------------------------------------


class Broken(io.BytesIO):
    """A sender that goes away after ``at`` bytes: by an error, or by saying nothing more."""

    def __init__(self, data: bytes, at: int, error: type[Exception] | None) -> None:
        super().__init__(data[:at])
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        if not block and self._error:
            raise self._error("gone")
        return block


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("error", [None, OSError, EOFError])
def test_a_cut_upload_leaves_nothing(desk: Desk, share: float, error: type[Exception] | None) -> None:
    data = scan(3_000_000)
    body = Broken(data, int(len(data) * share), error)
    with pytest.raises(IncompleteBody):
        desk.deposit(data=data, body=body, declared_size=len(data))
    assert_nothing_kept(desk)


def test_what_it_is_not_is_told_before_more_than_its_head_is_waited_for(desk: Desk) -> None:
    waiting = Broken(b"MZ" + bytes(HEAD_BYTES - 2), HEAD_BYTES, AssertionError)
    with pytest.raises(UnsupportedType):
        desk.deposit(body=waiting, declared_size=3_000_000)
    assert_nothing_kept(desk)


def assert_nothing_kept(desk: Desk) -> None:
    assert desk.files() == []
    assert desk.documents.list(desk.clinician, desk.patient).items == ()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"body": io.BytesIO(b"")}, EmptyDocument),
        ({"body": io.BytesIO(b""), "declared_size": 0}, EmptyDocument),
        ({"declared_size": 5 * MIB}, TooLarge),
        ({"data": scan(4 * MIB + 1)}, TooLarge),
        ({"expected_sha256": bytes(32)}, DigestMismatch),
        ({"expected_sha256": bytes(31)}, Invalid),
        ({"data": b"<!doctype html><script>alert(1)</script>"}, UnsupportedType),
        ({"data": b"MZ" + bytes(500), "file_name": "bilan.pdf"}, UnsupportedType),
        ({"data": scan() + b"PK\x05\x06" + bytes(18)}, UnsupportedType),
        ({"type": "nothing"}, Invalid),
        ({"act_date": date(2126, 1, 1)}, Invalid),
        ({"act_date": date(1812, 1, 1)}, Invalid),
        ({"file_name": "a\r\nSet-Cookie: x.pdf"}, Invalid),
        ({"file_name": "a\x00.pdf"}, Invalid),
        ({"file_name": "a" * 5000}, Invalid),
        ({"patient": PatientId("0" * 32)}, NotFound),
    ],
    ids=lambda value: None if isinstance(value, dict) else value.__name__,
)
def test_a_refusal_is_told_and_leaves_nothing(desk: Desk, changes: dict[str, object], error: type[VaultError]) -> None:
    with pytest.raises(error):
        desk.deposit(**changes)  # type: ignore[arg-type]  # as parametrised
    assert_nothing_kept(desk)
    assert [action for action, outcome in desk.told() if outcome in {"failed", "denied"}] == ["document.upload"]


def test_the_kind_is_refused_before_the_rest_is_read(desk: Desk) -> None:
    body = io.BytesIO(b"MZ" + bytes(3_500_000))
    with pytest.raises(UnsupportedType):
        desk.deposit(body=body)
    assert body.tell() <= MIB


def test_a_body_over_the_limit_is_not_read_to_its_end(desk: Desk) -> None:
    body = io.BytesIO(PDF + bytes(20 * MIB))
    with pytest.raises(TooLarge):
        desk.deposit(body=body)
    assert body.tell() <= 6 * MIB


ODD_NAMES = (
    "'; DROP TABLE documents;--.pdf", "../../etc/passwd", "CON", "..", "", "=cmd()|x.pdf", "📄 été.pdf",
    "\u202egnp.exe", 'a"b.pdf', "C:\\scans\\bilan.pdf", "e\u0301.pdf",
)  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_kept_without_their_sting(desk: Desk, name: str) -> None:
    filed = desk.deposit(file_name=name)
    assert filed.file_name
    assert not set(filed.file_name) & set("/\\\r\n\x00\u202e")
    assert desk.documents.describe(desk.clinician, filed.id).file_name == filed.file_name


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_token_that_fails_at_any_call_leaves_nothing(desk: Desk, nth: int) -> None:
    desk.house.people.roster.scopes.forget(desk.scope())
    desk.house.keys.fail_at(nth)
    try:
        desk.deposit()
    except KeysUnavailable:
        assert_nothing_kept(desk)
        desk.house.keys.fail_at(0)
        desk.deposit()
    assert len(desk.files()) == 1


# --- the same bytes twice -------------------------------------------------------------------------------------------------


def test_the_same_bytes_are_filed_once_with_a_patient(desk: Desk) -> None:
    first = desk.deposit()
    with pytest.raises(AlreadyPresent) as caught:
        desk.deposit(file_name="again.pdf")
    assert caught.value.details["document"] == first.id
    assert len(desk.files()) == 1


def test_the_same_bytes_with_another_patient_are_filed_and_flagged(desk: Desk) -> None:
    first = desk.deposit()
    second = desk.deposit(patient=desk.other_patient)
    assert (first.is_elsewhere, second.is_elsewhere) == (False, True)


def test_the_fingerprint_is_no_digest(desk: Desk) -> None:
    """Who stole the database can't confirm that a known form is in it."""
    data = scan()
    filed = desk.deposit(data=data)
    assert sha(data) not in [value for value in desk.row(filed.id).values() if isinstance(value, bytes)]


def test_of_two_uploads_at_once_one_wins(desk: Desk) -> None:
    data = scan(1_500_000)
    answers: list[object] = []
    barrier = threading.Barrier(6)

    def upload() -> None:
        barrier.wait()
        try:
            answers.append(desk.deposit(data=data).id)
        except AlreadyPresent as error:
            answers.append(error)

    threads = [threading.Thread(target=upload) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [answer for answer in answers if isinstance(answer, str)]
    assert len(answers) == 6
    assert len(winners) == 1
    assert len(desk.files()) == 1


def test_too_many_uploads_at_once_wait_their_turn(tmp_path: Path, clock: Clock) -> None:
    with open_desk(tmp_path, clock, LimitSettings(document_mib=4, uploads=1)) as desk:
        desk.documents._deposits.turns.wait_s = 0.05
        entered, go = threading.Event(), threading.Event()

        class Slow(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                entered.set()
                go.wait(10)
                return super().read(size)

        slow = threading.Thread(target=lambda: desk.deposit(body=Slow(scan())))
        slow.start()
        entered.wait(10)
        with pytest.raises(Busy):
            desk.deposit(data=scan(seed=2))
        go.set()
        slow.join()
        assert len(desk.files()) == 1
