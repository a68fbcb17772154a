"""Uploads that outlive their connection: cut anywhere they go on, nothing is filed twice, what is given up leaves nothing."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.vault.records.desk import Desk, open_desk, scan
from vault.errors import (
    AlreadyPresent,
    Busy,
    Conflict,
    EmptyDocument,
    IncompleteBody,
    Invalid,
    NotFound,
    TooLarge,
    UnsupportedType,
)
from vault.model import Document
from vault.records.inbox.transfers import LIFE_S, MOST_EACH, PATIENCE_S, PIECE_BYTES, Progress, Transfers

SIZE = 3_000_000
LIMIT = 4 * 1024 * 1024


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with open_desk(tmp_path, clock) as desk:
        yield desk


class Hands:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def transfers(hands: Hands) -> Iterator[Transfers]:
    made = Transfers(limit_bytes=LIMIT, most=8, monotonic=hands)
    yield made
    made.close()


class Line:
    """A connection that is cut after ``holds`` bytes."""

    def __init__(self, data: bytes, holds: int) -> None:
        self._data = io.BytesIO(data[:holds])
        self._is_cut = holds < len(data)

    def read(self, size: int, /) -> bytes:
        data = self._data.read(size)
        if not data and self._is_cut:
            raise IncompleteBody("the sender went away")
        return data


def begin(desk: Desk, transfers: Transfers, size: int, **changes: object) -> Progress:
    given = {"type": "11502-2", "act_date": None, "file_name": "bilan.pdf", "declared_size": size} | changes
    store = partial(desk.documents.store, desk.reception, desk.patient, **given)  # type: ignore[arg-type]  # as asked
    return transfers.begin(desk.reception, size, lambda body: store(body=body))


def filed(progress: Progress) -> Document:
    assert isinstance(progress.result, Document)
    return progress.result


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_cut_upload_goes_on_where_it_was(desk: Desk, transfers: Transfers, share: float) -> None:
    data = scan(SIZE)
    begun = begin(desk, transfers, SIZE)
    with pytest.raises(IncompleteBody):
        transfers.append(desk.reception, begun.id, 0, Line(data, int(SIZE * share)))
    assert len(desk.files()) == 1  # sealed, in the place of uploads under way
    assert desk.documents.list(desk.reception, desk.patient).items == ()
    stands = transfers.progress(desk.reception, begun.id)
    assert stands.result is None
    assert SIZE * share - PIECE_BYTES <= stands.offset <= SIZE * share
    ended = transfers.append(desk.reception, begun.id, stands.offset, io.BytesIO(data[stands.offset :]))
    assert filed(ended).sha256 == hashlib.sha256(data).hexdigest()
    assert len(desk.files()) == 1


def test_a_lost_answer_can_be_asked_for_again(desk: Desk, transfers: Transfers) -> None:
    data = scan(SIZE)
    begun = begin(desk, transfers, SIZE)
    first = transfers.append(desk.reception, begun.id, 0, io.BytesIO(data))
    again = transfers.append(desk.reception, begun.id, SIZE, io.BytesIO())
    assert filed(again) == filed(first)
    assert transfers.progress(desk.reception, begun.id).result == first.result
    assert len(desk.documents.list(desk.reception, desk.patient).items) == 1
    with pytest.raises(Invalid):
        transfers.append(desk.reception, begun.id, SIZE, io.BytesIO(b"more"))
    with pytest.raises(Conflict):
        transfers.cancel(desk.reception, begun.id)
    late = begin(desk, transfers, SIZE)
    with pytest.raises(AlreadyPresent):
        transfers.append(desk.reception, late.id, 0, io.BytesIO(data))


def test_other_bytes_than_are_due_are_refused(desk: Desk, transfers: Transfers) -> None:
    begun = begin(desk, transfers, SIZE)
    with pytest.raises(Conflict) as refused:
        transfers.append(desk.reception, begun.id, 5, io.BytesIO(b"%PDF-"))
    assert refused.value.details == {"reason": "wrong_offset", "offset": 0}


def test_a_newer_connection_takes_over(desk: Desk, transfers: Transfers) -> None:
    """The server may think for minutes that a dead line lives."""
    data = scan(SIZE)
    begun = begin(desk, transfers, SIZE)
    goes_on, outcome = threading.Event(), []

    class Dead(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 1_000_000:
                assert goes_on.wait(20)
            return super().read(size)

    def hang() -> None:
        try:
            transfers.append(desk.reception, begun.id, 0, Dead(data))
        except Conflict as error:
            outcome.append(error.details["reason"])

    thread = threading.Thread(target=hang)
    thread.start()
    while (stands := transfers.progress(desk.reception, begun.id)).offset == 0:
        if not thread.is_alive():  # it had not come so far when it was taken over
            goes_on.set()
            thread = threading.Thread(target=hang)
            thread.start()
    ended = transfers.append(desk.reception, begun.id, stands.offset, io.BytesIO(data[stands.offset :]))
    goes_on.set()
    thread.join(20)
    assert "taken_over" in outcome
    assert filed(ended).sha256 == hashlib.sha256(data).hexdigest()


def test_nobody_else_finds_it(desk: Desk, transfers: Transfers) -> None:
    begun = begin(desk, transfers, SIZE)
    for act in (
        lambda: transfers.progress(desk.clinician, begun.id),
        lambda: transfers.append(desk.clinician, begun.id, 0, io.BytesIO()),
        lambda: transfers.cancel(desk.clinician, begun.id),
        lambda: transfers.progress(desk.reception, "f" * 32),
    ):
        with pytest.raises(NotFound):
            act()


def give_up_by_hand(transfers: Transfers, desk: Desk, upload: str, hands: Hands) -> None:
    transfers.cancel(desk.reception, upload)


def close(transfers: Transfers, desk: Desk, upload: str, hands: Hands) -> None:
    transfers.close()


@pytest.mark.parametrize("end", [give_up_by_hand, close])
def test_what_is_given_up_leaves_nothing(
    desk: Desk, transfers: Transfers, hands: Hands, end: Callable[[Transfers, Desk, str, Hands], None]
) -> None:
    begun = begin(desk, transfers, SIZE)
    with pytest.raises(IncompleteBody):
        transfers.append(desk.reception, begun.id, 0, Line(scan(SIZE), 2_000_000))
    assert len(desk.files()) == 1
    end(transfers, desk, begun.id, hands)
    assert desk.files() == []
    assert desk.told()[-1] == ("document.upload", "failed")
    with pytest.raises(NotFound):
        transfers.progress(desk.reception, begun.id)


@pytest.mark.parametrize("away_s", [PATIENCE_S, LIFE_S])
def test_who_stays_away_is_not_waited_for(desk: Desk, transfers: Transfers, hands: Hands, away_s: float) -> None:
    begun = begin(desk, transfers, SIZE)
    with pytest.raises(IncompleteBody):
        transfers.append(desk.reception, begun.id, 0, Line(scan(SIZE), 2_000_000))
    hands.now += away_s + 1
    transfer = transfers._transfers[begun.id]
    with transfer._changed:
        transfer._changed.notify_all()  # what the deposit's own waiting would do, a quarter of an hour later
    transfer._thread.join(20)
    assert desk.files() == []
    with pytest.raises(IncompleteBody):
        transfers.progress(desk.reception, begun.id)
    hands.now += PATIENCE_S + 1
    begin(desk, transfers, SIZE)
    with pytest.raises(NotFound):
        transfers.progress(desk.reception, begun.id)


def test_refusals_come_as_early_as_in_a_plain_upload(desk: Desk, transfers: Transfers) -> None:
    with pytest.raises(TooLarge):
        begin(desk, transfers, LIMIT + 1)
    with pytest.raises(EmptyDocument):
        begin(desk, transfers, 0)
    with pytest.raises(Invalid):
        begin(desk, transfers, SIZE, type="nothing")
    begun = begin(desk, transfers, SIZE)
    with pytest.raises(UnsupportedType):
        transfers.append(desk.reception, begun.id, 0, io.BytesIO(bytes(SIZE)))
    with pytest.raises(UnsupportedType):  # and again, where that answer was lost
        transfers.progress(desk.reception, begun.id)
    assert desk.files() == []


def test_one_person_holds_a_few_and_all_together_some(desk: Desk, hands: Hands) -> None:
    few = Transfers(limit_bytes=LIMIT, most=MOST_EACH + 1, monotonic=hands)
    begun = []
    for _ in range(MOST_EACH):
        begun.append(begin(desk, few, SIZE))
        hands.now += 1
    few.progress(desk.reception, begun[0].id)  # looked at last: not the one that was left alone for longest
    begin(desk, few, SIZE)
    with pytest.raises(NotFound):
        few.progress(desk.reception, begun[1].id)
    for each in few._transfers.values():
        each.feeders = 1
    with pytest.raises(Busy):
        begin(desk, few, SIZE)
    given = {"type": "11502-2", "act_date": None, "file_name": "a.pdf", "declared_size": SIZE}
    others = partial(desk.documents.store, desk.clinician, desk.patient, **given)  # type: ignore[arg-type]  # as above
    one = few.begin(desk.clinician, SIZE, lambda body: others(body=body))
    other = few.begin(desk.clinician, SIZE, lambda body: others(body=body))  # in the place of their own
    with pytest.raises(NotFound):
        few.progress(desk.clinician, one.id)
    few._transfers[other.id].feeders = 1
    with pytest.raises(Busy):
        few.begin(desk.clinician, SIZE, lambda body: others(body=body))
    few.close()
    assert desk.files() == []
