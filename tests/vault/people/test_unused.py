"""When an unused account is warned, closed and removed: the pure rule and its figures."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vault.people.unused import DAY, TERMS, Life, Step, closes_at, next_step, removes_at

NOW = 1_790_000_000_000_000
DAYS = st.integers(0, 4_000).map(lambda days: NOW - days * DAY)
ROOT = Path(__file__).parents[3]


def test_every_figure_has_its_source() -> None:
    assert (TERMS.warning.days, TERMS.closing.days, TERMS.notice.days, TERMS.removal.days) == (730, 1095, 30, 90)
    for term in (TERMS.warning, TERMS.closing, TERMS.notice, TERMS.removal):
        assert len(term.source) > 40


def test_operators_read_the_figures_that_hold() -> None:
    words = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for term in (TERMS.warning, TERMS.closing, TERMS.notice, TERMS.removal):
        assert f"{term.days} days" in words


def test_each_step_comes_in_its_turn() -> None:
    born = NOW - TERMS.warning.micros
    assert next_step(Life(born + 1), TERMS, NOW) is None
    assert next_step(Life(born), TERMS, NOW) is Step.WARN
    warned = Life(born, warned_at=NOW)
    due = closes_at(warned, TERMS)
    assert due == born + TERMS.closing.micros
    assert next_step(warned, TERMS, due - 1) is None
    assert next_step(warned, TERMS, due) is Step.CLOSE
    closed = Life(born, warned_at=NOW, closed_at=due)
    end = removes_at(closed, TERMS)
    assert end == due + TERMS.removal.micros
    assert next_step(closed, TERMS, end - 1) is None
    assert next_step(closed, TERMS, end) is Step.REMOVE
    assert next_step(Life(born, NOW, due, removed_at=end), TERMS, end + 10 * TERMS.closing.micros) is None


@given(years=st.integers(4, 200), used=DAYS)
def test_a_clock_that_jumps_years_ahead_warns_and_no_more(years: int, used: int) -> None:
    """Each step waits for the one before by its own date: nobody is closed, let alone removed, by one wrong clock."""
    jumped = NOW + years * 365 * DAY
    assert next_step(Life(used), TERMS, jumped) is Step.WARN
    warned = Life(used, warned_at=jumped)
    assert next_step(warned, TERMS, jumped) is None
    assert next_step(warned, TERMS, NOW) is None, "and the clock put right again takes nobody by surprise"


@given(used=DAYS, closed=DAYS)
def test_an_account_closed_by_hand_is_removed_no_sooner_than_any_other(used: int, closed: int) -> None:
    end = removes_at(Life(used, closed_at=closed), TERMS)
    assert end is not None
    assert end >= used + TERMS.closing.micros
    assert end >= closed + TERMS.removal.micros
