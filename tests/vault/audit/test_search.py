"""Reading the log: who may read which part, filters, pages."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy import event as sqlalchemy_event

from tests.vault.audit.conftest import Rig, created, document, patient, person, viewed
from vault.audit.events import Action, Anonymous, Event, Note, Outcome, Subject
from vault.audit.groups import Flag
from vault.audit.lines import Line
from vault.audit.period import parse_period
from vault.audit.questions import QUESTIONS
from vault.audit.search import Filters, Search
from vault.errors import Forbidden, Invalid
from vault.model import Actor, Client, Micros, Role


def ask(rig: Rig, by: Actor | None = None, /, **filters: Any) -> list[Line]:
    timeline = rig.auditing.timeline(by or rig.auditor(), Filters(**filters), limit=500)
    return list(timeline.page.items)


def views(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line.action is Action.DOCUMENT_VIEW]


def test_newest_first_in_pages_without_gap_or_repeat(rig: Rig) -> None:
    rig.log.record_all([viewed(number) for number in range(30)])
    seen: list[int] = []
    before = None
    while True:
        timeline = rig.auditing.timeline(rig.auditor(), Filters(), before=before, limit=7)
        seen += [line.position for line in timeline.page.items]
        before = timeline.next_before
        if before is None:
            break
    assert seen == list(range(31, -1, -1))


def test_who_saw_a_patient_between_two_dates(rig: Rig) -> None:
    rig.log.record_all([created(1), created(2)])
    for day in range(10):
        rig.clock.advance(days=1)
        rig.log.record(viewed(day, of=1 + day % 2, by=person(day)))
    start = rig.clock.now - 4 * 86_400_000_000
    lines = views(ask(rig, patient=patient(2), since=Micros(start), until=Micros(rig.clock.now + 1)))
    assert [line.actor_name for line in lines] == ["Dr 9", "Dr 7", "Dr 5"]
    assert {line.patient_ref for line in lines} != {patient(2)}, "auditors see a reference, not the record's id"
    again = views(ask(rig, reference=lines[0].patient_ref))
    assert len(again) == 5


@pytest.mark.parametrize(
    ("filters", "positions"),
    [
        ({"actor": person(2).person}, [4, 2]),
        ({"document": document(3)}, [3]),
        ({"actions": (Action.PATIENT_CREATE,)}, [1]),
        ({"outcomes": (Outcome.DENIED,)}, [6, 5]),
        ({"flags": Flag.BREAKGLASS | Flag.OUTSIDE_TEAM}, [7]),
        ({"person": person(5).person}, [8]),
        ({"anonymous": "f00d"}, [6]),
        ({"patient": patient(99)}, []),
    ],
)
def test_filters(rig: Rig, filters: dict[str, Any], positions: list[int]) -> None:
    rig.log.record_all(
        [
            created(1),
            viewed(2, by=person(2)),
            viewed(3, by=person(3)),
            viewed(4, by=person(2)),
            Event(Action.ACCESS_DENIED, Outcome.DENIED, person(4)),
            Event(Action.AUTH_LOGIN, Outcome.DENIED, Anonymous("f00d", is_known=True, client=Client("192.0.2.1"))),
            Event(
                Action.ACCESS_BREAKGLASS,
                Outcome.SUCCESS,
                person(4),
                Subject(patient=patient(1)),
                Note(relation=("outside_team",)),
            ),
            Event(Action.USER_DISABLE, Outcome.SUCCESS, person(6), Subject(person=person(5).person)),
        ]
    )
    assert [line.position for line in ask(rig, **filters) if line.position < 9] == positions


def test_reading_the_log_is_an_event(rig: Rig) -> None:
    ask(rig)
    ask(rig, document=document(1))
    newest = ask(rig)
    assert [line.action for line in newest[:3]] == [Action.AUDIT_VIEW, Action.AUDIT_SEARCH, Action.AUDIT_VIEW]
    assert newest[1].document == document(1)


def test_a_clinician_reads_their_own_accesses_and_their_patients(rig: Rig) -> None:
    rig.log.record_all([viewed(1, of=1, by=person(1)), viewed(2, of=1, by=person(2)), viewed(3, of=2, by=person(2))])
    assert {line.actor_ref for line in ask(rig, person(1))} == {person(1).person}
    assert len(views(ask(rig, person(1), patient=patient(1)))) == 2
    assert views(ask(rig, person(1), patient=patient(2))) == []
    with pytest.raises(Invalid):
        ask(rig, person(1), actor=person(2).person)


def test_reception_reads_only_their_own(rig: Rig) -> None:
    reception = person(4, Role.RECEPTION)
    rig.log.record_all([viewed(1, of=1, by=person(1)), created(2, by=reception)])
    assert {line.actor_ref for line in ask(rig, reception, patient=patient(1))} <= {reception.person}


def test_a_technical_admin_reads_technical_events_only(rig: Rig) -> None:
    admin = person(5, Role.ADMIN)
    rig.log.record_all([viewed(1), Event(Action.KEY_ROTATE, Outcome.SUCCESS, admin)])
    assert {line.action for line in ask(rig, admin)} == {Action.LOG_GENESIS, Action.KEY_ROTATE}
    with pytest.raises(Forbidden):
        ask(rig, admin, actions=(Action.DOCUMENT_VIEW,))


def test_periods_are_local_days_the_last_one_included() -> None:
    since, until = parse_period("2026-03-28", "2026-03-29")
    assert since is not None
    assert until is not None
    assert until - since == 47 * 3_600_000_000, "the night of the change to summer time has an hour less"
    with pytest.raises(Invalid):
        parse_period("28/03/2026", None)
    with pytest.raises(Invalid):
        Filters(since=Micros(2), until=Micros(1))


SYNTHETIC = """
    INSERT INTO audit_entries (position, leaf, at, action, outcome, actor_index, patient_index, flags)
    WITH RECURSIVE numbers(n) AS (SELECT {0} UNION ALL SELECT n + 1 FROM numbers WHERE n < {1})
    SELECT n, x'00', 1790000000000000 + n, CASE n % 50 WHEN 0 THEN 'document.download' ELSE 'document.view' END, 'granted',
           x'{2}', x'{3}', 0 FROM numbers"""


def steps_for(rig: Rig, filters: Filters) -> int:
    """How many hundreds of instructions SQLite needs for a page: they do not depend on how busy the machine is."""
    steps = [0]

    def tick() -> int:
        steps[0] += 1
        return 0

    def watch(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(tick, 100)

    sqlalchemy_event.listen(rig.db.engine, "begin", watch)
    try:
        rows, _ = Search(rig.log).newest(filters, before=None, limit=50)
    finally:
        sqlalchemy_event.remove(rig.db.engine, "begin", watch)
    assert len(rows) <= 50
    return steps[0]


def test_a_page_costs_the_same_however_many_entries_match(rig: Rig) -> None:
    """Measured by hand up to ten million : the same steps."""
    rig.log.record_all([created(1), viewed(1)])
    actor = rig.log.keys().blind("actor", f"person {person(1).person}").hex()
    known = rig.log.references.find(patient(1))
    assert known is not None
    asked = [
        Filters(),
        Filters(actor=person(1).person),
        Filters(patient=patient(1)),
        Filters(actions=(Action.DOCUMENT_VIEW, Action.DOCUMENT_DOWNLOAD)),
        Filters(patient=patient(1), actions=(Action.DOCUMENT_VIEW,)),
        Filters(outcomes=(Outcome.GRANTED,)),
        Filters(since=Micros(1)),
        QUESTIONS["refused"],
        QUESTIONS["outside"],
        QUESTIONS["related"],
    ]
    rig.sql(SYNTHETIC.format(rig.auditing.size(), 3_000, actor, known.blind.hex()))
    few = [steps_for(rig, filters) for filters in asked]
    rig.sql(SYNTHETIC.format(3_001, 60_000, actor, known.blind.hex()))
    many = [steps_for(rig, filters) for filters in asked]
    assert [after for before, after in zip(few, many, strict=True) if after > before + 20] == [], (few, many)
