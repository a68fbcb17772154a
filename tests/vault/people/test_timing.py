"""Known and unknown names: the same time, within noise."""

from __future__ import annotations

import statistics
import time

import pytest

from tests.conftest import Clock
from tests.vault.people.conftest import House, open_house
from vault.errors import VaultError
from vault.model import Client, Role
from vault.people.passwords import Cost
from vault.settings import DatabaseSettings

ROUNDS = 24


def seconds(house: House, username: str, address: str) -> float:
    began = time.perf_counter()
    with pytest.raises(VaultError):
        house.people.sign_in.at_once(username, "Pas-Le-Bon-Mot-12", "000000", Client(ip=address))
    return time.perf_counter() - began


@pytest.mark.alone
def test_a_name_that_exists_answers_no_sooner_and_no_later(sqlite: DatabaseSettings, clock: Clock) -> None:
    with open_house(sqlite, clock, cost=Cost(memory_kib=16 * 1024, passes=2)) as house:
        house.enrol("enrolled")
        house.hire("fresh")
        gone = house.hire("gone", Role.RECEPTION)
        house.people.accounts.disable(house.console(), gone)
        times: dict[str, list[float]] = {name: [] for name in ("enrolled", "fresh", "gone", "nobody")}
        for number in range(ROUNDS):
            for name, taken in times.items():
                taken.append(seconds(house, name, f"192.0.2.{number}"))
            house.clock.advance(minutes=16)
        medians = {name: statistics.median(taken) for name, taken in times.items()}
        spread = statistics.median(abs(each - medians["nobody"]) for each in times["nobody"])
    widest = max(abs(each - medians["nobody"]) for each in medians.values())
    assert widest < max(4 * spread, 0.3 * medians["nobody"]), (medians, spread)
