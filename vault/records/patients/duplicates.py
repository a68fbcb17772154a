"""Owns when two identities may be one person. Pure; it must not know rows or keys."""

from __future__ import annotations

from vault.birth_dates import are_compatible, forms, is_uncertain
from vault.model import Identity
from vault.sealing.index import IndexName, Token, joined, tokens

_SHORT = 6
"""Up to this many letters one slip of the hand is near; beyond, two are."""


def distance(one: str, other: str, bound: int) -> int:
    """Optimal string alignment distance (insert, delete, replace, swap two neighbours), cut off above ``bound``."""
    if abs(len(one) - len(other)) > bound:
        return bound + 1
    before, last = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        row = [i] + [0] * len(other)
        for j, right in enumerate(other, 1):
            row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                row[j] = min(row[j], before[j - 2] + 1)
        before, last = last, row
    return min(last[-1], bound + 1)


def are_near(one: str, other: str) -> bool:
    """Whether two folded names may be one, misspelt or cut short (``jean`` and ``jeanpierre``)."""
    if not one or not other:
        return False
    short, long = sorted((one, other), key=len)
    bound = 1 if len(short) <= _SHORT else 2
    return (len(short) >= 4 and long.startswith(short)) or distance(short, long, bound) <= (bound if len(short) > 3 else 0)


def _swapped(birth_date: str) -> str:
    """Day and month exchanged: the slip of foreign forms."""
    return f"{birth_date[:4]}-{birth_date[8:]}-{birth_date[5:7]}"


def lookups(identity: Identity) -> tuple[frozenset[Token], ...]:
    """Index tokens under which a possible double of ``identity`` stands."""
    days = dict.fromkeys((identity.birth_date, _swapped(identity.birth_date)))
    for month in (identity.birth_date[5:7], "00"):
        days.setdefault(f"{identity.birth_date[:4]}-{month}-00")
    wanted = [frozenset({(IndexName.BIRTH_DATE, day)}) for day in (*days, *sorted(forms(identity.birth_date).difference(days)))]
    if is_uncertain(identity.birth_date):  # who knows the day stands under no date of ours: ask for the names
        wanted += [frozenset({token}) for token in sorted(tokens(identity)) if token[0] is IndexName.NAME_GIVEN]
    if identity.ins:
        wanted.append(frozenset({(IndexName.INS, identity.ins[:13])}))
    return tuple(wanted)


def may_be_one(one: Identity, other: Identity) -> bool:
    """Same INS; birth dates that may be one and near names, also when swapped; equal names, day and month exchanged."""
    if one.ins and other.ins and one.ins[:13] == other.ins[:13]:
        return True
    surnames = [joined(name) for name in (one.birth_name, one.used_name) if name]
    others = [joined(name) for name in (other.birth_name, other.used_name) if name]
    given, other_given = joined(one.given_names[0]), joined(other.given_names[0])
    if are_compatible(one.birth_date, other.birth_date):
        straight = any(are_near(mine, theirs) for mine in surnames for theirs in others) and are_near(given, other_given)
        swapped = any(are_near(given, theirs) for theirs in others) and any(are_near(mine, other_given) for mine in surnames)
        return straight or swapped
    return _swapped(one.birth_date) == other.birth_date and given == other_given and bool(set(surnames) & set(others))
