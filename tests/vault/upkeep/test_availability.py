"""Minutes of availability from what the log says; what it does not say is neither up nor down."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Clock
from tests.vault.people.conftest import House, open_house
from vault.audit.events import Action, Event, Outcome, System
from vault.settings import DatabaseSettings
from vault.upkeep.availability import ALLOWED_MINUTES, MARKS, SECOND, Availability, Mark, judged, measured
from vault.upkeep.doctor import check_availability

START, STOP, UNCLEAN, BEAT = MARKS
MINUTE = 60 * SECOND


def minutes(*marks: tuple[int, Action], until: int, running: int = 0) -> tuple[int, int, int]:
    """Minutes up, down and not known; marks in minutes."""
    found = judged([(at * MINUTE, what) for at, what in marks], 0, until * MINUTE, running=running)
    return found.up_s // 60, found.down_s // 60, found.unknown_s // 60


def beats(start: int, end: int) -> list[tuple[int, Action]]:
    return [(at, BEAT) for at in range(start + 10, end, 10)]


def test_heartbeats_are_time_up_and_a_stop_is_time_down() -> None:
    assert minutes((0, START), *beats(0, 60), (60, STOP), (90, START), *beats(90, 120), until=120) == (90, 30, 0)


def test_a_power_cut_is_down_but_for_the_minutes_that_nobody_saw() -> None:
    assert minutes((0, START), *beats(0, 55), (200, UNCLEAN), (200, START), until=205) == (55, 140, 10)


def test_a_quick_crash_is_not_known() -> None:
    assert minutes((0, START), (10, BEAT), (14, UNCLEAN), (14, START), until=20) == (16, 0, 4)


def test_a_silence_that_nothing_explains_is_not_known() -> None:
    assert minutes((0, START), (10, BEAT), (100, BEAT), until=105) == (15, 0, 90)
    assert minutes((0, START), (10, BEAT), until=100) == (10, 0, 90)


def test_one_of_two_processes_that_stops_or_dies_leaves_the_other() -> None:
    marks = [(0, START), (1, START), *beats(1, 30), (30, STOP), *beats(30, 60), (61, START), (62, UNCLEAN), *beats(62, 90)]
    assert minutes(*marks, until=90) == (90, 0, 0)


def test_what_ran_before_the_period_is_known() -> None:
    assert minutes(*beats(0, 30), until=30, running=1) == (30, 0, 0)
    assert minutes(until=30) == (0, 30, 0)


def test_words_and_shares() -> None:
    found = Availability(0, 86_400 * SECOND, up_s=86_400 - 90, down_s=60, unknown_s=30)  # type: ignore[arg-type]  # times
    assert (found.days, found.down_minutes, found.at_most_minutes) == (1, 1, 2)
    assert 99.8 < found.percent < 99.9
    assert int(365 * 24 * 60 * 0.001) == ALLOWED_MINUTES


def test_the_doctor_says_what_is_known_and_what_is_not() -> None:
    assert "not measured yet" in check_availability(None).detail
    found = Availability(0, 86_400 * SECOND, up_s=86_400 - 840, down_s=720, unknown_s=120)  # type: ignore[arg-type]  # times
    check = check_availability(found)
    assert check.ok
    assert check.detail == "down 12 min, up to 14 with what the log does not tell, in the last day; 99.9 % allows 525 a year"


@given(st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(MARKS)), max_size=60), st.integers(0, 3))
def test_all_time_is_counted_once(found: list[tuple[int, Action]], running: int) -> None:
    marks: list[Mark] = sorted((at * SECOND, what) for at, what in found)
    whole = judged(marks, 0, 10_000 * SECOND, running=running)
    assert whole.up_s + whole.down_s + whole.unknown_s == 10_000
    assert min(whole.up_s, whole.down_s, whole.unknown_s) >= 0


def test_a_year_is_read_from_the_log(databases: DatabaseSettings, clock: Clock) -> None:
    with open_house(databases, clock) as house:
        read_a_year(house)


def read_a_year(house: House) -> None:
    assert measured(house.db, house.clock.now) is None, "nothing ever served"

    def happens(action: Action, after_minutes: int) -> None:
        house.clock.advance(minutes=after_minutes)
        house.log.record(Event(action, Outcome.SUCCESS, System("web")))

    happens(START, 0)
    for _ in range(6):
        happens(BEAT, 10)
    happens(STOP, 5)
    happens(START, 20)
    happens(BEAT, 10)
    house.clock.advance(minutes=5)
    found = measured(house.db, house.clock.now)
    assert found is not None
    assert (found.up_s, found.down_s, found.unknown_s) == (80 * 60, 20 * 60, 0)
    house.clock.advance(days=400)
    found = measured(house.db, house.clock.now)
    assert found is not None
    assert (found.days, found.up_s, found.down_s) == (365, 0, 0), "running, as far as the log knows, and silent ever since"
