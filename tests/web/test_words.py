"""Every sentence has its French, set as French is; facts are said as people say them."""

from __future__ import annotations

import re
from datetime import date
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from tests.web.conftest import Practice
from vault.errors import Invalid
from web import wording
from web.errors import TABLE
from web.forms import birth_date_typed, date_typed
from web.translations.__main__ import MO, PO, extracted, mo_bytes, typeset, untranslated, updated

TODAY = date(2026, 11, 23)
TEMPLATES = Path(wording.__file__).parent / "templates"
PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\}")


def test_every_sentence_has_its_french() -> None:
    assert untranslated(updated()) == []


def test_the_catalogue_holds_nothing_that_is_gone() -> None:
    known = {(message.id, message.context) for message in read_po(BytesIO(PO.read_bytes()), locale="fr") if message.id}
    present = {(message.id, message.context) for message in extracted() if message.id}
    assert known == present


def test_the_compiled_catalogue_is_the_written_one() -> None:
    assert MO.read_bytes() == mo_bytes(updated())


def test_french_is_set_as_french_is_and_keeps_its_placeholders() -> None:
    for message in read_po(BytesIO(PO.read_bytes()), locale="fr"):
        forms = message.string if isinstance(message.string, tuple | list) else (message.string,)
        ids = message.id if isinstance(message.id, tuple | list) else (message.id,)
        for form in forms if message.id else ():
            assert form
            assert typeset(form) == form, form
            assert "!" not in form, form
            assert sorted(PLACEHOLDER.findall(form)) == sorted(PLACEHOLDER.findall(ids[-1])), form


@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_refusal_has_words_in_both_languages(practice: Practice, language: str) -> None:
    client = practice.app.test_client()
    client.set_cookie("coffre-language", language)
    for code in TABLE:
        said = client.get(f"/api/v1/errors/{code}").get_json()
        assert said["title"]
        assert said["detail"]
        assert ("\u2019" in said["detail"]) or "'" not in said["detail"]


def test_the_visitor_s_choice_of_language_and_theme_holds(practice: Practice) -> None:
    browser = practice.browser()
    assert 'lang="fr"' in browser.client.get("/sign-in", headers={"Accept-Language": "en"}).get_data(as_text=True)
    browser.post("/preferences", {"language": "en"})
    browser.post("/preferences", {"theme": "dark"})
    page = browser.client.get("/sign-in").get_data(as_text=True)
    assert 'lang="en"' in page
    assert 'data-theme="dark"' in page
    assert "Username" in page
    browser.post("/preferences", {"language": "xx", "theme": "<script>"})
    assert 'lang="en"' in browser.client.get("/sign-in").get_data(as_text=True)


def test_programs_are_answered_in_their_language(practice: Practice) -> None:
    client = practice.app.test_client()
    assert client.get("/api/v1/me", headers={"Accept-Language": "en"}).get_json()["title"] == "You are not signed in"
    assert client.get("/api/v1/me").get_json()["title"] == "Vous n’êtes pas connecté"


@pytest.mark.parametrize(
    ("count", "french", "english"),
    [
        (0, "0 octets", "0 bytes"),
        (999, "999 octets", "999 bytes"),
        (312_000, "312 Ko", "312 KB"),
        (1_840_000, "1,8 Mo", "1.8 MB"),
        (150_000_000, "150 Mo", "150 MB"),
        (2_147_483_648, "2,1 Go", "2.1 GB"),
    ],
)
def test_sizes(count: int, french: str, english: str) -> None:
    assert wording.size(count, "fr") == french.replace(" ", "\u00a0")
    assert wording.size(count, "en") == english.replace(" ", "\u00a0")


def test_numbers_dates_and_ages() -> None:
    assert wording.number(1_204_518) == "1\u202f204\u202f518"
    assert wording.day(date(2026, 3, 2)) == "02/03/2026"
    assert wording.moment(1_790_000_000_000_000, "Europe/Paris") == "21/09/2026 à 16\u00a0h\u00a013"
    assert wording.birth_date("1980-03-00") == "03/1980"
    assert wording.birth_date("1980-00-00") == "1980"
    assert wording.age("1980-03-12", TODAY) == "46\u00a0ans"
    assert wording.age("2025-10-24", TODAY) == "12\u00a0mois"
    assert wording.age("1980-00-00", TODAY) == ""
    assert wording.initials("Dr Claire Martin") == "CM"
    assert wording.initials("") == ""


@pytest.mark.parametrize(
    ("typed", "found"),
    [("12/03/2026", "2026-03-12"), ("120326", "2026-03-12"), ("12 03 26", "2026-03-12"), ("2026-03-12", "2026-03-12"),
     ("1.2.2024", "2024-02-01"), ("240127", "1927-01-24")],
)  # fmt: skip
def test_a_typed_day(typed: str, found: str) -> None:
    assert date_typed(typed, "act_date", TODAY).isoformat() == found


@pytest.mark.parametrize(
    ("typed", "reason"),
    [("31/02/2026", "impossible"), ("x", "shape"), ("", "empty"), ("12-", "shape"), ("29/02/27", "impossible")],
)
def test_a_day_that_is_none(typed: str, reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        date_typed(typed, "act_date", TODAY)
    assert refused.value.details["reason"] == reason


@pytest.mark.parametrize(
    ("typed", "found"),
    [("12/03/1980", "1980-03-12"), ("03/1980", "1980-03-00"), ("1980", "1980-00-00"), ("00/03/1980", "1980-03-00")],
)
def test_a_birth_date_may_be_uncertain(typed: str, found: str) -> None:
    assert birth_date_typed(typed, TODAY) == found


def test_every_component_is_shown_in_every_state() -> None:
    """``/_components`` holds each macro of the design system: one that is missing there is seen by nobody who changes it."""
    shown = (TEMPLATES / "showcase.html").read_text(encoding="utf-8")
    macros = {
        name
        for path in (TEMPLATES / "components").glob("*.html")
        for name in re.findall(r"{% macro ([a-z]\w*)", path.read_text(encoding="utf-8"))
    }
    parts = {"csrf", "born", "mark"}
    assert {name for name in macros - parts if not re.search(rf"\b{name}\(", shown)} == set()
