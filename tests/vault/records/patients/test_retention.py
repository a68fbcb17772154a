"""Until when a file is kept: the vectors of the rules, and what holds for any dates."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.records.patients.retention import Dates, End, Rule, Span, end_of, held_days, latest_birth, years_after

ADULT = date(1950, 6, 1)
DAYS = st.dates(date(1900, 1, 1), date(2100, 12, 31))
SPANS = st.lists(
    st.tuples(DAYS, st.integers(0, 4000)).map(lambda each: Span(each[0], each[0] + timedelta(days=each[1]))), max_size=5
)


def day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def span(since: str, until: str | None) -> Span:
    return Span(date.fromisoformat(since), day(until))


@pytest.mark.parametrize(
    ("last", "born", "died", "end", "rule"),
    [
        ("2006-03-15", "1950-06-01", None, "2026-03-15", Rule.CARE),
        ("2010-06-01", "2008-09-10", None, "2036-09-10", Rule.BIRTHDAY),
        ("2024-02-29", "2024-02-29", None, "2052-02-29", Rule.BIRTHDAY),
        ("2015-01-10", "1950-06-01", "2018-07-01", "2028-07-01", Rule.DEATH),
        ("2000-01-10", "1950-06-01", "2012-07-01", "2020-01-10", Rule.CARE),
        ("2020-05-05", "2015-12-31", "2021-03-03", "2031-03-03", Rule.DEATH),
        ("2000-01-10", "1950-06-01", "2010-01-09", "2020-01-09", Rule.DEATH),
        ("2000-01-10", "1950-06-01", "2010-01-10", "2020-01-10", Rule.CARE),
        ("2004-02-29", "1950-06-01", None, "2024-02-29", Rule.CARE),
        ("2003-02-28", "1996-02-29", None, "2024-02-29", Rule.BIRTHDAY),
        ("2000-02-29", "1950-06-01", "2003-02-28", "2013-02-28", Rule.DEATH),
    ],
)
def test_vectors(last: str, born: str, died: str | None, end: str, rule: Rule) -> None:
    found = end_of(Dates(day(last), day(born), day(died)))
    assert found == End(date.fromisoformat(end), rule)


@pytest.mark.parametrize(
    ("holds", "end"),
    [
        ([("2020-01-01", "2023-01-01")], "2029-03-15"),
        ([("2020-01-01", "2022-01-01"), ("2021-01-01", "2023-01-01")], "2029-03-15"),
        ([("2021-01-01", "2023-01-01"), ("2020-01-01", "2022-01-01"), ("2021-05-01", "2021-06-01")], "2029-03-15"),
        ([("2020-01-01", None)], None),
        ([("2019-01-01", "2023-01-01"), ("2020-01-01", None)], None),
        ([("2020-01-01", "2020-01-01")], "2026-03-15"),
        ([("2030-01-01", "2030-01-11")], "2026-03-25"),
    ],
)
def test_a_hold_stops_the_clock(holds: list[tuple[str, str | None]], end: str | None) -> None:
    dates = Dates(date(2006, 3, 15), ADULT, holds=tuple(span(*each) for each in holds))
    found = end_of(dates)
    assert (found.on if found else None) == day(end)


def test_without_a_date_there_is_no_end() -> None:
    assert end_of(Dates()) is None
    assert end_of(Dates(None, ADULT, date(1990, 1, 1))) is None
    assert end_of(Dates(date(1990, 1, 1), None)) is None
    assert end_of(Dates(date(1990, 1, 1), None, date(1991, 1, 1))) == End(date(2001, 1, 1), Rule.DEATH), "no birth is needed"


def test_the_last_day_keeps_the_file() -> None:
    end = End(date(2026, 3, 15), Rule.CARE)
    assert not end.is_over(date(2026, 3, 15))
    assert end.is_over(date(2026, 3, 16))


def test_a_paper_after_the_death_keeps_the_file_from_then() -> None:
    assert end_of(Dates(date(2016, 2, 1), ADULT, date(2010, 1, 1))) == End(date(2026, 2, 1), Rule.DEATH)


@pytest.mark.parametrize(
    ("born", "is_lunar", "latest"),
    [
        ("1980-03-12", False, "1980-03-12"),
        ("1980-02-00", False, "1980-02-29"),
        ("2015-00-00", False, "2015-12-31"),
        ("1980-02-31", True, None),
        ("1980-02-31", False, None),
        ("1980-20-01", False, None),
        ("0000-00-00", False, None),
        ("", False, None),
    ],
)
def test_an_uncertain_birth_is_taken_as_late_as_it_may_be(born: str, is_lunar: bool, latest: str | None) -> None:
    assert latest_birth(born, is_lunar=is_lunar) == day(latest)


@given(DAYS, DAYS, st.none() | DAYS, SPANS)
def test_whatever_the_dates(last: date, born: date, died: date | None, holds: list[Span]) -> None:
    end = end_of(Dates(last, born, died, tuple(holds)))
    bare = end_of(Dates(last, born, died))
    assert end is not None
    assert bare is not None
    assert end.rule is bare.rule
    assert end.on - bare.on == timedelta(days=held_days(holds) or 0)
    assert end.on >= years_after(last, 10), "nothing goes within ten years of the last care"
    if end.rule is not Rule.DEATH:
        assert end.on >= max(years_after(last, 20), years_after(born, 28))
    assert end_of(Dates(last, born, died, (*holds, Span(last, None)))) is None


@given(SPANS)
def test_days_add_up_once_whatever_the_order(holds: list[Span]) -> None:
    days = {each.since + timedelta(days=n) for each in holds if each.until for n in range((each.until - each.since).days)}
    assert held_days(holds) == held_days(reversed(holds)) == len(days)


@given(DAYS, st.integers(0, 60))
def test_the_same_day_years_later(start: date, years: int) -> None:
    later = years_after(start, years)
    assert (later.year, later.month) == (start.year + years, start.month)
    assert later.day == start.day or (start.day, later.day) == (29, 28)
