"""The search of the disk finds what it is meant to find: without this, its silence would prove nothing."""

from __future__ import annotations

import base64
import gzip
import json
import secrets
import zlib
from pathlib import Path

import pytest

from tests.journeys.disk import search

WORD = "Quatremarre-Éloïse"


@pytest.mark.parametrize(
    "content",
    [
        WORD.encode(),
        WORD.upper().encode(),
        b"quatremarre-eloise",
        WORD.encode("utf-16-le"),
        WORD.encode("latin-1"),
        WORD.encode().hex().encode(),
        json.dumps({"name": WORD}).encode(),
        base64.b64encode(b"x" + WORD.encode() + b"tail"),
        base64.b64encode(b"xy" + WORD.encode() + b"tail"),
        base64.urlsafe_b64encode(b"xyz" + WORD.encode() + b"tail"),
        gzip.compress(b"before " + WORD.encode(), mtime=0),
        b"%PDF stream\n" + zlib.compress(WORD.encode()),
    ],
)
def test_finds_a_word_in_every_disguise(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(secrets.token_bytes(5000) + content + secrets.token_bytes(5000))
    assert {hit.word for hit in search(tmp_path, [WORD])} == {WORD}


def test_finds_a_word_in_a_file_name(tmp_path: Path) -> None:
    (tmp_path / f"scan {WORD}.pdf").touch()
    assert [hit.disguise for hit in search(tmp_path, [WORD])] == ["name: utf-8"]


def test_finds_nothing_in_noise(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(secrets.token_bytes(4_000_000))
    assert search(tmp_path, [WORD, "Dupont"]) == []


def test_refuses_words_that_chance_would_find(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too short"):
        search(tmp_path, ["Petit"])
