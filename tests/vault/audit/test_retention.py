"""What expires and what is erased can't be read any more; every proof stands, and no absence goes unexplained."""

from __future__ import annotations

import io
from typing import Any

import pytest
from sqlalchemy import text

from tests.vault.audit.conftest import Rig, created, patient, person, viewed
from vault.audit import offline
from vault.audit.auditing import Format
from vault.audit.events import Action, Event, Outcome, System
from vault.audit.keeper import HOUR_S, LOOK_S, PURGE_S, Keeper, this_run
from vault.audit.retention import Durations, months_before
from vault.audit.search import Filters
from vault.audit.verify import Fault
from vault.errors import Invalid
from vault.upkeep import staging

ROBOT = System("upkeep")


def judged(rig: Rig, **filters: Any) -> offline.Verdict:
    data = b"".join(rig.auditing.export(rig.auditor(), Filters(**filters), Format.BUNDLE).chunks)
    return offline.Bundle(io.BytesIO(data), offline.read_trust(rig.auditing.trust()), None).verify()


def two_years(rig: Rig) -> None:
    """Old entries, then thirteen months later new ones."""
    for number in range(20):
        rig.log.record(viewed(number, of=number % 3))
        rig.log.record(Event(Action.LOG_HEARTBEAT, Outcome.SUCCESS, ROBOT))
    rig.clock.advance(days=400)
    for number in range(5):
        rig.log.record(viewed(number, of=number % 3))


def test_a_purge_empties_what_has_expired_and_nothing_else(rig: Rig) -> None:
    two_years(rig)
    kept = rig.auditing.checkpoint(rig.auditor()).note
    assert rig.auditing.retention.purge(ROBOT, Durations()) is not None
    lines = list(rig.auditing.timeline(rig.auditor(), Filters(), limit=500).page.items)[::-1]
    old_view, old_beat, new_view = lines[1], lines[2], next(line for line in lines[41:] if line.action is Action.DOCUMENT_VIEW)
    assert (old_view.ip, old_view.actor_ref) == ("", person(1).person)
    assert (old_beat.action, old_beat.actor_kind) == (Action.LOG_HEARTBEAT, "")
    assert new_view.ip == "192.0.2.7"
    verdict = rig.auditing.verify(rig.auditor())
    assert verdict.is_whole
    assert verdict.withheld > 20
    rig.auditing.extends(rig.auditor(), kept)
    assert judged(rig).kind == "whole"
    assert rig.auditing.retention.purge(ROBOT, Durations()) is None, "nothing more has expired"


def test_what_is_emptied_beyond_the_purge_is_found(rig: Rig) -> None:
    two_years(rig)
    rig.auditing.retention.purge(ROBOT, Durations())
    rig.db.write(lambda c: c.execute(text("UPDATE audit_entries SET client_sealed = NULL WHERE position = 43")).rowcount)
    found = rig.auditing.verify(rig.auditor())
    assert found.first_bad is not None
    assert (found.first_bad.index, found.first_bad.kind) == (43, Fault.GROUP)


def test_the_keeper_purges_once_a_day_by_itself(rig: Rig) -> None:
    two_years(rig)
    done: list[object] = []

    def purge() -> None:
        done.append(rig.auditing.retention.purge(ROBOT, Durations()))

    keeper = Keeper(rig.log, rig.auditing.checkpoints, this_run("test"), lambda _error: None, purge=purge)
    keeper.tick(LOOK_S)
    assert [receipt is not None for receipt in done] == [True], "soon after the start: servers are restarted every night"
    keeper.tick(PURGE_S - 1)
    assert len(done) == 1
    keeper.tick(1)
    assert [receipt is not None for receipt in done] == [True, False]


def test_the_keeper_does_another_room_s_chore_once_an_hour(rig: Rig) -> None:
    done: list[int] = []
    here = this_run("test")
    keeper = Keeper(rig.log, rig.auditing.checkpoints, here, lambda _error: None, hourly=lambda: done.append(1))
    for seconds, times in ((LOOK_S, 1), (HOUR_S - 1, 1), (1, 2)):
        keeper.tick(seconds)
        assert len(done) == times


def test_access_events_are_kept_three_years_at_least() -> None:
    with pytest.raises(Invalid):
        Durations(access_years=2)
    assert Durations().access_years == 20


def test_months_are_calendar_months() -> None:
    march_31 = 1_774_951_200_000_000
    assert months_before(march_31, 1) == 1_772_272_800_000_000, "28 February, the same hour"


def test_an_erased_patient_cannot_be_read_by_anybody_and_all_proofs_stand(rig: Rig) -> None:
    rig.log.record_all([created(1), created(2), *[viewed(number, of=1 + number % 2) for number in range(20)]])
    before = rig.auditing.checkpoint(rig.auditor()).note
    reference = next(line.patient_ref for line in rig.auditing.timeline(rig.auditor(), Filters(patient=patient(1))).page.items)
    receipt = rig.auditing.forget(rig.auditor(), patient(1))
    assert receipt is not None
    assert rig.auditing.forget(rig.auditor(), patient(1)) is None
    again = rig.reopened()
    lines = again.auditing.timeline(again.auditor(), Filters(), limit=500).page.items
    assert reference not in {line.patient_ref for line in lines}
    assert len([line for line in lines if line.is_subject_erased]) == 12
    assert len([line for line in lines if line.action is Action.DOCUMENT_VIEW and line.document]) == 10, "the other patient's"
    assert again.auditing.verify(again.auditor()).is_whole
    again.auditing.extends(again.auditor(), before)
    assert judged(again).kind == "whole"
    assert judged(again, actor=person(1).person).kind == "actor"
    again.close()


def test_a_lost_salt_without_an_erasure_is_found(rig: Rig) -> None:
    rig.log.record_all([created(1), viewed(1, of=1)])
    rig.keyring.write(lambda c: c.execute(text("DELETE FROM log_salts")).rowcount)
    again = rig.reopened()
    found = again.auditing.verify(again.auditor())
    again.close()
    assert found.first_bad is not None
    assert (found.first_bad.index, found.first_bad.kind) == (1, Fault.GROUP)


def test_a_restore_tells_of_no_erasure_that_the_log_told_of(rig: Rig) -> None:
    """However many pages the log's own words fill."""
    rig.log.record_all([created(number) for number in range(6)])
    for number in range(5):
        rig.auditing.forget(rig.auditor(), patient(number))
    rig.log.references.forget(patient(5))
    silent = list(staging._silent(rig.log, page=2))
    assert [count for _, count in silent] == [1], "the one whose salt went without a word"
