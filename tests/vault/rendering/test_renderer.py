"""Pages drawn by the sandbox: what is shown, what is refused, and that nothing hostile gets further."""

from __future__ import annotations

import gc
import io
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from tests.vault.rendering import papers
from vault.errors import Busy, NotFound, NotRenderable, StorageUnavailable, VaultError
from vault.rendering.messages import PageForm
from vault.rendering.recognise import HEAD_BYTES, TAIL_BYTES, MediaType, recognise
from vault.rendering.renderer import RenderedPage, Renderer


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer(queue_seconds=60)  # who is told to come back has a test of its own
    yield made
    made.close()


def pixels(page: RenderedPage) -> Image.Image:
    return Image.open(io.BytesIO(page.content)).convert("L")


def refusal(renderer: Renderer, content: bytes, media_type: MediaType = MediaType.PDF, page: int = 1) -> str:
    with pytest.raises(NotRenderable) as refused:
        renderer.page(content, media_type, page, 800)
    return str(refused.value.details["reason"])


def parents() -> list[int]:
    """The warm parents among our children."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                b"vault.rendering.parent" in (entry / "cmdline").read_bytes()
                and f"\nPPid:\t{os.getpid()}\n" in (entry / "status").read_text()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def descriptors() -> set[tuple[str, str]]:
    """Each with what it is of: what other tests left lying may close at any time, and that is no concern of ours."""
    gc.collect()
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one of this listing has gone
            found.add((entry.name, str(entry.readlink())))
    return found


def darkness(image: Image.Image, box: tuple[int, int, int, int] | None = None) -> int:
    """The darkest level, from 0 (black) to 255."""
    return min((image.crop(box) if box else image).tobytes())


def test_this_machine_confines_the_child(renderer: Renderer) -> None:
    obtained = renderer.confinement()
    assert obtained["confined"] is True
    assert obtained["unprivileged"] is True


def test_a_page_is_drawn_by_a_server_with_many_connections(renderer: Renderer) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    held = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(1100)]
    try:
        assert max(held) > 1024, "beyond what select() knows"
        assert renderer.page(papers.pdf(1), MediaType.PDF, 1, 300).pages == 1
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_pdf_page_is_drawn_at_the_width_asked_for(renderer: Renderer) -> None:
    page = renderer.page(papers.pdf(3), MediaType.PDF, 2, 900)
    assert (page.width, page.pages, page.media_type) == (900, 3, "image/jpeg")
    assert pixels(page).size == (page.width, page.height)
    assert abs(page.height / page.width - 842 / 595) < 0.01
    assert darkness(pixels(page)) < 60


@pytest.mark.parametrize("form", list(PageForm))
def test_a_page_leaves_in_the_form_asked_for(renderer: Renderer, form: PageForm) -> None:
    for content, media_type in ((papers.pdf(), MediaType.PDF), (papers.picture("PNG"), MediaType.PNG)):
        page = renderer.page(content, media_type, 1, 300, form=form, watermark="Dr Martin", quarter_turns=1)
        shown = Image.open(io.BytesIO(page.content))
        assert (shown.get_format_mimetype(), page.media_type) == (form.value, form.value)
        assert shown.size == (page.width, page.height)


def test_a_document_may_come_in_pieces(renderer: Renderer) -> None:
    content = papers.pdf()
    pieces = (memoryview(content)[at : at + 100] for at in range(0, len(content), 100))
    assert renderer.page(pieces, MediaType.PDF, 1, 400).content == renderer.page(content, MediaType.PDF, 1, 400).content


def test_the_text_layer_is_read(renderer: Renderer) -> None:
    assert renderer.text(papers.pdf(), MediaType.PDF, 2) == "Laboratoire du Parc — élève Œuvrard 2"
    assert renderer.text(papers.picture("PNG"), MediaType.PNG, 1) == ""


@pytest.mark.parametrize(
    ("kind", "mode", "media_type"),
    [
        ("JPEG", "RGB", MediaType.JPEG),
        ("JPEG", "CMYK", MediaType.JPEG),
        ("PNG", "RGB", MediaType.PNG),
        ("PNG", "P", MediaType.PNG),
        ("PNG", "1", MediaType.PNG),
        ("PNG", "I;16", MediaType.PNG),
        ("TIFF", "L", MediaType.TIFF),
        ("HEIC", "RGB", MediaType.HEIC),
    ],
)
def test_pictures_are_drawn(renderer: Renderer, kind: str, mode: str, media_type: MediaType) -> None:
    page = renderer.page(papers.picture(kind, mode=mode), media_type, 1, 400)
    assert (page.width, page.height, page.pages) == (400, 300, 1)
    shown = pixels(page)
    assert darkness(shown, (10, 10, 11, 11)) < 60
    assert darkness(shown, (390, 290, 391, 291)) > 200


def test_a_picture_is_never_enlarged(renderer: Renderer) -> None:
    assert renderer.page(papers.picture("PNG", (200, 100)), MediaType.PNG, 1, 1200).width == 200


def test_a_photograph_stands_upright(renderer: Renderer) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held a quarter turn to the right
    turned = papers.picture("JPEG", (800, 600), exif=exif)
    page = renderer.page(turned, MediaType.JPEG, 1, 300)
    assert (page.width, page.height) == (300, 400)
    assert darkness(pixels(page), (290, 10, 291, 11)) < 60
    assert renderer.inspect(turned, MediaType.JPEG).height == 800


def test_transparency_lies_on_white_paper(renderer: Renderer) -> None:
    clear = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    out = io.BytesIO()
    clear.save(out, "PNG")
    assert darkness(pixels(renderer.page(out.getvalue(), MediaType.PNG, 1, 100))) > 250


def test_each_page_of_a_tiff_is_reached(renderer: Renderer) -> None:
    content = papers.tiff(3)
    drawn = {renderer.page(content, MediaType.TIFF, page, 400).content for page in (1, 2, 3)}
    assert len(drawn) == 3
    assert renderer.inspect(content, MediaType.TIFF).pages == 3


def test_quarter_turns_turn_clockwise(renderer: Renderer) -> None:
    page = renderer.page(papers.picture("PNG"), MediaType.PNG, 1, 400, quarter_turns=1)
    assert (page.width, page.height) == (300, 400)
    assert darkness(pixels(page), (290, 10, 291, 11)) < 60


def test_the_watermark_is_on_the_pixels_and_faint(renderer: Renderer) -> None:
    plain = pixels(renderer.page(papers.pdf(), MediaType.PDF, 1, 800))
    marked = pixels(renderer.page(papers.pdf(), MediaType.PDF, 1, 800, watermark="Zoé Œuvrard · 23/11/2026 14 h 05"))
    assert marked.tobytes() != plain.tobytes()
    assert 200 < darkness(marked, (0, 600, 800, 1100)) < 250


@pytest.mark.parametrize("page", [0, -1, 3, 10**9])
def test_a_page_that_is_not_there_is_not_found(renderer: Renderer, page: int) -> None:
    with pytest.raises(NotFound):
        renderer.page(papers.pdf(2), MediaType.PDF, page, 400)


@pytest.mark.parametrize("kind", ["QRCode", "DataMatrix"])
def test_codes_are_read_from_a_page(renderer: Renderer, kind: str) -> None:
    content = b"COFFRE1 0123456789abcdef0123456789abcdef 11502-2"
    (code,) = renderer.codes(papers.coded_page(content, kind), MediaType.PNG, 1)
    assert code.content == content
    assert renderer.codes(papers.pdf(), MediaType.PDF, 1) == ()


# --- hostile documents --------------------------------------------------------------------------------------------------------


def test_an_encrypted_pdf_is_refused(renderer: Renderer) -> None:
    assert refusal(renderer, papers.pdf(password="secret")) == "encrypted"


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"%PDF-1.4\nnothing else", MediaType.PDF),
        (papers.pdf()[:300], MediaType.PDF),
        (papers.picture("JPEG")[:400], MediaType.JPEG),
        (papers.picture("PNG")[:80], MediaType.PNG),
        (papers.tiff(1)[:40], MediaType.TIFF),
        (papers.picture("HEIC")[:200], MediaType.HEIC),
        (papers.picture("PNG"), MediaType.JPEG),
        (b"", MediaType.PDF),
    ],
)
def test_a_broken_document_is_refused(renderer: Renderer, content: bytes, media_type: MediaType) -> None:
    assert refusal(renderer, content, media_type) == "broken"


def test_fifty_thousand_pixels_a_side_are_refused_unread(renderer: Renderer) -> None:
    huge, took = papers.huge_png(), list[float]()
    renderer.confinement()  # it runs
    for _ in range(3):
        started = time.monotonic()
        assert refusal(renderer, huge, MediaType.PNG) == "too_many_pixels"
        took.append(time.monotonic() - started)
    assert min(took) < 2, took


def test_ten_thousand_pages_are_refused(renderer: Renderer) -> None:
    assert refusal(renderer, papers.many_pages(10_000)) == "too_many_pages"
    assert renderer.page(papers.many_pages(2_000), MediaType.PDF, 2_000, 100).pages == 2_000


def test_a_gibibyte_from_two_kilobytes_is_refused_in_bounded_memory(renderer: Renderer) -> None:
    bomb = papers.inflating_pdf()
    assert len(bomb) < 4096
    try:
        # PDFium may give up on the picture and show an empty page, or run into the memory limit: both end cleanly.
        assert renderer.page(bomb, MediaType.PDF, 1, 800).pages == 1
    except NotRenderable as refused:
        assert refused.details["reason"] in ("too_heavy", "too_slow")  # noqa: PT017  # either end is right here
    assert renderer.page(papers.pdf(), MediaType.PDF, 1, 100).pages == 2


@pytest.mark.alone
def test_a_page_that_takes_for_ever_is_ended(renderer: Renderer) -> None:
    renderer.confinement()  # it runs
    started = time.monotonic()
    assert refusal(renderer, papers.slow_pdf()) == "too_slow"
    assert time.monotonic() - started < 18


def test_forms_within_forms_run_into_the_memory_limit(renderer: Renderer) -> None:
    assert refusal(renderer, papers.exploding_pdf()) in ("too_heavy", "too_slow")


def test_a_scripted_pdf_is_only_drawn(renderer: Renderer) -> None:
    page = renderer.page(papers.scripted_pdf(), MediaType.PDF, 1, 600)
    assert darkness(pixels(page)) < 60
    assert renderer.text(papers.scripted_pdf(), MediaType.PDF, 1) == "Bonjour"


def test_a_document_over_the_bound_is_not_drawn(renderer: Renderer) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(16 << 20)

    with pytest.raises(NotRenderable) as refused:
        renderer.page(endless(), MediaType.PDF, 1, 400)
    assert refused.value.details["reason"] == "too_large"


def test_a_source_that_fails_fails_the_caller_and_leaves_nothing(renderer: Renderer) -> None:
    renderer.confinement()
    before = descriptors()

    def torn() -> Iterator[bytes]:
        yield papers.pdf()[:100]
        raise StorageUnavailable("gone")

    with pytest.raises(StorageUnavailable):
        renderer.page(torn(), MediaType.PDF, 1, 400)
    assert descriptors() <= before


def test_no_descriptor_and_no_process_is_left(renderer: Renderer) -> None:
    renderer.page(papers.pdf(), MediaType.PDF, 1, 100)
    before, warm = descriptors(), parents()  # other tests' renderers may stand in this process
    for _ in range(5):
        renderer.page(papers.pdf(), MediaType.PDF, 1, 100)
        refusal(renderer, b"%PDF-1.4\n")
    assert descriptors() <= before
    assert warm
    assert parents() == warm
    for parent in warm:
        assert Path(f"/proc/{parent}/task/{parent}/children").read_text() == ""


# --- the warm parent ----------------------------------------------------------------------------------------------------------


@pytest.mark.alone
def test_a_dead_parent_is_replaced() -> None:
    renderer = Renderer()
    others = set(parents())
    renderer.page(papers.pdf(), MediaType.PDF, 1, 100)
    (parent,) = set(parents()) - others
    os.kill(parent, signal.SIGKILL)
    os.waitid(os.P_PID, parent, os.WEXITED | os.WNOWAIT)  # gone, and still the renderer's to bury
    assert renderer.page(papers.pdf(), MediaType.PDF, 1, 100).pages == 2
    renderer.close()
    assert set(parents()) <= others


@pytest.mark.alone
def test_a_parent_that_dies_with_the_question_says_nothing_of_the_document() -> None:
    renderer = Renderer()
    others = set(parents())
    renderer.confinement()
    (parent,) = set(parents()) - others

    def killed_then() -> Iterator[bytes]:
        os.kill(parent, signal.SIGSTOP)  # it takes the question and answers nothing
        yield papers.pdf()

    killer = threading.Timer(0.3, os.kill, (parent, signal.SIGKILL))
    killer.start()
    assert renderer.page(killed_then(), MediaType.PDF, 1, 100).pages == 2
    killer.join()
    renderer.close()
    assert set(parents()) <= others


def test_a_closed_renderer_says_so() -> None:
    renderer = Renderer()
    renderer.close()
    renderer.close()
    with pytest.raises(StorageUnavailable):
        renderer.page(papers.pdf(), MediaType.PDF, 1, 100)


def test_whoever_waits_too_long_is_told_to_come_back() -> None:
    renderer = Renderer(1, queue_seconds=0.05)
    held, release = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        held.set()
        release.wait(10)
        yield papers.pdf()

    first = threading.Thread(target=renderer.page, args=(slow(), MediaType.PDF, 1, 100))
    first.start()
    held.wait(10)
    with pytest.raises(Busy) as refused:
        renderer.page(papers.pdf(), MediaType.PDF, 1, 100)
    assert refused.value.details["retry_after_s"]
    release.set()
    first.join()
    assert renderer.page(papers.pdf(), MediaType.PDF, 1, 100).pages == 2
    renderer.close()


def test_several_threads_are_served(renderer: Renderer) -> None:
    widths: list[int] = []

    def draw(width: int) -> None:
        widths.append(renderer.page(papers.pdf(), MediaType.PDF, 1, width).width)

    threads = [threading.Thread(target=draw, args=(200 + number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(widths) == list(range(200, 208))


def test_real_documents_are_drawn_or_refused_cleanly(renderer: Renderer, samples: Path) -> None:
    drawn = 0
    for path in sorted(samples.iterdir()):
        content = path.read_bytes()
        try:
            media_type = recognise(content[:HEAD_BYTES], content[-TAIL_BYTES:])
            drawn += renderer.page(content, media_type, 1, 600, watermark="x").pages >= 1
        except VaultError as refused:
            assert refused.code in ("unsupported_type", "not_renderable"), path.name  # noqa: PT017  # both are right here
    assert drawn >= 20
