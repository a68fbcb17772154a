"""Exports: complete, harmless in a spreadsheet, an event of their own, cut files recognisable."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
from collections.abc import Generator, Iterator

import pytest

from tests.vault.audit.conftest import Rig, created, document, patient, person, viewed
from vault.audit.auditing import Format
from vault.audit.events import Action, Event, Note, Outcome, Subject
from vault.audit.formats.ahead import ahead
from vault.audit.formats.csv import COLUMNS, Dialect, Look, cell
from vault.audit.search import Filters
from vault.errors import Forbidden, StepUpRequired, Tampered
from vault.model import Role


def exported(rig: Rig, form: Format = Format.CSV, filters: Filters | None = None, look: Look | None = None) -> bytes:
    return b"".join(rig.auditing.export(rig.auditor(), filters or Filters(), form, look).chunks)


def rows(data: bytes, delimiter: str = ";") -> list[list[str]]:
    assert data.startswith(b"\xef\xbb\xbf")
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter))


def test_the_csv_holds_every_entry_and_the_export_itself(rig: Rig) -> None:
    rig.log.record_all([created(1), *[viewed(number) for number in range(50)]])
    header, *body, end = rows(exported(rig))
    assert tuple(header) == COLUMNS
    assert [row[0] for row in body] == [str(position) for position in range(53)]
    assert {len(row) for row in (header, *body, end)} == {len(COLUMNS)}
    assert body[-1][3] == "audit.export"
    assert end[:4] == ["#", "complete", "count=53", "last=52"]
    view = dict(zip(header, body[3], strict=True))
    assert (view["libelle"], view["actor_name"], view["actor_role"]) == ("Document consulté", "Dr 1", "clinician")
    assert view["document_ref"] == document(1)
    assert view["patient_name"] == ""
    assert patient(1) not in view["patient_ref"]


def test_dialects(rig: Rig) -> None:
    rig.log.record(viewed(1))
    french, english = exported(rig), exported(rig, look=Look(Dialect.EN))
    assert french.count(b"\r\n") == french.count(b"\n")
    assert rows(english, ",")[2][4] == "Document viewed"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+33", "'+33"),
        ("-2", "'-2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "' =1"),
        ("\r\n=1", "'  =1"),
        ("＝1", "'＝1"),
        (" =1", "' =1"),
        ("a\r\nb;c", "a  b;c"),
        ("\x1b[31mred", "[31mred"),
        ("\u202eevil", "evil"),
        ("Dupont-Martin", "Dupont-Martin"),
    ],
)
def test_no_cell_is_a_formula(value: str, shown: str) -> None:
    assert cell(value) == shown


def test_a_hostile_reason_stays_one_cell(rig: Rig) -> None:
    note = Note(reason='=HYPERLINK("http://x";"y")\r\n"2;3')
    rig.log.record(Event(Action.ACCESS_BREAKGLASS, Outcome.SUCCESS, person(1), Subject(patient=patient(1)), note))
    row = dict(zip(COLUMNS, rows(exported(rig))[2], strict=True))
    assert row["reason"] == '\'=HYPERLINK("http://x";"y")  "2;3'


def test_json_lines(rig: Rig) -> None:
    rig.log.record_all([viewed(number) for number in range(5)])
    lines = [json.loads(line) for line in exported(rig, Format.JSONL).splitlines()]
    assert [line["position"] for line in lines[:-1]] == list(range(7))
    assert lines[-1] == {"complete": True, "count": 7, "last": 6}
    assert lines[2]["action"] == "document.view"


def test_a_filtered_export_still_ends_with_its_own_event(rig: Rig) -> None:
    rig.log.record_all([viewed(number, of=number % 3) for number in range(30)])
    lines = [json.loads(line) for line in exported(rig, Format.JSONL, Filters(patient=patient(2))).splitlines()]
    assert len(lines) == 12
    assert lines[-2]["action"] == "audit.export"
    assert lines[-2]["changed"] == "jsonl patient" or lines[-2]["changed"] == "jsonl"


def test_the_export_is_durable_before_its_first_byte(rig: Rig) -> None:
    file = rig.auditing.export(rig.auditor(), Filters(), Format.CSV)
    assert rig.auditing.size() == file.receipt.position + 1


def test_entries_written_meanwhile_are_not_in_the_file(rig: Rig) -> None:
    rig.log.record_all([viewed(number) for number in range(3_000)])
    file = rig.auditing.export(rig.auditor(), Filters(), Format.JSONL)
    first = next(file.chunks)
    rig.log.record_all([viewed(number) for number in range(100)])
    lines = (first + b"".join(file.chunks)).splitlines()
    assert json.loads(lines[-1]) == {"complete": True, "count": 3_002, "last": 3_001}


def test_export_wants_the_right_and_a_fresh_factor(rig: Rig) -> None:
    with pytest.raises(Forbidden):
        rig.auditing.export(person(1, Role.CLINICIAN, rig.clock.now), Filters(), Format.CSV)
    stale = rig.auditor()
    rig.clock.advance(minutes=6)
    with pytest.raises(StepUpRequired):
        rig.auditing.export(stale, Filters(), Format.CSV)
    actions = [line.code for line in rig.auditing.timeline(rig.auditor(), Filters()).page.items[1:3]]
    assert actions == ["step_up_required", "forbidden"]


def test_pages_made_ahead_keep_their_order_and_their_errors() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise Tampered("second page")

    assert list(ahead(iter(range(50)))) == list(range(50))
    pages = ahead(broken())
    assert next(pages) == 1
    with pytest.raises(Tampered):
        next(pages)


def test_a_reader_who_leaves_stops_the_export(rig: Rig) -> None:
    rig.log.record_all([viewed(number) for number in range(9_000)])
    before = threading.enumerate()
    chunks = rig.auditing.export(rig.auditor(), Filters(), Format.BUNDLE).chunks
    assert isinstance(chunks, Generator)
    next(chunks)
    makers = [thread for thread in threading.enumerate() if thread not in before]
    assert [maker.name for maker in makers] == ["log-pages"]
    chunks.close()
    assert not makers[0].is_alive()


def strict(data: str, delimiter: str) -> list[list[str]]:
    """A reader of RFC 4180 as it is written: CRLF ends a record, a quote only opens and closes a field or is doubled."""
    bare, quoted = rf'[^"{delimiter}\r\n]*', r'"(?:[^"]|"")*"'
    record = re.compile(rf"(?:{quoted}|{bare})(?:{delimiter}(?:{quoted}|{bare}))*\r\n")
    records, at = [], 0
    while at < len(data):
        found = record.match(data, at)
        assert found is not None, data[at : at + 80]
        cells = re.findall(rf"({quoted}|{bare})(?:{delimiter}|\r\n)", found[0])
        records.append([cell[1:-1].replace('""', '"') if cell.startswith('"') else cell for cell in cells])
        at = found.end()
    return records


HOSTILE = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "＝1",
    "＋1",
    "－1",
    "＠1",
    '";=1;"',
    '"\r\n=1',
    ",=1",
    "\x1b[31m=1",
    "'=1",
)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_strict_reader_finds_no_formula_in_any_cell(rig: Rig, dialect: Dialect) -> None:
    about = Subject(patient=patient(1))
    glass = [Event(Action.ACCESS_BREAKGLASS, Outcome.SUCCESS, person(1), about, Note(reason=each)) for each in HOSTILE]
    rig.log.record_all([created(1), *glass])
    records = strict(exported(rig, look=Look(dialect)).decode("utf-8-sig"), dialect.delimiter)
    assert len(records) == 1 + rig.auditing.size() + 1
    for cells in records:
        assert len(cells) == len(COLUMNS)
        for shown in cells:
            assert not re.match(r"\s*[=+\-@＝＋－＠\t\r\n]", shown), shown
            assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown), shown
