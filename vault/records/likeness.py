"""Owns whether a patient may be somebody who works here, or a relative of whoever looks: a word for reviewers, no judgement.

Nothing of the patient is opened for it: the words of colleagues' names are compared as keyed values with the patient's own.
It must not know who may see what.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import permutations

from sqlalchemy import Connection, select

from vault.model import Actor, PatientId, PersonId
from vault.sealing.index import PREFIX_MAX, PREFIX_MIN, BlindIndex, IndexName, Token, pair, words
from vault.storage.schema import patient_index, patients

TITLES = frozenset(
    {"dr", "docteur", "docteure", "pr", "prof", "professeur", "professeure", "mme", "mlle", "madame", "monsieur"}
)


class Likeness(StrEnum):
    """Whom a patient's names recall."""

    SELF = "self"
    COLLEAGUE = "colleague"
    SAME_SURNAME = "same_surname"


@dataclass(frozen=True, slots=True)
class _Named:
    """Somebody's name as index tokens: (surname, surname beside given name) in either order, and the surname alone."""

    whole: tuple[tuple[Token, Token], ...]
    surname: Token | None

    def tokens(self) -> set[Token]:
        return {token for both in self.whole for token in both} | ({self.surname} if self.surname else set())


def _named(display_name: str) -> _Named:
    parts = [part for part in words(display_name) if part not in TITLES and len(part) >= PREFIX_MIN]
    whole = tuple(
        ((IndexName.NAME, name[:PREFIX_MAX]), (IndexName.NAME_GIVEN, pair(name, given)))
        for name, given in permutations(parts, 2)
    )
    return _Named(whole, (IndexName.NAME, parts[-1][:PREFIX_MAX]) if parts else None)


class Likenesses:
    """Thread-safe. ``names`` gives everybody's display name; their keyed values are kept while nobody's name changes."""

    def __init__(self, index: BlindIndex, names: Callable[[], Mapping[PersonId, str]]) -> None:
        self._index = index
        self._names = names
        self._lock = threading.Lock()
        self._known: dict[int, tuple[Mapping[PersonId, str], dict[Token, bytes]]] = {}

    def of(self, connection: Connection, actor: Actor, patient: PatientId) -> Likeness | None:
        """Whom ``patient`` recalls; None for most. Raises KeysUnavailable."""
        mac = connection.execute(select(patients.c.mac).where(patients.c.id == patient)).scalar_one_or_none()
        if mac is None:
            return None
        held = set(connection.execute(select(patient_index.c.value).where(patient_index.c.patient == patient)).scalars())
        names, values = self._values(mac)

        def is_held(token: Token) -> bool:
            return values.get(token) in held

        alike = {person for person, name in names.items() if any(all(map(is_held, both)) for both in _named(name).whole)}
        if alike:
            return Likeness.SELF if actor.person in alike else Likeness.COLLEAGUE
        surname = _named(actor.display_name).surname
        return Likeness.SAME_SURNAME if surname is not None and is_held(surname) else None

    def _values(self, mac: int) -> tuple[Mapping[PersonId, str], dict[Token, bytes]]:
        names = self._names()
        with self._lock:
            known = self._known.get(mac)
        if known is not None and known[0] == names:
            return known
        wanted = {token for name in names.values() for token in _named(name).tokens()}
        made = names, self._index.values(sorted(wanted), mac)
        with self._lock:
            self._known[mac] = made
        return made
