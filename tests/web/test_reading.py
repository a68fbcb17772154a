"""À remettre au patient: a carer marks a document and takes the mark back; reception sees it between the two."""

from __future__ import annotations

from tests.web.conftest import Practice, pdf_of


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
