"""Known and unknown names: the same time, within what the same measurement finds between two unknown ones."""

from __future__ import annotations

import random
import statistics
import time

import pytest
from sqlalchemy import select

from tests.conftest import Clock
from tests.vault.people.conftest import House, open_house
from vault.errors import VaultError
from vault.model import Client, Role
from vault.people.passwords import Cost
from vault.settings import DatabaseSettings
from vault.storage.schema import audit_entries

ROUNDS, MOST_ROUNDS = 40, 80
TRIM = 0.2
"""Of the differences at either end: what the machine did meanwhile is not what the code did."""
SIGMAS = 5
"""Chance goes further once in two million measurements where the error is known; ``reach`` has it where that is estimated."""
SHARE = 0.1
"""Measured until the noise is under this part of one refusal, or the machine is too busy for it."""
CLOCKS = (time.perf_counter, time.process_time)
"""What somebody outside sees; and the processor's time alone, which a busy machine hardly disturbs."""
WRONG = "Pas-Le-Bon-Mot-12"


def seconds(house: House, username: str, address: str) -> list[float]:
    """How long one refusal takes by each clock."""
    began = [clock() for clock in CLOCKS]
    with pytest.raises(VaultError):
        house.people.sign_in.at_once(username, WRONG, "000000", Client(ip=address))
    return [clock() - start for clock, start in zip(CLOCKS, began, strict=True)]


def reach(freedom: int) -> float:
    """Standard errors that chance exceeds as seldom as ``SIGMAS`` true ones, where the error is estimated from the same few
    values (Student's t by Abramowitz and Stegun 26.7.5): with 23 degrees of freedom five are exceeded 80 times as often.
    """
    x = float(SIGMAS)
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92_160,
    )
    return sum(term / float(freedom) ** power for power, term in enumerate(terms))


def trimmed(values: list[float]) -> tuple[float, float]:
    """The trimmed mean, and how far chance may carry it (Tukey and McLaughlin 1963: from the winsorized spread)."""
    ordered = sorted(values)
    cut = int(len(ordered) * TRIM)
    kept = ordered[cut : len(ordered) - cut]
    pulled_in = [min(max(each, kept[0]), kept[-1]) for each in ordered]
    error = statistics.stdev(pulled_in) / ((1 - 2 * TRIM) * len(ordered) ** 0.5)
    return statistics.mean(kept), reach(len(kept) - 1) * error


class Stopwatch:
    """Refusals of every kind of name in shuffled turns, each compared with an unknown name's in the same turn."""

    KINDS = ("enrolled", "fresh", "gone", "left", "nobody", "no one")
    """The last two are unknown: what lies between them is the measurement's own noise."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.turns = 0
        self.taken: dict[str, list[list[float]]] = {kind: [] for kind in self.KINDS}
        self._shuffled = random.Random(20_260_921)  # an order, not a secret

    def go_on(self, rounds: int) -> None:
        for _ in range(rounds):
            self.turns += 1
            for kind in self._shuffled.sample(self.KINDS, len(self.KINDS)):
                self.taken[kind].append(seconds(self.house, kind, f"10.0.{self.turns}.9"))
            self.house.clock.advance(minutes=16)

    def gap(self, kind: str, clock: int) -> tuple[float, float]:
        """How much longer than an unknown name, and how far chance may carry that."""
        pairs = zip(self.taken[kind], self.taken["nobody"], strict=True)
        return trimmed([mine[clock] - other[clock] for mine, other in pairs])

    def noise(self, clock: int) -> float:
        """What two unknown names differ by at most, by chance."""
        return self.gap("no one", clock)[1]

    def usual(self, clock: int) -> float:
        return statistics.median(taken[clock] for taken in self.taken["nobody"])

    @property
    def is_clear(self) -> bool:
        return all(self.noise(clock) < SHARE * self.usual(clock) for clock in range(len(CLOCKS)))


@pytest.mark.alone
def test_a_name_that_exists_answers_no_sooner_and_no_later(sqlite: DatabaseSettings, clock: Clock) -> None:
    with open_house(sqlite, clock, cost=Cost(memory_kib=4 * 1024, passes=1)) as house:
        house.enrol("enrolled")
        house.hire("fresh")
        for name, has_left in (("gone", False), ("left", True)):
            house.people.accounts.disable(house.console(), house.hire(name, Role.RECEPTION), has_left=has_left)
        watch = Stopwatch(house)
        while watch.turns < MOST_ROUNDS and (watch.turns == 0 or not watch.is_clear):
            watch.go_on(ROUNDS)
    for number in range(len(CLOCKS)):
        gaps = {kind: watch.gap(kind, number) for kind in watch.KINDS if kind != "nobody"}
        told = {kind: f"{gap * 1000:+.3f} ± {chance * 1000:.3f} ms" for kind, (gap, chance) in gaps.items()}
        for kind, (gap, chance) in gaps.items():
            assert abs(gap) <= max(watch.noise(number), chance), (CLOCKS[number], kind, told, watch.usual(number))


def test_a_lock_costs_as_much_work_for_a_name_that_nobody_bears(house: House) -> None:
    """The refusal that locks leaves the same events for both, written in the same transactions."""
    house.hire("lmartin")
    for name in ("lmartin", "nobody"):
        before = len(house.actions())
        for _ in range(5):
            seconds(house, name, "192.0.2.9")
        assert house.actions()[before:] == [*[("auth.login", "denied")] * 5, ("auth.locked", "success")]
    columns = audit_entries.c
    locked = select(columns.subject_sealed).where(columns.action == "auth.locked")
    with house.db.read() as connection:
        known, unknown = connection.execute(locked.order_by(columns.position)).scalars()
    assert known
    assert unknown
    assert len(known) == len(unknown), "the stored entry does not tell which name exists"


def test_the_measurement_sees_a_leak_of_a_twentieth() -> None:
    """The rule above, on made-up times: noise of a tenth is let through, a difference of a twentieth is not."""
    made_up = random.Random(7)  # made-up times
    base = [10 + made_up.gauss(0, 1) + (50 if made_up.random() < 0.05 else 0) for _ in range(320)]
    same = [10 + made_up.gauss(0, 1) + (50 if made_up.random() < 0.05 else 0) for _ in range(320)]
    for leak, is_seen in ((0.0, False), (0.5, True)):
        gap, chance = trimmed([one + leak - other for one, other in zip(same, base, strict=True)])
        assert (abs(gap) > chance) is is_seen
