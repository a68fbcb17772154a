"""Every page that a role can reach: accessible, without script errors, at desk and telephone width, in light and dark.

Each page is visited on both columns, each time with another look.
"""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.journeys.conftest import BEYOND, FAR, NEAR, Browsing, SignedIn
from tests.journeys.visitor import DESK, TELEPHONE
from tests.journeys.walk import walk

pytestmark = [pytest.mark.browser, pytest.mark.hsm, pytest.mark.xdist_group("journeys"), pytest.mark.timeout(240)]

PEOPLE = ["sophie.garnier", "claire.martin", "louis.perrin", "nadia.roche", "paul.lemaire", "helene.marchetti", "thomas.weber"]
LOOKS = [("light", DESK), ("dark", TELEPHONE)]
"""Each scheme and each width once: colours do not depend on the width."""


SHOWCASE = "/_components"
"""Shows every component, those that hold a first-level heading too."""


def findings(page: Page) -> list[str]:
    """Serious and critical findings of axe, as a person would read them."""
    violations: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {violation['help']}: {violation['nodes'][0]['html'][:200]}"
        for violation in violations
        if violation["impact"] in {"serious", "critical"}
    ]


SHIFTS = """() => { const seen = new PerformanceObserver(() => {}); seen.observe({ type: "layout-shift", buffered: true });
  return seen.takeRecords().filter((entry) => !entry.hadRecentInput).reduce((sum, entry) => sum + entry.value, 0); }"""
SHIFT = 0.01
"""A cumulative layout shift below this is nothing that an eye sees; good is what stays under 0.1 (web.dev, Core Web Vitals)."""


def judge(page: Page, path: str) -> list[str]:
    """What is wrong with the page that is open."""
    wrong = [f"{path}: {finding}" for finding in findings(page)]
    if path != SHOWCASE and page.locator("h1").count() != 1:
        wrong.append(f"{path}: {page.locator('h1').count()} first-level headings")
    if not page.title().strip():
        wrong.append(f"{path}: no title")
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"):
        wrong.append(f"{path}: scrolls sideways")
    if (shift := page.evaluate(SHIFTS)) > SHIFT:
        wrong.append(f"{path}: jumps while it loads ({shift:.4f})")
    return wrong


@pytest.mark.parametrize(
    ("column", "scheme", "viewport"),
    [pytest.param(NEAR, *LOOKS[0], id="near-light-desk"), pytest.param(FAR, *LOOKS[1], id="far-dark-telephone", marks=BEYOND)],
    indirect=["column"],
)
@pytest.mark.parametrize("username", PEOPLE)
def test_pages_of(signed_in: SignedIn, username: str, scheme: str, viewport: dict[str, int]) -> None:
    with signed_in(username, scheme=scheme, viewport=viewport) as visitor:
        wrong, paths = [], []
        for path in walk(visitor):
            paths.append(path)
            wrong += judge(visitor.page, path)
        assert not wrong, "\n".join(wrong)
        assert len(paths) >= 2, paths


@pytest.mark.parametrize(("scheme", "viewport"), LOOKS, ids=["light-desk", "dark-telephone"])
@pytest.mark.parametrize("path", ["/sign-in", "/signed-out", "/locked", "/nowhere", SHOWCASE])
def test_pages_before_signing_in(at_desk: Browsing, path: str, scheme: str, viewport: dict[str, int]) -> None:
    with at_desk("claire.martin", scheme=scheme, viewport=viewport) as visitor:
        visitor.go(path)
        assert judge(visitor.page, path) == []
        visitor.complaints[:] = [text for text in visitor.complaints if "404" not in text]
