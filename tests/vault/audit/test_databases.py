"""The same log on SQLite and on PostgreSQL: every statement of the room runs on both."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.vault.audit.conftest import Rig, created, open_rig, patient, person, viewed
from vault.audit import offline
from vault.audit.auditing import Format
from vault.audit.detect import Detector
from vault.audit.events import Action, Event, Note, Outcome, Subject, System
from vault.audit.groups import Flag
from vault.audit.incidents import Incidents
from vault.audit.keeper import Keeper, this_run
from vault.audit.retention import Durations
from vault.audit.review import Judgement
from vault.audit.search import Filters
from vault.audit.verify import Fault
from vault.errors import Forbidden, NotFound
from vault.model import DocumentId, Micros
from vault.settings import DatabaseSettings


@pytest.fixture
def two(databases: DatabaseSettings, tmp_path: Path, clock: Clock) -> Iterator[tuple[Rig, Rig]]:
    """Two processes' worth of connections to one log."""
    keys = FakeKeyService()
    rigs = open_rig(tmp_path, clock, keys, databases), open_rig(tmp_path, clock, keys, databases)
    yield rigs
    for rig in rigs:
        rig.close()


def test_the_story_of_a_log(two: tuple[Rig, Rig]) -> None:
    rig, other = two
    rig.log.record_all([created(1), created(2)])
    for number in range(30):
        (rig if number % 2 else other).log.record(viewed(number, of=1 + number % 2, by=person(number % 3)))
    rig.log.record_all([Event(Action.LOG_HEARTBEAT, Outcome.SUCCESS, System("web")) for _ in range(300)])
    kept = rig.auditing.checkpoint(rig.auditor()).note
    assert other.auditing.verify(other.auditor()).is_whole
    assert len(rig.auditing.timeline(rig.auditor(), Filters(patient=patient(1)), limit=500).page.items) == 17, (
        "the search is an entry about the patient too"
    )
    assert rig.auditing.timeline(rig.auditor(), Filters(flags=Flag.BREAKGLASS)).page.items == ()
    assert rig.auditing.timeline(rig.auditor(), Filters(until=Micros(1))).page.items == ()
    for form in Format:
        assert b"".join(rig.auditing.export(rig.auditor(), Filters(), form).chunks)
    data = b"".join(other.auditing.export(rig.auditor(), Filters(patient=patient(1)), Format.BUNDLE).chunks)
    assert offline.Bundle(io.BytesIO(data), offline.read_trust(rig.auditing.trust()), None).verify().kind == "patient"
    assert rig.auditing.forget(rig.auditor(), patient(2)) is not None
    rig.clock.advance(days=500)
    rig.log.record(viewed(1))
    assert rig.auditing.retention.purge(System("upkeep"), Durations()) is not None
    assert other.auditing.verify(other.auditor()).is_whole
    rig.auditing.extends(rig.auditor(), kept)


def test_two_processes_write_at_once(two: tuple[Rig, Rig]) -> None:
    def write(rig: Rig, who: int) -> None:
        for number in range(40):
            rig.log.record(viewed(number, of=number % 3, by=person(who)))

    threads = [threading.Thread(target=write, args=(rig, who)) for who in range(4) for rig in two]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = two[0].auditing.verify(two[0].auditor())
    assert verdict.is_whole
    assert verdict.size == 321


def test_a_row_deleted_by_hand_is_named(two: tuple[Rig, Rig]) -> None:
    rig, other = two
    rig.log.record_all([viewed(number) for number in range(20)])
    rig.db.write(lambda connection: connection.execute(text("DELETE FROM audit_entries WHERE position = 7")).rowcount)
    found = other.auditing.verify(other.auditor()).first_bad
    assert found is not None
    assert (found.index, found.kind) == (7, Fault.MISSING)


def test_a_serving_process_says_when_it_starts_and_stops(two: tuple[Rig, Rig]) -> None:
    rig, other = two
    rig.auditing.serve("web", lambda error: None)
    rig.auditing.close()
    dead = this_run("web")
    dead = type(dead)(dead.id, dead.source, dead.host, "999999999.1")
    Keeper(other.log, other.auditing.checkpoints, dead, lambda error: None)._try_to_start()  # a dead process has no thread
    other.auditing.serve("web", lambda error: None)
    actions = [line.action for line in rig.auditing.timeline(rig.auditor(), Filters()).page.items][::-1]
    assert actions[:6] == [
        Action.LOG_GENESIS,
        Action.SYSTEM_START,
        Action.SYSTEM_STOP,
        Action.SYSTEM_START,
        Action.SYSTEM_UNCLEAN_START,
        Action.SYSTEM_START,
    ]


def test_an_incident_is_told_by_the_log_alone(two: tuple[Rig, Rig]) -> None:
    rig, other = two
    wrong, paper, op = Subject(patient(1), DocumentId("d" * 32)), DocumentId("d" * 32), "e" * 32
    moved = Event(Action.DOCUMENT_REFILE, Outcome.SUCCESS, person(2), wrong, Note(reason="Homonyme"), op=op)
    drafted = Event(Action.AUDIT_ALERT_RAISED, Outcome.SUCCESS, System("refiling"), wrong, Note(code=Detector.MISFILED), op=op)
    rig.log.record_all([created(1), created(2)])
    rig.log.record(Event(Action.DOCUMENT_DOWNLOAD, Outcome.GRANTED, person(0), Subject(patient(2), paper)))
    rig.log.record(Event(Action.DOCUMENT_UPLOAD, Outcome.SUCCESS, person(1), wrong))
    rig.log.record(Event(Action.DOCUMENT_VIEW, Outcome.GRANTED, person(0), wrong))
    rig.log.record(Event(Action.DOCUMENT_PRINT, Outcome.DENIED, person(3), wrong))
    rig.log.record(Event(Action.DOCUMENT_PRINT, Outcome.GRANTED, person(2), wrong))
    assert Incidents(rig.log).readers(paper, patient(1), person(2).person) == ((person(0).person,), (person(2).person,))
    assert Incidents(rig.log).readers(paper, patient(2), person(2).person) == ((person(0).person,), (person(0).person,))
    raised = rig.log.record_all([moved, drafted])[1]
    draft = other.auditing.incident(other.auditor(), raised.position)
    assert [(line.actor_ref, line.action) for line in draft.accesses] == [
        (person(0).person, Action.DOCUMENT_VIEW),
        (person(2).person, Action.DOCUMENT_PRINT),
    ]
    assert draft.filed is not None
    assert draft.corrected is not None
    assert (draft.filed.actor_ref, draft.corrected.reason, draft.closed) == (person(1).person, "Homonyme", None)
    rig.auditing.close_alert(rig.auditor(), raised.event, Judgement.BREACH, "une copie est perdue")
    closed = other.auditing.incident(other.auditor(), raised.position).closed
    assert closed is not None
    assert (closed.code, closed.reason) == ("breach", "une copie est perdue")
    for position, reader, refusal in ((raised.position - 1, rig.auditor(), NotFound), (raised.position, person(1), Forbidden)):
        with pytest.raises(refusal):
            rig.auditing.incident(reader, position)
