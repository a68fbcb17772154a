"""What stays in this process's memory after a secret was used: nothing of it. Reads /proc/self/mem, so Linux only."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kms.lifecycle import create_first_keys
from kms.settings import KmsSettings
from kms.token import TokenKeys
from tests.kms.fake import MemoryRegistry

pytestmark = [pytest.mark.hsm, pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="optional: no /proc here")]
CHUNK = 1 << 20


def occurrences(half: bytes, other: bytes) -> int:
    """How often the two halves stand side by side in writable memory; they never do so in this test's own variables.

    The search looks through one buffer of its own and empties it each time, or it would find what it has read itself.
    """
    count, overlap = 0, len(half) + len(other) - 1
    window = bytearray(CHUNK)
    with Path("/proc/self/maps").open(encoding="ascii") as maps, Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("rw") or "[v" in line:
                continue
            start, end = (int(bound, 16) for bound in span.split("-"))
            for place in range(start, end, CHUNK - overlap):
                try:
                    memory.seek(place)
                    length = memory.readinto(memoryview(window)[: min(CHUNK, end - place)]) or 0
                except (OSError, ValueError):
                    break
                position = window.find(half, 0, length)
                while position >= 0:
                    count += window.startswith(other, position + len(half), length)
                    position = window.find(half, position + 1, length)
                window[:length] = bytes(length)
    return count


@pytest.mark.alone
def test_an_unwrapped_secret_leaves_no_copy_behind(token_keys: TokenKeys) -> None:
    left, right = os.urandom(16), os.urandom(16)
    secret = bytearray(32)
    secret[:16], secret[16:] = left, right  # never ``left + right``: that would be a copy which nobody wipes
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
def test_the_pin_leaves_no_copy_behind(new_token: Callable[[str], KmsSettings], registry: MemoryRegistry) -> None:
    """On a token of its own: other tests have read the PIN of the one that they share."""
    own = new_token("coffre-memory")
    create_first_keys(own, registry)
    with closing(TokenKeys(own, registry)) as keys:
        keys.random(8)
        with own.pin_file.open("rb", buffering=0) as file:
            left, right = file.read(16), file.read(16)  # in two halves, so that it stands nowhere as a whole
        assert (len(left), len(right)) == (16, 16)
        assert occurrences(left, right) == 0
        whole = bytearray(32)
        whole[:16], whole[16:] = left, right
        assert occurrences(left, right) == 1  # the search does find a PIN
