"""Quarantine in a browser: the sender’s list of transfers, and the page of those in charge, without a complaint from axe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.conftest import Clock
from tests.servers.scanner import OddScanner
from tests.vault.rendering import papers
from tests.web.conftest import open_practice
from tests.web.test_browser import Served
from vault.model import Role
from vault.settings import ScanSettings

pytestmark = pytest.mark.browser
LOOKS = [("light", {"width": 1280, "height": 900}), ("dark", {"width": 390, "height": 844})]


@pytest.fixture
def infested(tmp_path: Path) -> Iterator[Served]:
    """A practice whose scanner finds something in everything."""
    with OddScanner(tmp_path / "s", reply=b"stream: Pdf.Exploit.CVE_2026_0001-1 FOUND\0") as scanner:
        practice = open_practice(tmp_path, Clock(), staff=("sophie", "thomas"), scan=ScanSettings(scanner.path))
        practice.hire("helene", Role.OWNER)
        site = Served(practice)
        yield site
        site.stop()
        practice.vault.close()


def test_the_sender_reads_it_in_the_list_and_the_owner_decides(browser: Browser, infested: Served) -> None:
    page = infested.page(browser, "sophie", "/inbox")
    files = [{"name": f"courrier-{n}.pdf", "mimeType": "application/pdf", "buffer": papers.pdf(n)} for n in (1, 2)]
    page.locator(".tray-drop[data-live] input[name=files]").set_input_files(files)  # type: ignore[arg-type]  # a payload is one
    rows = page.locator('.upload[data-state="apart"]')
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("Mis en quarantaine. L’antivirus y a reconnu Pdf.Exploit.CVE_2026_0001-1.")
    expect(rows.locator("[data-retry]:visible")).to_have_count(0)
    assert [text for text in infested.complaints if "422" not in text] == []
    for username, (scheme, size) in zip(("helene", "thomas"), LOOKS, strict=True):
        page = infested.page(browser, username, "/quarantine", color_scheme=scheme, viewport=size, bypass_csp=True)
        expect(page.get_by_role("button", name="Analyser de nouveau")).to_have_count(2)
        page.locator("summary", has_text="Éliminer").first.click()
        expect(page.get_by_role("button", name="Éliminer ce fichier")).to_be_visible()
        found = Axe().run(page).response["violations"]
        assert [
            (each["id"], each["nodes"][0]["html"][:120]) for each in found if each["impact"] in {"serious", "critical"}
        ] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Analyser de nouveau").first.click()
    expect(page.locator(".toast")).to_contain_text("Toujours infecté")
    page.locator("summary", has_text="Éliminer").first.click()
    page.get_by_role("button", name="Éliminer ce fichier").click()
    expect(page.locator(".toast")).to_contain_text("Fichier éliminé")
    expect(page.get_by_role("button", name="Analyser de nouveau")).to_have_count(1)
