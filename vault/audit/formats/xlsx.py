"""Owns the workbook copy of the log (ECMA-376 SpreadsheetML), written as a stream. It must not know where lines come from.

Written by hand because the libraries for it keep rows in memory or in temporary files, in plaintext. Every cell is an
inline string: nothing in it is ever a formula.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Protocol
from xml.sax.saxutils import escape

from vault.audit.formats.csv import COLUMNS
from vault.audit.formats.zips import CHUNK, Sink, archive, member

ROWS: Final = 1_000_000
"""Rows of a sheet; the format ends at 1,048,576, so the next ones go to a second sheet."""
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_XML: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


class _File(Protocol):
    def write(self, data: bytes, /) -> int: ...


def write(pages: Iterable[list[tuple[str, ...]]], made_at: int) -> Iterator[bytes]:
    """The workbook in chunks, from cells in the order of the CSV's columns; its last row says that it is complete."""
    sink = Sink()
    remaining = iter(pages)
    sheets = 0
    held: list[tuple[str, ...]] = []
    count, last = 0, "-1"
    with archive(sink) as book:
        is_over = False
        while not is_over:
            sheets += 1
            with book.open(member(f"xl/worksheets/sheet{sheets}.xml", made_at), "w", force_zip64=True) as sheet:
                _start(sheet)
                rows = 0
                while True:
                    held = held or next(remaining, [])
                    if not held:
                        is_over = True
                        _row(sheet, ("#", "complete", f"count={count}", f"last={last}"))
                        break
                    taken, held = held[: ROWS - rows], held[ROWS - rows :]
                    for values in taken:
                        _row(sheet, values)
                    rows, count, last = rows + len(taken), count + len(taken), taken[-1][0]
                    if sink.held >= CHUNK:
                        yield sink.take()
                    if rows == ROWS:
                        break
                sheet.write(b"</sheetData></worksheet>")
        for name, text in _frame(sheets).items():
            book.writestr(member(name, made_at), text)
    yield sink.take()


def _start(sheet: _File) -> None:
    pane = (
        '<sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2" state="frozen"/></sheetView></sheetViews>'
    )
    sheet.write(f'{_XML}<worksheet xmlns="{_MAIN}">{pane}<sheetData>'.encode())
    _row(sheet, COLUMNS)


def _row(sheet: _File, values: tuple[str, ...]) -> None:
    texts = [f'<c t="inlineStr"><is><t xml:space="preserve">{escape(_NOT_XML.sub("", value))}</t></is></c>' for value in values]
    sheet.write(f"<row>{''.join(texts)}</row>".encode())


def _frame(sheets: int) -> dict[str, str]:
    """The parts around the sheets."""
    numbers = range(1, sheets + 1)
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{kind}.worksheet+xml"/>' for n in numbers
    )
    entries = "".join(f'<sheet name="Journal {n}" sheetId="{n}" r:id="rId{n}"/>' for n in numbers)
    links = "".join(f'<Relationship Id="rId{n}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n in numbers)
    return {
        "[Content_Types].xml": f'{_XML}<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>{overrides}</Types>',
        "_rels/.rels": f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{entries}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{links}</Relationships>',
    }
