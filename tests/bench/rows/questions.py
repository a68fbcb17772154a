"""The first page of what auditors ask, in a log and in one ten times as long. Entries hold no more than their index columns."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import text

from tests.bench.measure import Figure, seconds
from tests.bench.sizes import sized
from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.vault.audit.conftest import Rig, created, open_rig, patient, person, viewed
from vault.audit.events import Action, Outcome
from vault.audit.questions import NOISE, QUESTIONS
from vault.audit.search import Filters, Search
from vault.storage.schema import audit_entries

LARGE = sized("QUESTIONS", 200_000, 10_000_000)
TIMES = 30
MOST_MS = 50.0
SOMEBODY = person(1).person
ASKED = {
    "everything": Filters(),
    "one person": Filters(actor=SOMEBODY),
    "one person's refusals": Filters(actor=SOMEBODY, outcomes=(Outcome.DENIED, Outcome.FAILED)),
    "one person's prints (none)": Filters(actor=SOMEBODY, actions=(Action.DOCUMENT_PRINT,)),
    "one patient": Filters(patient=patient(1)),
    "failed sign-ins": QUESTIONS["signin"],
    "outside the care team": QUESTIONS["outside"],
    "refusals": QUESTIONS["refused"],
    "documents opened": QUESTIONS["opened"],
    "accounts and rights": QUESTIONS["rights"],
}
_ROWS = """
    INSERT INTO audit_entries (position, leaf, at, action, outcome, actor_index, patient_index, flags)
    WITH RECURSIVE numbers(n) AS (SELECT {start} UNION ALL SELECT n + 1 FROM numbers WHERE n < {end} - 1)
    SELECT n, x'00', 1790000000000000 + n,
           CASE n % 50 WHEN 0 THEN 'auth.login' WHEN 1 THEN 'document.download' ELSE 'document.view' END,
           CASE WHEN n % 1000 = 0 AND n < {rare} THEN 'denied' ELSE 'granted' END,
           x'{actor}', CASE n % 200 WHEN 0 THEN x'{patient}' ELSE randomblob(16) END,
           CASE WHEN n < {rare} THEN 2 * (n % 900 = 3) ELSE 0 END
    FROM numbers"""
"""One busy person. What is rare happened in the log's first entries only: the farthest from its newest page."""


def questions() -> Iterator[Figure]:
    """Target: no page takes longer in a log ten times as long, and none more than 50 ms."""
    with tempfile.TemporaryDirectory(prefix="coffre-bench-") as name:
        rig = open_rig(Path(name), Clock(), FakeKeyService())
        rig.log.record_all([created(1), viewed(1)])
        taken: list[dict[str, float]] = []
        for size in (LARGE // 10, LARGE):
            _lengthen(rig, size)
            taken.append({ask: _page_ms(rig, filters) for ask, filters in ASKED.items()})
            taken[-1]["counting to more than 10,000"] = _ms(lambda: Search(rig.log).count(Filters(actor=SOMEBODY)))
        rig.close()
    for ask, large in taken[1].items():
        small = taken[0][ask]
        yield Figure(
            f"{LARGE:,}: {ask}", large, "ms", f"the same in {LARGE // 10:,}", small, small / large,
            f"≤ {MOST_MS:g} ms", large <= MOST_MS,
        )  # fmt: skip


def _lengthen(rig: Rig, size: int) -> None:
    """Up to ``size`` entries; indexes are made afterwards, which takes a tenth of the time."""
    actor = rig.log.keys().blind("actor", f"person {SOMEBODY}").hex()
    known = rig.log.references.find(patient(1))
    if known is None:
        raise RuntimeError("the patient is not in the log")
    rows = _ROWS.format(
        start=rig.auditing.size(), end=size, rare=LARGE // 20, actor=actor, patient=known.blind.hex()
    )  # fmt: skip
    with rig.db.engine.begin() as connection:
        for index in audit_entries.indexes:
            index.drop(connection)
        connection.execute(text(rows))
        for index in audit_entries.indexes:
            index.create(connection)


def _page_ms(rig: Rig, filters: Filters) -> float:
    without = NOISE if filters == Filters() else ()
    return _ms(lambda: Search(rig.log).newest(filters, before=None, limit=50, without=without))


def _ms(work: Callable[[], object]) -> float:
    return statistics.median(seconds(work) for _ in range(TIMES)) * 1000
