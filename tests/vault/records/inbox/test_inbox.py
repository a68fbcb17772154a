"""The inbox: sealed from the first byte, filed once, taken back, and never with the wrong patient by itself."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from tests.vault.records.desk import in_another_session, scan
from tests.vault.records.tray import Tray
from tests.vault.records.tray import renderer as renderer  # noqa: PLC0414  # the fixture, by its own name
from tests.vault.records.tray import tray as tray  # noqa: PLC0414  # the same
from tests.vault.rendering import papers
from vault.audit.events import Action
from vault.errors import (
    AlreadyPresent,
    Conflict,
    DigestMismatch,
    EmptyDocument,
    Forbidden,
    IncompleteBody,
    Invalid,
    KeysUnavailable,
    NotFound,
    Tampered,
    TooLarge,
    UnsupportedType,
    VaultError,
)
from vault.model import Actor, Role
from vault.rendering.recognise import MediaType

TODAY = date(2026, 11, 23)


def test_a_scan_is_taken_in_looked_at_and_filed(tray: Tray) -> None:
    content = papers.pdf(3)
    draft = tray.put(content)
    assert (draft.file_name, draft.pages, draft.size, draft.trouble) == ("Scan_0146.pdf", 3, len(content), None)
    assert tray.inbox.list(tray.desk.clinician).items == (draft,)
    assert tray.inbox.page(tray.desk.reception, draft.id, 2, 400).pages == 3
    filed = tray.file(draft)
    assert tray.inbox.count(tray.desk.reception) == 0
    assert tray.exact(draft.id, tray.desk.clinician) == content
    (listed,) = tray.desk.documents.list(tray.desk.clinician, tray.desk.patient).items
    assert (listed.id, listed.type, listed.act_date) == (draft.id, "11502-2", date(2026, 9, 1))
    assert listed == replace(filed, is_elsewhere=False)  # type: ignore[type-var]  # a Document


def test_filing_moves_no_byte(tray: Tray) -> None:
    draft = tray.put()
    path = tray.desk.blob_path(draft.id)
    before, row = path.stat(), tray.desk.row(draft.id)
    tray.file(draft)
    after = tray.desk.row(draft.id)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert after["blob"] == row["blob"]
    assert after["scope"] != row["scope"]
    assert after["data_key_sealed"] != row["data_key_sealed"]


def test_every_step_stands_in_the_log_without_a_name(tray: Tray) -> None:
    draft = tray.put()
    tray.inbox.page(tray.desk.reception, draft.id, 1, 200)
    tray.inbox.page(tray.desk.reception, draft.id, 2, 200)
    tray.file(draft)
    tray.inbox.take_back(tray.desk.reception, draft.id)
    tray.inbox.discard(tray.desk.reception, draft.id)
    assert tray.desk.told() == [
        ("document.upload", "success"),
        ("document.preview", "granted"),
        ("document.refile", "success"),
        ("document.refile", "success"),
        ("document.delete", "success"),
    ]


# --- who --------------------------------------------------------------------------------------------------------------


def test_auditors_see_no_inbox(tray: Tray) -> None:
    draft, auditor = tray.put(), tray.desk.auditor
    acts: tuple[Callable[[], object], ...] = (
        lambda: tray.put(actor=auditor),
        lambda: tray.inbox.list(auditor),
        lambda: tray.inbox.count(auditor),
        lambda: tray.inbox.get(auditor, draft.id),
        lambda: tray.inbox.page(auditor, draft.id, 1, 100),
        lambda: tray.file(draft, actor=auditor),
        lambda: tray.inbox.take_back(auditor, draft.id),
        lambda: tray.inbox.discard(auditor, draft.id),
    )
    for act in acts:
        with pytest.raises(Forbidden):
            act()
    assert tray.inbox.count(tray.desk.reception) == 1


def test_a_draft_is_no_document_until_it_is_filed(tray: Tray) -> None:
    draft = tray.put()
    for action in (Action.DOCUMENT_VIEW, Action.DOCUMENT_DOWNLOAD, Action.DOCUMENT_PRINT):
        with pytest.raises(NotFound):
            tray.desk.documents.open(tray.desk.clinician, draft.id, action)
    with pytest.raises(NotFound):
        tray.desk.documents.describe(tray.desk.reception, draft.id)
    tray.file(draft)
    with pytest.raises(NotFound):
        tray.inbox.get(tray.desk.reception, draft.id)
    with pytest.raises(NotFound):
        tray.inbox.page(tray.desk.reception, draft.id, 1, 100)


# --- bad input --------------------------------------------------------------------------------------------------------


class Torn:
    """A sender who goes away in the middle."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        piece = self._content.read(size)
        if not piece:
            raise EOFError
        return piece


@pytest.mark.parametrize(
    ("body", "options", "error"),
    [
        (io.BytesIO(b""), {}, EmptyDocument),
        (io.BytesIO(b"MZ\x90\x00" + bytes(100)), {}, UnsupportedType),
        (io.BytesIO(b"<html><script>alert(1)</script>"), {}, UnsupportedType),
        (io.BytesIO(scan() + b"PK\x05\x06" + bytes(18)), {}, UnsupportedType),
        (io.BytesIO(scan(5 << 20)), {}, TooLarge),
        (io.BytesIO(scan()), {"declared_size": 5 << 20}, TooLarge),
        (io.BytesIO(scan()), {"declared_size": 300_000}, IncompleteBody),
        (Torn(scan()), {}, IncompleteBody),
        (io.BytesIO(scan()), {"expected_sha256": bytes(32)}, DigestMismatch),
        (io.BytesIO(scan()), {"file_name": "a\r\nb.pdf"}, Invalid),
        (io.BytesIO(scan()), {"file_name": "a" * 5000}, Invalid),
    ],
)
def test_what_is_refused_leaves_nothing(tray: Tray, body: object, options: dict[str, object], error: type[VaultError]) -> None:
    wanted = {"file_name": "scan.pdf", "body": body} | options
    with pytest.raises(error):
        tray.inbox.deposit(tray.desk.reception, **wanted)  # type: ignore[arg-type]  # as asked
    assert tray.inbox.count(tray.desk.reception) == 0
    assert tray.desk.files() == []
    assert tray.desk.told() == [("document.upload", "failed")]


def test_an_unreadable_scan_is_kept_and_says_so(tray: Tray) -> None:
    assert tray.put(papers.pdf(password="secret")).trouble == "encrypted"
    assert tray.put(scan()).trouble == "broken"
    assert {draft.trouble for draft in tray.inbox.list(tray.desk.reception).items} == {"encrypted", "broken"}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"type": "nothing"}, Invalid),
        ({"act_date": date(2999, 1, 1)}, Invalid),
        ({"patient": "f" * 32}, NotFound),
    ],
)
def test_a_refused_filing_leaves_the_draft(tray: Tray, changes: dict[str, object], error: type[VaultError]) -> None:
    draft = tray.put()
    with pytest.raises(error):
        tray.file(draft, **changes)
    assert tray.inbox.get(tray.desk.reception, draft.id) == draft


# --- doubles ----------------------------------------------------------------------------------------------------------


def test_the_same_scan_waits_only_once(tray: Tray) -> None:
    draft = tray.put()
    with pytest.raises(AlreadyPresent) as refused:
        tray.put(papers.pdf(), name="again.pdf")
    assert refused.value.details["document"] == draft.id
    assert len(tray.desk.files()) == 1


def test_a_double_in_the_same_file_is_refused_and_elsewhere_is_told(tray: Tray) -> None:
    content = papers.pdf()
    tray.desk.deposit(data=content, patient=tray.desk.other_patient, actor=tray.desk.stranger)
    draft = tray.put(content)
    assert tray.inbox.list(tray.desk.reception).items[0].is_filed_elsewhere
    with pytest.raises(AlreadyPresent):
        tray.file(draft, patient=tray.desk.other_patient)
    assert tray.inbox.count(tray.desk.reception) == 1
    assert tray.file(draft).is_elsewhere is True  # type: ignore[attr-defined]  # a Document


def test_two_people_filing_one_draft_have_one_winner(tray: Tray) -> None:
    draft = tray.put()
    outcomes: list[str] = []

    def attempt(patient: object, actor: Actor) -> None:
        try:
            tray.file(draft, patient=patient, actor=actor)
            outcomes.append("filed")
        except (Conflict, NotFound) as error:
            outcomes.append(error.code)

    threads = [
        threading.Thread(target=attempt, args=(patient, actor))
        for patient, actor in ((tray.desk.patient, tray.desk.reception), (tray.desk.other_patient, tray.desk.stranger)) * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("filed") == 1
    assert len(outcomes) == 6


# --- taking back ------------------------------------------------------------------------------------------------------


def test_a_filing_is_taken_back_and_filed_again_elsewhere(tray: Tray) -> None:
    content = papers.pdf()
    draft = tray.put(content)
    tray.file(draft)
    assert tray.inbox.take_back(tray.desk.reception, draft.id) == draft
    assert tray.desk.documents.list(tray.desk.clinician, tray.desk.patient).items == ()
    with pytest.raises(NotFound):
        tray.desk.documents.open(tray.desk.clinician, draft.id, Action.DOCUMENT_VIEW)
    tray.file(draft, patient=tray.desk.other_patient)
    assert tray.exact(draft.id, tray.desk.stranger) == content


def test_only_ones_own_recent_filing_is_taken_back(tray: Tray) -> None:
    draft = tray.put()
    tray.file(draft)
    with pytest.raises(Conflict) as refused:
        tray.inbox.take_back(in_another_session(tray.desk.reception), draft.id)
    assert refused.value.details["reason"] == "too_late"
    tray.desk.clock.advance(seconds=301)
    with pytest.raises(Conflict):
        tray.inbox.take_back(tray.desk.reception, draft.id)


def test_what_a_clinician_has_taken_over_stays(tray: Tray) -> None:
    draft = tray.put()
    tray.file(draft)
    tray.desk.execute("UPDATE documents SET integrated_at = 1 WHERE id = ?", draft.id)
    with pytest.raises(Conflict) as refused:
        tray.inbox.take_back(tray.desk.reception, draft.id)
    assert refused.value.details["reason"] == "already_moved"


def test_a_discarded_draft_is_gone_with_its_bytes(tray: Tray) -> None:
    draft = tray.put()
    tray.inbox.discard(tray.desk.reception, draft.id)
    assert tray.desk.files() == []
    with pytest.raises(NotFound):
        tray.inbox.discard(tray.desk.reception, draft.id)
    filed = tray.put()
    tray.file(filed)
    with pytest.raises(NotFound):
        tray.inbox.discard(tray.desk.reception, filed.id)
    assert len(tray.desk.files()) == 1


# --- at rest ----------------------------------------------------------------------------------------------------------


def test_nothing_of_a_draft_stands_in_clear(tray: Tray, tmp_path: Path) -> None:
    tray.put(papers.pdf(text="MARQUEUR-PAGE"), name="MARQUEUR-NOM.pdf")
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"MARQUEUR" not in held


def test_a_swapped_draft_does_not_open(tray: Tray) -> None:
    one, other = tray.put(), tray.put(papers.pdf(1))
    stolen = tray.desk.row(one.id)
    for column in ("data_key_sealed", "description_sealed"):
        kept = tray.desk.row(other.id)[column]
        tray.desk.execute(f"UPDATE document_versions SET {column} = ? WHERE document = ?", stolen[column], other.id)
        with pytest.raises(Tampered):
            tray.inbox.page(tray.desk.reception, other.id, 1, 100)
        tray.desk.execute(f"UPDATE document_versions SET {column} = ? WHERE document = ?", kept, other.id)
    assert tray.inbox.page(tray.desk.reception, other.id, 1, 100).pages == 1


def test_without_the_token_nothing_is_taken_in(tray: Tray) -> None:
    tray.desk.house.keys.break_down()
    with pytest.raises(KeysUnavailable):
        tray.put()
    tray.desk.house.keys.repair()
    assert tray.desk.files() == []
    assert tray.put().pages == 2


def test_every_role_of_the_front_may_use_the_inbox(tray: Tray) -> None:
    draft = tray.put()
    for role in (Role.LOCUM, Role.OWNER, Role.CLINICIAN):
        assert tray.inbox.get(replace(tray.desk.clinician, role=role), draft.id).id == draft.id
    assert MediaType(draft.media_type) is MediaType.PDF
