"""Bytes that pass for a scan: as many as asked for, others for each seed. Knows no test; quick to import."""

from __future__ import annotations

import hashlib

PDF = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


def scan(size: int = 200_000, seed: int = 1) -> bytes:
    """Bytes that look like a PDF, ``size`` long, different for each ``seed``."""
    filler = hashlib.shake_256(seed.to_bytes(8)).digest(max(size - len(PDF) - 40, 0))
    return (PDF[:9] + b"%" + filler.hex().encode()[: max(size - len(PDF) - 1, 0)] + b"\n" + PDF[9:])[:size]
