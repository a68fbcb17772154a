"""The rows of the table, by name. A row yields figures; modules are imported only when their row runs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from tests.bench.measure import Figure, Row


def _later(module: str, function: str) -> Row:
    def run() -> Iterator[Figure]:
        row: Row = getattr(import_module(f"tests.bench.rows.{module}"), function)
        yield from row()

    return run


ROWS: dict[str, tuple[Row, str]] = {
    "seal": (_later("sealing", "seal"), "seal and hash 256 MiB in memory"),
    "open": (_later("sealing", "open_"), "authenticate and decrypt 256 MiB"),
    "upload": (_later("traffic", "upload"), "256 MiB over HTTP, durable when answered"),
    "upload-small": (_later("traffic", "upload_small"), "200 KB scans from 8 clients, durable"),
    "download": (_later("traffic", "download"), "256 MiB over HTTP"),
    "open-small": (_later("traffic", "open_small"), "a 200 KB document from 8 clients, its event durable first"),
    "range": (_later("traffic", "range_"), "64 KiB anywhere in a large document, and in 1 MiB"),
    "scale": (_later("scale", "scale"), "upload, open and list among 10,000 documents and among many"),
    "start": (_later("scale", "start"), "from the command to ready, with many documents"),
    "memory": (_later("traffic", "memory"), "resident memory over a large document up and down"),
    "log": (_later("log", "log"), "durable events, 1, 16 and 64 clients"),
    "export": (_later("evidence", "export"), "the log as evidence, CSV, JSON Lines, workbook and FHIR"),
    "verify": (_later("evidence", "verify"), "the offline verifier over a whole log"),
    "questions": (
        _later("questions", "questions"),
        "the first page of what auditors ask, in a log and in one ten times as long",
    ),
    "token": (_later("keys", "token"), "unwrap through the key room, 1 and 8 threads"),
    "rotate": (_later("keys", "rotate"), "rewrap 20,000 and 200,000 scope keys while clinicians read"),
    "page": (_later("practice", "page"), "the first page of a 2 MB PDF"),
    "search": (
        _later("practice", "search"),
        "a search over 2,000 and 20,000 sealed patients on a token (COFFRE_BENCH_PATIENTS=200000)",
    ),
}
"""Name → (row, what it does)."""
