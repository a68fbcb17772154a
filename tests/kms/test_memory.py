"""What stays in this process's memory after a secret was used: nothing of it. Reads /proc/self/mem, so Linux only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kms.settings import KmsSettings
from kms.token import TokenKeys

pytestmark = [pytest.mark.hsm, pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="optional: no /proc here")]
CHUNK = 1 << 20


def occurrences(half: bytes, other: bytes) -> int:
    """How often the two halves stand side by side in writable memory; they never do so in this test's own variables."""
    count = 0
    with Path("/proc/self/maps").open(encoding="ascii") as maps, Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("rw") or "[v" in line:
                continue
            start, end = (int(bound, 16) for bound in span.split("-"))
            for place in range(start, end, CHUNK):
                try:
                    memory.seek(place)
                    data = memory.read(min(CHUNK, end - place))
                except (OSError, ValueError):
                    break
                position = data.find(half)
                while position >= 0:
                    count += data[position + len(half) : position + len(half) + len(other)] == other
                    position = data.find(half, position + 1)
                del data
    return count


@pytest.mark.alone
def test_an_unwrapped_secret_leaves_no_copy_behind(token_keys: TokenKeys) -> None:
    left, right = os.urandom(16), os.urandom(16)
    secret = bytearray(left + right)
    wrapped = token_keys.wrap(secret, context=b"c")
    for position in range(32):
        secret[position] = 0
    for _ in range(20):
        with token_keys.unwrap(wrapped, context=b"c") as opened:
            assert opened.view[:16] == left
    held = token_keys.unwrap(wrapped, context=b"c")
    assert occurrences(left, right) >= 1  # the search does find a secret that is in use
    held.wipe()
    assert occurrences(left, right) == 0


@pytest.mark.alone
def test_the_pin_leaves_no_copy_behind(softhsm: KmsSettings, token_keys: TokenKeys) -> None:
    token_keys.random(8)
    pin = softhsm.pin_file.read_bytes()
    left, right = pin[:16], pin[16:]
    del pin
    assert occurrences(left, right) <= 1  # what this test read; our own copies are wiped
