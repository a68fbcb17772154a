"""A virus, and a scanner that is away, as people and programs are told of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests.servers.scanner import OddScanner
from tests.web.conftest import PDF, Practice
from vault.settings import InfectedPolicy, ScanPolicy, ScanSettings


def test_a_virus_is_refused_in_the_page_and_in_the_interface(open_another: Callable[..., Practice], tmp_path: Path) -> None:
    with OddScanner(tmp_path / "s", reply=b"stream: Win.Test FOUND\0") as scanner:
        practice = open_another(scan=ScanSettings(scanner.path, infected=InfectedPolicy.REFUSE))
        patient, before = practice.patient(), practice.left_behind()
        answer = practice.program("claire").upload(patient.id)
        assert (answer.status_code, answer.get_json()["code"]) == (422, "infected")
        waiting = practice.program("claire").ask("POST", "/inbox", data=PDF)
        assert (waiting.status_code, waiting.get_json()["code"]) == (422, "infected")
        browser = practice.browser("claire")
        data = {"csrf_token": browser.csrf("/account"), "file": FileStorage(io.BytesIO(PDF), "bilan.pdf")}
        boundary, body = encode_multipart(data)
        page = browser.client.post(
            f"/patients/{patient.id}/documents", data=body, content_type=f'multipart/form-data; boundary="{boundary}"'
        )
        assert page.status_code == 422
        assert "Un virus a été trouvé dans ce fichier" in page.get_data(as_text=True)
        assert practice.left_behind() == before
        assert practice.events("document.upload") == ["failed", "failed", "failed"]


def test_a_scanner_that_is_away_is_told(open_another: Callable[..., Practice], tmp_path: Path) -> None:
    practice = open_another(scan=ScanSettings(tmp_path / "nobody"))
    answer = practice.program("claire").upload(practice.patient().id)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "scanner_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_what_was_not_scanned_says_so_in_the_file(open_another: Callable[..., Practice], tmp_path: Path) -> None:
    practice = open_another(scan=ScanSettings(tmp_path / "nobody", ScanPolicy.MARK))
    patient = practice.patient()
    filed = practice.program("claire").upload(patient.id).get_json()
    assert filed["scan"] == "missed"
    for page in (f"/patients/{patient.id}", f"/documents/{filed['id']}"):
        assert "Non analysé par l’antivirus" in practice.browser("claire").client.get(page).get_data(as_text=True)
