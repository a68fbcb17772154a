"""The papers: what a patient is given, and the sheet that is kept outside."""

from __future__ import annotations

import html
import re

import pytest

from tests.vault.audit.conftest import Rig, created, patient, person, viewed
from vault.audit.events import Action, Event, Note, Outcome, Subject
from vault.audit.search import Filters
from vault.errors import Forbidden, NotFound
from vault.model import Micros, Role


def test_a_patient_learns_who_came_and_nothing_about_others(rig: Rig) -> None:
    rig.log.record_all([created(1), viewed(4, of=1, by=person(2)), viewed(5, of=2, by=person(3))])
    rig.clock.advance(days=1)
    urgent = Note(reason="<b>voisine du patient", is_breakglass=True)
    rig.log.record(Event(Action.ACCESS_BREAKGLASS, Outcome.SUCCESS, person(4), Subject(patient=patient(1)), urgent))
    paper = str(rig.auditing.patient_report(rig.auditor(), Filters(patient=patient(1)), "Cabinet <des> Tilleuls"))
    assert "MARTIN Zoé 1" in paper
    assert "Cabinet &lt;des&gt; Tilleuls" in paper
    assert paper.index("22 septembre 2026") < paper.index("21 septembre 2026</h2>")
    assert "Dr 2 (soignant)" in paper
    assert "Document consulté" in paper
    assert "Bris de glace" in paper
    for hidden in ("Dr 3", "voisine", "192.0.2.7", patient(1)):
        assert hidden not in paper
    given = rig.auditing.timeline(rig.auditor(), Filters(actions=(Action.PATIENT_REPORT_GIVEN,))).page.items
    assert [line.count for line in given] == [3]
    empty = rig.auditing.patient_report(rig.auditor(), Filters(until=Micros(1), patient=patient(1)), "x").body
    assert "Aucun accès" in empty


def test_only_those_who_may_reveal_or_treat_the_patient_give_the_report(rig: Rig) -> None:
    rig.log.record_all([created(1), created(2)])
    assert "MARTIN" in rig.auditing.patient_report(person(1), Filters(patient=patient(1)), "x").body, "the care team does"
    for actor, about in ((person(1), 2), (person(1, Role.RECEPTION), 1), (person(1, Role.OWNER), 1)):
        with pytest.raises(Forbidden):
            rig.auditing.patient_report(actor, Filters(patient=patient(about)), "x")
    with pytest.raises(NotFound):
        rig.auditing.patient_report(rig.auditor(), Filters(patient=patient(99)), "x")
    with pytest.raises(NotFound):
        rig.auditing.patient_report(rig.auditor(), Filters(), "x")


def test_the_sheet_holds_a_checkpoint_that_still_verifies(rig: Rig) -> None:
    rig.log.record_all([viewed(number) for number in range(10)])
    rig.auditing.verify(rig.auditor())
    paper = str(rig.auditing.sheet(rig.auditor(), "Cabinet des Tilleuls"))
    found = re.search(r"<pre>(.*?)</pre>", paper, re.DOTALL)
    assert found is not None
    rig.log.record(viewed(11))
    kept = rig.auditing.extends(rig.auditor(), html.unescape(found[1]))
    assert kept.size == 12
    assert "<svg" in paper
    assert "journal intact (11 lignes)" in paper
