"""The pages in a real browser: keyboard, warnings, no script, no jump, no complaint from axe or from the browser."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import make_server

from tests.conftest import Clock
from tests.journeys.visitor import ready
from tests.parts import PATIENCE_MS, free_port
from tests.vault.rendering import papers
from tests.web.conftest import Practice, open_practice, pdf_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

pytestmark = pytest.mark.browser
SHIFTS = """() => new Promise((done) => { let total = 0;
  new PerformanceObserver((list) => { for (const entry of list.getEntries()) if (!entry.hadRecentInput) total += entry.value; })
    .observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(total), 400); })"""


RESTED = """() => { window.rested = false;
  document.addEventListener("scrollend", () => { window.rested = true; }, { capture: true, once: true }); }"""


def closing(app: WSGIApplication) -> WSGIApplication:
    """The same, whose answers are closed when a window goes away in their midst: this server forgets to."""

    def answered(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        answer = app(environ, start_response)
        try:
            yield from answer
        finally:
            if close := getattr(answer, "close", None):
                close()

    return answered


class Served:
    """The practice behind a socket."""

    def __init__(self, practice: Practice) -> None:
        self.practice = practice
        self.port = free_port()
        self._server = make_server("127.0.0.1", self.port, closing(practice.app), threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.complaints: list[str] = []
        self.windows = ExitStack()
        """What is open; an idle window asks how long its session lasts, and costs a processor's thirtieth."""

    def page(self, browser: Browser, username: str | None = "claire", path: str = "/", **options: Any) -> Page:
        """A window of ``username``'s at ``path``."""
        usual: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, "locale": "fr-FR"}
        context = self.windows.enter_context(browser.new_context(**(usual | options)))
        context.set_default_timeout(PATIENCE_MS)
        if username:
            url = f"http://127.0.0.1:{self.port}"
            context.add_cookies([{"name": "coffre", "value": self.practice.token(username), "url": url}])
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{self.port}{path}")
        return ready(page) if options.get("java_script_enabled", True) else page

    def stop(self) -> None:
        self.windows.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    practice = open_practice(tmp_path_factory.mktemp("served"), Clock(), staff=("claire", "sophie"))
    site = Served(practice)
    yield site
    site.stop()
    practice.vault.close()


@pytest.fixture(autouse=True)
def _no_complaint(served: Served) -> Iterator[None]:
    served.complaints.clear()
    with served.windows:
        yield
        assert served.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_component_passes_axe_and_fits(browser: Browser, served: Served, scheme: str, width: int) -> None:
    page = served.page(
        browser, None, "/_components", color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True
    )
    found = Axe().run(page).response["violations"]
    serious = [(each["id"], each["nodes"][0]["html"][:120]) for each in found if each["impact"] in {"serious", "critical"}]
    assert serious == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_code_submits_itself_and_takes_a_pasted_one(browser: Browser, served: Served) -> None:
    practice = served.practice
    page = served.page(browser, None, "/sign-in")
    page.get_by_label("Identifiant").fill("claire")
    page.get_by_label("Mot de passe", exact=True).fill("Cerisier-Ombre-47")
    page.keyboard.press("Enter")
    field = page.get_by_label("Code à usage unique")
    expect(field).to_be_focused()
    ready(page)
    field.evaluate("(input, text) => { const data = new DataTransfer(); data.setData('text', text);"
                   " input.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, cancelable: true })); }",
                   practice.code("claire")[:3] + " ")  # fmt: skip
    assert field.input_value().isdigit()
    field.fill("")
    field.press_sequentially("ab" + practice.code("claire"))
    expect(page.get_by_label("Mon menu")).to_be_visible()


def test_from_anywhere_the_keyboard_leads_to_the_newest_document(browser: Browser, served: Served) -> None:
    practice = served.practice
    patient = practice.patient("claire", "Zadig")
    program = practice.program("claire")
    for day, text in (("2026-01-02", "Ancien"), ("2026-03-04", "Nouveau")):
        program.ask("POST", f"/documents?patient={patient.id}&type=11502-2&act_date={day}", data=pdf_of(text))
    page = served.page(browser, "claire", "/account")
    expect(page.locator("#bar-q")).to_have_attribute("role", "combobox")  # the script is there
    page.keyboard.press("/")
    page.keyboard.type("zad")
    expect(page.get_by_role("option")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Biologie (compte rendu) du 04/03/2026")).to_be_visible()
    picture = page.locator(".sheet img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("async (image) => { await image.decode(); return image.naturalWidth > 100; }")


def test_a_file_is_filed_with_its_progress_and_a_bad_one_is_refused(browser: Browser, served: Served) -> None:
    patient = served.practice.patient("sophie", "Candide")
    page = served.page(browser, "sophie", f"/patients/{patient.id}")
    chooser = page.locator("input[type=file]")
    chooser.set_input_files({"name": "page.pdf", "mimeType": "application/pdf", "buffer": b"<!doctype html><script>"})
    row = page.locator(".upload").first
    expect(row).to_have_attribute("data-state", "failed")
    expect(row).to_contain_text("n’est pas accepté")
    served.complaints.clear()  # the browser itself notes the 415
    page.get_by_label("Type de document").select_option("11490-0")
    chooser.set_input_files({"name": "lettre.pdf", "mimeType": "application/pdf", "buffer": pdf_of("Lettre")})
    expect(page.locator(".upload").nth(1)).to_have_attribute("data-state", "done")


def test_a_refused_field_is_named_in_the_row_and_marked(browser: Browser, served: Served) -> None:
    patient = served.practice.patient("sophie", "Pangloss")
    page = served.page(browser, "sophie", f"/patients/{patient.id}")
    date = page.get_by_label("Date de l’acte")
    date.fill("12/03/2999")
    chooser = page.locator("input[type=file]")
    chooser.set_input_files({"name": "demain.pdf", "mimeType": "application/pdf", "buffer": pdf_of("Demain")})
    row = page.locator(".upload").first
    expect(row).to_have_attribute("data-state", "failed")
    expect(row).to_contain_text("Date de l’acte\u00a0: Cette date est impossible")
    expect(date).to_have_attribute("aria-invalid", "true")
    served.complaints.clear()  # the browser itself notes the 422
    date.fill("12/03/2020")
    assert date.get_attribute("aria-invalid") is None
    row.get_by_role("button", name="Réessayer").click()
    page.wait_for_url("**/documents/**")


def until(page: Page, what: str) -> None:
    """Until a JavaScript expression holds; the page's own policy lets nothing evaluate one inside it."""
    given_up_at = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(what):
        assert time.monotonic() < given_up_at, what
        page.wait_for_timeout(50)


def test_the_next_page_is_there_before_it_is_asked_for(browser: Browser, served: Served) -> None:
    practice = served.practice
    patient = practice.patient("claire", "Cacambo")
    document = practice.program("claire").upload(patient.id, papers.pdf(9), type="34112-3").get_json()["id"]
    page = served.page(browser, "claire", f"/documents/{document}", viewport={"width": 1200, "height": 500})
    asked = "performance.getEntriesByType('resource').map(each => each.name.match(/pages.(\\d+)/)?.[1]).filter(Boolean)"
    first = page.locator(".sheet img").first
    assert first.evaluate("async (image) => { await image.decode(); return image.naturalWidth > 100; }")
    until(page, f"{asked}.includes('2')")
    assert "9" not in page.evaluate(asked)
    assert practice.vault.documents.drawn.sweep() > 0
    position = page.locator("[data-position]")
    for number in (2, 3, 4):
        page.evaluate(RESTED)
        page.keyboard.press("PageDown")
        expect(position).to_have_text(f"Page {number} sur 9")
        until(page, f"{asked}.includes('{number + 1}')")
        until(page, "window.rested")  # a scroll that takes long passes the page before, which is where the reader is meanwhile
        expect(position).to_have_text(f"Page {number} sur 9")


def test_an_idle_workstation_is_warned_then_locked(browser: Browser, served: Served) -> None:
    practice = served.practice
    page = served.page(browser, "claire", "/account")
    page.clock.install()
    page.reload()
    ready(page)
    practice.clock.advance(minutes=9, seconds=20)
    page.clock.fast_forward(9 * 60_000 + 20_000)
    page.clock.run_for(3_000)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Rester connecté").click()
    expect(dialog).to_be_hidden()
    practice.clock.advance(minutes=11)
    page.clock.fast_forward(11 * 60_000)
    page.clock.run_for(5_000)
    page.wait_for_url("**/locked**")
    expect(page.get_by_role("heading", name="Session verrouillée")).to_be_visible()
    served.complaints.clear()  # the 401 that told it so


def test_everything_works_without_script(browser: Browser, served: Served) -> None:
    patient = served.practice.patient("claire", "Micromégas")
    page = served.page(browser, "claire", f"/patients/{patient.id}", java_script_enabled=False)
    page.locator("input[type=file]").set_input_files(
        {"name": "a.pdf", "mimeType": "application/pdf", "buffer": pdf_of("Sans script")}
    )
    page.get_by_role("button", name="Déposer").click()
    expect(page.get_by_text("Document classé")).to_be_visible()
    page.get_by_label("Rechercher un patient").fill("micro")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="MICROMÉGAS")).to_be_visible()


@pytest.mark.parametrize("path", ["/sign-in", "/patients", "/account", "/audit"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_jumps_while_a_page_loads(browser: Browser, served: Served, path: str, width: int) -> None:
    username = None if path == "/sign-in" else "claire"
    page = served.page(browser, username, path, viewport={"width": width, "height": 844})
    assert page.evaluate(SHIFTS) < 0.02
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_paper_s_buttons_fit_the_smallest_telephone_without_the_web_font(browser: Browser, served: Served) -> None:
    """The font is optional: where it comes late, the page stays in another, wider one."""
    practice = served.practice
    patient = practice.patient("claire", "Papier")
    document = practice.program("claire").upload(patient.id, papers.pdf(1)).get_json()["id"]
    page = served.page(browser, "claire", "/account", viewport={"width": 320, "height": 640})
    page.context.route("**/fonts/**", lambda route: route.fulfill(status=200, body=b""))
    page.goto(f"http://127.0.0.1:{served.port}/documents/{document}/print")
    expect(page.get_by_role("button", name="Imprimer")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_back_button_shows_nothing_after_switching_user(browser: Browser, served: Served) -> None:
    served.practice.tokens.pop("claire", None)
    page = served.page(browser, "claire", "/account")
    page.get_by_label("Mon menu").click()
    page.get_by_role("button", name="Changer d’utilisateur").click()
    expect(page.get_by_role("heading", name="Se connecter")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Se connecter")).to_be_visible()
    served.practice.tokens.pop("claire", None)
