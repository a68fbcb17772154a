"""Copies for other programs: FHIR, workbook, syslog; and names, which are revealed for a reason only."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from tests.vault.audit.conftest import Rig, created, patient, person, viewed
from vault.audit.auditing import Format
from vault.audit.events import Action, Anonymous, Event, Note, Outcome, Purpose, Subject, System
from vault.audit.formats.csv import COLUMNS
from vault.audit.formats.syslog import framed
from vault.audit.search import Filters
from vault.errors import Forbidden, Invalid, StorageUnavailable
from vault.model import Client, Role

HOSTILE = Note(reason='=1+1 <b>&"]\\ \x1b[31m\r\n', purpose=Purpose.BTG, is_breakglass=True, code="x")


def every_action(rig: Rig) -> None:
    """One event of each action in the catalogue, and hostile texts."""
    subject = Subject(patient=patient(1), document=viewed(1).subject.document, version=2, person=person(5).person)
    rig.log.record_all([Event(action, Outcome.SUCCESS, person(1), subject) for action in Action])
    rig.log.record(Event(Action.ACCESS_BREAKGLASS, Outcome.SUCCESS, person(2), Subject(patient=patient(5)), HOSTILE))
    rig.log.record(Event(Action.AUTH_LOGIN, Outcome.DENIED, Anonymous("ab" * 16, client=Client("2001:db8::1"))))
    rig.log.record(Event(Action.LOG_HEARTBEAT, Outcome.SUCCESS, System("web")))


def exported(rig: Rig, form: Format, revealing: str = "") -> bytes:
    return b"".join(rig.auditing.export(rig.auditor(), Filters(), form, revealing=revealing).chunks)


def test_every_action_is_a_valid_fhir_audit_event(rig: Rig) -> None:
    every_action(rig)
    lines = exported(rig, Format.FHIR).splitlines()
    assert len(lines) == len(Action) + 5
    resources: list[Any] = [AuditEvent.model_validate_json(line) for line in lines]
    view = next(each for each in resources if each.subtype[0].code == "document.view")
    assert (view.action, view.outcome, view.type.code) == ("R", "0", "rest")
    assert [entity.role.code for entity in view.entity] == ["1", "3", "11", "13"]
    assert view.agent[0].who.identifier.value == person(1).person
    assert all(entity.name is None for each in resources for entity in each.entity), "no patient is named"


def sheets(data: bytes) -> list[list[list[str]]]:
    found = []
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert book.testzip() is None
        for name in sorted(name for name in book.namelist() if name.startswith("xl/worksheets/")):
            root = ET.fromstring(book.read(name))
            space = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
            assert root.findall(".//m:f", space) == [], "no cell is a formula"
            found.append([["".join(cell.itertext()) for cell in row] for row in root.iter(f"{{{space['m']}}}row")])
    return found


def test_the_workbook_holds_the_same_rows(rig: Rig) -> None:
    every_action(rig)
    (rows,) = sheets(exported(rig, Format.XLSX))
    assert tuple(rows[0]) == COLUMNS
    assert [row[0] for row in rows[1:-1]] == [str(position) for position in range(len(Action) + 5)]
    assert rows[-1][:2] == ["#", "complete"]
    hostile = next(row for row in rows if row[3] == "access.breakglass" and "[31m" in row[16])
    assert hostile[16] == "'=1+1 <b>&\"]\\ [31m  "


def test_syslog_messages_follow_rfc_5424(rig: Rig) -> None:
    every_action(rig)
    lines = exported(rig, Format.SYSLOG).splitlines()
    form = re.compile(
        rb"<(\d{1,3})>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z coffre coffre - [!-~]{1,32} "
        rb'\[entry@32473( [a-zA-Z]+="([^"\\\]]|\\["\\\]])*")+\]\Z'
    )
    assert len(lines) == len(Action) + 5
    assert all(form.match(line) for line in lines)
    failure = next(line for line in lines if b"document.integrity_failure" in line)
    assert failure.startswith(b"<106>1 "), "log audit, critical"
    assert framed(b"abc") == b"3 abc"


def test_names_are_revealed_for_a_reason_by_those_who_may(rig: Rig) -> None:
    rig.log.record_all([created(1), viewed(1, of=1)])
    reference = rig.auditing.timeline(rig.auditor(), Filters()).page.items[1].patient_ref
    assert rig.auditing.reveal(rig.auditor(), [reference, "0" * 32], "plainte du 12 mars") == {reference: "MARTIN Zoé 1"}
    line = rig.auditing.timeline(rig.auditor(), Filters(actions=(Action.AUDIT_REVEAL_IDENTITY,))).page.items[-1]
    assert (line.patient_ref, line.reason, line.patient_name) == ("", "plainte du 12 mars", "") or line.patient_ref == reference
    with pytest.raises(Invalid):
        rig.auditing.reveal(rig.auditor(), [reference], "  x ")
    with pytest.raises(Forbidden):
        rig.auditing.reveal(rig.auditor(Role.OWNER), [reference], "plainte du 12 mars")


def test_an_export_names_patients_only_when_revealed(rig: Rig) -> None:
    rig.log.record_all([created(1), created(5)])
    assert b"MARTIN" not in exported(rig, Format.CSV)
    named = exported(rig, Format.CSV, revealing="contrôle annuel de la CNIL").decode("utf-8-sig")
    assert "MARTIN Zoé 1" in named
    assert ";'=cmd|' /C calc'!A0;" in named, "a name that is a formula stays text"
    assert b"MARTIN" not in exported(rig, Format.BUNDLE, revealing="contrôle annuel de la CNIL")
    lines = [json.loads(line) for line in exported(rig, Format.JSONL).splitlines()]
    assert [line.get("action") for line in lines].count("audit.reveal_identity") == 2


def test_a_collector_gets_every_entry_once_and_after_a_cut_the_rest(rig: Rig, tmp_path: Path) -> None:
    rig.log.record_all([viewed(number) for number in range(30)])
    received: list[bytes] = []

    def collect(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            while data := connection.recv(65_536):
                received.append(data)

    def run() -> int:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=collect, args=(listening,))
            thread.start()
            sent = rig.auditing.forward(rig.auditor(), listening.getsockname()[:2], tmp_path / "state", None)
            thread.join()
            return sent

    assert run() == 32
    rig.log.record(viewed(99))
    assert run() == 1
    text = b"".join(received)
    positions = []
    while text:
        length, _, text = text.partition(b" ")
        found = re.search(rb'position="(\d+)"', text[: int(length)])
        assert found is not None
        positions.append(int(found[1]))
        text = text[int(length) :]
    assert positions == list(range(33))
    with pytest.raises(StorageUnavailable):
        rig.auditing.forward(rig.auditor(), ("127.0.0.1", 9), tmp_path / "state", None)
