"""The practice at work: a search over sealed identities, the first page of a document."""

from __future__ import annotations

import io
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pypdfium2
from PIL import Image

from tests.bench.measure import Figure, alternate, percentile
from tests.bench.search import KINDS, run
from tests.kms.fake import FakeKeyService
from vault.rendering.recognise import MediaType
from vault.rendering.renderer import Renderer

SMALL, LARGE = 2_000, 200_000
WIDTH = 1240
PAGE_BYTES = 2_000_000


def search() -> Iterator[Figure]:
    """The same searches at both sizes; keys in memory, so that the figure is the index's and the sealing's, not a token's."""
    small: dict[str, float] = {}
    for count in (SMALL, LARGE):
        with tempfile.TemporaryDirectory() as place:
            timings, leak = run(FakeKeyService(), count, Path(place))
        for timing in timings:
            growth = timing.median_ms / small[timing.kind] if timing.kind in small else None
            small.setdefault(timing.kind, timing.median_ms)
            name = f"{timing.kind}, {count:,} patients"
            notes = {"median_ms": round(timing.median_ms, 1), "growth": growth and round(growth, 2)} | (
                leak if timing.kind == KINDS[0] else {}
            )
            holds = timing.p95_ms <= 50 and (growth is None or growth <= 2)
            yield Figure(name, timing.p95_ms, "ms p95", target="≤ 50 ms, growth ≤ 2 ×", holds=holds, notes=notes)


def scanned(size: int) -> bytes:
    """A PDF of one scanned page, about ``size`` bytes: grey paper grain at 300 dots per inch, as scanners make them."""
    grain = Image.effect_noise((2480, 3508), 24).point(lambda level: min(255, level + 90))
    content = b""
    for quality in range(92, 20, -4):
        out = io.BytesIO()
        grain.save(out, "PDF", quality=quality, resolution=300)
        content = out.getvalue()
        if len(content) <= size:
            break
    return content


def page() -> Iterator[Figure]:
    """The first page of a 2 MB PDF: through the sandbox, and by PDFium in this very process."""
    content, renderer = scanned(PAGE_BYTES), Renderer()
    renderer.page(content, MediaType.PDF, 1, WIDTH)

    def ours() -> None:
        renderer.page(content, MediaType.PDF, 1, WIDTH, watermark="Dr Martin · 12/03/2026 14 h 05")

    def theirs() -> None:
        document = pypdfium2.PdfDocument(content)
        sheet = document[0]
        drawn = sheet.render(scale=WIDTH / sheet.get_width()).to_pil().convert("RGB")
        drawn.save(io.BytesIO(), "JPEG", quality=82, subsampling=0)
        document.close()

    pair = alternate(ours, theirs, rounds=15)
    renderer.close()
    mine, bare = statistics.median(pair.ours_s) * 1000, statistics.median(pair.theirs_s) * 1000
    notes = {"p95_ms": round(percentile(pair.ours_s, 0.95) * 1000, 1), "bytes": len(content)}
    ratio = mine / bare
    holds = mine <= 300 and ratio <= 1.5
    yield Figure("first page, cold", mine, "ms", "pypdfium2 in process", bare, ratio, "≤ 300 ms, ≤ 1.5 ×", holds, notes)
