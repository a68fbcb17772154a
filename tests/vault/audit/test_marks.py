"""What token and keyring remember of the log: both databases put back are found out, at start and by verification."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kms.keys import Mark
from kms.lifecycle import create_first_keys
from kms.settings import KmsSettings
from kms.token import TokenKeys
from tests.conftest import Clock
from tests.kms.fake import FakeKeyService, MemoryRegistry
from tests.vault.audit.conftest import Rig, open_rig, viewed
from vault.audit.events import Action
from vault.audit.marks import TOKEN_S
from vault.audit.search import Filters
from vault.audit.verify import Fault, Finding
from vault.errors import KeysUnavailable, Tampered


def append(rig: Rig, count: int) -> None:
    rig.log.record_all([viewed(number) for number in range(count)])
    rig.auditing.checkpoints.make(keep=True)


def put_back(rig: Rig, then: Callable[[Rig], None]) -> Rig:
    """Both databases as they were before ``then``: what somebody does who may write the disk, or a restored backup."""
    rig.close()
    kept = rig.path.with_name(rig.path.name + "-kept")
    shutil.copytree(rig.path, kept)
    later = rig.reopened()
    then(later)
    later.close()
    shutil.rmtree(rig.path)
    kept.rename(rig.path)
    return rig.reopened()


def found(rig: Rig) -> Finding | None:
    return rig.auditing.verify(rig.auditor()).first_bad


def told(rig: Rig) -> list[tuple[str, int | None]]:
    asked = Filters(actions=(Action.LOG_ROLLBACK_DETECTED, Action.LOG_EPOCH_OPENED))
    lines = rig.auditing.timeline(rig.auditor(), asked, limit=500).page.items
    return [(line.action.value.removeprefix("log."), line.count) for line in reversed(lines)]


def test_both_databases_put_back_are_found_by_the_token_s_mark(rig: Rig) -> None:
    append(rig, 40)
    old = put_back(rig, lambda later: append(later, 30))
    assert found(old) == Finding(41, Fault.TRUNCATED)
    old.auditing.serve("web", lambda error: None)
    old.auditing.close()
    assert told(old) == [("rollback_detected", 71 - 43), ("epoch_opened", 1)], "at start, before anybody asks"
    verdict = old.auditing.verify(old.auditor())
    assert verdict.is_whole, "it goes on from there, and says so for ever"
    mark = old.keys.mark()
    assert mark is not None
    assert (mark.generation, mark.size) == (1, verdict.marked_size)
    again = put_back(old, lambda later: append(later, 5))
    again.auditing.checkpoints.look_back()
    assert [name for name, _ in told(again)] == ["rollback_detected", "epoch_opened"] * 2
    assert told(again)[-1] == ("epoch_opened", 2)
    assert found(again) is None
    again.close()


def test_the_log_put_back_to_before_its_own_confession_is_found(rig: Rig) -> None:
    append(rig, 40)

    def confess(later: Rig) -> None:
        assert later.keys.raise_mark(Mark(1, 41, b"x" * 32)) == Mark(1, 41, b"x" * 32), "a new generation, and no word of it"

    old = put_back(rig, confess)
    bad = found(old)
    assert bad is not None
    assert bad.kind in {Fault.REWRITTEN, Fault.TRUNCATED}
    old.close()


def test_a_rewritten_log_of_the_same_length_is_found(rig: Rig) -> None:
    append(rig, 40)
    old = put_back(rig, lambda later: append(later, 10))
    old.log.record_all([viewed(number, of=2) for number in range(30)])
    bad = found(old)
    assert bad is not None
    assert bad.kind is Fault.REWRITTEN
    old.close()


def test_a_token_that_keeps_no_marks_leaves_the_keyring_alone_with_it(rig: Rig) -> None:
    rig.keys.keeps_marks = False
    append(rig, 40)
    old = put_back(rig, lambda later: append(later, 30))
    verdict = old.auditing.verify(old.auditor())
    assert (verdict.is_whole, verdict.marked_size) == (True, None), "only what is kept elsewhere shows it"
    old.close()


def test_verification_goes_on_while_the_token_is_away_and_says_what_it_could_not_ask(rig: Rig) -> None:
    append(rig, 40)
    assert rig.auditing.verify(rig.auditor()).marked_size == 41
    rig.keys.break_down()
    verdict = rig.auditing.verify(rig.auditor())
    assert (verdict.is_whole, verdict.marked_size) == (True, None)
    rig.log.record(viewed(1))
    with pytest.raises(KeysUnavailable):
        rig.auditing.checkpoints.make()


def test_the_token_is_written_once_a_minute_and_with_every_head_given_out(rig: Rig) -> None:
    monotonic = Clock()
    rig.auditing.checkpoints.marks._monotonic = lambda: monotonic.now / 1_000_000
    for number in range(10):
        rig.log.record(viewed(number))
        rig.auditing.checkpoints.make()
    assert rig.keys.calls["raise_mark"] == 1
    monotonic.advance(seconds=TOKEN_S)
    rig.log.record(viewed(11))
    rig.auditing.checkpoints.make()
    assert rig.keys.calls["raise_mark"] == 2
    rig.log.record(viewed(12))
    head = rig.auditing.checkpoint(rig.auditor()).checkpoint
    assert rig.keys.mark() == Mark(0, head.size, head.root)


def test_an_altered_mark_in_the_keyring_is_named(rig: Rig) -> None:
    append(rig, 3)
    with rig.keyring.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE log_marks SET note = 'nonsense'")
    with pytest.raises(Tampered):
        rig.auditing.checkpoints.look_back()
    bad = found(rig)
    assert bad is not None
    assert bad.kind is Fault.CHECKPOINT


@pytest.mark.hsm
def test_a_real_token_remembers_what_both_databases_forgot(softhsm: KmsSettings, tmp_path: Path, clock: Clock) -> None:
    registry = MemoryRegistry()
    create_first_keys(softhsm, registry)
    keys = TokenKeys(softhsm, registry)
    place = tmp_path / "log"
    place.mkdir()
    rig = open_rig(place, clock, FakeKeyService())
    rig.close()

    def opened() -> Rig:
        again = open_rig(place, clock, FakeKeyService())
        again.auditing.checkpoints._keys = again.auditing.checkpoints.marks._keys = keys
        return again

    first = opened()
    append(first, 10)
    first.close()
    shutil.copytree(place, tmp_path / "kept")
    later = opened()
    append(later, 10)
    later.close()
    shutil.rmtree(place)
    (tmp_path / "kept").rename(place)
    old = opened()
    assert found(old) == Finding(11, Fault.TRUNCATED)
    old.auditing.checkpoints.look_back()
    assert [name for name, _ in told(old)] == ["rollback_detected", "epoch_opened"]
    old.close()
    keys.close()
