"""Blocks made one step ahead: the same ones in the same order, errors in their place, no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing

import pytest

from vault.sealing.ahead import HELPERS, IN_USE, ahead


def helpers() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_the_same_blocks_in_the_same_order(count: int) -> None:
    assert list(ahead(number for number in range(count))) == list(range(count))
    assert helpers() == 0


def test_they_are_made_by_another_thread() -> None:
    def made() -> Generator[str, None, None]:
        yield threading.current_thread().name

    assert list(ahead(made())) == ["ahead"]


def test_an_error_comes_after_what_was_made_before_it() -> None:
    def made() -> Generator[int, None, None]:
        yield 1
        raise OSError("the disk")

    taken = ahead(made())
    assert next(taken) == 1
    with pytest.raises(OSError, match="the disk"):
        next(taken)
    assert helpers() == 0


def test_no_more_blocks_than_said_exist_at_once() -> None:
    """A block is in use from its making until the next one is asked for: its buffer is filled anew then."""
    in_use, most = 0, 0
    lock, all_in_use = threading.Lock(), threading.Event()

    def made() -> Generator[int, None, None]:
        nonlocal in_use, most
        for number in range(100):
            with lock:
                in_use += 1
                most = max(most, in_use)
                if in_use == IN_USE:
                    all_in_use.set()
            yield number

    for number in ahead(made()):
        if number == 50:
            assert all_in_use.wait(30)
        with lock:
            in_use -= 1
    assert (in_use, most) == (0, IN_USE)


def test_who_stops_in_the_middle_leaves_no_thread() -> None:
    ended = threading.Event()

    def made() -> Generator[int, None, None]:
        try:
            yield from range(1_000_000)
        finally:
            ended.set()

    with closing(ahead(made())) as taken:
        assert next(taken) == 0
        assert helpers() == 1
    assert helpers() == 0
    assert ended.is_set()


def test_where_all_helpers_are_busy_the_caller_does_the_work() -> None:
    busy = [ahead(number for number in range(100)) for _ in range(HELPERS)]
    for each in busy:
        next(each)

    def made() -> Generator[str, None, None]:
        yield threading.current_thread().name

    assert list(ahead(made())) == [threading.current_thread().name]
    for each in busy:
        each.close()
    assert list(ahead(made())) == ["ahead"]
