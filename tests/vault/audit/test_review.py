"""Detectors, the queue of alerts, the monthly sample."""

from __future__ import annotations

import io
from contextlib import closing
from dataclasses import replace
from datetime import date

import pytest

from tests.vault.audit.conftest import Rig, created, document, patient, person, viewed
from vault.audit import offline
from vault.audit.auditing import Format
from vault.audit.detect import Detector
from vault.audit.events import Action, Anonymous, Event, Note, Outcome, Subject, System
from vault.audit.review import Judgement
from vault.audit.search import Filters
from vault.audit.verify import Fault
from vault.errors import Conflict, Forbidden, Invalid, NotFound
from vault.model import Actor, Client, EventId, Role

MONDAY_NOON = 1_790_000_000_000_000 - 3 * 3_600_000_000
"""21 September 2026, 12:33 in Paris."""


@pytest.fixture
def quiet(rig: Rig) -> Rig:
    """A working day with a known past: everybody was here yesterday, with their own workstation."""
    rig.clock.now = MONDAY_NOON - 86_400_000_000 * 3
    for number in range(6):
        rig.log.record(viewed(number, of=number, by=at_work(number)))
    rig.clock.now = MONDAY_NOON
    rig.log.record(Event(Action.SYSTEM_START, Outcome.SUCCESS, System("web")))
    return rig


def at_work(number: int, session: str = "yesterday") -> Actor:
    return replace(person(number), session=session)


def alerts(rig: Rig) -> list[tuple[str, int | None]]:
    rig.auditing.review.run()
    return [(alert.line.code, alert.line.count) for alert in rig.auditing.alerts(rig.auditor())]


def denied(number: int) -> Event:
    return Event(Action.ACCESS_DENIED, Outcome.DENIED, at_work(1, "today"), Subject(document=document(number)))


def failed(number: int, ip: str = "192.0.2.9", name: str = "") -> Event:
    return Event(Action.AUTH_LOGIN, Outcome.DENIED, Anonymous(name or f"name{number}", client=Client(ip)))


def grants_themselves() -> Event:
    return Event(Action.ROLE_GRANT, Outcome.SUCCESS, at_work(1, "today"), Subject(person=person(1).person))


def reads(number: int, *relation: str) -> Event:
    return replace(viewed(number, by=at_work(1, "today")), note=Note(relation=relation))


def takes(number: int) -> Event:
    return replace(reads(number), action=Action.DOCUMENT_DOWNLOAD)


CASES: list[tuple[Detector, list[Event], list[Event]]] = [
    (
        Detector.MASS_ACCESS,
        [viewed(n, of=n, by=at_work(1, "today")) for n in range(30)],
        [viewed(31, of=31, by=at_work(1, "today"))],
    ),
    (Detector.MASS_DOWNLOAD, [takes(n) for n in range(19)], [takes(20)]),
    (Detector.OUTSIDE_TEAM, [reads(1)], [reads(2, "outside_team")]),
    (Detector.RELATION, [reads(1)], [reads(2, "same_surname")]),
    (Detector.SENSITIVE, [reads(1)], [reads(2, "sensitive")]),
    (Detector.ACCOUNT_FAILURES, [failed(n, name="x") for n in range(4)], [failed(5, name="x")]),
    (Detector.SOURCE_FAILURES, [failed(n) for n in range(9)], [failed(10)]),
    (Detector.SELF_GRANT, [], [grants_themselves()]),
    (Detector.DENIALS, [denied(n) for n in range(9)], [denied(10)]),
    (
        Detector.INTEGRITY,
        [],
        [Event(Action.DOCUMENT_INTEGRITY_FAILURE, Outcome.FAILED, System("scrub"), Subject(document=document(1)))],
    ),
    (Detector.CLOCK, [], [Event(Action.SYSTEM_CLOCK_STEP, Outcome.SUCCESS, System("clock"))]),
]


@pytest.mark.parametrize(("detector", "below", "over"), CASES, ids=[case[0].value for case in CASES])
def test_a_detector_fires_at_its_threshold_and_not_below(
    quiet: Rig, detector: Detector, below: list[Event], over: list[Event]
) -> None:
    if below:
        quiet.log.record_all(below)
    assert detector.value not in [code for code, _ in alerts(quiet)]
    quiet.log.record_all(over)
    assert [code for code, _ in alerts(quiet)].count(detector.value) == 1
    assert [code for code, _ in alerts(quiet)].count(detector.value) == 1, "the same matter once a day"


def test_after_hours(quiet: Rig) -> None:
    quiet.log.record(reads(1))
    assert alerts(quiet) == []
    for _ in range(20):
        quiet.clock.advance(minutes=29)
        quiet.log.record(Event(Action.LOG_HEARTBEAT, Outcome.SUCCESS, System("web")))
    quiet.log.record(reads(2))
    assert (Detector.AFTER_HOURS.value, 1) in alerts(quiet)


def test_a_new_device(quiet: Rig) -> None:
    elsewhere = replace(at_work(1, "today"), client=Client("198.51.100.1", "Curl", "inconnu"))
    quiet.log.record_all([viewed(n, by=elsewhere) for n in range(10)])
    assert alerts(quiet) == []
    quiet.log.record(viewed(11, by=elsewhere))
    assert alerts(quiet) == [("new_device", 11)]


def test_a_dormant_account_and_a_silent_log(quiet: Rig) -> None:
    quiet.clock.advance(days=100)
    quiet.log.record(viewed(1, by=at_work(1, "later")))
    codes = [code for code, _ in alerts(quiet)]
    assert "dormant" in codes


def test_what_is_usual_for_somebody_raises_no_alert(quiet: Rig) -> None:
    for _ in range(8):
        quiet.clock.advance(days=1)
        quiet.log.record_all([viewed(n, of=n, by=at_work(1, "routine")) for n in range(25)])
    quiet.clock.advance(minutes=15)
    quiet.log.record_all([viewed(n, of=n, by=at_work(1, "routine")) for n in range(60)])
    assert "mass_access" not in [code for code, _ in alerts(quiet)]


def test_what_an_emergency_access_opens_is_reviewed_with_it_and_not_once_more(quiet: Rig) -> None:
    in_emergency = Note(relation=("outside_team",), is_breakglass=True)
    quiet.log.record_all([created(1), replace(reads(2), note=in_emergency)])
    assert "outside_team" not in [code for code, _ in alerts(quiet)]


def test_an_alert_is_closed_with_a_reason_and_once(quiet: Rig) -> None:
    quiet.log.record_all([created(1), reads(2, "outside_team")])
    quiet.auditing.review.run()
    reviewer = quiet.auditor()
    (alert,) = quiet.auditing.alerts(reviewer)
    assert alert.line.code == "outside_team"
    assert alert.line.person_name == "Dr 1"
    with pytest.raises(Invalid):
        quiet.auditing.close_alert(reviewer, EventId(alert.line.id), Judgement.JUSTIFIED, " ")
    with pytest.raises(NotFound):
        quiet.auditing.close_alert(reviewer, EventId("0" * 32), Judgement.JUSTIFIED, "remplacement")
    with pytest.raises(Forbidden):
        quiet.auditing.close_alert(person(1), EventId(alert.line.id), Judgement.JUSTIFIED, "remplacement")
    quiet.auditing.close_alert(reviewer, EventId(alert.line.id), Judgement.UNJUSTIFIED, "aucun motif de soin")
    assert quiet.auditing.alerts(reviewer) == ()
    with pytest.raises(Conflict):
        quiet.auditing.close_alert(reviewer, EventId(alert.line.id), Judgement.JUSTIFIED, "remplacement")
    closed = quiet.auditing.timeline(reviewer, Filters(actions=(Action.AUDIT_ALERT_CLOSED,))).page.items[0]
    assert (closed.ref, closed.code, closed.reason) == (alert.line.id, "unjustified", "aucun motif de soin")


def two_alerts(rig: Rig) -> Actor:
    rig.log.record_all([created(1), reads(2, "outside_team"), grants_themselves()])
    rig.auditing.review.run()
    return rig.auditor()


def of(rig: Rig, detector: Detector) -> list[str]:
    page = rig.auditing.timeline(rig.auditor(), Filters(detector=detector)).page
    return [line.code for line in page.items]


def test_alerts_are_found_by_their_detector_in_the_queue_the_log_and_exports(quiet: Rig) -> None:
    reviewer = two_alerts(quiet)
    assert quiet.auditing.waiting(reviewer) == {Detector.OUTSIDE_TEAM: 1, Detector.SELF_GRANT: 1}
    assert [each.line.code for each in quiet.auditing.alerts(reviewer, Detector.SELF_GRANT)] == ["self_grant"]
    assert quiet.auditing.alerts(reviewer, Detector.CLOCK) == ()
    (alert,) = quiet.auditing.alerts(reviewer, Detector.OUTSIDE_TEAM)
    quiet.auditing.close_alert(reviewer, EventId(alert.line.id), Judgement.JUSTIFIED, "remplacement")
    assert quiet.auditing.waiting(reviewer) == {Detector.SELF_GRANT: 1}
    assert of(quiet, Detector.OUTSIDE_TEAM) == ["outside_team"], "judged ones included"
    assert of(quiet, Detector.CLOCK) == []
    made = quiet.auditing.export(reviewer, Filters(detector=Detector.SELF_GRANT), Format.CSV)
    rows = b"".join(made.chunks).decode("utf-8-sig").splitlines()
    assert [row.split(";")[3] for row in rows[1:-1]] == ["audit.alert_raised", "audit.export"]
    bundle = b"".join(quiet.auditing.export(reviewer, Filters(detector=Detector.SELF_GRANT), Format.BUNDLE).chunks)
    found = offline.Bundle(io.BytesIO(bundle), offline.read_trust(quiet.auditing.trust()), None).verify()
    assert (found.kind, found.count) == ("selection", 2)


def test_alerts_of_an_earlier_program_are_named_when_somebody_asks(quiet: Rig) -> None:
    two_alerts(quiet)
    unnamed = "UPDATE audit_entries SET detector_index = x'' WHERE action = 'audit.alert_raised'"
    quiet.sql(unnamed)
    assert of(quiet, Detector.SELF_GRANT) == ["self_grant"]
    quiet.sql(unnamed)
    with closing(quiet.reopened()) as again:
        assert again.auditing.waiting(again.auditor()) == {Detector.OUTSIDE_TEAM: 1, Detector.SELF_GRANT: 1}
    quiet.sql(unnamed)
    assert quiet.auditing.verify(quiet.auditor()).is_whole


@pytest.mark.parametrize("value", ["NULL", "x'00'", "(SELECT actor_index FROM audit_entries LIMIT 1)"])
def test_an_alert_hidden_from_its_detector_is_found_out(quiet: Rig, value: str) -> None:
    two_alerts(quiet)
    assert quiet.auditing.verify(quiet.auditor()).is_whole
    quiet.sql(f"UPDATE audit_entries SET detector_index = {value} WHERE action = 'audit.alert_raised'")
    bad = quiet.auditing.verify(quiet.auditor()).first_bad
    assert bad is not None
    assert bad.kind is Fault.COLUMNS


def test_the_queue_goes_on_where_it_was_and_starts_again_behind_a_rewound_log(quiet: Rig) -> None:
    reviewer = two_alerts(quiet)
    assert sum(quiet.auditing.waiting(reviewer).values()) == 2
    quiet.clock.advance(days=2)
    quiet.log.record(reads(3, "outside_team"))
    quiet.auditing.review.run()
    assert quiet.auditing.waiting(reviewer)[Detector.OUTSIDE_TEAM] == 2
    quiet.sql("DELETE FROM audit_entries WHERE position > 9")
    assert sum(quiet.auditing.waiting(reviewer).values()) < 3


def test_the_monthly_sample_is_the_same_for_everybody_and_is_ticked(quiet: Rig) -> None:
    quiet.log.record_all([viewed(number, of=number % 5, by=at_work(number % 4, "today")) for number in range(80)])
    month = date(2026, 9, 1)
    drawn = quiet.auditing.sample(quiet.auditor(), month)
    assert len(drawn) == 20
    assert [each.line.id for each in drawn] == [each.line.id for each in quiet.auditing.sample(quiet.auditor(), month)]
    assert all(each.judgement is None for each in drawn)
    chosen = EventId(drawn[3].line.id)
    quiet.auditing.judge_sampled(quiet.auditor(), month, chosen, Judgement.JUSTIFIED, "consultation du jour")
    again = quiet.auditing.sample(quiet.auditor(Role.OWNER), month)
    assert [each.judgement for each in again].count(Judgement.JUSTIFIED) == 1
    with pytest.raises(NotFound):
        quiet.auditing.judge_sampled(quiet.auditor(), month, EventId("0" * 32), Judgement.JUSTIFIED, "consultation")
    assert quiet.auditing.sample(quiet.auditor(), date(2026, 12, 1)) == ()
    assert patient(1) not in {each.line.patient_ref for each in drawn}
