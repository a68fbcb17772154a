"""A person at a browser: signs in with their telephone, and walks the pages by the words on them. Knows no vault internals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.journeys.site import Site
from tests.parts import PATIENCE_MS
from vault.demo import phone
from vault.demo.stage import Account

DESK = {"width": 1440, "height": 900}
TELEPHONE = {"width": 390, "height": 844}


class Telephones:
    """Everybody's telephone; never shows the same person a code twice, as the vault takes each code once."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def code(self, account: Account) -> str:
        """A code that the vault has not seen: of the step before, this one or the next; waits when all three are used."""
        while True:
            now = int(time.time() // phone.STEP_S)
            step = max(self._last.get(account.username, 0) + 1, now)
            if step <= now + 1:
                self._last[account.username] = step
                return account.code(step * phone.STEP_S)
            time.sleep(0.5)


def ready(page: Page) -> Page:
    """Once the scripts of the page that is open listen: keys, files and drops that come before them are nobody's."""
    page.locator("html[data-ready]").wait_for(state="attached")
    return page


class Visitor:
    """One browser window of one person."""

    def __init__(self, site: Site, page: Page, telephones: Telephones, account: Account, *, has_scripts: bool = True) -> None:
        self.has_scripts = has_scripts
        self.site = site
        self.page = page
        self.account = account
        self._telephones = telephones
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def go(self, path: str = "/") -> Page:
        """Open a path of the site."""
        self.page.goto(f"{self.site.url}{path}")
        return ready(self.page) if self.has_scripts else self.page

    @property
    def is_inside(self) -> bool:
        """Whether the page that is open is one for people who are signed in."""
        return self.page.get_by_label("Mon menu").count() > 0

    def sign_in(self) -> Page:
        """Password, then the code, which submits itself."""
        self.go("/sign-in")
        self.page.get_by_label("Identifiant").fill(self.account.username)
        self.page.get_by_label("Mot de passe", exact=True).fill(self.account.password)
        self.page.get_by_role("button", name="Continuer").click()
        field = self.page.get_by_label("Code à usage unique")
        field.wait_for()
        ready(self.page)
        field.press_sequentially(self._telephones.code(self.account))
        expect(self.page.get_by_label("Mon menu")).to_be_visible()
        return ready(self.page)


@contextmanager
def browsing(
    browser: Browser, site: Site, telephones: Telephones, username: str, *, scheme: str = "light", **options: Any
) -> Iterator[Visitor]:
    """A person in a private window. Fails at the end if the browser complained (script error, blocked content)."""
    usual: dict[str, Any] = {"locale": "fr-FR", "timezone_id": "Europe/Paris", "viewport": DESK, "color_scheme": scheme}
    context: BrowserContext = browser.new_context(**(usual | options))
    context.set_default_timeout(PATIENCE_MS)
    account, has_scripts = site.demo.account(username), options.get("java_script_enabled", True)
    visitor = Visitor(site, context.new_page(), telephones, account, has_scripts=has_scripts)
    try:
        yield visitor
        assert visitor.complaints == [], visitor.complaints
    except Exception as error:
        error.add_note(_what_was_shown(visitor))
        raise
    finally:
        context.close()


def _what_was_shown(visitor: Visitor) -> str:
    """For whoever reads the failure: the page as it was, in words and as a picture."""
    picture = visitor.site.room.parent / f"failure-{visitor.account.username}-{int(time.time())}.png"
    visitor.page.screenshot(path=picture)
    words = visitor.page.inner_text("body")[:1500]
    return f"{visitor.account.username} at {visitor.page.url}; picture: {picture}\ncomplaints: {visitor.complaints}\n{words}"
