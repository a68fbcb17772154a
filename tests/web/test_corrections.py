"""Correcting a filing, replacing a version, judging alerts and samples, revealing names: each through its page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests.web.conftest import PDF, Practice, pdf_of


@pytest.fixture
def filed(practice: Practice) -> tuple[str, str, str]:
    """A document, the wrong patient who holds it, and the right one."""
    wrong, right = practice.patient("claire", "Mauvais"), practice.patient("claire", "Bonpatient")
    document = practice.program("claire").upload(wrong.id, PDF + wrong.id.encode()).get_json()["id"]
    return document, wrong.id, right.id


def test_a_wrong_filing_is_corrected_and_leaves_a_trace_without_title(practice: Practice, filed: tuple[str, str, str]) -> None:
    document, wrong, right = filed
    browser = practice.browser("claire")
    assert "Corriger le classement" in browser.client.get(f"/documents/{document}/correct").get_data(as_text=True)
    token = browser.csrf("/account")
    found = browser.client.post(f"/documents/{document}/correct/search", data={"csrf_token": token, "q": "bonpat"})
    assert right in found.get_data(as_text=True)
    moved = browser.client.post(f"/documents/{document}/refile", data={"csrf_token": token, "patient": right})
    assert moved.status_code == 303
    assert moved.headers["Location"] == f"/patients/{right}?done=document-refiled"
    page = browser.client.get(f"/patients/{wrong}").get_data(as_text=True)
    assert "déplacé le" in page
    assert document not in page


def test_copies_of_a_misfiled_document_are_an_incident_that_somebody_closes(open_another: Callable[..., Practice]) -> None:
    practice = open_another(staff=("claire", "nadia"))
    wrong, right = practice.patient("claire", "Quatremarre"), practice.patient("claire", "Bonpatient")
    document = practice.program("claire").upload(wrong.id, PDF + b"misfiled").get_json()["id"]
    doctor = practice.browser("claire")
    assert doctor.client.get(f"/documents/{document}/download").status_code == 200
    form = {"csrf_token": doctor.csrf("/account"), "patient": right.id, "reason": "Homonyme"}
    told = doctor.client.post(f"/documents/{document}/refile", data=form).get_data(as_text=True)
    assert "un incident a été préparé" in told
    auditor = practice.browser("nadia")
    queue = auditor.client.get("/review").get_data(as_text=True)
    assert "Copies d’un document mal classé" in queue
    (address,) = re.findall(r"/review/incidents/\d+", queue)
    assert doctor.client.get(address).status_code == 403
    assert auditor.client.get(address + "0").status_code == 404
    page = auditor.client.get(address).get_data(as_text=True)
    for words in ("Fiche d’incident", "Dr Claire", "Document téléchargé", "Copie prise", "Homonyme", "à juger avant le"):
        assert words in page, words
    assert "quatremarre" not in page.casefold()
    (close,) = re.findall(r"/review/alerts/[0-9a-f]{32}", page)
    form = {"csrf_token": auditor.csrf("/account"), "incident": address.rsplit("/", 1)[1]}
    end = form | {"judgement": "contained", "reason": "x"}
    refused = auditor.client.post(close, data=end)
    assert (refused.status_code, "Fiche d’incident" in refused.get_data(as_text=True)) == (422, True)
    assert auditor.client.post(close, data=end | {"reason": "Copie détruite sous mes yeux"}).status_code == 303
    assert "Copies d’un document mal classé" not in auditor.client.get("/review").get_data(as_text=True)
    assert "Copie détruite sous mes yeux" in auditor.client.get(address).get_data(as_text=True)


def test_a_corrected_version_replaces_the_old_one(practice: Practice, filed: tuple[str, str, str]) -> None:
    document, _, _ = filed
    browser = practice.browser("claire")
    data = {"csrf_token": browser.csrf("/account"), "file": FileStorage(io.BytesIO(PDF + b"corrected"), "corrige.pdf")}
    boundary, body = encode_multipart(data)
    kind = f'multipart/form-data; boundary="{boundary}"'
    answer = browser.client.post(f"/documents/{document}/replace", data=body, content_type=kind)
    assert answer.status_code == 303
    page = browser.client.get(f"/documents/{document}/correct").get_data(as_text=True)
    assert "Remplacée" in page
    assert "corrige.pdf" in page


def test_the_old_version_stays_readable_and_says_by_what_it_was_replaced(practice: Practice) -> None:
    program, browser = practice.program("claire"), practice.browser("claire")
    patient = practice.patient("claire", "Versions")
    old, new = pdf_of("première version"), pdf_of("seconde version", "corrigée")
    document = program.upload(patient.id, old).get_json()["id"]
    assert program.ask("POST", f"/documents/{document}/versions", data=new).status_code == 201
    current = browser.client.get(f"/documents/{document}").get_data(as_text=True)
    assert "Remplacé par la version du" not in current
    assert f"/documents/{document}?version=1" in current
    former = browser.client.get(f"/documents/{document}?version=1").get_data(as_text=True)
    assert "Remplacé par la version du" in former
    assert "Vu et validé" not in former.split('class="sheets"')[0].split('class="viewer-head"')[1]
    assert browser.client.get(f"/documents/{document}/download?version=1").data == old
    assert browser.client.get(f"/documents/{document}/download").data == new
    assert program.ask("GET", f"/documents/{document}/content?version=1").data == old
    assert program.ask("GET", f"/documents/{document}/content").data == new
    pages = {browser.client.get(f"/documents/{document}/pages/1{which}").data for which in ("", "?version=1", "?version=2")}
    assert len(pages) == 2
    assert "première version" in browser.client.get(f"/documents/{document}/text?version=1").get_data(as_text=True)
    for wrong in ("3", "0", "-1", "x", "²", "9" * 20):
        assert browser.client.get(f"/documents/{document}?version={wrong}").status_code == 404
        assert browser.client.get(f"/documents/{document}/pages/1?version={wrong}").status_code == 404


def test_a_judgement_needs_a_choice_and_a_reason(open_another: Callable[..., Practice]) -> None:
    practice = open_another(staff=("claire", "nadia"))
    practice.program("claire").ask("GET", f"/patients/{practice.patient().id}")
    browser = practice.browser("nadia")
    page = browser.client.get("/review").get_data(as_text=True)
    start = page.index("/review/sample/") + len("/review/sample/")
    event, token = page[start : start + 32], browser.csrf("/account")
    for form in ({"judgement": "maybe", "reason": "parce que"}, {"judgement": "justified", "reason": "x"}):
        answer = browser.client.post(f"/review/sample/{event}", data={"csrf_token": token, **form})
        assert answer.status_code == 422
        assert answer.mimetype == "text/html"
    form = {"csrf_token": token, "judgement": "justified", "reason": "suivi habituel"}
    assert browser.client.post(f"/review/sample/{event}", data=form).status_code == 303
    assert practice.events("audit.sample_reviewed")
    unknown = browser.client.post(f"/review/alerts/{'0' * 32}", data=form)
    assert unknown.status_code == 404


def test_names_are_revealed_for_a_reason_and_each_is_logged(open_another: Callable[..., Practice]) -> None:
    practice = open_another(staff=("claire", "nadia"))
    practice.patient("claire", "Secrette")
    practice.tokens.pop("nadia", None)
    browser = practice.browser("nadia")
    assert "Secrette" not in browser.client.get("/audit").get_data(as_text=True)
    token = browser.csrf("/account")
    assert browser.client.post("/audit/names", data={"csrf_token": token, "reason": "x"}).status_code == 422
    page = browser.client.post("/audit/names", data={"csrf_token": token, "reason": "réclamation du patient"})
    assert page.status_code == 200
    assert "SECRETTE" in page.get_data(as_text=True).upper()
    assert practice.events("audit.reveal_identity")
    assert practice.browser("claire").client.post("/audit/names", data={"reason": "curiosité"}).status_code == 400
