"""What the log's room gives on paper or to take away: the patient's report, the weekly sheet, the offline verifier."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest

from tests.web.conftest import Browser, Practice
from vault.audit import offline
from vault.audit.detect import Detector
from vault.audit.events import Action, Event, Note, Outcome, Subject, System
from vault.audit.questions import QUESTIONS
from web.audit import OWN_QUESTIONS


@pytest.fixture
def house(open_another: Callable[..., Practice]) -> Practice:
    made = open_another(staff=("claire", "nadia", "thomas"))
    patient = made.patient("claire", "Rapporteau")
    made.program("claire").ask("GET", f"/patients/{patient.id}")
    made.tokens.pop("nadia", None)
    return made


def reference(browser: Browser) -> str:
    found = re.search(r"reference=([0-9a-f-]+)", browser.client.get("/audit").get_data(as_text=True))
    assert found is not None
    return found[1]


def test_a_patient_is_given_a_report_in_plain_french(house: Practice) -> None:
    browser = house.browser("nadia")
    wanted = reference(browser)
    assert "Rapport pour le patient" in browser.client.get(f"/audit?reference={wanted}").get_data(as_text=True)
    browser.client.set_cookie("coffre-language", "en")
    answer = browser.post("/audit/report", {"reference": wanted})
    paper = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "Qui a consulté mon dossier ?" in paper
    assert "RAPPORTEAU" in paper.upper()
    assert "Dr Claire (soignant)" in paper
    assert "Cabinet des Tilleuls" in paper
    assert "date de naissance : 12 mars 1980" in paper
    assert "<style" not in paper, "the policy of the page lets no inline style through"
    assert house.events("patient.report_given") == ["success"]
    empty = browser.post("/audit/report", {"reference": wanted, "until": "2001-01-01"})
    assert "Aucun accès dans cette période." in empty.get_data(as_text=True)


def test_nobody_else_is_given_it_and_an_unknown_reference_is_not_found(house: Practice) -> None:
    wanted = reference(house.browser("nadia"))
    for username in ("claire", "thomas"):
        assert house.browser(username).post("/audit/report", {"reference": wanted}).status_code == 403
    assert house.browser("nadia").post("/audit/report", {"reference": "0" * 32}).status_code == 404
    assert house.browser("nadia").post("/audit/report", {"reference": "unknown"}).status_code == 422
    assert house.browser("nadia").post("/audit/report", {}).status_code == 404
    assert house.events("patient.report_given") == []


def test_the_weekly_sheet_holds_a_head_that_the_log_still_extends(house: Practice) -> None:
    browser = house.browser("nadia")
    assert 'href="/audit/sheet"' in browser.client.get("/audit").get_data(as_text=True)
    page = browser.client.get("/audit/sheet").get_data(as_text=True)
    found = re.search(r"<pre>(.*?)</pre>", page, re.DOTALL)
    assert found is not None
    assert "<svg" in page
    keys = offline.read_trust(browser.client.get("/audit/keys").get_data(as_text=True))
    assert offline.open_checkpoint(html.unescape(found[1]), keys).size > 0
    assert house.browser("claire").client.get("/audit/sheet").status_code == 403


def test_the_verdict_names_the_witness_and_what_to_take_away(house: Practice) -> None:
    browser = house.browser("nadia")
    page = browser.client.get("/audit").get_data(as_text=True)
    assert "Aucun témoin" in page
    for path in ("/audit/verifier", "/audit/keys"):
        assert f'href="{path}" download' in page
    program = browser.client.get("/audit/verifier")
    assert program.headers["Content-Disposition"] == 'attachment; filename="coffre_verify.py"'
    compile(program.get_data(as_text=True), "coffre_verify.py", "exec")


def test_who_treats_the_patient_makes_the_report_from_the_patient_s_own_page(house: Practice) -> None:
    browser = house.browser("claire")
    page = browser.client.get("/audit?question=opened").get_data(as_text=True)
    assert "Rapport pour le patient" not in page
    patient = house.patient("claire", "Relevé")
    page = browser.client.get(f"/patients/{patient.id}/accesses").get_data(as_text=True)
    assert "Rapport pour le patient" in page
    answer = browser.post(f"/patients/{patient.id}/accesses/report", {"since": "2001-01-01"})
    assert answer.status_code == 200
    assert "Qui a consulté mon dossier ?" in answer.get_data(as_text=True)
    assert house.events("patient.report_given") == ["success"]
    assert house.browser("thomas").post(f"/patients/{patient.id}/accesses/report", {}).status_code in {403, 404}


def test_an_auditor_compares_the_log_with_a_kept_checkpoint(house: Practice) -> None:
    browser = house.browser("nadia")
    kept = browser.client.get("/audit/checkpoint").get_data(as_text=True)
    form = browser.client.get("/audit/kept").get_data(as_text=True)
    assert "Comparer avec un point de contrôle gardé" in form
    answer = browser.post("/audit/kept", {"checkpoint": kept.replace("\n", "\r\n")})
    assert answer.status_code == 200
    assert "Le journal contient toujours" in answer.get_data(as_text=True)
    head, size, *rest = kept.split("\n")
    for typed, said in (
        ("\n".join([head, str(int(size) + 1), *rest]), "Sa signature est fausse"),
        (kept.replace(head, "coffre.invalid/log/other"), "Aucune clé de ce journal"),
        ("bonjour", "collez-le en entier"),
        ("", "collez-le en entier"),
    ):
        answer = browser.post("/audit/kept", {"checkpoint": typed})
        assert answer.status_code == 422
        assert said in answer.get_data(as_text=True)
    assert house.browser("claire").client.get("/audit/kept").status_code == 403
    assert house.browser("claire").post("/audit/kept", {"checkpoint": kept}).status_code == 403


def test_the_log_s_own_readers_do_not_hide_everything_else(house: Practice) -> None:
    browser = house.browser("nadia")
    for _ in range(3):
        page = browser.client.get("/audit").get_data(as_text=True)
    assert "lectures du journal lui-même ne sont pas montrées" in page
    assert "Journal consulté</td>" not in page
    for address in ("/audit?readings=1", "/audit?question=log"):
        page = browser.client.get(address).get_data(as_text=True)
        assert "ne sont pas montrées" not in page
        assert "Journal consulté" in page
    assert len(house.events("audit.view")) >= 3, "they stay logged"


def test_each_question_is_a_screen_with_a_count_and_an_export(house: Practice) -> None:
    browser = house.browser("nadia")
    for question in QUESTIONS:
        page = browser.client.get(f"/audit?question={question}").get_data(as_text=True)
        assert f'question={question}" aria-current="true"' in page
        assert f'name="question" value="{question}"' in page
    assert "Étendue" in browser.client.get(f"/audit?question={question}&extent=1").get_data(as_text=True)


def test_a_user_name_of_a_megabyte_is_refused_and_leaves_a_small_entry(house: Practice) -> None:
    before = house.vault.auditing.size()
    for length in (1_000_000, 200_000):
        browser = house.browser()
        form = {"csrf_token": browser.csrf(), "username": "=\r\n" + "é" * (length // 2), "password": "Vert-Olive-27-Tram!"}
        answer = browser.client.post("/sign-in", data=form)
        assert answer.status_code in {401, 413, 422}, length
        assert len(answer.get_data()) < 100_000
    answer = house.browser().client.post("/api/v1/session", json={"username": "é" * 500_000, "password": "x", "code": "000000"})
    assert 400 <= answer.status_code < 500
    with house.vault.auditing._log.db.read() as connection:
        columns = "leaf, actor_sealed, subject_sealed, client_sealed, note_sealed"
        rows = connection.exec_driver_sql(f"SELECT {columns} FROM audit_entries WHERE position >= {before}").all()
    assert all(sum(len(part) for part in row if part) < 4_096 for row in rows)


def test_alerts_are_found_by_their_detector_and_an_event_speaks_in_words(house: Practice) -> None:
    def alert(detector: Detector) -> Event:
        note = Note(code=detector.value, count=1_034)
        return Event(Action.AUDIT_ALERT_RAISED, Outcome.SUCCESS, System("detect"), Subject(person="f" * 32), note)

    raised = house.vault.log.record_all([alert(Detector.MASS_ACCESS), alert(Detector.CLOCK)])
    browser = house.browser("nadia")

    def page(path: str) -> str:
        answer = browser.client.get(path)
        assert answer.status_code == 200, path
        return html.unescape(answer.get_data(as_text=True))

    assert "Toutes les alertes · 2" in page("/review")
    waiting = page("/review?detector=mass_access")
    assert "Beaucoup de dossiers ouverts en peu de temps · 1" in waiting
    assert waiting.count('name="reason"') == waiting.count("/review/sample/") + 1
    listed = page("/audit?detector=mass_access")
    assert "1 événement correspond." in listed
    assert f"/audit/events/{raised[0].position}" in listed
    assert f"/audit/events/{raised[1].position}" not in listed
    assert "Beaucoup de dossiers ouverts en peu de temps · 1\u202f034 éléments" in page(f"/audit/events/{raised[0].position}")
    own = page("/audit/events/2").replace("\u202f", " ")
    assert "(auth.login)" in own or "Action" in own
    asked = {name for name in QUESTIONS if f"question={name}" in page("/audit")}
    assert asked == set(QUESTIONS)
    browser = house.browser("claire")
    assert {name for name in QUESTIONS if f"question={name}" in page("/audit")} == set(OWN_QUESTIONS)
    browser = house.browser("thomas")
    assert {name for name in QUESTIONS if f"question={name}" in page("/audit")} == {"keys"}
