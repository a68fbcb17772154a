"""Files in which a virus scanner recognises something: the standard test signature, where documents hide such things."""

from __future__ import annotations

import io
import zipfile
import zlib

from tests.servers.scanner import EICAR


def infected_pdf() -> bytes:
    """EICAR in the stream of a PDF, uncompressed."""
    return b"%PDF-1.4\n1 0 obj<</Length 68>>stream\n" + EICAR + b"\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


def packed(infected: bytes) -> bytes:
    """The same in a compressed stream, which only a scanner that reads PDF finds."""
    stream = zlib.compress(infected)
    head = f"%PDF-1.4\n1 0 obj<</Length {len(stream)}/Filter/FlateDecode>>stream\n".encode()
    return head + stream + b"\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


def zipped(infected: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("facture.pdf", infected)
    return out.getvalue()
