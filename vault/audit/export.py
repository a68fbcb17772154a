"""Owns an export: a bounded snapshot of the log read by pages and written in a format, in constant memory.

It must not know who may. The snapshot ends with the export's own event. Pages are read one transaction each, so that a slow
reader holds no lock; what is below the end never changes, so the pages fit together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy import select

from vault.audit.append import AuditLog, Receipt
from vault.audit.entries import Entry
from vault.audit.formats import csv, fhir, jsonl, syslog, xlsx
from vault.audit.formats.csv import Look
from vault.audit.groups import PatientKeys
from vault.audit.lines import Line, line_of
from vault.audit.reading import COLUMNS, PAGE, Reader, Record
from vault.audit.search import Filters, Search
from vault.model import PatientId, PersonId
from vault.storage.schema import audit_entries

_NOBODY: Final[tuple[PatientId | None, PatientKeys | None]] = None, None


def no_names(_wanted: Sequence[PatientId]) -> dict[PatientId, str]:
    """For readers who may not know who the patients are."""
    return {}


class Export:
    """One export of the entries that ``filters`` let through, up to and including ``receipt``'s."""

    def __init__(
        self,
        log: AuditLog,
        filters: Filters,
        receipt: Receipt,
        people: Mapping[PersonId, str],
        patients: Callable[[Sequence[PatientId]], Mapping[PatientId, str]] | None = None,
    ) -> None:
        """``people`` and ``patients`` give the names that the reader may have; patients' are asked for page by page."""
        self._log = log
        self._filters = filters
        self._receipt = receipt
        self._people = people
        self._patients = patients or no_names
        self._reader = Reader(log, is_one_pass=True)
        self._count = 0
        self._last = -1

    def records(self) -> Iterator[list[Record]]:
        """The entries in order, a page at a time; the export's own entry is always the last."""
        for page in self._pages():
            yield self._reader.open(page)

    def _pages(self) -> Iterator[list[Entry]]:
        search = Search(self._log)
        ways = search.ways(self._filters)
        own = self._receipt.position
        with self._log.db.read() as connection:
            start, end = search.bounds(connection, self._filters, own)
        while start < end:
            rows = self._reader.rows(search.stretch(ways, start, end).rows(PAGE))
            if not rows:
                break
            yield self._taken(rows)
            start = rows[-1].position + 1
        yield self._taken(self._reader.rows(select(*COLUMNS).where(audit_entries.c.position == own)))

    def _taken(self, page: list[Entry]) -> list[Entry]:
        self._count += len(page)
        self._last = page[-1].position
        return page

    def _lines(self) -> Iterator[list[Line]]:
        for page in self.records():
            patients = self._patients(list({record.patient for record in page if record.patient}))
            yield [line_of(record, self._people, patients) for record in page]

    def _cells(self, look: Look) -> Iterator[list[tuple[str, ...]]]:
        """For spreadsheets, without a ``Record`` and a ``Line`` in between: they cost more than all the ciphers."""
        cells, reader = csv.Cells(look, self._people), self._reader
        for page in self._pages():
            known = reader.patients(page)
            names = self._patients([known[blind][0] for blind in {entry.patient_index for entry in page} if blind in known])
            made = []
            for entry in page:
                patient, keys = known.get(entry.patient_index or b"", _NOBODY)
                made.append(cells.of(entry.position, reader.unsealed(entry, keys), names.get(patient, "") if patient else ""))
            yield made

    def csv(self, look: Look) -> Iterator[bytes]:
        """The spreadsheet copy."""
        yield from csv.write(self._cells(look), look)
        yield csv.trailer(self._count, self._last, look)

    def xlsx(self, look: Look) -> Iterator[bytes]:
        """The workbook."""
        yield from xlsx.write(self._cells(look), self._receipt.at)

    def fhir(self, origin: str) -> Iterator[bytes]:
        """FHIR R4 AuditEvent resources."""
        yield from fhir.write(self._lines(), origin)

    def syslog(self) -> Iterator[bytes]:
        """RFC 5424 messages; without names, whatever the reader may see."""
        yield from syslog.write(self._lines(), "coffre")

    def jsonl(self) -> Iterator[bytes]:
        """The copy for programs."""
        yield from jsonl.write(self._lines())
        yield jsonl.trailer(self._count, self._last)
