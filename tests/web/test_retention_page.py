"""How long files are kept, on screen: two people dispose of one, a hold keeps it, and nobody comes who may not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import expect

from tests.conftest import Clock
from tests.web.conftest import OFFICE, PDF, Browser, Practice, open_practice
from tests.web.test_browser import Served
from vault.model import Patient, Role
from vault.people.relations import Mode

LOOKS = [("light", {"width": 1440, "height": 900}), ("dark", {"width": 390, "height": 844})]
ENTRY = 'href="/retention"'
OLD = "2001-05-02"
"""More than twenty years before the clock's 2026, of somebody born in 1980."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    """A practice of its own: these tests destroy files."""
    staff = ("claire", "sophie", "nadia", "thomas")
    opened = open_practice(tmp_path_factory.mktemp("retention"), Clock(), staff=staff)
    for username, role in (("helene", Role.OWNER), ("paul", Role.DPO), ("louis", Role.LOCUM), ("durand", Role.CLINICIAN)):
        opened.hire(username, role)
    yield opened
    opened.vault.close()


def old(house: Practice, name: str) -> Patient:
    """A patient of Dr Claire's whose file is past its end."""
    patient = house.patient("claire", name)
    fields = {"csrf_token": house.browser("claire").csrf("/account"), "last_care_on": OLD, "died_on": ""}
    answer = house.browser("claire").client.post(f"/patients/{patient.id}/retention", data=fields)
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return patient


def send(house: Practice, username: str, path: str, **fields: str) -> tuple[int, str, str]:
    """What a form answers: status, page, and where it leads."""
    answer = house.browser(username).post(path, fields)
    return answer.status_code, answer.get_data(as_text=True), answer.headers.get("Location", "")


def approve(house: Practice, username: str, disposal: str) -> tuple[int, str, str]:
    """The same of an approval by somebody who has just shown a code."""
    freshen(house, username)
    return send(house, username, f"/retention/{disposal}/approve")


def freshen(house: Practice, username: str) -> None:
    """Have somebody show a code."""
    who = house.vault.people.sessions.actor(house.token(username), OFFICE)
    house.vault.people.own.step_up(who, house.code(username))


def share(house: Practice, mode: Mode) -> None:
    """Have the owner change how the practice shares its patients."""
    freshen(house, "helene")
    house.vault.people.ties.set_mode(house.vault.people.sessions.actor(house.token("helene"), OFFICE), mode)


def seen(house: Practice, username: str, path: str = "/retention") -> str:
    return str(house.browser(username).client.get(path).get_data(as_text=True))


def proposed(house: Practice, patient: Patient, username: str = "claire") -> str:
    """The id of the proposal made over HTTP."""
    status, _, place = send(house, username, f"/patients/{patient.id}/retention/propose")
    assert (status, place) == (303, "/retention?done=disposal-proposed")
    with house.vault.db.read() as connection:
        found = connection.exec_driver_sql("select id from disposals order by proposed_at desc, id limit 1").scalar_one()
    return str(found)


def test_two_people_dispose_of_a_file(house: Practice) -> None:
    patient = old(house, "Zéphyrin")
    page = seen(house, "claire")
    assert "ZÉPHYRIN" in page
    assert "Conservé jusqu’au 02/05/2021" in page
    assert "20 ans après le dernier soin" in page
    assert "Conservé jusqu’au 02/05/2021" in seen(house, "claire", f"/patients/{patient.id}")
    disposal = proposed(house, patient)
    assert "Revenir en arrière" in seen(house, "claire")
    assert "Approuver l’élimination" not in seen(house, "claire")

    for username, is_named in (("helene", True), ("paul", False)):
        page = seen(house, username)
        assert ("ZÉPHYRIN" in page, patient.id in page) == (is_named, True)
        assert "Dr Claire" in page
        assert "Conservé jusqu’au 02/05/2021" in page
        assert "Approuver l’élimination" in page
        assert re.search(r"encore la clé disparaît le \d\d/\d\d/\d{4}", page)
    house.clock.advance(seconds=600)  # the second factor is no longer fresh
    status, _, place = send(house, "paul", f"/retention/{disposal}/approve", back="/retention")
    assert (status, place) == (303, "/step-up?next=%2Fretention")
    status, _, place = approve(house, "paul", disposal)
    assert (status, place) == (303, "/retention?done=file-destroyed")
    assert house.browser("claire").client.get(f"/patients/{patient.id}").status_code == 404
    assert "ZÉPHYRIN" not in seen(house, "helene")

    address = f"/retention/{disposal}/certificate"
    assert address in seen(house, "helene")
    paper = seen(house, "helene", address)
    for said in (disposal, patient.id, "02/05/2021", "R-20", "patient.erase", "supprimée le"):
        assert said in paper
    assert "zéphyrin" not in paper.lower()
    assert "camille" not in paper.lower()
    assert house.events("patient.erase")[-1] == "success"


def test_a_hold_keeps_the_file(house: Practice) -> None:
    before = len(house.events("document.hold_clear"))
    patient = old(house, "Gelée")
    disposal = proposed(house, patient)
    own = f"/patients/{patient.id}"
    assert send(house, "claire", f"{own}/holds", reason=" ", since="")[0] == 422
    status, page, _ = send(house, "claire", f"{own}/holds", reason="Litige", since="32/01/2020")
    assert (status, "Litige" in page, "Cette date n’existe pas" in page) == (422, True, True)
    status, _, place = send(house, "claire", f"{own}/holds", reason="Litige", since="12/03/2026")
    assert (status, place) == (303, f"{own}/retention?done=hold-set")
    assert "Gel juridique depuis le 12/03/2026" in seen(house, "claire", own)
    page = seen(house, "paul", f"{own}/retention")
    assert ("Litige" in page, "GELÉE" in page, "Enregistrer les dates" in page) == (True, False, False)

    assert "Gel juridique depuis le 12/03/2026" in seen(house, "paul")
    status, page, _ = approve(house, "helene", disposal)
    assert (status, "levez le gel" in page) == (409, True)
    assert send(house, "helene", f"/retention/{disposal}/take-back")[2] == "/retention?done=disposal-taken-back"
    status, page, _ = send(house, "helene", f"/patients/{patient.id}/retention/propose")
    assert (status, "levez le gel" in page) == (409, True)

    [hold] = re.findall(r"/holds/([0-9a-f]{32})/clear", seen(house, "claire", f"{own}/retention"))
    status, page, _ = send(house, "claire", f"{own}/holds/{hold}/clear")
    assert (status, f'id="reason-{hold}-error"' in page) == (422, True)
    reason = {f"reason-{hold}": "Transaction"}
    assert send(house, "claire", f"{own}/holds/{hold}/clear", **reason)[2] == f"{own}/retention?done=hold-cleared"
    assert send(house, "claire", f"{own}/holds/{hold}/clear", **reason)[0] == 409
    assert "Conservé jusqu’au" in seen(house, "claire", own)
    assert house.events("document.hold_set")[-1] == "success"
    assert house.events("document.hold_clear")[before:] == ["failed", "success", "failed"]


def test_nobody_approves_their_own(house: Practice) -> None:
    disposal = proposed(house, old(house, "Seule"), "helene")
    page = seen(house, "helene")
    assert "autre que la personne qui a proposé" in page
    assert "Approuver l’élimination" not in page
    status, page, _ = approve(house, "helene", disposal)
    assert (status, "demande une deuxième personne" in page) == (403, True)
    assert send(house, "claire", f"/retention/{disposal}/take-back")[0] == 403
    assert send(house, "paul", f"/retention/{disposal}/take-back")[0] == 303
    status, page, _ = approve(house, "paul", disposal)
    assert (status, "décidé entre-temps" in page) == (409, True)


def test_who_works_alone_waits_seven_days(house: Practice) -> None:
    disposal = proposed(house, old(house, "Solène"), "helene")
    before = house.vault.people.ties.mode()
    share(house, Mode.SOLO)
    try:
        assert "vous pourrez approuver à partir du" in seen(house, "helene")
        status, page, _ = approve(house, "helene", disposal)
        assert (status, "sept jours" in page) == (409, True)
        paper = house.browser("helene").client.get(f"/retention/{disposal}/certificate")
        assert (paper.status_code, "pas encore détruit" in paper.get_data(as_text=True)) == (409, True)
        house.clock.advance(seconds=7 * 86_400)
        assert "Approuver l’élimination" in seen(house, "helene")
        assert approve(house, "helene", disposal)[2] == "/retention?done=file-destroyed"
    finally:
        share(house, before)


def test_a_file_that_is_still_kept(house: Practice) -> None:
    patient = house.patient("claire", "Récente")
    assert "une date manque" in seen(house, "claire", f"/patients/{patient.id}")
    house.program("claire").upload(patient.id, PDF)
    assert "Conservé jusqu’au" in seen(house, "claire", f"/patients/{patient.id}")
    assert "RÉCENTE" not in seen(house, "claire")
    status, page, _ = send(house, "claire", f"/patients/{patient.id}/retention/propose")
    assert (status, "encore à conserver" in page) == (409, True)
    assert send(house, "claire", f"/patients/{patient.id}/retention", last_care_on="demain", died_on="")[0] == 422


@pytest.mark.parametrize("username", ["sophie", "nadia", "thomas", "louis"])
def test_roles_that_have_no_part_in_it(house: Practice, username: str) -> None:
    patient = house.patient("claire", "Fermée")
    browser: Browser = house.browser(username)
    assert ENTRY not in seen(house, username, "/account")
    shut: list[Any] = [browser.client.get(path).status_code for path in ("/retention", f"/patients/{patient.id}/retention")]
    assert shut == [403, 403]
    nothing = "0" * 32
    forms = ("retention/propose", "holds", f"holds/{nothing}/clear")
    assert {send(house, username, f"/patients/{patient.id}/{form}", reason="x")[0] for form in forms} == {403}
    assert "Conservé" not in seen(house, username, f"/patients/{patient.id}")


def test_whoever_may_sees_the_entry_and_an_empty_page(house: Practice) -> None:
    for username in ("claire", "helene", "paul"):
        assert ENTRY in seen(house, username, "/account")
    assert "Aucun dossier n’est échu" in seen(house, "durand")
    other, before = house.patient("claire", "Autre"), house.events("document.hold_set")
    assert house.browser("durand").client.get(f"/patients/{other.id}/retention").status_code == 404
    forged = house.browser("helene").client.post(f"/patients/{other.id}/holds", data={"reason": "x", "csrf_token": "x"})
    assert (forged.status_code, house.events("document.hold_set")) == (400, before)
    assert house.browser("helene").client.get(f"/retention/{'0' * 32}/certificate").status_code == 404


@pytest.mark.browser
def test_the_pages_are_accessible_and_fit_a_telephone(browser: Chromium, tmp_path: Path) -> None:
    practice = open_practice(tmp_path, Clock(), staff=("claire",))
    practice.hire("helene", Role.OWNER)
    site = Served(practice)
    try:
        proposed(practice, old(practice, "Zéphyrin"))
        waiting = old(practice, "Lagarde")
        paths = {"claire": ("/retention", f"/patients/{waiting.id}/retention"), "helene": ("/retention",)}
        for (scheme, size), username in zip(LOOKS, ("claire", "helene"), strict=True):
            page = site.page(browser, username, "/account", color_scheme=scheme, viewport=size, bypass_csp=True)
            for path in paths[username]:
                page.goto(f"http://127.0.0.1:{site.port}{path}")
                for summary in page.locator("main summary").all():
                    summary.click()
                found = Axe().run(page).response["violations"]
                assert [(each["id"], each["nodes"][0]["html"][:120]) for each in found] == []
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.goto(f"http://127.0.0.1:{site.port}/retention")
        page.locator("summary", has_text="Approuver").click()
        page.get_by_role("button", name="Approuver l’élimination").click()
        expect(page.locator(".toast")).to_contain_text("Dossier éliminé")
        page.get_by_role("link", name="Certificat de destruction").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Certificat de destruction")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert site.complaints == []
    finally:
        site.stop()
        practice.vault.close()
