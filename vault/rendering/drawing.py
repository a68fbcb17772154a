"""Owns the decoding of hostile documents into pixels and text. Runs only inside the sandbox; it must not know who asks.

PDF by PDFium (pypdfium2, built without JavaScript), pictures by Pillow, HEIC by libheif. Sizes are judged from headers,
before anything is decoded.
"""

from __future__ import annotations

import codecs
import ctypes
import io
import mmap
import unicodedata
from typing import IO, Protocol, cast

import pillow_heif
import pypdfium2
import pypdfium2.raw as pdfium
import zxingcpp
from PIL import Image, ImageDraw, ImageFont, ImageOps

from vault.rendering.messages import PageForm, Reason
from vault.rendering.recognise import MediaType

PAGES = 3_000
"""More pages than any medical document has; counting goes no further."""
SOURCE_PIXELS = 150_000_000
"""A3 at 900 dots per inch; 600 MB once decoded in colour."""
PAGE_PIXELS = 16_000_000
"""What one drawn page may hold: A4 at 400 dots per inch."""
TEXT_CHARACTERS = 100_000
CODES = 32
_CODE_WIDTH = 1800
"""Wide enough for a Datamatrix of 0.4 mm modules on A4."""
_INK = (11, 107, 93)
_FAINT = 30
"""Watermark opacity of 255: seen on paper and on a screenshot, never in the way of reading."""


class Refused(Exception):
    """The document can't be shown, for a stated reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Pages(Protocol):
    """An opened document."""

    count: int

    def size(self, page: int) -> tuple[float, float]: ...
    def draw(self, page: int, width: int) -> Image.Image: ...
    def text(self, page: int) -> str: ...


def _fitted(width: int, size: tuple[float, float]) -> tuple[int, int]:
    """``width`` and its height for a page of ``size``, reduced where they would hold too many pixels."""
    wide, high = size
    if not (wide > 0 and high > 0):
        raise Refused(Reason.BROKEN)
    height = width * high / wide
    shrink = min(1.0, (PAGE_PIXELS / (width * height)) ** 0.5)
    return max(1, int(width * shrink)), max(1, min(int(height * shrink), PAGE_PIXELS))


class PdfPages:
    """Pages of a PDF."""

    def __init__(self, content: mmap.mmap) -> None:
        try:
            self._document = pypdfium2.PdfDocument((ctypes.c_ubyte * len(content)).from_buffer(content))
        except pypdfium2.PdfiumError as error:
            is_locked = error.err_code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY)
            raise Refused(Reason.ENCRYPTED if is_locked else Reason.BROKEN) from error
        self.count = len(self._document)
        if self.count == 0:
            raise Refused(Reason.BROKEN)
        if self.count > PAGES:
            raise Refused(Reason.TOO_MANY_PAGES)
        self._document.init_forms()

    def _page(self, page: int) -> pypdfium2.PdfPage:
        try:
            return self._document[page - 1]
        except pypdfium2.PdfiumError as error:
            raise Refused(Reason.BROKEN) from error

    def size(self, page: int) -> tuple[float, float]:
        """In points."""
        wide, high = self._page(page).get_size()
        return float(wide), float(high)

    def draw(self, page: int, width: int) -> Image.Image:
        """White paper, annotations and filled fields included."""
        sheet = self._page(page)
        points = sheet.get_size()
        wide, _ = _fitted(width, points)
        drawn: Image.Image = sheet.render(scale=(wide - 0.01) / points[0], rev_byteorder=True, prefer_bgrx=True).to_pil()
        return drawn  # RGBX: PDFium's own memory, which the encoder reads without a copy

    def text(self, page: int) -> str:
        """The page's own text, in reading order as far as PDFium knows it."""
        return str(self._page(page).get_textpage().get_text_bounded())[:TEXT_CHARACTERS]


def _file(content: mmap.mmap) -> IO[bytes]:
    return cast("IO[bytes]", content)  # read, seek and tell are all that Pillow wants


_FORMATS = {MediaType.JPEG: ("JPEG",), MediaType.PNG: ("PNG",), MediaType.TIFF: ("TIFF",), MediaType.HEIC: ("HEIF",)}


class PicturePages:
    """A picture, or each picture of a multi-page TIFF."""

    def __init__(self, content: mmap.mmap, media_type: MediaType) -> None:
        self._picture = Image.open(_file(content), formats=_FORMATS[media_type])
        # A JPEG or PNG may announce further frames (MPO, APNG): those are no pages.
        self.count = 1 if media_type is not MediaType.TIFF else self._frames()

    def _frames(self) -> int:
        picture = self._picture
        count = 1
        while count <= PAGES:
            try:
                picture.seek(count)
            except EOFError:
                return count
            count += 1
        raise Refused(Reason.TOO_MANY_PAGES)

    def at(self, page: int) -> Image.Image:
        """The picture as it is stored, not decoded yet. Raises Refused."""
        if self.count > 1:
            self._picture.seek(page - 1)
        wide, high = self._picture.size
        if wide * high > SOURCE_PIXELS:
            raise Refused(Reason.TOO_MANY_PIXELS)
        return self._picture

    def size(self, page: int) -> tuple[float, float]:
        """In pixels, turned as its EXIF orientation says."""
        picture = self.at(page)
        wide, high = picture.size
        return (high, wide) if picture.getexif().get(0x0112, 1) >= 5 else (wide, high)

    def draw(self, page: int, width: int) -> Image.Image:
        """Upright, on white, never larger than it is."""
        picture = self.at(page)
        wide, high = _fitted(min(width, picture.size[0]), picture.size)
        picture.draft("RGB", (wide, high))
        upright = _upright(picture)
        wide, high = _fitted(min(width, upright.size[0]), upright.size)
        return (
            upright.resize((wide, high), Image.Resampling.BICUBIC, reducing_gap=2.0)
            if upright.size != (wide, high)
            else upright
        )

    def upright(self, page: int) -> Image.Image:
        """The whole picture, in colours, upright, on white. Raises Refused."""
        return _upright(self.at(page))

    def text(self, page: int) -> str:
        """A picture has none."""
        self.at(page)
        return ""


def _upright(picture: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(_on_white(picture))


def _on_white(picture: Image.Image) -> Image.Image:
    exif = picture.getexif()
    if picture.mode.startswith("I;16"):
        flat = picture.point(lambda level: level / 256).convert("L").convert("RGB")
    elif picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        flat = Image.new("RGB", layered.size, "white")
        flat.paste(layered, mask=layered.getchannel("A"))
    else:
        flat = picture.convert("RGB")
    flat.getexif().update({0x0112: exif[0x0112]} if 0x0112 in exif else {})
    return flat


def open_pages(media_type: MediaType, content: mmap.mmap) -> Pages:
    """An opened document. Raises Refused."""
    if media_type is MediaType.PDF:
        return PdfPages(content)
    return PicturePages(content, media_type)


def watermark(page: Image.Image, text: str) -> None:
    """Draw ``text`` faintly and aslant all over the page, so that a photograph of the screen says whose it was."""
    words = unicodedata.normalize("NFC", text)[:80]
    font = ImageFont.load_default(max(12, page.width // 36))
    left, top, right, bottom = font.getbbox(words)
    label = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(label).text((4 - left, 4 - top), words, fill=_FAINT, font=font)
    slanted = label.rotate(24, expand=True, resample=Image.Resampling.BILINEAR)
    for row, y in enumerate(range(slanted.height // 2, page.height, slanted.height * 2)):
        for x in range(-(row % 2) * slanted.width // 2, page.width, slanted.width + page.width // 6):
            page.paste(_INK, (x, y, x + slanted.width, y + slanted.height), slanted)


_ENCODING: dict[PageForm, tuple[str, dict[str, int]]] = {
    PageForm.JPEG: ("JPEG", {"quality": 82, "subsampling": 0}),
    PageForm.WEBP: ("WEBP", {"quality": 82, "method": 0}),
    PageForm.PNG: ("PNG", {"compress_level": 1}),
}


def encoded(page: Image.Image, form: PageForm) -> bytes:
    """The page's pixels as a file."""
    out = io.BytesIO()
    kind, options = _ENCODING[form]
    (page if form is PageForm.JPEG or page.mode != "RGBX" else page.convert("RGB")).save(out, kind, **options)
    return out.getvalue()


def readable(text: str) -> str:
    """What a screen reader may say: no control characters, no halves of characters, single blank lines."""
    lines = (
        "".join(sign for sign in line if unicodedata.category(sign) not in ("Cc", "Cs", "Co", "Cn")).strip()
        for line in text.replace("\ufffe", "").splitlines()
    )
    return "\n".join(line for line in lines if line)


def codes(pages: Pages, page: int) -> list[dict[str, object]]:
    """QR codes and Datamatrix on a page: ``{"format": …, "content": hexadecimal}``."""
    image = pages.draw(page, _CODE_WIDTH).convert("L")
    wanted = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode, zxingcpp.BarcodeFormat.DataMatrix])
    read = zxingcpp.read_barcodes(image, formats=wanted)
    return [{"format": str(code.format), "content": bytes(code.bytes)[:4096].hex()} for code in read[:CODES]]


def load_everything() -> None:
    """Import and open now whatever would be looked up lazily: the sandbox has no files."""
    Image.MAX_IMAGE_PIXELS = None  # our own bound is stricter and never a mere warning
    pillow_heif.register_heif_opener(thumbnails=False)
    pillow_heif.options.DECODE_THREADS = 1
    Image.init()
    page = Image.new("RGB", (64, 64), "white")
    watermark(page, "Éveil")
    for kind in ("JPEG", "PNG", "TIFF"):
        out = io.BytesIO()
        page.save(out, kind)
        Image.open(out).convert("L").resize((8, 8))
    zxingcpp.read_barcodes(page.convert("L"))
    for name in ("utf-16-le", "utf-8", "latin-1", "ascii"):
        codecs.lookup(name)
    blank = pypdfium2.PdfDocument.new()
    blank.init_forms()
    sheet = blank.new_page(100, 100)
    for form in PageForm:
        encoded(sheet.render(scale=1, rev_byteorder=True, prefer_bgrx=True).to_pil(), form)
    sheet.get_textpage().get_text_bounded()
    blank.close()
