"""A picture as a PDF: every page, upright, of a believable size; a JPEG's own bytes, black and white without loss."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pypdfium2
import pytest
from PIL import Image

from tests.vault.rendering import papers
from vault.errors import NotRenderable
from vault.rendering.copying import paper_size
from vault.rendering.recognise import MediaType, recognise
from vault.rendering.renderer import Renderer


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer()
    yield made
    made.close()


def opened(content: bytes) -> pypdfium2.PdfDocument:
    assert recognise(content, content[-1000:]) is MediaType.PDF
    return pypdfium2.PdfDocument(content)


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("JPEG", MediaType.JPEG), ("PNG", MediaType.PNG), ("TIFF", MediaType.TIFF), ("HEIC", MediaType.HEIC)],
)
def test_every_kind_of_picture_becomes_a_pdf_that_looks_the_same(renderer: Renderer, kind: str, media_type: MediaType) -> None:
    copy = renderer.copy(papers.picture(kind), media_type)
    document = opened(copy)
    assert len(document) == 1
    drawn = document[0].render(scale=400 / document[0].get_width()).to_pil().convert("L")
    assert drawn.getpixel((10, 10)) < 60
    assert drawn.getpixel((390, 290)) > 200


def test_a_jpeg_goes_in_as_it_is(renderer: Renderer) -> None:
    original = papers.picture("JPEG")
    assert original in renderer.copy(original, MediaType.JPEG)


def test_a_photograph_stands_upright_on_a4(renderer: Renderer) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    page = opened(renderer.copy(papers.picture("JPEG", (800, 600), exif=exif), MediaType.JPEG))[0]
    assert page.get_width() < page.get_height()
    assert page.get_height() <= 842


def test_every_page_of_a_tiff_is_there(renderer: Renderer) -> None:
    assert len(opened(renderer.copy(papers.tiff(3), MediaType.TIFF))) == 3


def test_black_and_white_loses_nothing(renderer: Renderer) -> None:
    fax = Image.effect_noise((200, 280), 90).convert("1")
    out = io.BytesIO()
    fax.save(out, "TIFF", dpi=(200, 200))
    page = opened(renderer.copy(out.getvalue(), MediaType.TIFF))[0]
    assert [round(side, 1) for side in page.get_size()] == [72.0, 100.8]
    (image,) = page.get_objects()
    assert image.get_bitmap().to_pil().convert("L").tobytes() == fax.convert("L").tobytes()


def test_a_pdf_has_no_such_copy_and_a_broken_picture_neither(renderer: Renderer) -> None:
    for content, media_type, reason in (
        (papers.pdf(), MediaType.PDF, "no_picture"),
        (papers.picture("PNG")[:80], MediaType.PNG, "broken"),
        (papers.huge_png(), MediaType.PNG, "too_many_pixels"),
    ):
        with pytest.raises(NotRenderable) as refused:
            renderer.copy(content, media_type)
        assert refused.value.details["reason"] == reason


@pytest.mark.parametrize(
    ("pixels", "dpi", "size"),
    [
        ((2480, 3508), (300, 300), (595.2, 841.9)),
        ((4000, 3000), (72, 72), (793.7, 595.3)),
        ((3000, 4000), None, (595.3, 793.7)),
        ((100, 100), "nonsense", (595.3, 595.3)),
    ],
)
def test_paper_is_of_a_believable_size(pixels: tuple[int, int], dpi: object, size: tuple[float, float]) -> None:
    assert tuple(round(side, 1) for side in paper_size(pixels, dpi)) == size
