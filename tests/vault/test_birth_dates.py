"""Uncertain birth dates: what stands for them elsewhere, and which may be one."""

from __future__ import annotations

import pytest

from vault.birth_dates import are_compatible, forms, interpreted, is_uncertain


@pytest.mark.parametrize(
    ("known", "elsewhere"),
    [
        ("1950-03-12", "1950-03-12"),
        ("1950-03-00", "1950-03-01"),
        ("1950-00-00", "1950-12-31"),
        ("1950-02-31", "1950-02-01"),
        ("1950-20-12", "1950-12-31"),
    ],
)
def test_what_stands_for_a_date_in_other_software(known: str, elsewhere: str) -> None:
    assert interpreted(known) == elsewhere
    assert is_uncertain(known) is (known != elsewhere)
    assert forms(known) == {known, elsewhere}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("1950-03-12", "1950-03-12", True),
        ("1950-03-12", "1950-03-13", False),
        ("1950-03-12", "1950-03-00", True),
        ("1950-03-12", "1950-04-00", False),
        ("1950-03-12", "1950-00-00", True),
        ("1950-12-31", "1950-00-00", True),
        ("1951-03-12", "1950-00-00", False),
        ("1950-02-31", "1950-02-01", True),
        ("1950-02-31", "1950-02-28", False),
        ("1950-20-12", "1950-07-01", True),
    ],
)
def test_which_dates_may_be_one(one: str, other: str, expected: bool) -> None:
    assert are_compatible(one, other) is expected
    assert are_compatible(other, one) is expected
