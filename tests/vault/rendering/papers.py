"""Documents for the tests, good and hostile, made on the spot."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pillow_heif
import zxingcpp
from PIL import Image, ImageDraw, ImageFont
from reportlab.pdfgen.canvas import Canvas


def pdf(pages: int = 2, *, password: str | None = None, text: str = "Laboratoire du Parc — élève Œuvrard") -> bytes:
    """A PDF with a line of text on each page."""
    out = io.BytesIO()
    canvas = Canvas(out, encrypt=password, invariant=1) if password else Canvas(out, invariant=1)
    for page in range(1, pages + 1):
        canvas.drawString(72, 720, f"{text} {page}")
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def raw_pdf(objects: dict[int, bytes], root: int = 1) -> bytes:
    """A PDF of hand-written objects, with a right cross-reference table."""
    out = bytearray(b"%PDF-1.7\n")
    offsets = {}
    for number, body in sorted(objects.items()):
        offsets[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    last = max(objects)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (last + 1)
    for number in range(1, last + 1):
        out += b"%010d 00000 n \n" % offsets.get(number, 0)
    out += b"trailer\n<< /Size %d /Root %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (last + 1, root, start)
    return bytes(out)


def stream(content: bytes, entries: bytes = b"") -> bytes:
    """A PDF stream object's body."""
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), entries, content)


def one_page(extra: dict[int, bytes], resources: bytes, content: bytes, catalog: bytes = b"") -> bytes:
    """A PDF of one page over ``extra`` objects (numbers from 10)."""
    return raw_pdf(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R " + catalog + b" >>",
            2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << %s >> >>" % resources,
            4: stream(content),
            **extra,
        }
    )


def many_pages(count: int) -> bytes:
    """A PDF of ``count`` empty pages."""
    kids = b" ".join(b"%d 0 R" % number for number in range(3, count + 3))
    pages = dict.fromkeys(range(3, count + 3), b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>")
    return raw_pdf(
        {1: b"<< /Type /Catalog /Pages 2 0 R >>", 2: b"<< /Type /Pages /Count %d /Kids [%s] >>" % (count, kids), **pages}
    )


def inflating_pdf() -> bytes:
    """About 2 KB that hold a picture of 1 GiB: zeros deflated twice."""
    squeeze = zlib.compressobj(9)
    once = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(1024)) + squeeze.flush()
    twice = zlib.compress(once, 9)
    picture = b"/Type /XObject /Subtype /Image /Width 32768 /Height 32768 /BitsPerComponent 8 /ColorSpace /DeviceGray"
    return one_page(
        {10: stream(twice, picture + b" /Filter [/FlateDecode /FlateDecode]")},
        b"/XObject << /I 10 0 R >>",
        b"595 0 0 842 0 0 cm /I Do",
    )


def exploding_pdf() -> bytes:
    """Forms that draw forms that draw forms: 40 to the power of 7 rectangles."""
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 595 842] /Resources << /XObject << /F %d 0 R >> >>"
    forms = {10 + depth: stream(b"/F Do " * 40, form % (11 + depth)) for depth in range(7)}
    forms[17] = stream(b"0 0 500 800 re f", b"/Type /XObject /Subtype /Form /BBox [0 0 595 842]")
    return one_page(forms, b"/XObject << /F 10 0 R >>", b"/F Do")


def slow_pdf() -> bytes:
    """Ten thousand full-page transparency groups: little memory, minutes of work."""
    group = b"/Type /XObject /Subtype /Form /BBox [0 0 595 842] /Group << /S /Transparency /I true >>"
    leaf = stream(b"0.5 g 0 0 595 842 re f", group)
    many = stream(b"/M gs /F Do " * 100, group + b" /Resources << /XObject << /F 11 0 R >> /ExtGState << /M 12 0 R >> >>")
    mode = b"<< /Type /ExtGState /BM /Luminosity /ca 0.5 >>"
    resources = b"/XObject << /F 10 0 R >> /ExtGState << /M 12 0 R >>"
    return one_page({10: many, 11: leaf, 12: mode}, resources, b"/M gs /F Do " * 100)


def scripted_pdf() -> bytes:
    """JavaScript at opening, a Launch action and an embedded file."""
    return one_page(
        {
            10: b"<< /S /JavaScript /JS (app.alert\\(1\\); while\\(true\\){}) >>",
            11: b"<< /S /Launch /F (/bin/sh) >>",
            12: b"<< /Type /Filespec /F (evil.exe) /EF << /F 13 0 R >> >>",
            13: stream(b"MZ" + bytes(64), b"/Type /EmbeddedFile"),
            14: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        },
        b"/Font << /H 14 0 R >>",
        b"BT /H 24 Tf 72 700 Td (Bonjour) Tj ET",
        b"/OpenAction 10 0 R /AA << /WC 11 0 R >> /Names << /EmbeddedFiles << /Names [(evil) 12 0 R] >> >>",
    )


def huge_png(side: int = 50_000) -> bytes:
    """A PNG that announces side × side pixels in a few kilobytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = zlib.compress(bytes(1 << 20), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def picture(kind: str, size: tuple[int, int] = (800, 600), mode: str = "RGB", **options: Any) -> bytes:
    """A picture with a black square in its upper left corner."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).rectangle((0, 0, size[0] // 4, size[1] // 4), fill="black")
    if mode == "I;16":
        image = image.convert("L").convert("I").point(lambda level: level * 257)
    out = io.BytesIO()
    if kind == "HEIC":
        pillow_heif.from_pillow(image).save(out)
    else:
        image.convert(mode).save(out, kind, **options)
    return out.getvalue()


def tiff(pages: int) -> bytes:
    """A multi-page TIFF."""
    sheets = [Image.new("1", (400, 560), 1) for _ in range(pages)]
    for number, sheet in enumerate(sheets, 1):
        ImageDraw.Draw(sheet).text((20, 20), f"page {number}", fill=0, font=ImageFont.load_default(40))
    out = io.BytesIO()
    sheets[0].save(out, "TIFF", save_all=True, append_images=sheets[1:], compression="group4")
    return out.getvalue()


def coded_page(content: bytes, kind: str) -> bytes:
    """A PNG of an A4 page at 200 dots per inch with one code on it."""
    symbology = getattr(zxingcpp.BarcodeFormat, kind)
    drawn = Image.fromarray(zxingcpp.create_barcode(content, symbology).to_image(scale=6))
    page = Image.new("L", (1654, 2339), 255)
    page.paste(drawn, (200, 200))
    out = io.BytesIO()
    page.save(out, "PNG")
    return out.getvalue()
