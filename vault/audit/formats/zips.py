"""Owns ZIP files that are sent while they are made. It must not know what is in them."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from typing import Final

CHUNK: Final = 256 * 1024
"""How much is gathered before it is sent."""


class Sink:
    """What ``zipfile`` writes to; it can't be rewound, and is emptied by ``take``."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.held = 0

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        self.held += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing to flush: ``take`` empties it."""

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        self.held = 0
        return data


def archive(sink: Sink) -> zipfile.ZipFile:
    """A ZIP64 file over ``sink``."""
    return zipfile.ZipFile(sink, "w", allowZip64=True)  # type: ignore[call-overload,no-any-return]  # write and flush are enough


def member(name: str, made_at: int) -> zipfile.ZipInfo:
    """A member dated ``made_at`` (µs UTC), lightly compressed: the hashes in it don't shrink anyway."""
    moment = datetime.fromtimestamp(made_at // 1_000_000, UTC)
    info = zipfile.ZipInfo(name, moment.timetuple()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED
    info._compresslevel = 1  # type: ignore[attr-defined]  # noqa: SLF001  # ZipInfo has no public way before Python 3.13
    info.external_attr = 0o600 << 16
    return info
