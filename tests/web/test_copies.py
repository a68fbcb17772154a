"""A picture as a PDF: a download of its own kind in the log; the original stays byte for byte what it was."""

from __future__ import annotations

import pytest

from tests.vault.rendering import papers
from tests.web.conftest import Practice


@pytest.mark.parametrize("address", ["/documents/{}/pdf", "/api/v1/documents/{}/pdf"])
def test_a_picture_is_downloaded_as_a_pdf_and_stays_what_it_is(practice: Practice, address: str) -> None:
    patient, picture = practice.patient(), papers.picture("JPEG") + address.encode()
    program, browser = practice.program("claire"), practice.browser("claire")
    filed = program.upload(patient.id, picture, name='attachment; filename="Plaie du pied.jpg"').get_json()
    before = len(practice.events("document.download"))
    answer = browser.client.get(address.format(filed["id"]))
    assert (answer.status_code, answer.mimetype) == (200, "application/pdf")
    assert answer.data.startswith(b"%PDF-")
    assert 'filename="Plaie du pied.pdf"' in answer.headers["Content-Disposition"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert practice.events("document.download")[before:] == ["granted"]
    assert program.ask("GET", f"/documents/{filed['id']}/content").data == picture
    assert len(practice.events("document.download")) == before + 2
    assert address.replace("/api/v1", "").format(filed["id"]) in browser.client.get(f"/documents/{filed['id']}").text


def test_a_pdf_offers_no_copy_as_pdf(practice: Practice) -> None:
    program = practice.program("claire")
    document = program.upload(practice.patient().id, papers.pdf(), type="11502-2").get_json()["id"]
    assert f"/documents/{document}/pdf" not in practice.browser("claire").client.get(f"/documents/{document}").text
    answer = program.ask("GET", f"/documents/{document}/pdf")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "not_renderable")


def test_who_may_not_download_gets_no_copy(practice: Practice) -> None:
    document = practice.program("claire").upload(practice.patient().id, papers.picture("PNG")).get_json()["id"]
    for who in ("sophie", "nadia", "thomas"):
        assert practice.program(who).ask("GET", f"/documents/{document}/pdf").status_code in {403, 404}
