"""When two spellings are one name."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.errors import Invalid
from vault.people.names import checked, fold


@given(st.text(max_size=40))
def test_folding_is_stable_and_ignores_form_and_case(name: str) -> None:
    once = fold(name)
    assert fold(once) == once
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert fold(unicodedata.normalize(form, name)) == once


@pytest.mark.parametrize(
    "variant",
    ["Istanbul", "istanbul", "ISTANBUL", "İstanbul", "ıstanbul", "ｉｓｔａｎｂｕｌ", " is tan\tbul\n", "i\u0307stanbul"],
)
def test_every_i_is_an_i(variant: str) -> None:
    assert fold(variant) == "istanbul"


def test_accents_tell_people_apart() -> None:
    assert fold("Rémi") != fold("Remi")


def test_a_megabyte_costs_nothing() -> None:
    assert len(fold("ﷺ" * 1_000_000)) < 20_000


@pytest.mark.parametrize("name", ["ab", "léa.martin", "j_durand", "dr+x@cabinet.fr", "李雷", "0123"])
def test_ordinary_names_are_accepted(name: str) -> None:
    assert checked(f" {name} ") == name


@pytest.mark.parametrize("name", ["", "a", ".hidden", "a b", "a/b", "a\\b", "a;b", "a\u200bb", "x" * 129])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        checked(name)
