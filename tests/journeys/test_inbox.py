"""A morning at reception: the post is dropped at once, filed by keyboard alone, and five traps are not walked into."""

from __future__ import annotations

import itertools
import os
import time
from datetime import date, timedelta

import pypdfium2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests.journeys.conftest import ON_BOTH_COLUMNS, SignedIn
from tests.journeys.watching import longest_task_ms, page_memory, resident_mib, watch, worker_of
from tests.vault.rendering import papers
from vault.demo import cast, paper
from vault.model import Identity

pytestmark = [pytest.mark.browser, pytest.mark.hsm, pytest.mark.xdist_group("journeys"), ON_BOTH_COLUMNS]

SCANS = int(os.environ.get("COFFRE_MORNING_SCANS", "12"))
"""``make morning`` files a whole one: 194 scans and six traps dropped at once."""
STALL_MS = 2_000
"""No task of the page may take longer, on the busiest machine; on a quiet one it is some tens of milliseconds."""
RECEPTION = "sophie.garnier"
PROTECTED, CORRUPT, NAMESAKE = "protege.pdf", "corrompu.pdf", "homonyme.pdf"
WAITING_TRAPS = (PROTECTED, CORRUPT, NAMESAKE)
TRAPS = ("double.pdf", "empty.pdf", "facture.pdf", *WAITING_TRAPS)


def scan(number: int, content: bytes, name: str = "") -> FilePayload:
    return {"name": name or f"Matin_{number:04}.pdf", "mimeType": "application/pdf", "buffer": content}


WRITTEN = (paper.biology, paper.letter, paper.imaging, paper.prescription, paper.certificate)
"""Letters with text, not the demonstration's noisy scans."""


def post(count: int) -> list[FilePayload]:
    """``count`` letters about the demonstration's patients, each another act."""
    people = [part.identity for part in cast.PATIENTS]
    letters = (
        form(who, date(2026, 9, 30) - timedelta(days=number))
        for number, form, who in zip(range(count), itertools.cycle(WRITTEN), itertools.cycle(people), strict=False)
    )
    return [scan(number, content) for number, content in enumerate(letters)]


def drop(page: Page, files: list[FilePayload]) -> None:
    page.locator(".tray-drop input[name=files]").set_input_files(files)


def settled(page: Page) -> None:
    expect(page.locator(".tray[aria-busy]")).to_have_count(0)


def traps(letters: list[FilePayload]) -> list[FilePayload]:
    """What must not end in a file by itself: a double, an empty scan, a program, two unreadable papers, a namesake's letter."""
    known = cast.PATIENTS[0].identity
    namesake = Identity(known.birth_name, known.given_names, "1971-07-07", known.sex)
    return [
        scan(901, letters[0]["buffer"], "double.pdf"),
        scan(902, b"", "empty.pdf"),
        scan(903, b"MZ\x90\x00" + bytes(4000), "facture.pdf"),
        scan(904, papers.pdf(password="secret"), PROTECTED),
        scan(905, papers.pdf()[:300], CORRUPT),
        scan(906, paper.FORMS[next(iter(paper.FORMS))](namesake, date(2026, 9, 9)), NAMESAKE),
    ]


def dropped(page: Page, files: list[FilePayload]) -> None:
    """Everything at once, until each file has come to its end, good or bad."""
    drop(page, files)
    under_way = page.locator(".upload").filter(has=page.locator("[data-cancel]:not([hidden])"))
    expect(page.locator(".upload")).not_to_have_count(0)
    expect(under_way).to_have_count(0, timeout=600_000)


def told(page: Page) -> dict[str, str]:
    """What the page says of each file that it did not take in."""
    rows = page.locator('.upload:not([data-state="done"])').all()
    return {row.locator(".upload-name").inner_text(): row.locator(".upload-note").inner_text() for row in rows}


def filed_by_keyboard(page: Page, before: set[str], most: int) -> dict[str, str]:
    """With whom each document was filed whose page agrees with the proposed patient; the others are passed over."""
    filed: dict[str, str] = {}
    for _ in range(2 * (len(before) + most + 3)):
        if len(filed) == most:
            break
        settled(page)
        name = page.locator('.tray-item[aria-current="true"] .tray-name').inner_text()
        if page.locator(".tray-agrees").count() == 0 or name in before:
            page.locator(".tray-pages").click(position={"x": 5, "y": 5})
            page.keyboard.press("ArrowRight")
            page.wait_for_timeout(50)
            continue
        filed[name] = page.locator(".tray-patient .identity-name").inner_text()
        page.locator("#type").focus()
        page.keyboard.type("Consul")
        page.keyboard.press("Enter")
        expect(page.locator(".tray-last")).to_contain_text(filed[name].split(" ")[0])
    return filed


@pytest.mark.timeout(900)
def test_a_morning_is_filed_by_keyboard_and_no_trap_is_walked_into(
    signed_in: SignedIn, browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    letters = post(SCANS)
    with signed_in(RECEPTION) as desk:
        page = desk.page
        watch(page)
        desk.go("/inbox")
        before = set(page.locator(".tray-name").all_inner_texts())
        server, idle_mib = worker_of(desk.site.process.pid), page_memory(browser, page)
        server_mib = resident_mib(server)
        began = time.monotonic()
        dropped(page, letters + traps(letters))
        taken_in, stalled = time.monotonic() - began, longest_task_ms(page)
        refused, memory = told(page), page_memory(browser, page)
        assert set(refused) == {"double.pdf", "empty.pdf", "facture.pdf"}, refused
        desk.go("/inbox")
        started = time.monotonic()
        filed = filed_by_keyboard(page, before, SCANS)
        seconds = time.monotonic() - started
        with capsys.disabled():
            print(  # noqa: T201  # the figures that this is for
                f"\n{SCANS + len(TRAPS)} files at once: in after {taken_in:.1f} s, longest task {stalled:.0f} ms",
                f"{SCANS} filed by keyboard: {seconds / SCANS:.2f} s each, longest task {longest_task_ms(page):.0f} ms",
                f"page: heap {idle_mib.heap_mib:.1f} -> {memory.heap_mib:.1f} MiB, {memory.nodes} nodes,"
                f" renderer {idle_mib.renderer_mib:.0f} -> {memory.renderer_mib:.0f} MiB",
                f"server: {server_mib:.0f} -> {resident_mib(server):.0f} MiB, {resident_mib(server, peak=True):.0f} at most",
                *(f"{name}: {words}" for name, words in sorted(refused.items())),
                sep="\n",
            )
        assert stalled < STALL_MS, f"the page did not answer for {stalled:.0f} ms"
        assert len(filed) == SCANS
        assert seconds / SCANS < 10, f"{seconds / SCANS:.1f} s a document"
        assert {name for name in filed if not name.startswith("Matin_")} == set()
        assert misfiled(letters, filed) == []
        # Ctrl Z brings the last one back, and nothing of it stays in the patient's file.
        settled(page)
        page.locator(".tray-pages").click(position={"x": 5, "y": 5})
        page.keyboard.press("Control+z")
        expect(page.locator('.tray-item[aria-current="true"]')).to_contain_text(list(filed)[-1])
        expect(page.locator(".tray-agrees")).to_be_visible()
        desk.go("/inbox")
        waiting = set(page.locator(".tray-name").all_inner_texts())
        assert waiting == {PROTECTED, CORRUPT, NAMESAKE, list(filed)[-1]} | before
        states = {name: page.locator(".tray-item", has_text=name).locator(".tray-state").inner_text() for name in WAITING_TRAPS}
        with capsys.disabled():
            print(*(f"{name}: {words}" for name, words in states.items()), sep="\n")  # noqa: T201  # the same
        assert states[PROTECTED].strip() == "Protégé par un mot de passe"
        assert states[CORRUPT].startswith("Illisible")
        assert "Patient proposé" not in states[NAMESAKE]
        desk.complaints[:] = [line for line in desk.complaints if "40" not in line and "41" not in line and "422" not in line]


def misfiled(letters: list[FilePayload], filed: dict[str, str]) -> list[str]:
    """The letters that lie with another patient than the one whom they are about, by their own text."""
    wrong = []
    for letter in letters:
        document = pypdfium2.PdfDocument(letter["buffer"])
        words = document[0].get_textpage().get_text_bounded().casefold().replace("’", "'")
        document.close()
        if filed[letter["name"]].split(" ")[0].casefold().replace("’", "'") not in words:
            wrong.append(letter["name"])
    return wrong


def test_the_wrong_patient_is_noticed(signed_in: SignedIn) -> None:
    with signed_in(RECEPTION) as desk:
        page = desk.go("/inbox")
        one = cast.PATIENTS[0].identity
        other = next(
            part.identity
            for part in cast.PATIENTS
            if not {part.identity.birth_name, part.identity.birth_date} & {one.birth_name, one.birth_date}
        )
        drop(page, [scan(1, paper.FORMS[next(iter(paper.FORMS))](one, date(2025, 3, 4)), "pour-un-autre.pdf")])
        item = page.locator(".tray-item", has_text="pour-un-autre.pdf")
        expect(item).to_contain_text("Patient proposé")
        item.click()
        settled(page)
        expect(page.locator(".tray-agrees")).to_contain_text("ils concordent")
        page.get_by_label("Rechercher un patient").last.fill(f"{other.birth_name[:4]}")
        page.locator("[data-found] a", has_text=other.given_names[0]).first.click()
        settled(page)
        expect(page.locator(".tray-differs")).to_contain_text("vérifier")
        report = Axe().run(page)
        serious = [found for found in report.response["violations"] if found["impact"] in ("serious", "critical")]
        assert serious == [], report.generate_report()


def test_what_is_filed_is_read_and_taken_over(signed_in: SignedIn) -> None:
    who = cast.PATIENTS[0]
    with signed_in(RECEPTION) as desk:
        page = desk.go("/inbox")
        drop(page, [scan(2, paper.FORMS[next(iter(paper.FORMS))](who.identity, date(2024, 5, 6)), "a-lire.pdf")])
        page.locator(".tray-item", has_text="a-lire.pdf").click()
        settled(page)
        page.locator("#type").select_option("11502-2")
        page.get_by_role("button", name="Classer et passer au suivant").click()
        expect(page.locator(".tray-last")).to_be_visible()
    with signed_in(who.doctor.username) as desk:
        page = desk.page
        page.get_by_role("link", name="Non lus").click()
        page.locator(".row-link", has_text=who.identity.birth_name.upper()).first.click()
        expect(page.locator(".sheet img").first).to_be_visible()
        page.get_by_role("button", name="Vu et validé").click()
        expect(page.get_by_text("Vu et validé").first).to_be_visible()


def test_without_javascript_the_inbox_still_works(signed_in: SignedIn) -> None:
    with signed_in(RECEPTION):
        pass  # signing in takes the script, being inside does not
    with signed_in(RECEPTION, java_script_enabled=False) as desk:
        page = desk.go("/inbox")
        who = cast.PATIENTS[1].identity
        drop(page, [scan(3, paper.FORMS[next(iter(paper.FORMS))](who, date(2024, 7, 8)), "sans-script.pdf")])
        page.get_by_role("button", name="Déposer").click()
        expect(page.locator(".tray-agrees")).to_be_visible()
        page.locator("#type").select_option("11488-4")
        page.get_by_role("button", name="Classer et passer au suivant").click()
        expect(page.locator(".tray-last")).to_contain_text(who.birth_name.upper())
        page.get_by_role("button", name="Annuler le dernier").click()
        expect(page.locator('.tray-item[aria-current="true"]')).to_contain_text("sans-script.pdf")
