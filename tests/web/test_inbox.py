"""The inbox as pages: what waits says for how long, two people never file one paper twice, and a filing is taken back."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests.web.conftest import Browser, Practice, pdf_of
from web.uploads import Form

QUEUE = re.compile(r'data-draft="([0-9a-f]{32})"')


@pytest.fixture
def desk(open_another: Callable[..., Practice]) -> Practice:
    return open_another(staff=("claire", "sophie"))


def put(practice: Practice, *lines: str) -> str:
    """A paper that waits."""
    draft: str = practice.program("sophie").ask("POST", "/inbox", data=pdf_of(*lines)).get_json()["id"]
    return draft


def send(browser: Browser, path: str, **fields: str) -> Any:
    return browser.client.post(path, data={"csrf_token": browser.csrf("/account"), **fields})


def test_the_queue_says_what_waits_since_yesterday(desk: Practice) -> None:
    desk.patient("claire", "Proposee")
    put(desk, "courrier")
    put(desk, "Proposee Camille", "née le 12/03/1980")
    page = desk.browser("sophie").client.get("/inbox").text
    assert ("À classer depuis hier" in page, page.count("Patient proposé")) == (False, 1)
    desk.clock.advance(days=1, minutes=1)
    put(desk, "courrier du jour")
    assert desk.browser("sophie").client.get("/inbox").text.count("À classer depuis hier") == 2


def test_two_people_with_one_paper_have_one_winner_and_the_other_is_told(desk: Practice) -> None:
    patient, draft = desk.patient(), put(desk, "une seule fois")
    sophie, claire = desk.browser("sophie"), desk.browser("claire")
    for browser in (sophie, claire):
        assert draft in browser.client.get(f"/inbox/{draft}").text
    first = send(sophie, f"/inbox/{draft}/file", patient=patient.id, type="11502-2", act_date="")
    assert first.status_code == 303
    second = send(claire, f"/inbox/{draft}/file", patient=patient.id, type="18748-4", act_date="")
    assert second.status_code == 422
    assert "n’est plus disponible" in second.text
    (only,) = desk.program("claire").ask("GET", f"/documents?patient={patient.id}").get_json()["documents"]
    assert (only["id"], only["type"]) == (draft, "11502-2")


def test_a_refused_filing_keeps_what_was_typed_and_names_the_field(desk: Practice) -> None:
    patient, draft = desk.patient(), put(desk, "sans type")
    sophie = desk.browser("sophie")
    answer = send(sophie, f"/inbox/{draft}/file", patient=patient.id, type="", act_date="12/03/2024", urgent="yes")
    assert answer.status_code == 422
    assert 'value="12/03/2024"' in answer.text
    assert re.search(r'name="urgent"[^>]* checked', answer.text)
    assert re.search(r'<select[^>]* aria-invalid="true"', answer.text)
    assert draft in QUEUE.findall(answer.text)


def test_an_urgent_filing_goes_first_and_is_taken_back_whole(desk: Practice) -> None:
    patient, draft = desk.patient(), put(desk, "pressant")
    sophie = desk.browser("sophie")
    send(sophie, f"/inbox/{draft}/file", patient=patient.id, type="11502-2", act_date="", urgent="yes")
    assert desk.program("claire").ask("GET", f"/documents/{draft}").get_json()["is_urgent"] is True
    assert send(sophie, f"/inbox/{draft}/undo").status_code == 303
    assert draft in QUEUE.findall(sophie.client.get("/inbox").text)
    assert desk.program("claire").ask("GET", f"/documents/{draft}").status_code == 404
    send(sophie, f"/inbox/{draft}/file", patient=patient.id, type="11502-2", act_date="")
    assert desk.program("claire").ask("GET", f"/documents/{draft}").get_json()["is_urgent"] is False


def test_the_same_paper_elsewhere_is_a_warning_without_a_name(desk: Practice) -> None:
    body = pdf_of("double")
    other = desk.patient("claire", "Autrenom")
    desk.program("claire").upload(other.id, body)
    draft = desk.program("sophie").ask("POST", "/inbox", data=body).get_json()
    assert draft["filed_elsewhere"] is True
    page = desk.browser("sophie").client.get("/inbox").text
    assert "Déjà classé" in page
    assert "AUTRENOM" not in page
    patient = desk.patient("claire", "Celuici")
    sophie = desk.browser("sophie")
    filed = send(sophie, f"/inbox/{draft['id']}/file", patient=patient.id, type="11502-2", act_date="")
    assert "Déjà classé chez un autre patient" in sophie.client.get(filed.headers["Location"]).text


def test_a_plain_form_takes_in_the_good_files_and_says_that_one_was_refused(desk: Practice) -> None:
    sophie = desk.browser("sophie")
    files = [(pdf_of("bon"), "bon.pdf"), (b"MZ\x90\x00" + bytes(100), "facture.pdf")]
    parts = {"csrf_token": sophie.csrf("/account"), "files": [FileStorage(io.BytesIO(body), name) for body, name in files]}
    boundary, body = encode_multipart(parts)
    answer = sophie.client.post("/inbox", data=body, content_type=f'multipart/form-data; boundary="{boundary}"')
    assert answer.status_code == 303
    page = sophie.client.get(answer.headers["Location"]).text
    assert "bon.pdf" in page
    assert "facture.pdf" not in page
    assert "banner-caution" in page


def test_a_plain_form_holds_two_hundred_files(practice: Practice) -> None:
    files = [FileStorage(io.BytesIO(f"%PDF-{number}".encode()), f"scan-{number}.pdf") for number in range(200)]
    boundary, body = encode_multipart({"csrf_token": "x", "files": files})
    kind = f'multipart/form-data; boundary="{boundary}"'
    with practice.app.test_request_context("/inbox", method="POST", data=body, content_type=kind):
        assert [part.read() for part in Form().files()] == [f"%PDF-{number}".encode() for number in range(200)]
