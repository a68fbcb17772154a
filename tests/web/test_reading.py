"""À remettre, urgent: a carer marks a document and takes the mark back; others see it between the two."""

from __future__ import annotations

from tests.web.conftest import Browser, Practice, pdf_of


def test_a_document_is_handed_over_and_the_mark_is_taken_back(practice: Practice) -> None:
    patient = practice.patient("claire", "Remettre")
    document = practice.program("claire").upload(patient.id, pdf_of("ordonnance"), type="57833-6").get_json()["id"]
    doctor, desk = practice.browser("claire"), practice.browser("sophie")
    assert desk.client.get(f"/documents/{document}").status_code in {403, 404}
    token = doctor.csrf("/account")
    for wanted, seen in (("yes", {200}), ("no", {403, 404})):
        answer = doctor.client.post(f"/documents/{document}/hand-over", data={"csrf_token": token, "wanted": wanted})
        assert answer.status_code == 303
        assert desk.client.get(f"/documents/{document}").status_code in seen
        page = doctor.client.get(answer.headers["Location"]).get_data(as_text=True)
        assert ("Ne plus remettre au patient" in page) is (wanted == "yes")
        timeline = desk.client.get(f"/patients/{patient.id}").get_data(as_text=True)
        assert ("À remettre au patient" in timeline) is (wanted == "yes")
    refused = desk.client.post(f"/documents/{document}/hand-over", data={"csrf_token": desk.csrf("/account"), "wanted": "yes"})
    assert refused.status_code == 403


def test_an_urgent_document_stands_first_and_says_so_in_a_word(practice: Practice) -> None:
    patient = practice.patient("claire", "Pressant")
    program, doctor = practice.program("sophie"), practice.browser("claire")
    first = program.upload(patient.id, pdf_of("attendu"), type="18748-4&urgent=true").get_json()
    later = program.upload(patient.id, pdf_of("courant"), type="18748-4").get_json()
    assert (first["is_urgent"], later["is_urgent"]) == (True, False)
    page = doctor.client.get("/unread").get_data(as_text=True)
    assert page.index(first["id"]) < page.index(later["id"])
    only = doctor.client.get("/unread?only=urgent").get_data(as_text=True)
    assert first["id"] in only
    assert later["id"] not in only
    assert only.count('href="/documents/') == only.count("pill-bad") == page.count("pill-bad")
    assert "Urgent" in doctor.client.get(f"/patients/{patient.id}").get_data(as_text=True)


def test_a_carer_marks_a_document_as_urgent_and_takes_the_mark_back(practice: Practice) -> None:
    patient = practice.patient("claire", "Marque")
    document = practice.program("sophie").upload(patient.id, pdf_of("marque"), type="18748-4").get_json()["id"]
    doctor, desk = practice.browser("claire"), practice.browser("sophie")
    token = doctor.csrf("/account")
    before = len(practice.events("document.metadata"))
    for wanted, offered in (("yes", "N’est plus urgent"), ("no", "Marquer comme urgent")):
        answer = doctor.client.post(f"/documents/{document}/urgent", data={"csrf_token": token, "wanted": wanted})
        assert answer.status_code == 303
        assert offered in doctor.client.get(f"/documents/{document}").get_data(as_text=True)
    assert practice.events("document.metadata")[before:] == ["success", "success"]
    refused = desk.client.post(f"/documents/{document}/urgent", data={"csrf_token": desk.csrf("/account"), "wanted": "yes"})
    assert refused.status_code == 403


def test_marks_are_set_by_programs_too(practice: Practice) -> None:
    patient = practice.patient("claire", "Programme")
    program = practice.program("claire")
    document = program.upload(patient.id, pdf_of("programme"), type="18748-4").get_json()["id"]
    said = program.ask("PATCH", f"/documents/{document}/marks", json={"urgent": True, "handover": True}).get_json()
    assert (said["is_urgent"], said["is_handover"]) == (True, True)
    said = program.ask("PATCH", f"/documents/{document}/marks", json={"urgent": False}).get_json()
    assert (said["is_urgent"], said["is_handover"]) == (False, True)
    for wrong in ({}, {"urgent": "yes"}, {"integrated_at": 1}):
        assert program.ask("PATCH", f"/documents/{document}/marks", json=wrong).status_code == 422
    assert practice.program("sophie").ask("PATCH", f"/documents/{document}/marks", json={"urgent": True}).status_code == 403
    draft = practice.program("sophie").ask("POST", "/inbox", data=pdf_of("brouillon")).get_json()["id"]
    filing = {"patient": patient.id, "type": "18748-4", "urgent": True}
    assert practice.program("sophie").ask("POST", f"/inbox/{draft}/file", json=filing).get_json()["is_urgent"] is True


def test_looking_downloading_and_printing_are_three_events(practice: Practice) -> None:
    patient = practice.patient("claire", "Troisactes")
    document = practice.program("sophie").upload(patient.id, pdf_of("trois"), type="18748-4").get_json()["id"]
    doctor = practice.browser("claire").client
    acts = ("view", "download", "print")
    before = {act: len(practice.events(f"document.{act}")) for act in acts}
    for path, act in ((f"/documents/{document}", "view"), ("download", "download"), ("print", "print")):
        assert doctor.get(path if path.startswith("/") else f"/documents/{document}/{path}").status_code == 200
        assert practice.events(f"document.{act}")[before[act] :] == ["granted"]
    assert doctor.get(f"/documents/{document}/pages/1").status_code == 200  # the same opening: no second line
    assert {act: len(practice.events(f"document.{act}")) - before[act] for act in acts} == dict.fromkeys(acts, 1)


def test_signing_out_wipes_the_pages_that_were_drawn(practice: Practice) -> None:
    patient = practice.patient("claire", "Effacer")
    document = practice.program("claire").upload(patient.id, pdf_of("effacer"), type="18748-4").get_json()["id"]
    client = practice.app.test_client()
    client.set_cookie("coffre", practice.fresh_token("claire"))
    before = practice.vault.documents.drawn.sweep()
    page = client.get(f"/documents/{document}/pages/1")
    assert page.headers["Cache-Control"] == "no-store"
    assert practice.vault.documents.drawn.sweep() > before
    client.post("/sign-out", data={"csrf_token": Browser(client).csrf("/account")})
    assert practice.vault.documents.drawn.sweep() <= before
