"""Which index answers which question, on both databases; pages, counts and exports of questions with very many answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text

from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.vault.audit.conftest import Rig, created, document, open_rig, patient, person, viewed
from vault.audit import paths
from vault.audit.auditing import Format
from vault.audit.detect import Detector
from vault.audit.entries import Entry, insert_entries
from vault.audit.events import Action, Event, Outcome
from vault.audit.groups import Flag
from vault.audit.questions import NOISE, QUESTIONS
from vault.audit.search import COUNTED, Filters, Search
from vault.settings import DatabaseSettings

ENTRIES = 12_000
SOMEBODY = person(1).person
TWO = (Action.DOCUMENT_DOWNLOAD, Action.DOCUMENT_PRINT)
REFUSED = (Outcome.DENIED, Outcome.FAILED)

OFFERED = {
    "actor": Filters(actor=SOMEBODY),
    "anonymous": Filters(anonymous="f00d"),
    "patient": Filters(patient=patient(1)),
    "reference": Filters(reference="ab" * 16),
    "document": Filters(document=document(1)),
    "person": Filters(person=SOMEBODY),
    "detector": Filters(detector=Detector.DENIALS),
    "action": Filters(actions=(Action.DOCUMENT_PRINT,)),
    "actions": Filters(actions=TWO),
    **{f"outcome {outcome.value}": Filters(outcomes=(outcome,)) for outcome in Outcome},
    **{f"flag {flag.name}": Filters(flags=flag) for flag in Flag if flag},
    **{f"question {name}": filters for name, filters in QUESTIONS.items()},
    **{f"one person, {name}": replace(filters, actor=SOMEBODY) for name, filters in QUESTIONS.items()},
    "one person's refusals": Filters(actor=SOMEBODY, outcomes=REFUSED),
    "one person's prints": Filters(actor=SOMEBODY, actions=(Action.DOCUMENT_PRINT,)),
    "one person and one patient": Filters(actor=SOMEBODY, patient=patient(1)),
    "one patient's prints": Filters(patient=patient(1), actions=TWO),
    "one document's refusals": Filters(document=document(1), outcomes=REFUSED),
}


def filled(rig: Rig, count: int) -> None:
    """A log of a busy practice, as its index columns show it: mostly one person opening documents of many patients."""
    rig.log.record_all([created(1), viewed(1)])
    blind, start = rig.log.keys().blind, rig.auditing.size()
    known = rig.log.references.find(patient(1))
    assert known is not None
    actors = [blind("actor", f"person {SOMEBODY}"), *[blind("actor", f"person {n}") for n in range(8)]]
    patients = [known.blind, *[blind("patient", str(n)) for n in range(300)]]
    words = [each.value for each in Action]

    def entry(n: int) -> Entry:
        action = words[n // 10 % len(words)] if n % 10 == 0 else "document.view"
        outcome = ("denied", "failed", "partial", "success")[n // 50 % 4] if n % 50 == 7 else "granted"
        who = actors[n % 16 if n % 16 < len(actors) else 0]
        return Entry(
            position=n, leaf=b"-", at=1_790_000_000_000_000 + n, action=action, outcome=outcome, actor_sealed=None,
            subject_sealed=None, client_sealed=None, note_sealed=None, actor_index=who, patient_index=patients[n % 301],
            document_index=blind("document", str(n % 900)), person_index=blind("person", str(n % 9)) if n % 70 == 0 else None,
            flags=n // 40 % 16 if n % 40 == 3 else 0,
            detector_index=blind("detector", str(n % 5)) if action == "audit.alert_raised" else None,
        )  # fmt: skip

    rig.db.write(lambda connection: insert_entries(connection, [entry(n) for n in range(start, start + count)]))
    if not rig.db.is_sqlite:
        rig.sql("ANALYZE audit_entries")


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = open_rig(tmp_path_factory.mktemp("busy"), Clock(), FakeKeyService())
    filled(rig, ENTRIES)
    yield rig
    rig.close()


def explained(rig: Rig, filters: Filters) -> list[tuple[Any, ...]]:
    """The database's plan for a first page."""
    word = "EXPLAIN QUERY PLAN " if rig.db.is_sqlite else "EXPLAIN (FORMAT JSON) "

    def explain(*said: Any) -> tuple[str, Any]:
        return word + said[2], said[3]

    search = Search(rig.log)
    query = search.stretch(search.ways(filters), 0, ENTRIES, is_newest_first=True).rows(51)
    with rig.db.read() as connection:
        sqlalchemy_event.listen(rig.db.engine, "before_cursor_execute", explain, retval=True)
        try:
            return [tuple(row) for row in connection.exec_driver_sql(*_driver(query, connection)).fetchall()]
        finally:
            sqlalchemy_event.remove(rig.db.engine, "before_cursor_execute", explain)


def _driver(query: Any, connection: Any) -> tuple[str, Any]:
    compiled = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    values = compiled.params
    if compiled.positional:
        return compiled.string, tuple(values[name] for name in compiled.positiontup)
    return compiled.string, dict(values)


@pytest.mark.parametrize("name", OFFERED)
def test_every_question_is_one_stretch_of_an_index_on_sqlite(busy: Rig, name: str) -> None:
    said = [row[3] for row in explained(busy, OFFERED[name]) if "audit_entries" in row[3]]
    good = re.compile(r"SEARCH audit_entries USING (COVERING )?INDEX ix_audit_entries_\w+ \(|.*PRIMARY KEY \(rowid=\?\)")
    assert said
    assert not _is_rare(OFFERED[name]) or [line for line in said if not good.match(line)] == []


@pytest.mark.postgresql
def test_every_question_is_one_stretch_of_an_index_on_postgresql(
    postgresql: DatabaseSettings, tmp_path: Path, clock: Clock
) -> None:
    rig = open_rig(tmp_path, clock, FakeKeyService(), postgresql)
    filled(rig, ENTRIES)
    bad: list[tuple[str, str]] = []
    for name, filters in OFFERED.items():
        (plan,) = explained(rig, filters)[0]
        for node in _nodes((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]):
            where = str(node.get("Index Cond", ""))
            whole = node["Node Type"] == "Seq Scan" and node.get("Relation Name") == "audit_entries"
            by_position = node.get("Index Name") == "pk_audit_entries" and "=" not in where.replace(">=", "").replace("<=", "")
            bad += [(name, node["Node Type"])] if (whole or by_position) and _is_rare(filters) else []
    rig.close()
    assert bad == []


def _is_rare(filters: Filters) -> bool:
    """What went well, whoever did it, is most of the log: it is found soonest by reading that backwards."""
    return filters not in [Filters(outcomes=(outcome,)) for outcome in Outcome if outcome not in REFUSED]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)


@pytest.mark.parametrize("name", OFFERED)
def test_ways_find_what_the_filters_say(busy: Rig, name: str) -> None:
    """Disjoint, complete, and in order: the same positions as a plain reading of every row."""
    filters, search = OFFERED[name], Search(busy.log)
    wanted = search.wanted(filters)
    with busy.db.read() as connection:
        every = connection.execute(text("SELECT * FROM audit_entries ORDER BY position")).mappings().all()
        plain = [
            row["position"]
            for row in every
            if all(row[column] == value for column, value in wanted.keyed.items())
            and (not wanted.actions or row["action"] in wanted.actions)
            and (not wanted.outcomes or row["outcome"] in wanted.outcomes)
            and (not wanted.flags or row["flags"] & wanted.flags)
        ]
        found = connection.execute(search.stretch(paths.ways(wanted), 0, len(every)).positions(len(every))).scalars().all()
    assert found == plain
    assert search.count(filters) == min(COUNTED, len(plain))
    rows, more = search.newest(filters, before=None, limit=50)
    assert [row.position for row in rows] == plain[::-1][:50]
    assert more == (len(plain) > 50)


def test_pages_go_on_by_key_and_leave_out_what_is_to_be_left_out(busy: Rig) -> None:
    search, before, seen = Search(busy.log), None, []
    while True:
        rows, more = search.newest(QUESTIONS["log"], before=before, limit=40, without=NOISE)
        seen += [row.position for row in rows]
        if not more:
            break
        before = rows[-1].position
    assert seen == sorted(set(seen), reverse=True)
    assert search.count(QUESTIONS["log"], without=NOISE) == len(seen)
    assert search.count(QUESTIONS["log"]) == len(seen) + search.passed_over(QUESTIONS["log"], NOISE, 0, None)
    assert search.newest(Filters(actions=NOISE), before=None, limit=5, without=NOISE) == ([], False)


def test_counting_ends_where_the_page_says_more_than(busy: Rig) -> None:
    assert Search(busy.log).count(Filters(actions=(Action.DOCUMENT_VIEW,))) == COUNTED
    assert Search(busy.log).count(Filters()) == COUNTED
    assert Search(busy.log).count(Filters(), start=5, end=12) == 7


def test_an_export_of_very_many_answers_is_streamed_page_by_page(rig: Rig) -> None:
    rig.log.record_all([created(1)])
    for start in range(0, 4_500, 1_500):
        rig.log.record_all([viewed(n, by=person(n % 2 + 1)) for n in range(start, start + 1_500)])
    rig.log.record(Event(Action.ACCESS_DENIED, Outcome.DENIED, person(1)))
    asked = Filters(actions=(Action.DOCUMENT_VIEW, Action.ACCESS_DENIED, Action.DOCUMENT_PRINT))
    chunks = list(rig.auditing.export(rig.auditor(), asked, Format.CSV).chunks)
    assert len(chunks) >= 5, "a chunk for each page, none of them the whole"
    lines = b"".join(chunks).decode("utf-8-sig").splitlines()
    assert len(lines) == 1 + 4_501 + 1 + 1
    numbers = [int(line.partition(";")[0]) for line in lines[1:-1]]
    assert numbers == sorted(set(numbers))
