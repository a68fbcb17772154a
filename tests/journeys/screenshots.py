"""Takes the pictures of docs/screenshots from a demonstration made for them: ``make screenshots``. Knows what is worth one."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.journeys.site import Site
from tests.journeys.visitor import DESK, TELEPHONE, Telephones, Visitor, browsing
from tests.parts import LAUNCH, chromium_path

PLACE = Path(__file__).parents[2] / "docs" / "screenshots"
COLOURS = 160
"""Flat pages need few; a picture then weighs a fifth."""

FILE = re.compile(r"/(?:patients|documents)/[0-9a-f]{32}")

Steps = Callable[[Visitor], None]


def sign_in_page(visitor: Visitor) -> None:
    visitor.go("/sign-in")


def patient_file(visitor: Visitor) -> None:
    page = visitor.go("/patients")
    page.get_by_role("link").filter(has_text="DUPONT Claire").first.click()
    page.wait_for_url(FILE)
    if "/documents/" not in page.url:
        page.locator("a[data-document]").first.click()
    expect(page.get_by_text("Intégrité vérifiée").first).to_be_visible()
    page.wait_for_function("document.querySelector('figure img')?.naturalWidth > 0")


def filing(visitor: Visitor) -> None:
    page = visitor.go("/patients")
    page.get_by_role("link").filter(has_text="DUPONT Claire").first.click()
    page.wait_for_url(FILE)


def home(visitor: Visitor) -> None:
    visitor.go("/")


def journal(visitor: Visitor) -> None:
    page = visitor.go("/audit")
    page.get_by_role("button", name="Vérifier le journal").click()
    page.wait_for_load_state()


PICTURES: tuple[tuple[str, str, Steps], ...] = (
    ("patient", "claire.martin", patient_file),
    ("filing", "sophie.garnier", filing),
    ("reception", "sophie.garnier", home),
    ("journal", "nadia.roche", journal),
    ("status", "thomas.weber", home),
    ("sign-in", "", sign_in_page),
)


def save(page: Page, path: Path) -> None:
    """The visible part of the page, without blinking cursors and passing messages."""
    page.wait_for_load_state("networkidle")
    picture = Image.open(BytesIO(page.screenshot(animations="disabled", caret="hide"))).convert("RGB")
    picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


def take(browser: Browser, site: Site) -> None:
    """Every picture, each person signing in once for all of theirs."""
    telephones = Telephones()
    doors: dict[str, object] = {}
    for name, username, steps in PICTURES:
        for scheme in ("light", "dark"):
            for viewport in (DESK, TELEPHONE):
                who = username or "claire.martin"
                door = doors.get(who) if username else None
                with browsing(browser, site, telephones, who, scheme=scheme, viewport=viewport, storage_state=door) as visitor:
                    if username and door is None:
                        visitor.sign_in()
                        doors[who] = visitor.page.context.storage_state()
                    steps(visitor)
                    save(visitor.page, PLACE / f"{name}-{viewport['width']}-{scheme}.png")


def main() -> None:
    """Take them all."""
    PLACE.mkdir(parents=True, exist_ok=True)
    arguments = [*LAUNCH, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    # What a browser draws by itself, dates and file choices, is in its own language.
    environment: dict[str, str | float | bool] = {**os.environ, "LANGUAGE": "fr"}
    with tempfile.TemporaryDirectory() as room, sync_playwright() as playwright:
        site = Site.start(Path(room))
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=arguments, env=environment)
        try:
            take(browser, site)
        finally:
            browser.close()
            site.stop()


if __name__ == "__main__":
    main()
