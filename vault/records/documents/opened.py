"""Owns a document that was opened: its description, and its bytes once authenticated. It must not know policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Self

from vault.errors import VaultError
from vault.model import Document, EventId
from vault.records.documents.bodies import OpenBody
from vault.records.documents.turns import Turns


class OpenedDocument:
    """Bytes leave only through ``read``. One thread; close it (or use ``with``) when the answer is sent."""

    def __init__(
        self,
        document: Document,
        grant: EventId,
        unlock: Callable[[], OpenBody],
        failed: Callable[[VaultError], None],
        turns: Turns,
    ) -> None:
        """``grant`` is the event that opened it; ``unlock`` fetches the body when the first byte is wanted; ``failed`` tells
        the log; ``turns`` bounds the work.
        """
        self.document = document
        self.grant = grant
        self._unlock = unlock
        self._failed = failed
        self._turns = turns
        self._body: OpenBody | None = None
        self._is_whole = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes, as received."""
        return self.document.size

    @property
    def media_type(self) -> str:
        return self.document.media_type

    @property
    def file_name(self) -> str:
        return self.document.file_name

    @property
    def sha256(self) -> str:
        """Of the bytes as received, hexadecimal."""
        return self.document.sha256

    def authenticate(self) -> None:
        """Check every byte of the body without releasing any.

        Raises Tampered, KeysUnavailable, StorageUnavailable, NotFound, Busy.
        """
        try:
            body = self._open()
            if not self._is_whole:
                with self._turns.take():
                    body.opener.authenticate()
                self._is_whole = True
        except VaultError as error:
            self._failed(error)
            raise

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes ``start`` to ``stop`` (exclusive; default: to the end), in blocks of about 1 MiB.

        Everything that is wanted is authenticated before this returns: the whole body for the whole, and for a range the
        length, whose chunks then prove themselves one by one. Raises as ``authenticate``.
        """
        stop = self.size if stop is None else min(stop, self.size)
        if start <= 0 and stop >= self.size:
            self.authenticate()
            return self._told(self._open().opener.whole())
        try:
            if not self._is_whole:
                self._open().opener.authenticate_length()
        except VaultError as error:
            self._failed(error)
            raise
        return self._told(self._open().opener.range(start, stop))

    def close(self) -> None:
        """Wipe the key and let go of everything; idempotent."""
        if self._body is not None:
            self._body.close()
            self._body = None

    def _open(self) -> OpenBody:
        if self._body is None:
            self._body = self._unlock()
        return self._body

    def _told(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from blocks
        except VaultError as error:
            self._failed(error)
            raise
