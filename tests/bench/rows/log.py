"""Durable events: the access log's group commit beside one durable insert at a time."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import ROUNDS, Figure, percentile
from tests.conftest import Clock, fresh_databases
from tests.servers.postgresql import DURABLE, Cluster
from tests.vault.people.conftest import House, open_house
from vault.audit.events import Action, Event, Outcome, System
from vault.settings import DatabaseSettings

EVENTS = 3_000


def log() -> Iterator[Figure]:
    """Targets at 16 clients: ≥ 4,000 events a second, p99 ≤ 10 ms, on both databases."""
    with tempfile.TemporaryDirectory(prefix="coffre-bench-") as place:
        yield from _on(_sqlite(Path(place)), "SQLite", Path(place))
    with tempfile.TemporaryDirectory(prefix="coffre-bench-") as place:
        cluster = Cluster.start(DURABLE)
        try:
            yield from _on(fresh_databases(cluster, Path(place)), "PostgreSQL", Path(place))
        finally:
            cluster.stop()


def _on(settings: DatabaseSettings, name: str, place: Path) -> Iterator[Figure]:
    with open_house(settings, Clock()) as house:
        _run(house, 4)
        for clients in (1, 16, 64):
            found = [(*_run(house, clients), _one_by_one(place)) for _ in range(ROUNDS)]
            rates = sorted(EVENTS / whole for whole, _, _ in found)
            plain = sorted(rate for _, _, rate in found)
            late = sorted(percentile(each, 0.99) * 1000 for _, each, _ in found)
            rate, beside, p99 = rates[ROUNDS // 2], plain[ROUNDS // 2], late[ROUNDS // 2]
            judged = clients == 16
            yield Figure(f"{clients} clients, {name}", rate, "event/s", "one durable insert at a time", beside, rate / beside,
                         "≥ 4,000/s" if judged else "", rate >= 4000 if judged else None)  # fmt: skip
            yield Figure(f"{clients} clients, {name}: p99", p99, "ms", target="≤ 10 ms" if judged else "",
                         holds=p99 <= 10 if judged else None)  # fmt: skip


def _sqlite(place: Path) -> DatabaseSettings:
    return DatabaseSettings(f"sqlite:///{place / 'coffre.db'}", f"sqlite:///{place / 'keyring.db'}")


def _run(house: House, clients: int) -> tuple[float, list[float]]:
    each: list[float] = []

    def client() -> None:
        for _ in range(EVENTS // clients):
            start = time.perf_counter()
            house.log.record(Event(Action.SYSTEM_START, Outcome.SUCCESS, System("bench")))
            each.append(time.perf_counter() - start)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start, each


def _one_by_one(place: Path) -> float:
    connection = sqlite3.connect(place / "plain.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS events (at REAL, text TEXT)")
    start = time.perf_counter()
    for number in range(300):
        connection.execute("INSERT INTO events VALUES (?, ?)", (start, f"event {number}"))
    rate = 300 / (time.perf_counter() - start)
    connection.close()
    return rate
