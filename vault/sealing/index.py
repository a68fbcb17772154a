"""Owns the blind index: how a name becomes search tokens, and tokens keyed values. It must not know patients' rows or SQL.

A value is the first 16 bytes of HMAC-SHA-256, made in the token, over (tenant, index name, normalised token): docs/format.md.
No key of the index ever stands in this process, so a stolen database can't be tried against a dictionary of names.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from kms.keys import KeyService, KeyUse, Purpose
from vault.birth_dates import forms
from vault.model import Identity, TenantId
from vault.sealing.binding import bind
from vault.sealing.faults import key_faults

VALUE_BYTES = 16
PREFIX_MIN = 3
PREFIX_MAX = 8
"""Names are found by prefixes of 3 to 8 letters; longer queries are narrowed after opening the few candidates."""

_LETTERS = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ħ": "h"})
_DOTTED = str.maketrans("Ŀŀ", "Ll")
"""Before anything else: NFKC makes a letter and a dot of each, and the dot would part a word."""
_PARTICLES = frozenset({"de", "du", "des", "la", "le", "les", "d", "l", "van", "von", "el", "al", "ben", "da", "dos", "di"})


class IndexName(StrEnum):
    """Domain separation: the same letters under two index names give unrelated values."""

    NAME = "name"
    NAME_GIVEN = "name-given"
    BIRTH_DATE = "birth-date"
    INS = "ins"


Token = tuple[IndexName, str]
_RARITY = (IndexName.INS, IndexName.BIRTH_DATE, IndexName.NAME_GIVEN, IndexName.NAME)


def words(text: str) -> tuple[str, ...]:
    """The words of a name: lower case, no accent, ligatures opened, split at whatever is neither a letter nor a digit."""
    folded = unicodedata.normalize(
        "NFKD", unicodedata.normalize("NFKC", text.translate(_DOTTED)).casefold().translate(_LETTERS)
    )
    plain = "".join(sign for sign in folded if not unicodedata.combining(sign)).translate(_LETTERS)
    return tuple("".join(sign if sign.isalnum() else " " for sign in plain).split())


def joined(text: str) -> str:
    """A whole name as one run of letters: ``Le Goff``, ``LE-GOFF`` and ``legoff`` meet here."""
    return "".join(words(text))


def name_forms(text: str) -> frozenset[str]:
    """Under what one name may be looked for: the whole, the whole without its particles, each word of its own."""
    parts = words(text)
    own = tuple(part for part in parts if part not in _PARTICLES) or parts
    return frozenset({"".join(parts), "".join(own), *(part for part in own if len(part) >= PREFIX_MIN)} - {""})


def stands_alone(word: str) -> bool:
    """Whether a word of a longer name is a form of its own, so that the name can be looked for by it."""
    return len(word) >= PREFIX_MIN and word not in _PARTICLES


def _prefixes(form: str) -> frozenset[str]:
    if len(form) < PREFIX_MIN:
        return frozenset({form})
    return frozenset(form[:length] for length in range(PREFIX_MIN, min(PREFIX_MAX, len(form)) + 1))


def pair(name: str, given: str) -> str:
    """The token of a surname beside a given name, three letters of each."""
    return f"{name[:PREFIX_MIN]} {given[:PREFIX_MIN]}"


def tokens(identity: Identity) -> frozenset[Token]:
    """Every token under which an identity is found."""
    names = name_forms(identity.birth_name) | (name_forms(identity.used_name) if identity.used_name else frozenset())
    givens = frozenset(form for given in identity.given_names for form in name_forms(given))
    found = {(IndexName.NAME, prefix) for name in names for prefix in _prefixes(name)}
    found |= {(IndexName.NAME_GIVEN, pair(name, given)) for name in names for given in givens}
    found |= {(IndexName.BIRTH_DATE, day) for day in forms(identity.birth_date)}
    if identity.ins:
        found.add((IndexName.INS, identity.ins[:13]))
    return frozenset(found)


def rarest_first(wanted: Iterable[Token]) -> list[Token]:
    """Each token once, the one that fewest people are likely to share first."""
    return sorted(dict.fromkeys(wanted), key=lambda token: (_RARITY.index(token[0]), -len(token[1]), token[1]))


@dataclass(frozen=True, slots=True)
class Entry:
    """Under what somebody is found."""

    mac: int
    """The number of the MAC key that made all of the values."""
    values: frozenset[bytes]


class BlindIndex:
    """Turns tokens into index values, in the token."""

    def __init__(self, keys: KeyService, tenant: TenantId) -> None:
        self._keys = keys
        self._tenant = tenant

    def values(self, wanted: Iterable[Token], mac: int | None = None) -> dict[Token, bytes]:
        """The 16-byte value of each token under one MAC key (default: the active one). Raises KeysUnavailable."""
        asked = list(dict.fromkeys(wanted))
        messages = [bind("coffre/search/v1", self._tenant, name, text) for name, text in asked]
        with key_faults():
            made = self._keys.macs(Purpose.SEARCH, messages, number=mac)
        return {token: value[:VALUE_BYTES] for token, value in zip(asked, made, strict=True)}

    def entry(self, identity: Identity) -> Entry:
        """The values of every token of an identity, all under the active MAC key. Raises KeysUnavailable."""
        with key_faults():
            mac = self._keys.active(KeyUse.MAC)
        return Entry(mac, frozenset(self.values(tokens(identity), mac).values()))
