"""Owns how a document's exact bytes leave: ranges, validators and digests (RFC 9110, RFC 9530), and a file name that is safe.

It must not know who may read what: opening the document says so.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import quote

from flask import Response, request
from werkzeug.http import parse_etags

from vault.audit.events import Action
from vault.model import DocumentId
from vault.records.documents.opened import OpenedDocument
from web.failures import PreconditionFailed, RangeNotSatisfiable
from web.session import actor, vault

RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
NAME_BYTES = 150
RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)


def safe_name(name: str, extension: str = "") -> str:
    """A file name that no header, file system or reader can misunderstand.

    Control and bidi characters go, so do path separators and quotes; reserved and empty names become ``document``.
    """
    kept = "".join(
        " " if sign in '/\\"<>|:*?' else sign
        for sign in unicodedata.normalize("NFC", name)
        if unicodedata.category(sign)[0] != "C"
    )
    kept = " ".join(kept.split()).strip(". ")
    if not kept or RESERVED.match(kept):
        kept = f"document{extension}"
    stem, dot, tail = kept.rpartition(".")
    if dot and len(tail) <= 5 and stem:  # the extension survives the cut
        return stem.encode()[:NAME_BYTES].decode("utf-8", "ignore").strip() + "." + tail
    return kept.encode()[:NAME_BYTES].decode("utf-8", "ignore").strip()


def disposition(name: str, kind: str = "attachment") -> str:
    """A Content-Disposition of RFC 6266: an ASCII fallback and the UTF-8 name of RFC 8187."""
    safe = safe_name(name)
    plain = unicodedata.normalize("NFKD", safe).encode("ascii", "ignore").decode().strip() or "document"
    plain = re.sub(r"[^A-Za-z0-9 ._()+-]", "_", plain)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(safe, safe='')}"


def digest_header(sha256: str) -> str:
    """``Repr-Digest`` of RFC 9530 for a hexadecimal SHA-256."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open byte range of a Range header, None for the whole (RFC 9110 §14.2: what isn't understood is ignored).

    Several ranges are answered by the whole. Raises RangeNotSatisfiable.
    """
    match = RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        return None
    if len(match[1]) > 19 or len(match[2]) > 19:  # beyond 2⁶³ bytes
        raise RangeNotSatisfiable(size=size)
    if match[1] == "":
        count = int(match[2])
        start, end = max(0, size - count), size
    else:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < int(match[1]):
            return None
    if start >= size or start >= end:
        raise RangeNotSatisfiable(size=size)
    return start, end


def deliver_as_pdf(document: DocumentId) -> Response:
    """A picture as a PDF copy, made for this answer and kept nowhere."""
    described, content = vault().documents.pdf_copy(actor(), document)
    stem = described.file_name.rpartition(".")[0] or described.file_name
    headers = {
        "Content-Disposition": disposition(f"{stem}.pdf"),
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return Response(content, headers=headers, mimetype="application/pdf")


def deliver(document: DocumentId, version: int | None = None) -> Response:
    """The document's bytes as an attachment, whole or in part. Authenticated before the first byte leaves."""
    opened: OpenedDocument | None = None
    if request.method == "HEAD" or "If-None-Match" in request.headers:  # may end without a byte: no download then
        described = vault().documents.describe(actor(), document, version=version)
    else:
        opened = vault().documents.open(actor(), document, Action.DOCUMENT_DOWNLOAD, version=version)
        described = opened.document
    tag = f'"{described.sha256}"'
    matches, excludes = request.headers.get("If-Match"), request.headers.get("If-None-Match")
    if matches and described.sha256 not in parse_etags(matches) and matches.strip() != "*":
        raise PreconditionFailed
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Repr-Digest": digest_header(described.sha256),
        "Content-Disposition": disposition(described.file_name),
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if excludes and (excludes.strip() == "*" or described.sha256 in parse_etags(excludes)):
        return Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    held = request.headers.get("If-Range")
    whole = request.method == "HEAD" or (held is not None and held != tag)
    part = None if whole else asked_range(request.headers.get("Range"), described.size)
    start, end = part or (0, described.size)
    headers["Content-Length"] = str(end - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{described.size}"
    if request.method == "HEAD":
        return Response(headers=headers, mimetype=described.media_type)
    opened = opened or vault().documents.open(actor(), document, Action.DOCUMENT_DOWNLOAD, version=version)
    body: Iterator[bytes] = opened.read(start, end)
    status = HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK
    response = Response(body, status, headers, mimetype=described.media_type)
    response.call_on_close(opened.close)
    return response
