"""Several processes serve one vault: an address belongs to one of them, and whoever accepts its connection hands it over."""

from __future__ import annotations

import copy
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from vault.errors import BadSettings
from web.processes import Processes, by_default
from web.settings import MOST_PROCESSES, WebTable, judge


@pytest.fixture
def pair() -> Iterator[tuple[Processes, Processes]]:
    """Two processes as they stand after their forks."""
    with closing(Processes(2)) as first:
        second = copy.copy(first)
        second.number = 1
        yield first, second


@contextmanager
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's end and ours."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=10)
        ours, _ = listener.accept()
    with closing(client), closing(ours):
        yield client, ours


def test_neighbours_are_dealt_out_in_turn() -> None:
    with closing(Processes(4)) as processes:
        owners = Counter(processes.owner(f"192.168.1.{number}") for number in range(20, 60))
    assert owners == {0: 10, 1: 10, 2: 10, 3: 10}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "", "not an address"])
def test_this_machine_belongs_to_the_first(address: str, count: int) -> None:
    """It is up before the others."""
    with closing(Processes(count)) as processes:
        assert processes.owner(address) == 0


@pytest.mark.parametrize("address", ["192.168.1.7", "2001:db8::1:2", "fe80::1%eth0"])
def test_an_address_has_one_owner(address: str) -> None:
    with closing(Processes(3)) as processes:
        (owner,) = {processes.owner(address) for _ in range(3)}
        assert owner in {0, 1, 2}


def test_a_connection_is_handed_to_its_owner_and_works_there(pair: tuple[Processes, Processes]) -> None:
    first, second = pair
    with line() as (client, ours):
        assert first.hand_over(ours, "127.0.0.2")
        (taken,) = second.handed_over()
        with closing(taken):
            taken.settimeout(10)
            client.sendall(b"asked")
            assert taken.recv(5) == b"asked"
            taken.sendall(b"answered")
            assert client.recv(8) == b"answered"
    assert list(second.handed_over()) == []


def test_what_is_ours_stays(pair: tuple[Processes, Processes]) -> None:
    first, second = pair
    with line() as (_, ours):
        assert not first.hand_over(ours, "127.0.0.3")
        assert ours.fileno() >= 0
        assert list(second.handed_over()) == []


def test_where_the_owners_door_is_full_the_connection_is_served_here(pair: tuple[Processes, Processes]) -> None:
    first, second = pair
    handed = 0
    for _ in range(5000):
        with line() as (_, ours):
            if not first.hand_over(ours, "127.0.0.2"):
                assert ours.fileno() >= 0
                break
            handed += 1
    else:
        pytest.fail("a door that is never full")
    taken = list(second.handed_over())
    assert len(taken) == handed
    for each in taken:
        each.close()


def test_alone_nothing_is_handed_over() -> None:
    alone = Processes()
    assert alone.door is None
    with line() as (_, ours):
        assert not alone.hand_over(ours, "127.0.0.2")
    assert list(alone.handed_over()) == []


def test_the_others_wait_for_the_first(pair: tuple[Processes, Processes]) -> None:
    first, second = pair
    asked = iter([True, True, False])
    assert first.await_first(lambda: False)
    assert not second.await_first(lambda: next(asked))  # no longer wanted: the service stops while the first one starts
    assert first.tell_first_is_up()
    assert second.await_first(lambda: False)
    assert not first.tell_first_is_up()  # begun again after it died: whoever waits for the service heard of it already


def test_each_writes_on_its_board_and_all_read(pair: tuple[Processes, Processes]) -> None:
    first, second = pair
    second.board(1)[5] = 7
    assert first.board(1)[5] == 7
    assert first.board(0)[5] == 0


def test_as_many_as_processors_and_four_at_most() -> None:
    assert 1 <= by_default() <= 4


@pytest.mark.parametrize("count", [-1, MOST_PROCESSES + 1])
def test_an_impossible_number_is_refused_with_the_way_out(count: int) -> None:
    with pytest.raises(BadSettings, match=r"\[web\] processes: choose 1 to 64, or 0"):
        judge(WebTable(processes=count))
