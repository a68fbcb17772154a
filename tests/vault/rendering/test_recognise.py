"""What a file is, by its bytes: five kinds in, everything else out, polyglots refused."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vault.errors import EmptyDocument, UnsupportedType
from vault.rendering.recognise import HEAD_BYTES, TAIL_BYTES, MediaType, recognise


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(out, kind)
    return out.getvalue()


def heic() -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 64), "white")).save(out)
    return out.getvalue()


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("evil.class", b"\xca\xfe\xba\xbe" * 20)
    return out.getvalue()


PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"


def judge(content: bytes) -> MediaType:
    return recognise(content[:HEAD_BYTES], content[-TAIL_BYTES:])


def refused_as(content: bytes) -> str:
    with pytest.raises(UnsupportedType) as refusal:
        judge(content)
    return str(refusal.value.details["recognised"])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PDF, MediaType.PDF),
        (b"\xef\xbb\xbf" + PDF, MediaType.PDF),
        (b"\r\n\r\n" + PDF, MediaType.PDF),
        (PDF.replace(b"1.7", b"2.0"), MediaType.PDF),
        (picture("JPEG"), MediaType.JPEG),
        (picture("PNG"), MediaType.PNG),
        (picture("TIFF"), MediaType.TIFF),
        (b"MM\x00*\x00\x00\x00\x08" + bytes(64), MediaType.TIFF),
        (heic(), MediaType.HEIC),
    ],
)
def test_the_five_kinds_are_accepted(content: bytes, kind: MediaType) -> None:
    assert judge(content) is kind


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"MZ\x90\x00" + bytes(60), "executable"),
        (b"\x7fELF\x02\x01" + bytes(60), "executable"),
        (b"\xca\xfe\xba\xbe\x00\x00\x004", "executable"),
        (b"#!/bin/sh\nrm -rf /\n", "script"),
        (b"<?php system($_GET[0]);", "script"),
        (b"<!DOCTYPE html><html></html>", "html"),
        (b"  \n<HTML><script>alert(1)</script>", "html"),
        ("<html><body>".encode("utf-16"), "html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "svg"),
        (b"<?xml version='1.0'?><svg/>", "svg"),
        (b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "xml"),
        (archive(), "archive"),
        (b"\x1f\x8b\x08" + bytes(20), "archive"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(20), "archive"),
        (b"Rar!\x1a\x07\x01\x00", "archive"),
        (bytes(257) + b"ustar\x00" + bytes(300), "archive"),
        (b"PK\x03\x04\x14\x00" + bytes(20) + b"[Content_Types].xml", "office"),
        (b"PK\x03\x04\x14\x00" + bytes(20) + b"mimetypeapplication/vnd.oasis.opendocument.text", "office"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(60), "office"),
        (b"{\\rtf1\\ansi", "office"),
        (picture("WEBP"), "webp"),
        (picture("GIF"), "gif"),
        (picture("BMP"), "bmp"),
        (b"II+\x00\x08\x00\x00\x00" + bytes(20), "bigtiff"),
        (b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00avifmif1miaf", "avif"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42", "video"),
        (b"From: a@b.fr\r\nSubject: x\r\n\r\n", "mail"),
        (b"nom;prenom\nDUPONT;Claire\n", "text"),
        (b"\x00" * 64, "unknown"),
        (b"\xff\xd8\xff", "unknown"),
        (b"%PDF-", "text"),
        (b"%PDG-1.4", "text"),
    ],
)
def test_everything_else_is_refused_by_name(content: bytes, kind: str) -> None:
    assert refused_as(content) == kind


def test_dicom_is_seen_before_a_tiff_preamble() -> None:
    tiff = picture("TIFF")
    assert refused_as(tiff[:128] + b"DICM" + tiff[132:]) == "dicom"


def test_nothing_is_empty() -> None:
    with pytest.raises(EmptyDocument):
        recognise(b"")


@pytest.mark.parametrize("carrier", [PDF, picture("JPEG"), picture("PNG"), heic()], ids=["pdf", "jpeg", "png", "heic"])
def test_an_archive_at_the_end_is_a_polyglot(carrier: bytes) -> None:
    assert refused_as(carrier + archive()) == "polyglot-archive"
    commented = archive()[:-2] + struct.pack("<H", 30) + b"%" * 30
    assert refused_as(carrier + commented) == "polyglot-archive"


def test_an_end_record_inside_a_stream_is_not_an_archive() -> None:
    assert judge(PDF + b"PK\x05\x06" + b"\xff" * 40 + b"%%EOF\n") is MediaType.PDF


@pytest.mark.parametrize("before", [b"MZ\x90\x00", b"GIF89a", b"<html>", b"garbage ", b"\xff\xd8\xff\xe0"])
def test_a_pdf_header_behind_something_else_is_refused(before: bytes) -> None:
    assert refused_as(before + bytes(8) + PDF)


def test_a_picture_that_says_pdf_early_is_a_polyglot() -> None:
    jpeg = picture("JPEG")
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(PDF)) + PDF
    assert refused_as(jpeg[:2] + comment + jpeg[2:]) == "polyglot-pdf"
    chunk = b"tEXt" + b"Comment\0" + PDF
    png = picture("PNG")
    made = png[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]
    assert refused_as(made) == "polyglot-pdf"


@pytest.mark.parametrize("markup", [b"<html><body>", b"<script>alert(1)</script>", b"<?php echo 1;", b"<svg onload=x>"])
def test_markup_near_the_header_is_a_polyglot(markup: bytes) -> None:
    assert refused_as(b"%PDF-1.4\n%" + markup + b"\n" + PDF) == "polyglot-html"


@pytest.mark.parametrize(
    "script", [b"<?=`ls`?>\xff", b"<?= $_GET[0] ;\xff", b"<?=/*\xff*/`ls`;", b"<?= // \xff", b"<?=`id`\n;\n\n"]
)
def test_a_short_echo_tag_near_the_header_is_a_polyglot(script: bytes) -> None:
    assert refused_as(b"%PDF-1.4\n%" + script + b"\xfe\n" + PDF) == "polyglot-html"
    jpeg = picture("JPEG")
    assert refused_as(jpeg[:2] + b"\xff\xfe" + struct.pack(">H", 2 + len(script)) + script + jpeg[2:]) == "polyglot-html"


@pytest.mark.parametrize("chance", [b"<?=", b"<?=\xff", b"<?=a1\x00", b"<?=;{}\x80?>", b"<?=?\xff"])
def test_three_bytes_that_stand_in_compressed_data_by_chance_are_no_script(chance: bytes) -> None:
    assert judge(b"%PDF-1.4\n%" + chance + b"\xe2\n" + PDF) is MediaType.PDF
    jpeg = picture("JPEG")
    segment = chance + b"\xe2"
    assert judge(jpeg[:2] + b"\xff\xfe" + struct.pack(">H", 2 + len(segment)) + segment + jpeg[2:]) is MediaType.JPEG


def test_metadata_is_not_markup() -> None:
    packet = b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:title>a</dc:title>'
    assert judge(b"%PDF-1.4\n" + packet + PDF) is MediaType.PDF


@given(st.binary(min_size=1, max_size=600))
def test_any_bytes_get_a_kind_or_a_refusal(content: bytes) -> None:
    try:
        judge(content)
    except UnsupportedType as refusal:
        kind = refusal.details["recognised"]
    else:
        kind = "accepted"
    assert kind


@given(st.binary(max_size=300))
def test_only_the_head_of_a_pdf_decides(body: bytes) -> None:
    assert judge(PDF + b"stream\n" * 300 + body + b"\nendstream") is MediaType.PDF
