"""Owns whether a patient may be somebody who works here, or a relative of whoever looks: a word for reviewers, no judgement.

Nothing of the patient is opened for it: the words of colleagues' names are compared as keyed values with the patient's own.
It must not know who may see what.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import permutations

from sqlalchemy import Connection, bindparam, select

from vault.model import Actor, PatientId, PersonId
from vault.sealing.index import PREFIX_MAX, PREFIX_MIN, BlindIndex, IndexName, Token, pair, words
from vault.storage.plain import Statement
from vault.storage.schema import patient_index, patients

TITLES = frozenset(
    {"dr", "docteur", "docteure", "pr", "prof", "professeur", "professeure", "mme", "mlle", "madame", "monsieur"}
)

MOST_PATIENTS = 4096
"""Of whom it is remembered: every patient of a busy week, for less than a MiB."""


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


@dataclass(frozen=True, slots=True)
class _Colleagues:
    """Everybody who works or worked here, by the keyed values of their names under one MAC key."""

    names: Mapping[PersonId, str]
    whole: Mapping[PersonId, tuple[frozenset[bytes], ...]]
    """For each order of two words of a name, the values that a namesake's index holds."""
    surnames: Mapping[PersonId, bytes]


@dataclass(frozen=True, slots=True)
class _Recalled:
    """Whom one patient's names recall: true while neither theirs nor a colleague's change."""

    identity_sealed: bytes
    colleagues: _Colleagues
    alike: frozenset[PersonId]
    namesakes: frozenset[PersonId]


class Likenesses:
    """Thread-safe. ``names`` gives everybody's display name; their keyed values are kept while nobody's name changes."""

    def __init__(self, index: BlindIndex, names: Callable[[Connection], Mapping[PersonId, str]]) -> None:
        self._index = index
        self._names = names
        self._lock = threading.Lock()
        self._known: dict[int, _Colleagues] = {}
        self._recalled: OrderedDict[PatientId, _Recalled] = OrderedDict()

    def of(self, connection: Connection, actor: Actor, patient: PatientId) -> Likeness | None:
        """Whom ``patient`` recalls; None for most. Raises KeysUnavailable."""
        row = _PATIENT.row(connection, patient=patient)
        if row is None:
            return None
        colleagues = self._colleagues(self._names(connection), row["mac"])
        recalled = self._recalled.get(patient)
        if recalled is None or recalled.colleagues is not colleagues or recalled.identity_sealed != row["identity_sealed"]:
            recalled = self._look(connection, patient, row["identity_sealed"], colleagues)
        if recalled.alike:
            return Likeness.SELF if actor.person in recalled.alike else Likeness.COLLEAGUE
        return Likeness.SAME_SURNAME if actor.person in recalled.namesakes else None

    def _look(self, connection: Connection, patient: PatientId, identity_sealed: bytes, colleagues: _Colleagues) -> _Recalled:
        held = {row["value"] for row in _HELD.rows(connection, patient=patient)}
        alike = (person for person, orders in colleagues.whole.items() if any(both <= held for both in orders))
        namesakes = (person for person, surname in colleagues.surnames.items() if surname in held)
        recalled = _Recalled(identity_sealed, colleagues, frozenset(alike), frozenset(namesakes))
        with self._lock:
            self._recalled[patient] = recalled
            while len(self._recalled) > MOST_PATIENTS:
                self._recalled.popitem(last=False)
        return recalled

    def _colleagues(self, names: Mapping[PersonId, str], mac: int) -> _Colleagues:
        with self._lock:
            known = self._known.get(mac)
        if known is not None and known.names == names:
            return known
        named = {person: _named(name) for person, name in names.items()}
        values = self._index.values(sorted({token for each in named.values() for token in each.tokens()}), mac)
        made = _Colleagues(
            names,
            {
                person: tuple(frozenset(values[token] for token in both) for both in each.whole)
                for person, each in named.items()
            },
            {person: values[each.surname] for person, each in named.items() if each.surname is not None},
        )
        with self._lock:
            self._known[mac] = made
        return made


_PATIENT = Statement(select(patients.c.mac, patients.c.identity_sealed).where(patients.c.id == bindparam("patient")))
"""What a correction of the identity or a rotation of the MAC key changes: the values of the index stand while both do."""
_HELD = Statement(select(patient_index.c.value).where(patient_index.c.patient == bindparam("patient")))
