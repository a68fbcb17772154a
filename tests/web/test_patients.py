"""Identities corrected, doubles judged, files merged and parted again: the pages and the API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from tests.conftest import Clock
from tests.web.conftest import OFFICE, PDF, Browser, Practice, open_practice
from vault.model import Document, DocumentId, Micros, PatientId, PersonId, Role
from web.timeline import Narrowed, narrowed

NIR = "269054958815780"
WHOLE = {
    "birth_name": "Sorel",
    "given_names": ["Julie"],
    "birth_date": "1969-05-04",
    "sex": "F",
    "ins": NIR,
    "ins_oid": "1.2.250.1.213.1.4.8",
    "birth_place": "49007",
    "birth_place_label": "Angers",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    """A practice of its own: these tests change patients."""
    opened = open_practice(tmp_path_factory.mktemp("identities"), Clock(), staff=("claire", "sophie", "nadia"))
    opened.hire("durand", Role.CLINICIAN)
    yield opened
    opened.vault.close()


@pytest.fixture(autouse=True)
def fresh(house: Practice) -> None:
    """Dr Claire has just shown her second factor."""
    actor = house.vault.people.sessions.actor(house.token("claire"), OFFICE)
    house.vault.people.own.step_up(actor, house.code("claire"))


def send(browser: Browser, path: str, **fields: str) -> Any:
    return browser.client.post(path, data={"csrf_token": browser.csrf("/account"), **fields})


def seen(browser: Browser, path: str) -> str:
    return str(browser.client.get(path, follow_redirects=True).get_data(as_text=True))


def made(house: Practice, name: str, **changes: object) -> str:
    """A patient of Dr Claire's by the API."""
    answer = house.program("claire").ask("POST", "/patients", json={**WHOLE, "birth_name": name, **changes})
    assert answer.status_code == 201, answer.get_json()
    return str(answer.get_json()["id"])


# --- identities -----------------------------------------------------------------------------------------------------------


def test_an_identity_is_corrected_and_shown_with_its_status(house: Practice) -> None:
    patient = made(house, "Corrige", ins=None, ins_oid=None)
    claire = house.browser("claire")
    page = seen(claire, f"/patients/{patient}")
    assert "Identité provisoire" in page
    assert "Angers · 49007" in page
    form = {"birth_name": "Corrigé", "given_names": "Julie Rose", "birth_date": "04/05/1969", "sex": "F", "ins": NIR}
    form |= {"ins_oid": WHOLE["ins_oid"], "birth_place": "49007", "birth_place_label": "Angers", "status": "qualified"}  # type: ignore[dict-item]  # texts
    assert send(claire, f"/patients/{patient}/edit", **form).headers["Location"].endswith("?done=identity-corrected")
    page = seen(claire, f"/patients/{patient}")
    assert "Identité qualifiée" in page
    assert "2\u202f69\u202f05\u202f49\u202f588\u202f157\u202f80" in page
    assert house.events("patient.update")[-1] == "success"


def test_what_is_wrong_stands_beside_its_field_and_nothing_changes(house: Practice) -> None:
    patient = made(house, "Refuse", ins="269054958815781")
    claire = house.browser("claire")
    assert "clé à vérifier" in seen(claire, f"/patients/{patient}")
    assert "La clé du matricule INS ne correspond pas" in seen(claire, f"/patients/{patient}/edit")
    form = {"birth_name": "Refuse", "given_names": "Julie", "birth_date": "04/05/1969", "sex": "F", "birth_place": "49007"}
    answer = send(claire, f"/patients/{patient}/edit", **form, status="qualified")
    assert answer.status_code == 422
    assert "ins-error" in answer.get_data(as_text=True)
    answer = send(claire, f"/patients/{patient}/edit", **{**form, "birth_date": "31/02/1969"}, status="provisional")
    assert answer.status_code == 422
    answer = send(claire, f"/patients/{patient}/edit", **{**form, "birth_date": "31/02/1969"}, is_lunar="yes")
    assert answer.status_code == 303
    page = seen(claire, f"/patients/{patient}")
    assert "31/02/1969" in page
    assert "Date incertaine" in page


def test_reception_never_reads_a_matricule_and_does_not_lose_it(house: Practice) -> None:
    patient = made(house, "Masque")
    sophie = house.browser("sophie")
    for path in (f"/patients/{patient}", f"/patients/{patient}/edit"):
        page = seen(sophie, path)
        assert NIR not in re.sub(r"\s", "", page)
        assert "2 •• •• •• ••• 157" in page
    assert "qualified" not in seen(sophie, f"/patients/{patient}/edit")
    form = {"birth_name": "Masqué", "given_names": "Julie", "birth_date": "04/05/1969", "sex": "F", "status": "retrieved"}
    assert send(sophie, f"/patients/{patient}/edit", **form).status_code == 303
    answer = house.program("claire").ask("GET", f"/patients/{patient}").get_json()
    assert (answer["ins"], answer["birth_name"], answer["status"]) == (NIR, "Masqué", "retrieved")
    assert send(sophie, f"/patients/{patient}/edit", **form, ins_forget="yes").status_code == 422, "retrieved wants a matricule"
    assert send(sophie, f"/patients/{patient}/edit", **{**form, "status": "provisional"}, ins_forget="yes").status_code == 303
    assert house.program("claire").ask("GET", f"/patients/{patient}").get_json()["ins"] is None


def test_the_api_corrects_what_it_is_given(house: Practice) -> None:
    patient = made(house, "Programme")
    program = house.program("claire")
    answer = program.ask("PATCH", f"/patients/{patient}", json={"used_name": "Autre", "status": "qualified"})
    assert (answer.status_code, answer.get_json()["status"], answer.get_json()["birth_name"]) == (200, "qualified", "Programme")
    assert answer.get_json()["ins_key_fits"] is True
    answer = program.ask("PATCH", f"/patients/{patient}", json={"used_name": "", "status": "validated", "ins": ""})
    assert (answer.get_json()["used_name"], answer.get_json()["ins"], answer.get_json()["ins_oid"]) == (None, None, None)
    for wrong in ({"status": "sure"}, {"birth_place": "ici"}, {"status": "retrieved"}, {"unknown": 1}, {"sex": ""}):
        assert program.ask("PATCH", f"/patients/{patient}", json=wrong).status_code == 422, wrong
    masked = house.program("sophie").ask("PATCH", f"/patients/{made(house, 'Tierce')}", json={"used_name": "Autre"}).get_json()
    assert masked["ins"] == "2 •• •• •• ••• 157"
    assert house.program("sophie").ask("PATCH", f"/patients/{patient}", json={"status": "qualified"}).status_code in {403, 422}


def test_neither_address_nor_server_log_tells_a_matricule(house: Practice, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    patient = made(house, "Discret")
    claire = house.browser("claire")
    found = send(claire, "/patients/search", q=NIR)
    assert patient in found.get_data(as_text=True)
    for answer in (found, claire.client.get(f"/patients/{patient}"), claire.client.get(f"/patients/{patient}/edit")):
        assert not re.search(rf'(?:href|action|src)="[^"]*{NIR}', answer.get_data(as_text=True))
    assert NIR not in caplog.text


# --- doubles and merges ---------------------------------------------------------------------------------------------------


def test_a_double_is_named_before_it_is_made(house: Practice) -> None:
    known = made(house, "Jumelle")
    program = house.program("sophie")
    wanted = {**WHOLE, "birth_name": "Jumele", "ins": None, "ins_oid": None}
    answer = program.ask("POST", "/patients", json={**wanted, "refuse_duplicates": True})
    assert (answer.status_code, answer.get_json()["reason"]) == (409, "possible_duplicate")
    assert known in answer.get_json()["candidates"].split()
    assert "existe" in answer.get_json()["detail"] or "here" in answer.get_json()["detail"]
    created = program.ask("POST", "/patients", json=wanted)
    assert (created.status_code, known in created.get_json()["possible_duplicates"]) == (201, True)
    double = created.get_json()["id"]
    pairs = [{who["id"] for who in pair} for pair in program.ask("GET", "/doubles").get_json()["pairs"]]
    assert {known, double} in pairs
    sophie = house.browser("sophie")
    page = seen(sophie, "/patients/doubles")
    assert known in page
    assert double in page
    assert "Ce patient a peut-être un autre dossier" in seen(sophie, f"/patients/{double}")
    compared = seen(sophie, f"/patients/{known}/merge?with={double}")
    assert "Celui qui fusionne suit les deux patients" in compared
    assert 'name="kept"' not in compared
    assert send(sophie, "/patients/doubles", one=known, other=double).status_code == 303
    assert {known, double} not in [{who["id"] for who in pair} for pair in program.ask("GET", "/doubles").get_json()["pairs"]]
    assert program.ask("POST", "/doubles/dismiss", json={"one": known, "other": double}).status_code == 409


@pytest.fixture
def pair(house: Practice) -> tuple[str, str, str, str]:
    """Two files of one patient, and a document in each."""
    number = len(house.events("patient.create"))
    files = made(house, f"Fusion{chr(97 + number % 26)}"), made(house, f"Fuzion{chr(97 + number % 26)}", used_name="Zwingel")
    papers = [
        house.program("claire").upload(patient, PDF + f"{number}{patient}".encode()).get_json()["id"] for patient in files
    ]
    return (*files, *papers)


def test_two_files_are_merged_and_parted_through_pages(house: Practice, pair: tuple[str, str, str, str]) -> None:
    kept, absorbed, mine, theirs = pair
    claire = house.browser("claire")
    assert 'name="kept"' in seen(claire, f"/patients/{kept}/merge?with={absorbed}")
    found = send(claire, f"/patients/{kept}/merge/search", q="zwingel").get_data(as_text=True)
    assert f"with={absorbed}" in found
    assert send(claire, f"/patients/{kept}/merge", **{"with": absorbed}, reason="Double").status_code == 422
    assert send(claire, f"/patients/{kept}/merge", **{"with": absorbed}, kept=kept, reason=" ").status_code == 422
    answer = send(claire, f"/patients/{kept}/merge", **{"with": absorbed}, kept=kept, reason="Double")
    assert answer.headers["Location"] == f"/patients/{kept}?done=patients-merged"
    page = seen(claire, f"/patients/{absorbed}")
    assert 'action="/merges/' in page
    assert mine in page
    assert theirs in page
    assert "Fusionné avec" in page
    assert claire.client.get(f"/patients/{absorbed}").headers["Location"] == f"/patients/{kept}"
    assert claire.client.get(f"/documents/{theirs}").status_code == 200
    assert "fusionné avec" in send(claire, "/patients/search", q="zwingel").get_data(as_text=True)
    histories = [seen(claire, f"/patients/{each}/accesses") for each in (kept, absorbed)]
    assert all(f'/patients/{each}/accesses"' in history for each in (kept, absorbed) for history in histories)
    assert "Dossiers fusionnés" in histories[1]
    (merge,) = re.findall(r'action="/merges/([0-9a-f]{32})/undo"', page)
    assert send(claire, f"/merges/{merge}/undo", patient=kept, reason="").status_code == 422
    done = send(claire, f"/merges/{merge}/undo", patient=kept, reason="Deux personnes")
    assert done.status_code == 200
    assert "Fusion annulée" in done.get_data(as_text=True)
    assert theirs not in seen(claire, f"/patients/{kept}")
    again = send(claire, f"/merges/{merge}/undo", patient=kept, reason="Encore")
    assert again.status_code == 409
    assert "déjà" in again.get_data(as_text=True)


def test_two_files_are_merged_and_parted_through_the_api(house: Practice, pair: tuple[str, str, str, str]) -> None:
    kept, absorbed, mine, theirs = pair
    program = house.program("claire")
    compared = program.ask("GET", f"/patients/{kept}/compare/{absorbed}").get_json()
    assert (compared["obstacle"], [side["documents"] for side in compared["sides"]]) == (None, [1, 1])
    for who, status in (("sophie", 403), ("durand", 404)):
        refused = house.program(who).ask("POST", f"/patients/{kept}/merges", json={"absorbed": absorbed, "reason": "Double"})
        assert refused.status_code == status
    answer = program.ask("POST", f"/patients/{kept}/merges", json={"absorbed": absorbed, "reason": "Double"})
    assert answer.status_code == 201, answer.get_json()
    merge = answer.get_json()
    assert merge["can_be_undone"]
    assert program.ask("GET", f"/patients/{absorbed}").get_json()["id"] == kept
    listed = program.ask("GET", f"/documents?patient={kept}").get_json()["documents"]
    assert {mine, theirs} == {document["id"] for document in listed}
    stale = program.ask("PATCH", f"/patients/{absorbed}", json={"used_name": "Autre"})
    assert (stale.status_code, stale.get_json()["reason"], stale.get_json()["patient"]) == (409, "merged", kept)
    late = program.upload(absorbed, PDF + b"late")
    assert (late.status_code, late.get_json()["patient"]) == (409, kept)
    assert [each["id"] for each in program.ask("GET", f"/patients/{kept}/merges").get_json()["merges"]] == [merge["id"]]
    done = program.ask("POST", f"/merges/{merge['id']}/undo", json={"reason": "Deux personnes"})
    assert done.get_json() == {"kept": kept, "absorbed": absorbed, "filed_since": 0}
    assert program.ask("GET", f"/patients/{kept}/merges").get_json() == {"merges": []}


def test_two_qualified_matricules_are_refused_in_a_sentence(house: Practice) -> None:
    one = made(house, "Certaine", status="qualified")
    other = made(house, "Certaine", status="qualified", ins="255081416802538")
    program = house.program("claire")
    refused = program.ask("POST", f"/patients/{one}/merges", json={"absorbed": other, "reason": "Double"})
    assert (refused.status_code, refused.get_json()["reason"]) == (409, "qualified_ins")
    assert "qualifi" in refused.get_json()["detail"]
    page = seen(house.browser("claire"), f"/patients/{one}/merge?with={other}")
    assert "INS qualifiées différentes" in page
    assert 'name="kept"' not in page


# --- the timeline's filters -----------------------------------------------------------------------------------------------


def document(**facts: Any) -> Document:
    given = {"type": "11502-2", "act_date": date(2026, 3, 1), "deposited_by": PersonId("a" * 32), **facts}
    return Document(DocumentId("d" * 32), PatientId("p" * 32), 1, file_name="x.pdf", **given)


@pytest.mark.parametrize(
    ("wanted", "facts", "expected"),
    [
        ({}, {}, True),
        ({"class": "biology"}, {"type": "57833-6"}, False),
        ({"period": "1y"}, {}, True),
        ({"period": "3m"}, {}, False),
        ({"period": "2026"}, {}, True),
        ({"period": "2025"}, {}, False),
        ({"period": "2026"}, {"act_date": None}, False),
        ({"period": "' OR 1"}, {}, True),
        ({"author": "a" * 32}, {}, True),
        ({"author": "b" * 32}, {}, False),
        ({"unread": "yes"}, {}, True),
        ({"unread": "yes"}, {"integrated_at": Micros(1)}, False),
    ],
)
def test_a_timeline_is_narrowed(wanted: dict[str, str], facts: dict[str, Any], expected: bool) -> None:
    assert narrowed(wanted).lets(document(**facts), date(2026, 11, 23)) is expected


def test_the_filters_stand_in_the_address_and_nothing_else_does() -> None:
    assert narrowed({"class": "x", "period": "1y", "unread": "yes", "q": "dupont"}).args == {
        "class": "x",
        "period": "1y",
        "unread": "yes",
    }
    assert Narrowed().args == {}


def test_the_page_filters_and_says_when_nothing_is_left(house: Practice, pair: tuple[str, str, str, str]) -> None:
    kept, _absorbed, mine, _theirs = pair
    claire = house.browser("claire")
    house.program("claire").upload(kept, PDF + b"second" + kept.encode())
    assert "Période et auteur" in seen(claire, f"/patients/{kept}")
    assert mine in seen(claire, f"/patients/{kept}?unread=yes")
    page = seen(claire, f"/patients/{kept}?period=2001")
    assert mine not in page
    assert "Aucun document avec ces filtres" in page
