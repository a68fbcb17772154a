"""Quarantine: no way but its own reaches what is in it, in the use cases, in the rows, in the keys and on the disk."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers.scanner import EICAR
from tests.vault.records.desk import scan
from tests.vault.records.infected import infected_pdf
from tests.vault.records.tray import renderer as renderer  # noqa: PLC0414  # the fixture, by its own name
from tests.vault.records.ward import HIT, Odd, Ward, Wards, document_of
from tests.vault.records.ward import odd as odd  # noqa: PLC0414  # the fixture, by its own name
from tests.vault.records.ward import wards as wards  # noqa: PLC0414  # the same
from vault.audit.events import Action, Event, Outcome, Subject
from vault.errors import Conflict, LogUnavailable, NotFound, Tampered, VaultError
from vault.model import DocumentId
from vault.records.documents import quarantine_rows
from vault.settings import ScanSettings

__all__ = ["odd", "renderer", "wards"]

# --- nothing opens it


def ways_in(ward: Ward, document: DocumentId) -> dict[str, Callable[[], object]]:
    """Every use case that takes the id of a document or a draft, but the quarantine's own."""
    inbox, shelf, people = ward.tray.inbox, ward.desk.documents, ward.desk
    identity = people.patients.get(people.clinician, people.patient).identity
    carer, front = people.clinician, people.reception
    return {
        "inbox.get": lambda: inbox.get(front, document),
        "inbox.page": lambda: inbox.page(front, document, 1, 400),
        "inbox.concordance": lambda: inbox.concordance(front, document, identity),
        "inbox.file": lambda: inbox.file(front, document, people.patient, type="11502-2", act_date=None),
        "inbox.take_back": lambda: inbox.take_back(front, document),
        "inbox.discard": lambda: inbox.discard(front, document),
        "documents.describe": lambda: shelf.describe(carer, document),
        "documents.versions": lambda: shelf.versions(carer, document),
        "documents.view": lambda: shelf.open(carer, document, Action.DOCUMENT_VIEW),
        "documents.download": lambda: shelf.open(carer, document, Action.DOCUMENT_DOWNLOAD),
        "documents.print": lambda: shelf.open(carer, document, Action.DOCUMENT_PRINT),
        "documents.older": lambda: shelf.open(carer, document, Action.DOCUMENT_VIEW, version=1),
        "documents.page": lambda: shelf.page(carer, document, 1, 400),
        "documents.text": lambda: shelf.text(carer, document, 1),
        "documents.pdf_copy": lambda: shelf.pdf_copy(carer, document),
        "documents.refile": lambda: shelf.refile(carer, document, people.other_patient, reason="erreur"),
        "documents.replace": lambda: shelf.replace(carer, document, file_name="a.pdf", body=io.BytesIO(scan())),
    }


def test_no_other_way_reaches_it_nor_knows_of_it(odd: Odd, wards: Wards) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        document = document_of(ward.send(scan()))
        assert ward.tray.inbox.list(ward.desk.reception).items == ()
        assert ward.tray.inbox.count(ward.desk.reception) == 0
        assert ward.desk.documents.list(ward.desk.clinician, ward.desk.patient).items == ()
        for name, way in ways_in(ward, document).items():
            with pytest.raises((NotFound, Conflict)) as refused:
                way()
            unknown = ways_in(ward, DocumentId("0" * 32))[name]
            with pytest.raises(VaultError) as other:
                unknown()
            assert (type(refused.value), name) == (type(other.value), name)
        assert ward.apart() == [document]


def test_a_row_that_is_called_a_draft_or_a_document_does_not_open(odd: Odd, wards: Wards) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        document, desk = document_of(ward.send(scan())), ward.desk
        desk.execute("UPDATE documents SET state = 'draft' WHERE id = ?", document)
        with pytest.raises(Tampered):
            ward.tray.inbox.list(desk.reception)
        for way in ("inbox.get", "inbox.page", "inbox.file"):
            with pytest.raises(Tampered):
                ways_in(ward, document)[way]()
        desk.execute("UPDATE documents SET state = 'filed', patient = ? WHERE id = ?", desk.patient, document)
        for way in ("documents.describe", "documents.download", "documents.page"):
            with pytest.raises(Tampered):
                ways_in(ward, document)[way]()


def test_the_key_is_out_of_reach_even_with_a_row_in_hand(odd: Odd, wards: Wards) -> None:
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        document, rooms = document_of(ward.send(scan())), ward.desk.documents.rooms
        with rooms.db.read() as connection:
            stored = quarantine_rows.find(connection, document)
        seen = rooms.log.record(Event(Action.DOCUMENT_VIEW, Outcome.GRANTED, ward.owner, Subject(document=document)))
        with pytest.raises(NotFound):
            rooms.bodies.open(seen, stored)
        with pytest.raises(Tampered):
            rooms.bodies.open(seen, replace(stored, state="draft"))
        with pytest.raises(Tampered):
            rooms.bodies.reseal(stored, ward.desk.scope())
        with pytest.raises(LogUnavailable):
            rooms.bodies.open_apart(seen, stored)


def test_nothing_of_it_stands_in_clear(odd: Odd, wards: Wards, tmp_path: Path) -> None:
    body = infected_pdf()
    with odd(reply=HIT) as scanner, wards(ScanSettings(scanner.path)) as ward:
        ward.send(body)
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        for secret in (EICAR, b"Zephyrin", b"Win.Test"):
            assert secret not in kept
        (record,) = [each for each in ward.desk.log() if each.action is Action.DOCUMENT_QUARANTINE]
        assert "Zephyrin" not in str(record)
        assert ("document.upload", "failed") not in ward.desk.told()
