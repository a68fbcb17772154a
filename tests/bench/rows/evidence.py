"""The log leaving the house: evidence, CSV and the offline verifier, beside a bare loop over the same table."""

from __future__ import annotations

import csv
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.bench.measure import Figure, seconds
from tests.bench.sizes import sized
from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.vault.audit.conftest import Rig, created, open_rig, person, viewed
from vault.audit import offline
from vault.audit.auditing import Format
from vault.audit.search import Filters

EVENTS = sized("EVENTS", 100_000, 1_000_000)
"""A million is a large practice's year; a tenth of it shows the same rates in a tenth of the time."""
ROUNDS = sized("ROUNDS", 3, 1)
"""A million events average over a shared machine's moods by themselves."""
PATIENTS = 1_000
TARGETS = {Format.BUNDLE: 45_000, Format.CSV: 35_000}
VERIFIED = 1_000_000 / 30
RESIDENT_MIB = 64


def _filled(place: Path) -> Rig:
    rig = open_rig(place, Clock(), FakeKeyService())
    rig.log.record_all([created(number) for number in range(PATIENTS)])
    for start in range(0, EVENTS, 2_000):
        rig.log.record_all([viewed(n, of=n * 7 % PATIENTS, by=person(n % 20)) for n in range(start, start + 2_000)])
    return rig


def _written(rig: Rig, form: Format, file: Path) -> None:
    with file.open("wb") as stream:
        for chunk in rig.auditing.export(rig.auditor(), Filters(), form).chunks:
            stream.write(chunk)


def _bare(place: Path) -> None:
    """What nobody can beat: the same rows through ``sqlite3`` and ``csv``, nothing opened, nothing proven."""
    connection = sqlite3.connect(place / "coffre.db")
    with (place / "bare.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(connection.execute("SELECT * FROM audit_entries ORDER BY position"))
    connection.close()


def export() -> Iterator[Figure]:
    """Targets for a million events: evidence ≥ 45,000 rows/s, CSV ≥ 35,000 rows/s, ≤ 64 MiB resident more."""
    with tempfile.TemporaryDirectory(prefix="coffre-bench-") as name:
        place = Path(name)
        rig = _filled(place)
        idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for form in (Format.BUNDLE, Format.CSV, Format.JSONL, Format.XLSX, Format.FHIR):
            write = partial(_written, rig, form, place / "out")
            times = [(seconds(write), seconds(partial(_bare, place))) for _ in range(ROUNDS)]
            ours, theirs = (sorted(part)[ROUNDS // 2] for part in zip(*times, strict=True))
            rate, least = EVENTS / ours, TARGETS.get(form)
            yield Figure(
                f"{EVENTS:,} events as {form}", rate, "row/s", "sqlite3 + csv, unopened", EVENTS / theirs, theirs / ours,
                f"≥ {least:,}/s" if least else "", None if least is None else rate >= least,
            )  # fmt: skip
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024
        yield Figure(
            "resident memory, over the idle process", grown, "MiB", target=f"≤ {RESIDENT_MIB}", holds=grown <= RESIDENT_MIB
        )
        rig.close()


def _peak_mib(command: list[str]) -> float:
    """Run a program to its end; how much memory it held at most. (``ru_maxrss`` of a child begins with its parent's.)"""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            peak = max(peak, int(found[1]) if found else 0)
            time.sleep(0.02)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak / 1024


def verify() -> Iterator[Figure]:
    """Targets: a million events in ≤ 30 s and ≤ 64 MiB, by the one-file verifier."""
    with tempfile.TemporaryDirectory(prefix="coffre-bench-") as name:
        place = Path(name)
        rig = _filled(place)
        _written(rig, Format.BUNDLE, place / "journal.zip")
        (place / "trust.txt").write_text(rig.auditing.trust())
        command = [sys.executable, "-I", offline.__file__, str(place / "journal.zip"), "--trust", str(place / "trust.txt")]
        times, used = [], 0.0
        for _ in range(ROUNDS):
            start = time.perf_counter()
            used = max(used, _peak_mib(command))
            times.append(time.perf_counter() - start)
        rate = EVENTS / sorted(times)[ROUNDS // 2]
        yield Figure(
            f"{EVENTS:,} events, offline verifier", rate, "row/s", target=f"≥ {VERIFIED:,.0f}/s", holds=rate >= VERIFIED
        )
        yield Figure("resident memory of the verifier", used, "MiB", target=f"≤ {RESIDENT_MIB}", holds=used <= RESIDENT_MIB)
        whole = seconds(lambda: rig.auditing.verify(rig.auditor()))
        yield Figure(f"{EVENTS:,} events, inside the vault", EVENTS / whole, "row/s")
        rig.close()
