"""How scans reach the inbox besides being chosen one by one: pasted, a folder chosen, a folder dropped."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, Route, expect

from tests.journeys.conftest import SignedIn
from tests.journeys.visitor import ready
from tests.vault.rendering import papers

pytestmark = [pytest.mark.browser, pytest.mark.hsm, pytest.mark.xdist_group("journeys")]

RECEPTION = "sophie.garnier"
COPY = """async (picture) => {
  const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
  await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
}"""


def picture(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (320, 200), (shade, 120, 40)).save(out, "PNG")
    return out.getvalue()


@contextmanager
def inbox(signed_in: SignedIn) -> Iterator[Page]:
    """Reception's inbox; leaves it as it was."""
    with signed_in(RECEPTION, permissions=["clipboard-read", "clipboard-write"]) as desk:
        page = desk.go("/inbox")
        before = set(names(page))
        yield page
        page.reload()
        ready(page)
        for name in [name for name in names(page) if name not in before]:
            page.locator(".tray-item", has_text=name).click()
            expect(page.locator('.tray-item[aria-current="true"]')).to_contain_text(name)
            expect(page.locator(".tray[aria-busy]")).to_have_count(0)
            page.get_by_role("button", name="Supprimer").first.click()
            page.locator("#discard").get_by_role("button", name="Supprimer").click()
            expect(page.locator(".tray-item", has_text=name)).to_have_count(0)
        desk.complaints[:] = [line for line in desk.complaints if "422" not in line and "400" not in line]


def names(page: Page) -> list[str]:
    return page.locator(".tray-name").all_inner_texts()


def test_a_pasted_picture_is_taken_in_wherever_the_cursor_stands(signed_in: SignedIn) -> None:
    with inbox(signed_in) as page:
        page.evaluate(COPY, base64.b64encode(picture(200)).decode())
        page.locator("#who").focus()
        page.keyboard.press("Control+v")
        expect(page.locator(".tray-item", has_text="Image collée 20")).to_have_count(1)
        page.evaluate("navigator.clipboard.writeText('dup 12/03/80')")
        page.locator("#who").focus()
        page.keyboard.press("Control+v")
        expect(page.locator("#who")).to_have_value("dup 12/03/80")
        expect(page.locator(".upload")).to_have_count(0)


@pytest.fixture
def morning(tmp_path: Path) -> Path:
    """A folder as a scanner's computer keeps it: two levels, and what systems leave in every folder."""
    folder = tmp_path / "Scans"
    (folder / "Courrier").mkdir(parents=True)
    (folder / "Page 10.pdf").write_bytes(papers.pdf(pages=1))
    (folder / "Page 9.pdf").write_bytes(papers.pdf(pages=2))
    (folder / "Courrier" / "Recu.png").write_bytes(picture(90))
    for left in (".DS_Store", "Thumbs.db", "Courrier/desktop.ini"):
        (folder / left).write_bytes(b"left by the system")
    return folder


def expect_the_morning(page: Page) -> None:
    for name in ("Page 9.pdf", "Page 10.pdf", "Recu.png"):
        expect(page.locator(".tray-item", has_text=name)).to_have_count(1)
    expect(page.locator("[data-batch]")).to_contain_text("Lot de numérisation")
    expect(page.locator("[data-batch-note]")).to_have_text("3 sur 3 déposés")


def test_a_whole_folder_is_chosen(signed_in: SignedIn, morning: Path) -> None:
    with inbox(signed_in) as page:
        page.locator("[data-folder] input").set_input_files(morning)
        expect_the_morning(page)


def test_a_folder_is_dropped(signed_in: SignedIn, morning: Path) -> None:
    with inbox(signed_in) as page:
        hand = page.context.new_cdp_session(page)
        held = {"items": [], "files": [str(morning)], "dragOperationsMask": 1}
        for step in ("dragEnter", "dragOver", "drop"):
            hand.send("Input.dispatchDragEvent", {"type": step, "x": 600, "y": 400, "data": held})
            if step == "dragOver":
                expect(page.locator(".drop[data-over]")).to_have_count(1)
        hand.detach()
        expect_the_morning(page)
        expect(page.locator(".drop[data-over]")).to_have_count(0)


def test_the_batch_counts_a_file_once_however_often_it_is_tried(signed_in: SignedIn) -> None:
    contents = {"Vide.pdf": b"", "Lettre.pdf": papers.pdf(pages=1), "Vide 2.pdf": b""}
    files: list[FilePayload] = [
        {"name": name, "mimeType": "application/pdf", "buffer": content} for name, content in contents.items()
    ]
    with inbox(signed_in) as page:
        page.locator(".tray-drop input[name=files]").set_input_files(files)
        note = page.locator("[data-batch-note]")
        expect(note).to_have_text("1 sur 3 déposés · 2 à revoir")
        empty = page.locator(".upload", has_text="Vide.pdf")
        held = list[Route]()

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/api/v1/inbox*", hold)
        empty.get_by_role("button", name="Réessayer").click()
        expect(empty).not_to_have_attribute("data-state", "failed")
        expect(note).to_have_text("1 sur 3 déposés · 1 à revoir")
        while not held:  # the time limit of every test ends it
            page.wait_for_timeout(20)
        held[0].continue_()
        expect(empty).to_have_attribute("data-state", "failed")
        expect(note).to_have_text("1 sur 3 déposés · 2 à revoir")
