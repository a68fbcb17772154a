"""Searches every byte below a directory for words that must not be there, in the disguises that programs give to text.

Knows nothing of the vault. Compressed copies are looked into as well: a temporary file may be a gzip or a PDF stream.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import tempfile
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ZLIB_HEADS = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
PIECE = 4096
MOST_INFLATED = 1 << 24
SHORTEST = 6
"""Shorter words would be met by chance in megabytes of ciphertext."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A word found: which, in which file, at which offset, disguised how."""

    word: str
    path: Path
    offset: int
    disguise: str


def disguises(word: str) -> Iterator[tuple[str, bytes]]:
    """The word as programs write it: cases, folded accents, encodings."""
    folded = "".join(letter for letter in unicodedata.normalize("NFKD", word) if not unicodedata.combining(letter))
    for text in {word, word.upper(), word.lower(), folded, folded.upper(), folded.lower()}:
        plain = text.encode()
        yield "utf-8", plain
        yield "utf-16", text.encode("utf-16-le")
        yield "hexadecimal", plain.hex().encode()
        yield "HEXADECIMAL", plain.hex().upper().encode()
        if quote(text).encode() != plain:
            yield "percent", quote(text).encode()
        if text.isascii() is False:
            yield "json", text.encode("ascii", "backslashreplace").replace(b"\\x", b"\\u00")
            yield "latin-1", text.encode("latin-1", "replace")
        for shift in range(3):
            inner = base64.b64encode(b"\0" * shift + plain)
            core = inner[(0, 2, 3)[shift] : -4] if len(inner) > 8 else b""
            if len(core) >= 8:
                yield "base64", core
                yield "base64", core.replace(b"+", b"-").replace(b"/", b"_")


def _patterns(words: Iterable[str]) -> Mapping[bytes, tuple[str, str]]:
    found: dict[bytes, tuple[str, str]] = {}
    for word in words:
        if len(word) < SHORTEST:
            raise ValueError(f"{word!r} is too short to mean anything among random bytes")
        for disguise, pattern in disguises(word):
            found.setdefault(pattern, (word, disguise))
    return found


def _unpacked(content: bytes) -> Iterator[bytes]:
    """Whatever inflates somewhere inside ``content``."""
    view = memoryview(content)
    for head in ZLIB_HEADS.finditer(content):
        inflated = _inflated(view[head.start() :])
        if len(inflated) >= SHORTEST:
            yield inflated


def _inflated(packed: memoryview) -> bytes:
    """What a compressed stream at the beginning of ``packed`` gives; a little at a time, as nearly none is one."""
    stream, inflated, at = zlib.decompressobj(wbits=47), bytearray(), 0
    with suppress(zlib.error):
        while at < len(packed) and not stream.eof and len(inflated) < MOST_INFLATED:
            inflated += stream.decompress(packed[at : at + PIECE])
            at += PIECE
    return bytes(inflated)


def _texts(path: Path) -> Iterator[tuple[str, bytes]]:
    """What one path holds: its name, its bytes, and whatever inflates inside them."""
    yield "name: ", path.name.encode()
    if path.is_file():
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # it went meanwhile: other programs use /dev/shm too
            return
        yield "", content
        yield from (("inflated ", part) for part in _unpacked(content))


def _is_any_in(paths: Iterable[Path], patterns: Iterable[bytes]) -> bool:
    """Whether any pattern stands anywhere: grep looks for thousands of words at once."""
    with tempfile.NamedTemporaryFile() as wanted:
        wanted.write(b"\n".join(patterns))
        wanted.flush()
        command = ["grep", "-qaF", "-f", wanted.name]
        grep = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"})
        assert grep.stdin is not None
        with suppress(BrokenPipeError), grep.stdin as stream:  # it leaves with the first one that it finds
            for path in paths:
                for _, text in _texts(path):
                    stream.write(text)
                    stream.write(b"\n")
        status = grep.wait()
    assert status in {0, 1}, status
    return status == 0


def search(root: Path, words: Iterable[str], *, skip: Iterable[Path] = ()) -> list[Hit]:
    """Every occurrence of every word below ``root``, file names included."""
    patterns = _patterns(words)
    skipped = {path.resolve() for path in skip}
    paths = [path for path in sorted(root.rglob("*")) if path.resolve() not in skipped and not path.is_symlink()]
    return _hits(paths, patterns) if _is_any_in(paths, patterns) else []


def _hits(paths: Iterable[Path], patterns: Mapping[bytes, tuple[str, str]]) -> list[Hit]:
    regex = re.compile(b"|".join(re.escape(pattern) for pattern in sorted(patterns, key=len, reverse=True)))
    hits = []
    for path in paths:
        for kind, text in _texts(path):
            for match in regex.finditer(text):
                word, disguise = patterns[match[0]]
                hits.append(Hit(word, path, match.start(), f"{kind}{disguise}"))
    return hits
