"""Owns the copy of a picture as a PDF, for whoever can only use those. Runs only inside the sandbox, like the drawing.

A JPEG goes in as it is (DCTDecode, ISO 32000-1 §7.4.8), black-and-white without loss, anything else as a JPEG of high quality.
The document itself is never changed: this is a derived copy.
"""

from __future__ import annotations

import io
import mmap

import pypdfium2
from PIL import Image

from vault.rendering.drawing import PicturePages, Refused
from vault.rendering.messages import ANSWER_BYTES, Reason
from vault.rendering.recognise import MediaType

QUALITY = 92
A4 = (595.28, 841.89)
"""Points."""
BELIEVED_DPI = (100.0, 1200.0)
"""What scanners say; a photograph's 72 says nothing about paper."""
_ENVELOPE_BYTES = 64 * 1024


def pdf_of(pages: PicturePages, content: mmap.mmap) -> bytes:
    """Every page of a picture as one PDF. Raises Refused."""
    copy = pypdfium2.PdfDocument.new()
    for number in range(1, pages.count + 1):
        _add(copy, pages, number, content)
    out = io.BytesIO()
    copy.save(out)
    if out.tell() > ANSWER_BYTES - _ENVELOPE_BYTES:
        raise Refused(Reason.TOO_LARGE)
    return out.getvalue()


def _add(copy: pypdfium2.PdfDocument, pages: PicturePages, number: int, content: mmap.mmap) -> None:
    image = pypdfium2.PdfImage.new(copy)
    picture = pages.at(number)
    dpi = picture.info.get("dpi")
    if picture.format == "JPEG" and picture.mode in ("RGB", "L") and picture.getexif().get(0x0112, 1) == 1:
        size = picture.size
        image.load_jpeg(io.BytesIO(content), inline=True)
    else:
        is_ink = picture.mode == "1"
        upright = pages.upright(number)
        size = upright.size
        if is_ink:
            image.set_bitmap(pypdfium2.PdfBitmap.from_pil(upright.convert("L")))
        else:
            encoded = io.BytesIO()
            upright.save(encoded, "JPEG", quality=QUALITY, subsampling=0)
            image.load_jpeg(encoded, inline=True)
    wide, high = paper_size(size, dpi)
    sheet = copy.new_page(wide, high)
    image.set_matrix(pypdfium2.PdfMatrix().scale(wide, high))
    sheet.insert_obj(image)
    sheet.gen_content()


def paper_size(pixels: tuple[int, int], dpi: object) -> tuple[float, float]:
    """Points: what the scanner says it was, else as large as A4 allows, upright or lying."""
    width, height = pixels
    told = dpi if isinstance(dpi, tuple) and len(dpi) == 2 else (0, 0)
    across, down = (float(each) for each in told)
    if all(BELIEVED_DPI[0] <= each <= BELIEVED_DPI[1] for each in (across, down)):
        return width * 72 / across, height * 72 / down
    wide, high = A4 if height >= width else A4[::-1]
    scale = min(wide / width, high / height)
    return width * scale, height * scale


def load_everything() -> None:
    """Do it once now: the sandbox has no files."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(out, "JPEG")
    held = mmap.mmap(-1, out.tell())
    held[:] = out.getvalue()
    pdf_of(PicturePages(held, MediaType.JPEG), held)
