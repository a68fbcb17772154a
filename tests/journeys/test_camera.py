"""Papers photographed at reception: page after page, one document, and a sentence where the browser may not."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from tests.journeys.conftest import ON_BOTH_COLUMNS, SignedIn

pytestmark = [pytest.mark.browser, pytest.mark.hsm, pytest.mark.xdist_group("journeys")]

RECEPTION = "sophie.garnier"


def photo(shade: int) -> FilePayload:
    """A telephone's photograph, held a quarter turn to the right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.new("RGB", (1600, 1200), (shade, 200, 200)).save(out, "JPEG", exif=exif)
    return {"name": "IMG_2231.jpg", "mimeType": "image/jpeg", "buffer": out.getvalue()}


def throw_away(page: Page) -> None:
    """Look at what was photographed, and leave the inbox as it was."""
    page.locator(".tray-item", has_text="Photo 20").click()
    expect(page.locator('.tray-item[aria-current="true"]')).to_contain_text("Photo 20")
    expect(page.locator(".tray[aria-busy]")).to_have_count(0)
    expect(page.locator(".sheet img").first).to_be_visible()
    page.get_by_role("button", name="Supprimer").first.click()
    page.locator("#discard").get_by_role("button", name="Supprimer").click()
    expect(page.locator(".tray-item", has_text="Photo 20")).to_have_count(0)


@ON_BOTH_COLUMNS
def test_pages_taken_with_the_webcam_become_one_document(signed_in: SignedIn) -> None:
    with signed_in(RECEPTION, permissions=["camera"]) as desk:
        page = desk.go("/inbox")
        page.get_by_role("button", name="Photographier un document").click()
        dialog = page.get_by_role("dialog", name="Photographier un document")
        expect(dialog.get_by_role("button", name="Prendre cette page")).to_be_visible()
        for count in (1, 2, 3):
            dialog.get_by_role("button", name="Prendre cette page").click()
            expect(dialog.locator("[data-strip] li")).to_have_count(count)
        dialog.get_by_role("button", name="Retirer cette page").last.click()
        dialog.get_by_role("button", name="Déposer 2 pages").click()
        expect(page.locator(".tray-item", has_text="Photo 20")).to_contain_text("2 pages")
        assert page.evaluate("document.getElementById('camera').querySelector('video').srcObject") is None
        throw_away(page)


def test_a_browser_that_refuses_the_camera_is_told_what_to_do(signed_in: SignedIn) -> None:
    with signed_in(RECEPTION) as desk:
        page = desk.go("/inbox")
        page.get_by_role("button", name="Photographier un document").click()
        expect(page.locator("#camera [data-note]")).to_contain_text("n’a pas le droit d’utiliser la caméra")
        expect(page.locator("#camera [data-take]")).to_be_hidden()
        page.keyboard.press("Escape")
        expect(page.locator("#camera")).to_be_hidden()


@ON_BOTH_COLUMNS
def test_a_telephone_gathers_its_photos_upright_into_one_document(signed_in: SignedIn) -> None:
    with signed_in(RECEPTION, viewport={"width": 390, "height": 844}) as phone:
        page = phone.go("/inbox")
        lens = page.locator(".tray-drop [data-lens] input")
        assert lens.get_attribute("capture") == "environment"
        lens.set_input_files([photo(40)])
        expect(page.locator("#camera [data-strip] li")).to_have_count(1)
        page.locator("#camera [data-lens] input").set_input_files([photo(90)])
        expect(page.locator("#camera [data-strip] li")).to_have_count(2)
        sides = page.locator("#camera [data-strip] img").first
        assert int(sides.get_attribute("height") or 0) > int(sides.get_attribute("width") or 0)
        page.get_by_role("button", name="Déposer 2 pages").click()
        expect(page.locator(".tray-item", has_text="Photo 20")).to_contain_text("2 pages")
        throw_away(page)


def test_only_the_inbox_may_ask_for_the_camera(signed_in: SignedIn) -> None:
    with signed_in(RECEPTION) as desk:
        answers = {
            path: desk.page.request.get(f"{desk.site.url}{path}").headers for path in ("/inbox", "/patients", "/account")
        }
    assert "camera=(self)" in answers["/inbox"]["permissions-policy"]
    assert all("camera=()" in answers[path]["permissions-policy"] for path in ("/patients", "/account"))
