"""Pages drawn a moment ago: kept sealed for the session that opened them, and for nobody and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.vault.records.desk import Desk, in_another_session, open_desk
from tests.vault.rendering import papers
from vault.errors import NotFound, Tampered
from vault.model import Actor, Micros, PersonId, Role
from vault.records.documents.pages import IDLE_SECONDS, DrawnPages
from vault.rendering.renderer import RenderedPage

READER = Actor(PersonId("1" * 32), "claire", "Dr Claire Martin", Role.CLINICIAN, "a" * 32)


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with open_desk(tmp_path, clock) as made:
        yield made
        made.documents.drawn.close()


@pytest.fixture
def drawn(clock: Clock) -> Iterator[DrawnPages]:
    made = DrawnPages(lambda: Micros(clock()), most_bytes=10_000)
    yield made
    made.close()


def page(size: int = 1000, sign: bytes = b"p") -> RenderedPage:
    return RenderedPage(sign * size, 900, 1273, 3)


def test_a_page_comes_back_to_its_session_and_to_no_other(drawn: DrawnPages) -> None:
    drawn.keep(READER, page(), "opening", 1, 900)
    assert drawn.find(READER, "opening", 1, 900) == page()
    assert drawn.find(READER, "opening", 2, 900) is None
    assert drawn.find(READER, "another", 1, 900) is None
    assert drawn.find(in_another_session(READER), "opening", 1, 900) is None
    assert drawn.find(replace(READER, person=PersonId("2" * 32)), "opening", 1, 900) is None


def test_an_idle_page_is_let_go_and_a_used_one_stays(drawn: DrawnPages, clock: Clock) -> None:
    drawn.keep(READER, page(), "one")
    drawn.keep(READER, page(), "other")
    clock.advance(seconds=IDLE_SECONDS - 1)
    assert drawn.find(READER, "one") is not None
    clock.advance(seconds=2)
    assert drawn.sweep() < 1100
    assert drawn.find(READER, "other") is None
    assert drawn.find(READER, "one") is not None
    clock.advance(seconds=-3600)
    assert drawn.sweep() == 0


def test_the_end_of_a_session_wipes_its_pages_and_the_last_one_wipes_the_key(drawn: DrawnPages) -> None:
    other = in_another_session(READER)
    drawn.keep(READER, page(), "one")
    drawn.keep(other, page(), "one")
    key = drawn._key
    assert key is not None
    drawn.forget(READER.session)
    assert drawn.find(READER, "one") is None
    assert drawn.find(other, "one") == page()
    drawn.forget(other.session)
    assert (drawn._key, len(key)) == (None, 0)
    assert drawn.sweep() == 0


def test_memory_is_bounded_and_the_longest_unused_go(drawn: DrawnPages) -> None:
    for number in range(30):
        drawn.keep(READER, page(), number)
        assert drawn.sweep() <= 10_000
    assert drawn.find(READER, 29) is not None
    assert drawn.find(READER, 0) is None
    drawn.keep(READER, page(5_000), "large")
    assert drawn.find(READER, "large") is None


def test_nothing_in_clear_is_kept(drawn: DrawnPages) -> None:
    drawn.keep(READER, page(64, b"MARKED"), "one")
    assert b"MARKED" not in repr(drawn._kept).encode()
    assert all(b"MARKED" not in kept.sealed for kept in drawn._kept.values())
    one = next(iter(drawn._kept.values()))
    one.sealed = one.sealed[:-1] + bytes([one.sealed[-1] ^ 1])
    with pytest.raises(Tampered):
        drawn.find(READER, "one")


def test_a_closed_cache_keeps_nothing(drawn: DrawnPages) -> None:
    drawn.keep(READER, page(), "one")
    drawn.close()
    drawn.close()
    drawn.keep(READER, page(), "two")
    assert (drawn.find(READER, "one"), drawn.find(READER, "two")) == (None, None)


# --- as documents use it


def test_a_page_is_drawn_once_for_one_opening(desk: Desk) -> None:
    document = desk.deposit(data=papers.pdf(3), actor=desk.clinician).id
    first = desk.documents.page(desk.clinician, document, 1, 400)
    kept = desk.documents.drawn.sweep()
    assert desk.documents.page(desk.clinician, document, 1, 400) == first
    assert desk.documents.drawn.sweep() == kept
    desk.documents.page(desk.clinician, document, 2, 400)
    assert desk.documents.drawn.sweep() > kept
    assert desk.told().count(("document.view", "granted")) == 1


def test_the_watermark_tells_the_minute_in_which_it_is_shown(desk: Desk) -> None:
    document = desk.deposit(data=papers.pdf(1), actor=desk.clinician).id
    first = desk.documents.page(desk.clinician, document, 1, 400)
    desk.clock.advance(seconds=60)
    assert desk.documents.page(desk.clinician, document, 1, 400).content != first.content


def test_policy_is_asked_before_the_cache(desk: Desk) -> None:
    document = desk.deposit(data=papers.pdf(1), actor=desk.clinician).id
    desk.documents.page(desk.clinician, document, 1, 400)
    desk.execute("DELETE FROM care_team")
    desk.execute("UPDATE documents SET deposited_by = ?, integrated_at = 1", desk.stranger.person)
    with pytest.raises((NotFound, Tampered)):
        desk.documents.page(desk.clinician, document, 1, 400)


def test_an_altered_document_is_not_shown_from_memory_in_a_new_opening(desk: Desk) -> None:
    document = desk.deposit(data=papers.pdf(1), actor=desk.clinician).id
    desk.documents.page(desk.clinician, document, 1, 400)
    path = desk.blob_path(document)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    with pytest.raises(Tampered):
        desk.documents.page(replace(desk.clinician, session="e" * 32), document, 1, 400)
