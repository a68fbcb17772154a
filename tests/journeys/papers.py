"""The files that visitors of the journeys bring along, made on the spot. Knows no page."""

from __future__ import annotations

import io
import secrets
from pathlib import Path

import img2pdf
from PIL import Image, ImageDraw


def scan(words: str, pages: int = 3) -> bytes:
    """A scan as a practice gets it, a PDF of page images; ``words`` on the pages, in the title and, in clear, as a comment."""
    images = []
    for number in range(1, pages + 1):
        page = Image.effect_noise((1240, 1754), 18).convert("L").point(lambda value: 235 + value // 16)
        ImageDraw.Draw(page).text((120, 160), f"{words}\npage {number}", fill=30, font_size=40)
        buffer = io.BytesIO()
        page.save(buffer, "JPEG", quality=60, dpi=(150, 150), comment=words.encode())
        images.append(buffer.getvalue())
    return bytes(img2pdf.convert(images, title=words) or b"")


def bring(directory: Path, name: str, content: bytes) -> Path:
    """The file on the visitor's own disk, outside what is searched."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_bytes(content)
    return path


def unheard_of(prefix: str) -> str:
    """A word that stands nowhere else: letters only, so that it may be part of a name."""
    return prefix + "".join(secrets.choice("abcdefghiklmnopqrstuvwxyz") for _ in range(9))
