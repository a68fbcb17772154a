"""Owns pass-phrases made up for people: seven plain French words. It must not know accounts."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

from vault.people.passwords import PHRASE_WORDS

WORDS: tuple[str, ...] = tuple(resources.files("vault.people").joinpath("phrase_words.txt").read_text(encoding="ascii").split())
"""Short, common, without accents: about 9 bits each, 63 bits a phrase."""


def phrase(random: Callable[[int], bytes]) -> str:
    """Seven different words, evenly drawn from ``random`` bytes."""
    left = list(WORDS)
    return "-".join(left.pop(_below(len(left), random)) for _ in range(PHRASE_WORDS))


def _below(bound: int, random: Callable[[int], bytes]) -> int:
    """A number from 0 to bound - 1 without bias: what falls over the last whole multiple is drawn again."""
    limit = 0x10000 - 0x10000 % bound
    while (value := int.from_bytes(random(2))) >= limit:
        pass
    return value % bound
