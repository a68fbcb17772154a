"""LibreOffice itself opens the CSV and finds no formula, even when it is told to run them. Optional: it is half a gigabyte."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.vault.audit.conftest import Rig, created, patient, person
from tests.vault.audit.test_export import HOSTILE
from vault.audit.auditing import Format
from vault.audit.events import Action, Event, Note, Outcome, Subject
from vault.audit.search import Filters

SEMICOLONS_AND_FORMULAS = "CSV:59,34,76,1,,0,false,true,false,false,false,0,true"
"""LibreOffice's import options: ``;``, double quotes, UTF-8, from line 1, …, evaluate formulas."""


def formulas(file: Path, place: Path) -> int:
    """How many formula cells LibreOffice sees."""
    profile = f"-env:UserInstallation=file://{place / 'profile'}"
    command = ["soffice", profile, "--headless", f"--infilter={SEMICOLONS_AND_FORMULAS}", "--convert-to", "fods", "--outdir"]
    subprocess.run([*command, str(place), str(file)], check=True, capture_output=True, timeout=240)
    sheet = (place / file.with_suffix(".fods").name).read_text(encoding="utf-8")
    assert "<table:table-row" in sheet
    return sheet.count("table:formula=")


@pytest.mark.timeout(500)
def test_libreoffice_finds_no_formula_in_the_csv(rig: Rig, tmp_path: Path) -> None:
    if shutil.which("soffice") is None:
        print("LibreOffice is not here (Debian: libreoffice-calc): test_export.py's own strict reader stands alone")  # noqa: T201  # said once
        return
    about = Subject(patient=patient(5))
    glass = [
        Event(Action.ACCESS_BREAKGLASS, Outcome.SUCCESS, person(1), about, Note(reason=each, code=each)) for each in HOSTILE
    ]
    rig.log.record_all([created(5), *glass])
    control, ours = tmp_path / "control.csv", tmp_path / "log.csv"
    control.write_text('a;b\r\n=1+1;=HYPERLINK("http://x")\r\n')
    chunks = rig.auditing.export(rig.auditor(), Filters(), Format.CSV, revealing="what a spreadsheet makes of it").chunks
    ours.write_bytes(b"".join(chunks))
    assert formulas(control, tmp_path) == 2, "the check would see one"
    assert formulas(ours, tmp_path) == 0
