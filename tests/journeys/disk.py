"""Searches every byte below a directory for words that must not be there, in the disguises that programs give to text.

Knows nothing of the vault. Compressed copies are looked into as well: a temporary file may be a gzip or a PDF stream.
"""

from __future__ import annotations

import base64
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ZLIB_HEADS = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
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
    for head in ZLIB_HEADS.finditer(content):
        try:
            inflated = zlib.decompressobj(wbits=47).decompress(content[head.start() :], 1 << 24)
        except zlib.error:
            continue
        if len(inflated) >= SHORTEST:
            yield inflated


def search(root: Path, words: Iterable[str], *, skip: Iterable[Path] = ()) -> list[Hit]:
    """Every occurrence of every word below ``root``, file names included."""
    patterns = _patterns(words)
    regex = re.compile(b"|".join(re.escape(pattern) for pattern in sorted(patterns, key=len, reverse=True)))
    skipped = {path.resolve() for path in skip}
    hits = []
    for path in sorted(root.rglob("*")):
        if path.resolve() in skipped or path.is_symlink():
            continue
        texts = [("name: ", path.name.encode())]
        if path.is_file():
            content = path.read_bytes()
            texts += [("", content), *(("inflated ", part) for part in _unpacked(content))]
        for kind, text in texts:
            for match in regex.finditer(text):
                word, disguise = patterns[match[0]]
                hits.append(Hit(word, path, match.start(), f"{kind}{disguise}"))
    return hits
