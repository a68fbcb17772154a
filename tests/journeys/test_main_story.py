"""The main job in a real browser: reception files a scan, the clinician reads it, the auditor finds it all in the log.

Afterwards the disk of the server is searched for everything that was typed, uploaded or shown: nothing may be in clear.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.journeys import disk
from tests.journeys.conftest import ON_BOTH_COLUMNS, Browsing, Column
from tests.journeys.papers import bring, scan, unheard_of
from tests.journeys.site import Site
from tests.journeys.visitor import ready

pytestmark = [pytest.mark.browser, pytest.mark.hsm, pytest.mark.xdist_group("journeys")]


class Story:
    """The words of one run: nobody else has them, so a hit can only come from here."""

    def __init__(self, luggage: Path) -> None:
        self.birth_name = unheard_of("Quatremarre")
        self.given_name = unheard_of("Zoe")
        self.content = unheard_of("Dyslipidemie")
        self.file_name = unheard_of("Courrier")
        self.bytes = scan(self.content)
        self.file = bring(luggage, f"{self.file_name}.pdf", self.bytes)

    @property
    def title(self) -> re.Pattern[str]:
        return re.compile(rf"{self.birth_name.upper()}\s+{self.given_name}")


def reception_files(at_desk: Browsing, story: Story) -> None:
    with at_desk("sophie.garnier") as sophie:
        page = sophie.sign_in()
        sophie.go("/patients/new")
        page.get_by_label("Nom de naissance").fill(story.birth_name)
        page.get_by_label("Prénoms").fill(story.given_name)
        page.get_by_label("Date de naissance").fill("12/03/1980")
        page.get_by_role("radio", name="Féminin").check()
        page.get_by_role("button", name="Créer le patient").click()
        expect(page.get_by_text(story.title).first).to_be_visible()
        ready(page)
        page.get_by_label("Type de document").select_option("11502-2")
        page.get_by_label("Date de l’acte").fill("20/11/2026")
        page.locator("input[type=file]").set_input_files(story.file)
        expect(page.get_by_text("Document médical").or_(page.get_by_text(story.file.name)).first).to_be_visible()
        expect(page.get_by_text("Biologie").first).to_be_visible()


def clinician_reads(at_desk: Browsing, story: Story, luggage: Path) -> None:
    with at_desk("claire.martin") as claire:
        page = claire.sign_in()
        page.keyboard.press("/")
        page.keyboard.type(f"12/03/80 {story.birth_name[:6]}")
        page.get_by_role("option").or_(page.get_by_role("link")).filter(has_text=story.title).first.click()
        expect(page.get_by_role("region", name="Patient")).to_contain_text(story.title)
        page.get_by_role("link").filter(has_text=story.file.name).click()
        expect(page.get_by_text("Intégrité vérifiée").first).to_be_visible()
        picture = page.get_by_role("img", name=re.compile("Page 1")).first
        expect(picture).to_have_js_property("complete", value=True)
        assert picture.evaluate("image => image.naturalWidth") >= 400
        expect(page.get_by_text(hashlib.sha256(story.bytes).hexdigest())).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("link", name="Télécharger").first.click()
        received = luggage / "received.pdf"
        download.value.save_as(received)
        assert received.read_bytes() == story.bytes
        assert download.value.suggested_filename == story.file.name


def outsider_sees_nothing(at_desk: Browsing, story: Story) -> None:
    with at_desk("karim.benali") as karim:
        page = karim.sign_in()
        page.keyboard.press("/")
        page.keyboard.type(story.birth_name[:8])
        page.keyboard.press("Enter")
        page.get_by_role("link").filter(has_text=story.title).click()
        page.wait_for_url(re.compile("/patients/[0-9a-f]{32}"))
        page.wait_for_load_state()
        assert story.file_name not in page.content()
        assert "11502-2" not in page.inner_text("main")
        karim.complaints[:] = [text for text in karim.complaints if "404" not in text]


def auditor_finds_it_all(at_desk: Browsing, story: Story, luggage: Path) -> None:
    with at_desk("nadia.roche") as nadia:
        page = nadia.sign_in()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Journal des accès")
        assert story.birth_name not in page.content()
        page.get_by_role("button", name="Vérifier le journal").click()
        expect(page.get_by_text(re.compile("Journal intact|vérifié")).first).to_be_visible()
        page.get_by_role("link", name="Exporter le journal").click()
        page.get_by_label("Format").select_option("csv")
        with page.expect_download() as download:
            page.get_by_role("button", name="Exporter", exact=True).click()
        exported = luggage / "journal.csv"
        download.value.save_as(exported)
    text = exported.read_text(encoding="utf-8-sig")
    rows = csv.DictReader(text.splitlines(), delimiter=";")
    stands = {(row["actor_name"], row["action"], row["outcome"]) for row in rows}
    for who, action, outcome in (
        ("Sophie Garnier", "patient.create", "success"),
        ("Sophie Garnier", "document.upload", "success"),
        ("Dr Claire Martin", "auth.login", "success"),
        ("Dr Claire Martin", "document.view", "granted"),
        ("Dr Claire Martin", "document.download", "granted"),
        ("Dr Karim Benali", "patient.view", "denied"),
    ):
        assert (who, action, outcome) in stands
    assert text.rstrip().splitlines()[-1].startswith("#;complete;")
    assert story.birth_name not in text
    assert story.file_name not in text


def secrets_of(site: Site, story: Story) -> list[str]:
    words = [story.birth_name, story.given_name, story.content, story.file_name]
    words += [hashlib.sha256(story.bytes).hexdigest()]
    for account in site.demo.accounts:
        words += [account.password, account.totp_secret, *account.recovery_codes]
        words += [base64.b32decode(account.totp_secret).hex()]
    return words


@ON_BOTH_COLUMNS
def test_upload_retrieve_audit_and_nothing_in_clear(at_desk: Browsing, column: Column, tmp_path: Path) -> None:
    luggage = tmp_path / "luggage"
    story = Story(luggage)
    reception_files(at_desk, story)
    clinician_reads(at_desk, story, luggage)
    outsider_sees_nothing(at_desk, story)
    auditor_finds_it_all(at_desk, story, luggage)
    site = column.site
    for place in column.places:
        assert disk.search(place, secrets_of(site, story), skip=[site.demo.directory / "accounts.json"]) == []
    assert "Traceback" not in site.words()
