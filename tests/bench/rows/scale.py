"""Does a full vault stay as quick as an empty one? Synthetic rows of other patients fill the catalogue; nobody opens them."""

from __future__ import annotations

import io
import os
import sqlite3
import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.bench.measure import Figure, seconds
from tests.bench.sizes import sized
from tests.journeys.site import Site
from tests.vault.records.crash import CLINICIAN, PATIENT, standing
from tests.vault.records.desk import scan
from vault.audit.events import Action

FEW = 10_000
MANY = sized("DOCUMENTS", 100_000, 1_000_000)
TURNS = 40


def _fill(database: Path, count: int, person: str) -> None:
    """``count`` documents of a thousand patients who are nobody."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    sealed = os.urandom(61), os.urandom(240), os.urandom(32)
    rows = [(os.urandom(16).hex(), f"{number % 1000:032x}") for number in range(count)]
    connection.executemany(
        "INSERT INTO documents (id, patient, version, state, deposited_at, deposited_by) VALUES (?, ?, 1, 'filed', 0, ?)",
        ((document, patient, person) for document, patient in rows),
    )
    connection.executemany(
        "INSERT INTO document_versions (document, version, blob, scope, data_key_sealed, description_sealed, size, sealed_size,"
        " sealed_sha256, fingerprint, mac, deposited_at, deposited_by, channel)"
        " VALUES (?, 1, ?, ?, ?, ?, 200000, 200300, ?, ?, 1, 0, ?, 'browser')",
        ((document, document, patient, *sealed[:2], sealed[2], os.urandom(32), person) for document, patient in rows),
    )
    connection.commit()
    connection.close()


def _timed(directory: Path, seed: int) -> dict[str, float]:
    """Median milliseconds of an upload, an opening and a list."""
    with standing(directory) as vault:

        def upload(number: int) -> str:
            body = io.BytesIO(scan(200_000, seed + number))
            return vault.documents.store(CLINICIAN, PATIENT, type="11502-2", act_date=None, file_name="scan.pdf", body=body).id

        def open_(document: str) -> None:
            with vault.documents.open(CLINICIAN, document, Action.DOCUMENT_VIEW) as opened:  # type: ignore[arg-type]  # an id
                b"".join(opened.read())

        def median(work: Callable[[int], object]) -> float:
            return statistics.median(seconds(partial(work, turn)) for turn in range(TURNS)) * 1000

        ids: list[str] = []
        uploads = median(lambda turn: ids.append(upload(turn)))
        opens = median(lambda turn: open_(ids[turn]))
        lists = median(lambda _turn: vault.documents.list(CLINICIAN, PATIENT, limit=50))
    return {"upload": uploads, "open": opens, "list": lists}


def scale() -> Iterator[Figure]:
    """Target: ≤ 1.3 × among MANY documents what it takes among FEW."""
    with tempfile.TemporaryDirectory(prefix="coffre-bench-") as place:
        found = []
        for number, count in enumerate((FEW, MANY)):
            directory = Path(place) / str(count)
            directory.mkdir()
            with standing(directory):
                pass
            _fill(directory / "coffre.db", count, CLINICIAN.person)
            found.append(_timed(directory, number * 1000))
        for name, few in found[0].items():
            many = found[1][name]
            ratio = many / few
            yield Figure(f"{name} among {MANY:,} documents", many, "ms", f"among {FEW:,}", few, ratio, "≤ 1.3 ×", ratio <= 1.3)


def start() -> Iterator[Figure]:
    """Target: ready within 2 s."""
    with tempfile.TemporaryDirectory(prefix="coffre-bench-") as place:
        site = Site.start(Path(place))
        site.stop()
        _fill(site.demo.directory / "coffre.db", MANY, "0" * 32)
        took: list[float] = []
        for _ in range(3):
            again: list[Site] = []
            took.append(seconds(lambda: again.append(Site.start(Path(place), site.demo))))  # noqa: B023  # run at once
            again[0].stop()
    middle = statistics.median(took)
    yield Figure(f"serve to ready, {MANY:,} documents", middle, "s", target="≤ 2 s", holds=middle <= 2)
