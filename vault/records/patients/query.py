"""Owns what a typed search means: ``12031980``, ``12/03/80 dup``, ``dup cla``. It must not know keys or SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date

from vault.birth_dates import forms as date_forms
from vault.model import Identity
from vault.records.patients.identity import OLDEST_YEAR
from vault.sealing.index import PREFIX_MAX, PREFIX_MIN, IndexName, Token, name_forms, pair, stands_alone, words

QUERY_CHARACTERS = 200
_WORDS = 6
_WITH_SEPARATORS = re.compile(
    r"([0-9]{1,2})[/.\-\u2010\u2011 ]([0-9]{1,2})[/.\-\u2010\u2011 ]([0-9]{4}|[0-9]{2})(?![0-9])", re.ASCII
)
_ISO = re.compile(r"(?<![0-9])([0-9]{4})-([0-9]{2})-([0-9]{2})(?![0-9])", re.ASCII)
_RUN = re.compile(r"(?<![0-9])([0-9]{2})([0-9]{2})([0-9]{4}|[0-9]{2})(?![0-9])", re.ASCII)
_MONTH = re.compile(r"(?<![0-9/.\-])([0-9]{1,2})[/.\-]([0-9]{4})(?![0-9])", re.ASCII)
_YEAR = re.compile(r"(?<![0-9/.\-])([0-9]{4})(?![0-9])", re.ASCII)
_INS = re.compile(
    r"(?<![0-9])[1-478](?:[ .]?[0-9]){4}[ .]?(?:[0-9]{2}|2[ABab])(?:[ .]?[0-9]){6}(?:[ .]?[0-9]{2})?(?![0-9])", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Query:
    """A search as understood. Everything given must hold."""

    words: tuple[str, ...] = field(default=(), repr=False)
    birth_dates: tuple[str, ...] = field(default=(), repr=False)
    """Alternatives: a two-digit year may mean two centuries."""
    ins: str | None = field(default=None, repr=False)

    @property
    def is_enough(self) -> bool:
        """Whether it narrows the search: a date, a matricule, or a word of three letters or a whole shorter name."""
        return bool(self.birth_dates or self.ins or self.words)


def _iso(year: str, month: str, day: str, today: date) -> tuple[str, ...]:
    """The possible birth dates; an impossible day gives none. ``00`` stands for an unknown day or month."""
    years = [int(year)] if len(year) == 4 else [int(year) + 1900, int(year) + 2000]
    found = []
    for full in years:
        try:
            earliest = date(full, int(month) or 1, int(day) or 1)
        except ValueError:
            if len(year) == 4 and int(day) <= 31:
                earliest = date(full, 1, 1)  # a lunar date, as the card has it
            else:
                continue
        if earliest <= today:
            found.append(f"{full:04}-{int(month):02}-{int(day):02}")
    return tuple(found)


def parse(text: str, today: date) -> Query:
    """What somebody typed, in any order: a birth date, beginnings of names, an INS matricule."""
    text = text[:QUERY_CHARACTERS]
    ins = None
    if match := _INS.search(text):
        ins = re.sub(r"[ .]", "", match[0]).upper()[:13]
        text = text[: match.start()] + " " + text[match.end() :]
    dates: tuple[str, ...] = ()
    for pattern, order in ((_ISO, (1, 2, 3)), (_WITH_SEPARATORS, (3, 2, 1)), (_RUN, (3, 2, 1))):
        match = pattern.search(text)
        if match and (dates := _iso(match[order[0]], match[order[1]], match[order[2]], today)):
            text = text[: match.start()] + " " + text[match.end() :]
            break
    if not dates:
        dates, text = _uncertain(text, today)
    return Query(words=words(text)[:_WORDS], birth_dates=dates, ins=ins)


def _uncertain(text: str, today: date) -> tuple[tuple[str, ...], str]:
    """A month with its year, or a year alone, as an uncertain birth date; and the rest of the text."""
    match = _MONTH.search(text) or _YEAR.search(text)
    if match is None:
        return (), text
    month, year = match.groups() if match.re is _MONTH else ("00", match[1])
    if not OLDEST_YEAR <= int(year) <= today.year or int(month) > 12:
        return (), text
    return (f"{year}-{int(month):02}-00",), text[: match.start()] + " " + text[match.end() :]


def alternatives(query: Query) -> tuple[frozenset[Token], ...]:
    """Sets of tokens to look up: whoever ``matches`` holds every token of at least one set. The contrary is for ``matches``."""
    if query.ins:
        return (frozenset({(IndexName.INS, query.ins)}),)
    if not query.birth_dates:
        return tuple(dict.fromkeys(_name_sets(query.words)))
    dates = [(IndexName.BIRTH_DATE, day) for day in query.birth_dates]
    if not query.words or any(len(word) < PREFIX_MIN for word in query.words):
        return tuple(frozenset({token}) for token in dates)
    surnames = dict.fromkeys(word[:PREFIX_MAX] for word in (*query.words, "".join(query.words)))
    return tuple(frozenset({token, (IndexName.NAME, surname)}) for token in dates for surname in surnames)


def _name_sets(typed: tuple[str, ...]) -> list[frozenset[Token]]:
    """One word is a surname's beginning; of several, each may be the surname and another the given name, or all one surname."""
    long = [word for word in typed if len(word) >= PREFIX_MIN]
    sets = [frozenset({(IndexName.NAME, "".join(typed)[:PREFIX_MAX])})] if typed else []
    for name in typed if len(typed) > 1 else ():
        token = (IndexName.NAME, name[:PREFIX_MAX])
        others = [other for other in long if other is not name]
        for other in others:
            sets += [
                frozenset({token, (IndexName.NAME_GIVEN, pair(name, other))}),
                frozenset({token, (IndexName.NAME, other[:PREFIX_MAX])}),
            ]
        if not others or (stands_alone(name) and not any(map(stands_alone, others))):
            sets.append(frozenset({token}))
    return sets + _short_surnames(typed)


def _short_surnames(typed: tuple[str, ...]) -> list[frozenset[Token]]:
    """A surname of up to four words of which none is looked for by itself ("Sá e Sá"), before a given name or behind it."""
    sets = list[frozenset[Token]]()
    for cut in range(2, min(len(typed), _WORDS - 1)):
        for run, rest in ((typed[:cut], typed[cut:]), (typed[-cut:], typed[:-cut])):
            if any(map(stands_alone, run)):
                continue
            name = "".join(run)
            token = (IndexName.NAME, name[:PREFIX_MAX])
            givens = [word for word in rest if len(word) >= PREFIX_MIN]
            sets += [frozenset({token, (IndexName.NAME_GIVEN, pair(name, given))}) for given in givens] or [frozenset({token})]
    return sets


def matches(query: Query, identity: Identity) -> bool:
    """Whether an opened identity holds everything typed: each word begins a surname, a used name or a given name."""
    if query.ins and (identity.ins or "")[:13] != query.ins:
        return False
    if query.birth_dates and not date_forms(identity.birth_date).intersection(query.birth_dates):
        return False
    surnames = name_forms(identity.birth_name) | (name_forms(identity.used_name) if identity.used_name else frozenset())
    if any(form.startswith("".join(query.words)) for form in surnames):
        return True
    forms = surnames | {form for given in identity.given_names for form in name_forms(given)}
    forms |= {part for name in (identity.birth_name, identity.used_name or "", *identity.given_names) for part in words(name)}
    return all(any(form.startswith(word) for form in forms) for word in query.words) and (
        not query.words or any(form.startswith(word) for form in surnames for word in query.words)
    )
