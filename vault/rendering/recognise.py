"""Owns what a file *is*, judged by its bytes against an allow-list. It must not know file names, nor decode a document.

Only five kinds are accepted. Everything else is refused under the name of what it looks like, and so is a file that a second
program could read as something else (a polyglot). The renderer confirms the structure later, in its sandbox.
"""

from __future__ import annotations

import re
from enum import StrEnum

from vault.errors import EmptyDocument, UnsupportedType

HEAD_BYTES = 4096
"""How much of the start is read: readers look for a PDF header in the first 1,024 bytes, browsers sniff 1,445."""
TAIL_BYTES = 65_557
"""How much of the end it wants: the longest possible end record of a ZIP archive (22 + 65,535 bytes)."""


class MediaType(StrEnum):
    """The kinds that a vault accepts, by their IANA media type."""

    PDF = "application/pdf"
    JPEG = "image/jpeg"
    PNG = "image/png"
    TIFF = "image/tiff"
    HEIC = "image/heic"


_EXECUTABLES = (
    b"MZ", b"\x7fELF", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe",
    b"dex\n", b"\x00asm", b"L\x00\x00\x00\x01\x14\x02\x00",
)  # fmt: skip
_ARCHIVES = (
    b"PK\x05\x06", b"PK\x07\x08", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"MSCF",
    b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"!<arch>\n", b"xar!", b"\x1f\x9d", b"LZIP",
)  # fmt: skip
_PICTURES = {
    b"GIF87a": "gif", b"GIF89a": "gif", b"BM": "bmp", b"\x00\x00\x01\x00": "ico", b"II+\x00": "bigtiff", b"MM\x00+": "bigtiff",
    b"\x00\x00\x00\x0cjP  ": "jpeg2000", b"\xff\x4f\xff\x51": "jpeg2000", b"8BPS": "psd", b"%!PS": "postscript",
    b"\xff\x0a": "jpegxl", b"AT&TFORM": "djvu", b"RIFF": "riff", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "office",
    b"{\\rtf": "office",
}  # fmt: skip
_SCRIPT_STARTS = (b"#!", b"<?php", b"<%", b"@echo off", b"import ", b"function ", b"var ", b"const ", b"powershell")
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis"}
_MARKUP = re.compile(rb"<!doctype\s+html|<(?:html|head|body|script|iframe|svg|object|embed|meta|title)[\s>/]", re.IGNORECASE)
_SERVER_SCRIPT = re.compile(rb"<\?php|<\?=(?:[\t\n\r -~]{8}|[\t\n\r -~]*?\?>|\s*/[*/])|<script", re.IGNORECASE)
"""``<?=`` with something to say after it: its three bytes alone stand by chance in one compressed head of twelve thousand."""
_MAIL_HEADER = re.compile(rb"^(?:received|return-path|from|message-id|mime-version|delivered-to|x-[\w-]+): ", re.IGNORECASE)
_BLANK = b"\xef\xbb\xbf \t\r\n\x0c"
_PDF_TOLERANCE_BYTES = 16
"""Blank bytes or a byte-order mark before ``%PDF-`` that real scanners emit; anything else before it makes a polyglot."""
_SNIFFED_BYTES = 1445
"""How far the WHATWG MIME sniffing standard lets a browser look for markup."""


def _accepted(head: bytes) -> MediaType | None:
    start = head[: _PDF_TOLERANCE_BYTES + 8].lstrip(_BLANK)
    if len(head) - len(head.lstrip(_BLANK)) <= _PDF_TOLERANCE_BYTES and re.match(rb"%PDF-[0-9]", start):
        return MediaType.PDF
    if head[:3] == b"\xff\xd8\xff" and len(head) > 3 and 0xC0 <= head[3] <= 0xFE and head[3] not in (0xD8, 0xD9):
        return MediaType.JPEG
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[8:16] == b"\x00\x00\x00\x0dIHDR":
        return MediaType.PNG
    if head[:4] in (b"II*\x00", b"MM\x00*") and len(head) >= 8 and head[8:10] != b"CR":
        first_directory = int.from_bytes(head[4:8], "little" if head[:2] == b"II" else "big")
        return MediaType.TIFF if first_directory >= 8 else None
    if head[4:8] == b"ftyp":
        box = int.from_bytes(head[:4], "big")
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(box, len(head)), 4))}
        return MediaType.HEIC if 16 <= box <= 256 and brands & _HEIC_BRANDS else None
    return None


def _zip_kind(head: bytes) -> str:
    if b"[Content_Types].xml" in head or any(folder in head for folder in (b"word/", b"xl/", b"ppt/")):
        return "office"
    return "office" if b"mimetypeapplication/vnd" in head else "archive"


def _container_kind(head: bytes) -> str | None:
    """Binary formats by their signature."""
    if head[:4] == b"PK\x03\x04":
        return _zip_kind(head)
    if head.startswith(_EXECUTABLES):
        return "executable"
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        return "archive"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return "avif" if b"avi" in head[8:64] else "video"
    return next((kind for magic, kind in _PICTURES.items() if head.startswith(magic)), None)


def _text_kind(head: bytes) -> str | None:
    """Markup, scripts, mail and plain text, whatever their encoding."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or (len(head) >= 4 and head[1:4:2] == b"\x00\x00"):
        head = head.replace(b"\x00", b"").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    text = head.lstrip(_BLANK)
    lowered = text[:_SNIFFED_BYTES].lower()
    if lowered.startswith(b"<svg") or (lowered.startswith(b"<?xml") and b"<svg" in lowered):
        return "svg"
    if lowered.startswith(_SCRIPT_STARTS):
        return "script"
    if _MARKUP.search(lowered):
        return "html"
    if lowered.startswith(b"<"):
        return "xml"
    if _MAIL_HEADER.match(text):
        return "mail"
    return "text" if text and b"\x00" not in text and sum(byte < 9 for byte in text) == 0 and _is_utf8(text) else None


def _is_utf8(text: bytes) -> bool:
    try:
        (text[:-4] or text).decode()
    except UnicodeDecodeError:
        return False
    return True


def _second_format(media_type: MediaType, head: bytes, tail: bytes) -> str | None:
    """What else a lenient program could take these bytes for, besides ``media_type``."""
    if media_type is not MediaType.PDF and b"%PDF-" in head[:1024]:
        return "pdf"
    if _MARKUP.search(head[:_SNIFFED_BYTES]) or _SERVER_SCRIPT.search(head[:_SNIFFED_BYTES]):
        return "html"
    if head[257:262] == b"ustar":
        return "archive"
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        comment = int.from_bytes(tail[at + 20 : at + 22], "little")
        if len(tail) - at >= 22 and at + 22 + comment == len(tail):
            return "archive"
        at = tail.rfind(b"PK\x05\x06", 0, at)
    return None


def recognise(head: bytes, tail: bytes = b"") -> MediaType:
    """The accepted kind of a file, from its first HEAD_BYTES and (once known) its last TAIL_BYTES.

    Call it with the head alone to refuse early, and again with the tail before the document is acknowledged.
    Raises EmptyDocument for no byte at all, and UnsupportedType with ``recognised`` (a stable slug: executable, html, svg, xml,
    script, archive, office, dicom, webp, gif, bmp, mail, text, video, …, or polyglot-<second kind>, or unknown).
    """
    if not head:
        raise EmptyDocument("no byte was received")
    head = bytes(head[:HEAD_BYTES])
    # First of all: a DICOM file may carry a TIFF preamble in the 128 bytes that the standard leaves free (PS3.10 §7.1).
    if head[128:132] == b"DICM":
        raise _refusal("dicom")
    media_type = _accepted(head)
    if media_type is None:
        raise _refusal(_container_kind(head) or _text_kind(head) or "unknown")
    second = _second_format(media_type, head, bytes(tail[-TAIL_BYTES:]))
    if second is not None:
        raise _refusal(f"polyglot-{second}")
    return media_type


def _refusal(kind: str) -> UnsupportedType:
    return UnsupportedType(f"this kind of file is not accepted: {kind}", recognised=kind)
