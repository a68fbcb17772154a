"""The main pages as they come up: something to read at once, nothing that jumps, and all of it where no script runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from tests.journeys.conftest import Browsing, SignedIn
from tests.journeys.test_every_page import SHIFTS
from tests.journeys.visitor import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.hsm, pytest.mark.xdist_group("journeys")]

SHIFT = 0.02
LOADS = 3
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
"""Milliseconds from the beginning of the navigation (W3C Paint Timing)."""
LOADED = "image => image.complete && image.naturalWidth > 0"


def is_drawn(page: Page, selector: str) -> None:
    """A page of a document, as pixels."""
    picture = page.locator(selector).first
    picture.scroll_into_view_if_needed()
    expect(picture).to_be_visible()
    page.wait_for_function(f"(one) => ({LOADED})(document.querySelector(one))", arg=selector)


def shows_inbox(page: Page) -> None:
    expect(page.locator('.tray-item[aria-current="true"]')).to_be_visible()
    expect(page.get_by_label("Type de document").first).to_be_visible()
    is_drawn(page, ".sheet img")


def shows_patients(page: Page) -> None:
    """The list, and a search that is a plain form."""
    page.locator("main input[type=search]").fill("dup 12/03/80")
    page.locator("main input[type=search]").press("Enter")
    expect(page.locator("main .row-link", has_text="DUPONT Claire")).to_be_visible()


def shows_patient(page: Page) -> None:
    expect(page.locator("h1")).to_contain_text("DUPONT Claire")
    expect(page.locator("a[data-document]").first).to_be_visible()


def shows_document(page: Page) -> None:
    expect(page.locator("h1")).to_contain_text("DUPONT Claire")
    expect(page.get_by_text("Intégrité vérifiée").first).to_be_visible()
    is_drawn(page, "figure img")


def to_patient(visitor: Visitor) -> str:
    page = visitor.go("/patients")
    return str(page.locator("main .row-link", has_text="DUPONT Claire").first.get_attribute("href"))


def to_document(visitor: Visitor) -> str:
    page = visitor.go(to_patient(visitor))
    return str(page.locator("a[data-document]").first.get_attribute("href"))


@dataclass(frozen=True, slots=True)
class Main:
    """One main page: who opens it, where, and what must be there."""

    username: str
    where: Callable[[Visitor], str]
    shows: Callable[[Page], None]


MAIN = {
    "inbox": Main("sophie.garnier", lambda _visitor: "/inbox", shows_inbox),
    "patients": Main("sophie.garnier", lambda _visitor: "/patients", shows_patients),
    "patient": Main("sophie.garnier", to_patient, shows_patient),
    "document": Main("claire.martin", to_document, shows_document),
}


def judged(visitor: Visitor, path: str, words: str) -> str:
    """The median first paint of some loads; fails where one jumps."""
    paints = []
    for _ in range(LOADS):
        page = visitor.go(path)
        page.wait_for_load_state("networkidle")
        shift = page.evaluate(SHIFTS)
        assert shift < SHIFT, f"{words} jumps while it loads: {shift:.3f}"
        paints.append(float(page.evaluate(PAINT)))
    return f"{words}: first paint after {statistics.median(paints):.0f} ms"


@pytest.mark.parametrize("name", MAIN)
def test_a_main_page_is_there_at_once_with_and_without_scripts(
    signed_in: SignedIn, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    main, told = MAIN[name], []
    for scripts in (True, False):
        with signed_in(main.username, java_script_enabled=scripts) as visitor:
            path = main.where(visitor)
            told.append(judged(visitor, path, f"{name} {'with' if scripts else 'without'} scripts"))
            main.shows(visitor.page)
    with capsys.disabled():
        print("", *told, sep="\n")  # noqa: T201  # the figures that this is for


@pytest.mark.parametrize("scripts", [True, False])
def test_the_sign_in_page_is_there_at_once(at_desk: Browsing, capsys: pytest.CaptureFixture[str], *, scripts: bool) -> None:
    with at_desk("claire.martin", java_script_enabled=scripts) as visitor:
        told = judged(visitor, "/sign-in", f"sign-in {'with' if scripts else 'without'} scripts")
        expect(visitor.page.get_by_label("Identifiant")).to_be_visible()
        expect(visitor.page.get_by_role("button", name="Continuer")).to_be_enabled()
    with capsys.disabled():
        print("", told, sep="\n")  # noqa: T201  # the figure that this is for
