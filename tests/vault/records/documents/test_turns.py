"""Turns: heavy work is bounded, and who waits too long is told to come back."""

from __future__ import annotations

import threading

import pytest

from vault.errors import Busy
from vault.records.documents.turns import RETRY_S, Turns


def test_no_more_than_allowed_at_once_and_everybody_in_the_end() -> None:
    turns = Turns(3, "openings")
    turns.wait_s = 60
    lock = threading.Lock()
    three = threading.Barrier(3)
    inside, most, done = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        with turns.take():
            with lock:
                inside += 1
                most = max(most, inside)
            three.wait(60)  # nobody leaves before three are inside
            threading.Event().wait(0.01)
            with lock:
                inside -= 1
                done += 1

    threads = [threading.Thread(target=work) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (3, 24)


def test_who_waits_too_long_is_told_when_to_come_back() -> None:
    turns = Turns(1, "openings")
    turns.wait_s = 0.01
    with turns.take(), pytest.raises(Busy, match="openings") as refused, turns.take():
        pass
    assert refused.value.details["retry_after_s"] == RETRY_S


def test_a_failure_gives_its_turn_back() -> None:
    turns = Turns(1, "openings")
    turns.wait_s = 0.01
    with pytest.raises(KeyError), turns.take():
        raise KeyError
    with turns.take():
        pass
