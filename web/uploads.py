"""Owns how a document's bytes reach the vault: a raw body or one part of a form, pulled as a stream, never spooled.

Werkzeug's own form parser writes parts over 500 kB to a temporary file: a plaintext on a disk. Here the bytes of the file part
go from the socket to whoever reads. It must not know what becomes of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData, Preamble

from vault.errors import IncompleteBody, TooLarge
from web.failures import BadRequest
from web.safety import FORM_BYTES, limit_bytes

CHUNK = 1 << 20
ENVELOPE = 64 * 1024
"""What a form adds around its file: boundaries and small fields."""
MOST_PARTS = 220
"""A morning's post at once, two hundred files, and the fields before them."""


class Body:
    """A raw request body as a readable. Raises IncompleteBody where the sender stops before the announced end."""

    def __init__(self, stream: IO[bytes], declared: int | None) -> None:
        self._stream = stream
        self._declared = declared
        self._received = 0

    def read(self, size: int = CHUNK) -> bytes:
        """At most ``size`` bytes; empty at the end."""
        try:
            data = self._stream.read(size)
        except RequestEntityTooLarge as error:
            raise TooLarge("the body goes on over the limit", limit_bytes=limit_bytes()) from error
        except (ClientDisconnected, OSError, EOFError) as error:
            raise IncompleteBody("the sender went away", received=self._received) from error
        except ParseException as error:
            raise IncompleteBody("the sender's chunks are broken", received=self._received) from error
        self._received += len(data)
        if not data and self._declared is not None and self._received < self._declared:
            raise IncompleteBody("the body ended early", received=self._received)
        return data


def raw_body() -> tuple[Body, int | None]:
    """The body of this request and its announced size. Raises TooLarge before a byte is read, where the size says so."""
    limit = limit_bytes()
    declared = request.content_length
    if declared is not None and declared > limit:
        raise TooLarge("announced over the limit", limit_bytes=limit)
    request.max_content_length = limit + 1
    return Body(request.stream, declared), declared


class Part:
    """The bytes of one file part, as a readable."""

    def __init__(self, form: Form, name: str, file_name: str) -> None:
        self._form = form
        self.name = name
        self.file_name = file_name
        self._rest = b""
        self._is_over = False

    def read(self, size: int = CHUNK) -> bytes:
        """At most ``size`` bytes; empty at the end of the part."""
        while not self._rest and not self._is_over:
            self._rest, self._is_over = self._form.next_data()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class Form:
    """A multipart form read in order: its fields first, then its files, each to be read before the next."""

    def __init__(self) -> None:
        boundary = request.mimetype_params.get("boundary", "")
        if request.mimetype != "multipart/form-data" or not boundary:
            raise BadRequest("expected multipart/form-data")
        limit = limit_bytes() + ENVELOPE
        if request.content_length is not None and request.content_length > limit:
            raise TooLarge("announced over the limit", limit_bytes=limit_bytes())
        request.max_content_length = limit
        self._body = Body(request.stream, request.content_length)
        self._decoder = MultipartDecoder(boundary.encode("latin-1", "replace"), None, max_parts=MOST_PARTS)
        self.fields: dict[str, str] = {}

    def _event(self) -> object:
        while True:
            try:
                event = self._decoder.next_event()
                if not isinstance(event, NeedData):
                    return event
                self._decoder.receive_data(self._body.read() or None)
            except ValueError as error:
                raise BadRequest("broken multipart form") from error

    def next_data(self) -> tuple[bytes, bool]:
        """Some bytes of the present part and whether it is over."""
        event = self._event()
        if not isinstance(event, Data):
            raise BadRequest("broken multipart form")
        return bytes(event.data), not event.more_data

    def _value(self) -> str:
        value, is_over = b"", False
        while not is_over:
            data, is_over = self.next_data()
            value += data
            if len(value) > FORM_BYTES:
                raise TooLarge("a field is too long", limit_bytes=FORM_BYTES)
        return value.decode("utf-8", "replace")

    def files(self) -> Iterator[Part]:
        """The file parts in order; ``fields`` holds what stood before each. A file input left empty is no part."""
        while True:
            event = self._event()
            if isinstance(event, Epilogue):
                return
            if isinstance(event, Preamble):
                continue
            if isinstance(event, Field):
                self.fields[event.name or ""] = self._value()
            elif isinstance(event, File):
                part = Part(self, event.name or "", event.filename)
                if event.filename:
                    yield part
                while part.read():
                    pass
