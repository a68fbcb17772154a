"""Owns the checks on a body while it streams in: length, kind, announced digest. It must not know where it goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from vault.errors import DigestMismatch, EmptyDocument, IncompleteBody, Invalid, TooLarge
from vault.rendering.recognise import HEAD_BYTES, TAIL_BYTES, MediaType, recognise
from vault.sealing.documents import BLOCK_BYTES


class ByteStream(Protocol):
    """A body under way: a socket, a file, a part of a form."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; nothing at the end. OSError or EOFError where the sender went away."""


class Intake:
    """One body, read once. Iterate over it, then ask for ``media_type``; both raise rather than let anything wrong pass."""

    def __init__(self, body: ByteStream, *, limit_bytes: int, declared_size: int | None, expected_sha256: bytes | None) -> None:
        """Refuses at once what is announced as too large or empty. Raises TooLarge, EmptyDocument, Invalid."""
        self._body = body
        self._limit = limit_bytes
        self.declared = declared_size
        self._expected = expected_sha256
        self._tail = b""
        self._head = b""
        self.size = 0
        if expected_sha256 is not None and len(expected_sha256) != 32:
            raise Invalid("a SHA-256 digest has 32 bytes", field="repr_digest", reason="wrong_length")
        if declared_size is not None and declared_size < 0:
            raise Invalid("a size can't be negative", field="content_length", reason="negative")
        if declared_size == 0:
            raise EmptyDocument("no byte was announced")
        self._refuse_over(declared_size or 0)

    def __iter__(self) -> Iterator[bytes]:
        """The blocks of the body. Raises UnsupportedType (from the head), TooLarge, IncompleteBody, EmptyDocument."""
        block = self._first()
        while block:
            self.size += len(block)
            self._refuse_over(self.size)
            self._tail = block[-TAIL_BYTES:] if len(block) >= TAIL_BYTES else (self._tail + block)[-TAIL_BYTES:]
            yield block
            block = self._read(BLOCK_BYTES)
        if self.declared is not None and self.size < self.declared:
            raise IncompleteBody("the sender stopped before the end", received=self.size, announced=self.declared)

    @property
    def head(self) -> bytes:
        """The first bytes, for recognition."""
        return self._head

    def media_type(self) -> MediaType:
        """What the whole body is, by its bytes. Raises UnsupportedType."""
        return recognise(self._head, self._tail)

    def check_digest(self, sha256: bytes) -> None:
        """Raises DigestMismatch where the sender announced another SHA-256 (RFC 9530)."""
        if self._expected is not None and self._expected != sha256:
            raise DigestMismatch("the bytes received do not have the announced SHA-256")

    def _first(self) -> bytes:
        """The first block; its head is judged before more is waited for."""
        self._head = self._read(HEAD_BYTES)
        if not self._head:
            if self.declared:
                raise IncompleteBody("the sender stopped before the first byte", received=0, announced=self.declared)
            raise EmptyDocument("no byte was received")
        recognise(self._head)
        return self._head + self._read(BLOCK_BYTES - HEAD_BYTES)

    def _read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, or what was left: small pieces from a socket are joined, so that sealing works in blocks."""
        parts: list[bytes] = []
        try:
            while size and (part := self._body.read(size)):
                parts.append(part)
                size -= len(part)
        except (OSError, EOFError) as error:
            raise IncompleteBody("the sender went away", received=self.size) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _refuse_over(self, size: int) -> None:
        if size > self._limit:
            raise TooLarge("the document is over the limit", limit_bytes=self._limit)
