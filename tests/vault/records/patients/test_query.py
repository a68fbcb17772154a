"""From what is typed to tokens, and back to the patients meant."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.model import Identity, Sex
from vault.records.patients.query import alternatives, matches, parse
from vault.sealing.index import IndexName, joined, name_forms, tokens, words

TODAY = date(2026, 11, 23)
CLAIRE = Identity("Dupont", ("Claire", "Anne-Marie"), "1980-03-12", Sex.FEMALE, used_name="Le Goff", ins="280036912345678")
OBRIEN = Identity("O’Brien-d’Œuvrard", ("Zoé",), "1924-03-12", Sex.FEMALE)
LI = Identity("Li", ("Wei",), "2001-00-00", Sex.MALE)
SA = Identity("Sá e Sá", ("Rui",), "1977-05-06", Sex.MALE)
BO = Identity("Do-Bo", ("Yu",), "1977-05-06", Sex.MALE)
VAN = Identity("Ho van Y", ("My",), "1977-05-06", Sex.MALE)
PINTO = Identity("Pinto-Dos", ("Li",), "1977-05-06", Sex.MALE)
PALLADI = Identity("Paŀladi", ("Mercè",), "1966-01-02", Sex.FEMALE)
PEOPLE = [CLAIRE, OBRIEN, LI, SA, BO, VAN, PINTO, PALLADI]


def found(typed: str) -> list[Identity]:
    """What a search does, over three people: candidates by tokens, then the last word to ``matches``."""
    query = parse(typed, TODAY)
    return [who for who in PEOPLE if any(wanted <= tokens(who) for wanted in alternatives(query)) and matches(query, who)]


@pytest.mark.parametrize(
    "typed",
    [
        "12031980",
        "120380",
        "12/03/80",
        "12-03-1980",
        "12.03.80",
        "1980-03-12",
        "12/03/80 dup",
        "dup 12031980",
        "DUP cla",
        "cla dup",
        "dupont",
        "Dupönt",
        "legoff",
        "le goff",
        "LE-GOFF",
        "goff",
        "goff claire",
        "dup anne",
        "dup marie",
        "dup anne-marie",
        "dupont c",
        "dupont le goff",
        "280036912345678",
        "2 80 03 69 123 456 78",
        "2800369123456",
        "12/03/80 d",
        "12/03/80 le goff cl",
    ],
)
def test_claire_is_found(typed: str) -> None:
    assert found(typed) == [CLAIRE]


@pytest.mark.parametrize(
    "typed",
    ["obrien", "O'Brien", "o brien", "oeuvrard", "œuvrard", "d'oeuv", "brien zoe", "ZOÉ brien", "12/03/24", "12/03/24 obr"],
)
def test_apostrophes_ligatures_and_accents_are_ignored(typed: str) -> None:
    assert found(typed) == [OBRIEN]


@pytest.mark.parametrize("typed", ["li", "Li", "li wei", "wei li", "00/00/2001", "2001-00-00 li"])
def test_short_names_and_uncertain_dates_are_found(typed: str) -> None:
    assert found(typed) == [LI]


@pytest.mark.parametrize(
    ("typed", "who"),
    [
        ("Sá e Sá Rui", SA),
        ("rui sa e sa", SA),
        ("sá e sá", SA),
        ("Do-Bo Yu", BO),
        ("yu do-bo", BO),
        ("dobo yu", BO),
        ("do bo 06/05/1977", BO),
        ("Ho van Y My", VAN),
        ("Pinto Dos Li", PINTO),
        ("PAĿLADI merce", PALLADI),
        ("palladi", PALLADI),
    ],
)
def test_surnames_of_short_words_are_found_beside_a_given_name(typed: str, who: Identity) -> None:
    assert found(typed) == [who]


@pytest.mark.parametrize(
    "typed",
    ["du", "dupond", "dup zoe", "12/03/80 mar", "12/03/1981", "claire", "", "   ", "31/02/1980", "dup cla dur", "%", "l"],
)
def test_the_rest_is_not(typed: str) -> None:
    assert found(typed) == []


def test_two_centuries_are_both_meant() -> None:
    assert parse("12/03/24", TODAY).birth_dates == ("1924-03-12", "2024-03-12")
    assert parse("12/03/80", TODAY).birth_dates == ("1980-03-12",)


def test_words_fold_what_people_ignore() -> None:
    assert words("D’Œuvrard-ÉLÈVE  Straße") == ("d", "oeuvrard", "eleve", "strasse")
    assert words("Łukasz Ørsted Þór İnci PAĿLADI") == ("lukasz", "orsted", "thor", "inci", "palladi")
    assert joined("LE-GOFF") == joined("Le Goff") == "legoff"
    assert name_forms("de La Tour d’Auvergne") == {"delatourdauvergne", "tourauvergne", "tour", "auvergne"}
    assert name_forms("Ben") == {"ben"}


def test_tokens_are_prefixes_of_three_to_eight_letters() -> None:
    prefixes = sorted(
        text for name, text in tokens(Identity("Montgolfier", ("Zoé",), "1980-03-12", Sex.MALE)) if name is IndexName.NAME
    )
    assert prefixes == ["mon", "mont", "montg", "montgo", "montgol", "montgolf"]


NAMES = st.text(st.characters(categories=["Lu", "Ll"], max_codepoint=0x24F), min_size=1, max_size=12).filter(
    lambda text: words(text) != ()
)
SURNAMES = st.lists(NAMES, min_size=1, max_size=3).map("-".join)


@given(name=SURNAMES, given_name=NAMES, cut=st.integers(3, 12))
def test_whoever_was_indexed_is_found_by_any_beginning(name: str, given_name: str, cut: int) -> None:
    who = Identity(name, (given_name,), "1980-03-12", Sex.FEMALE)
    for typed in (name, name[:cut], f"{name} {given_name}", f"{given_name} {name}", f"12031980 {name[:cut]}"):
        query = parse(typed, TODAY)
        if len(name) < 3 or len(joined(name[:cut])) < 3:
            continue
        assert matches(query, who), typed
        assert any(wanted <= tokens(who) for wanted in alternatives(query)), typed


@given(st.text(max_size=300))
def test_anything_typed_is_understood_or_ignored(typed: str) -> None:
    query = parse(typed, TODAY)
    assert all(wanted for wanted in alternatives(query))
    assert len(alternatives(query)) <= 80


def test_words_that_could_be_anything_stay_few_lookups() -> None:
    for typed in (
        "des les van von ben dos",
        "a b c d e f",
        "van a von b ben c",
        "des les van von ben carl",
        "abel bart carl dora emil fred",
    ):
        assert len(alternatives(parse(typed, TODAY))) <= 80
