"""Owns the review of accesses: alerts raised and closed, the monthly random sample. It must not know detectors' rules or HTTP.

The queue is the log itself: an alert is an event, closing it another one that refers to it. No second list has to be kept true.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from sqlalchemy import select

from vault.audit import tiles
from vault.audit.alerts import Standing
from vault.audit.append import AuditLog, Receipt
from vault.audit.detect import MINUTE_US, WINDOW_US, Alert, Detector, detect
from vault.audit.entries import Entry
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject, System
from vault.audit.lines import Line, line_of
from vault.audit.period import parse_period
from vault.audit.reading import COLUMNS, Reader, entry_of
from vault.audit.search import PAGE_LIMIT, Filters, Search
from vault.errors import Invalid
from vault.model import Actor, EventId, Micros, PersonId
from vault.storage.schema import audit_entries

DAY_US: Final = 24 * 60 * MINUTE_US
SAMPLE: Final = 20
"""Accesses drawn a month: enough to be felt, few enough to be done."""
SHOWN: Final = 200
"""Alerts on the reviewers' page: judging some shows the others."""
WINDOW_LINES: Final = 20_000
REASON_LEAST: Final = 5
_SAMPLED: Final = (Action.DOCUMENT_VIEW, Action.DOCUMENT_DOWNLOAD, Action.DOCUMENT_PRINT, Action.PATIENT_VIEW)


class Judgement(StrEnum):
    """What a reviewer found."""

    JUSTIFIED = "justified"
    UNJUSTIFIED = "unjustified"
    CONTAINED = "contained"
    """An incident without risk for anybody."""
    BREACH = "breach"
    """An incident to be told to the authority, and to the patients where the risk is high."""


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """One alert of the queue."""

    line: Line
    """The alert's own entry: ``line.code`` is the detector, ``line.id`` what ``close`` wants."""
    cause: EventId
    """The entry that set it off."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One access of the monthly sample, and how it was judged."""

    line: Line
    judgement: Judgement | None


class Review:
    """Alerts and samples; ``vault.audit.auditing`` judges who may."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._reader = Reader(log)
        self._search = Search(log)
        self.standing = Standing(log)

    # --- alerts

    def run(self, now: Micros | None = None) -> tuple[Receipt, ...]:
        """Look at the last half hour and raise what is new; an event each. Raises LogUnavailable."""
        at = self._log.clock() if now is None else now
        lines = self._lines(Filters(since=Micros(at - WINDOW_US)), WINDOW_LINES)
        raised = {
            self._key(line) for line in self._lines(Filters(since=Micros(at - DAY_US), actions=(Action.AUDIT_ALERT_RAISED,)))
        }
        events: list[Event] = []
        for alert in detect(lines, _History(self)):
            if alert.key not in raised:
                raised.add(alert.key)
                events.append(self._event(alert))
        return self._log.record_all(events) if events else ()

    def _event(self, alert: Alert) -> Event:
        patient = self._log.references.by_reference(alert.patient_ref) if alert.patient_ref else None
        subject = Subject(patient=patient, person=alert.line.actor_ref or alert.line.ip)
        note = Note(code=alert.detector.value, count=alert.count, purpose=Purpose.HCOMPL)
        return Event(Action.AUDIT_ALERT_RAISED, Outcome.SUCCESS, System("detect"), subject, note, ref=EventId(alert.line.id))

    @staticmethod
    def _key(line: Line) -> tuple[str, str, str]:
        return line.code, line.person, line.patient_ref

    def queue(self, names: Mapping[PersonId, str], detector: Detector | None = None) -> tuple[OpenAlert, ...]:
        """The newest SHOWN of the alerts that nobody has judged, newest first; of one detector where it is given."""
        shown = [each.position for each in self.standing.raised(detector)[:SHOWN]]
        column = audit_entries.c.position
        rows = self._reader.rows(select(*COLUMNS).where(column.in_(shown)).order_by(column.desc()))
        lines = [line_of(record, names, {}) for record in self._reader.open(rows)]
        return tuple(OpenAlert(line, EventId(line.ref)) for line in lines)

    def close(self, by: Actor, alert: EventId, judgement: Judgement, reason: str) -> Receipt:
        """Judge an alert, with a reason. Raises NotFound, Conflict (closed already), Invalid."""
        self.standing.must_be_open(alert)
        return self._log.record(self._judged(Action.AUDIT_ALERT_CLOSED, by, alert, judgement, reason))

    @staticmethod
    def _judged(action: Action, by: Actor, event: EventId, judgement: Judgement, reason: str) -> Event:
        if len(reason.strip()) < REASON_LEAST:
            raise Invalid("say why", field="reason", reason="too_short", least=REASON_LEAST)
        note = Note(code=judgement.value, reason=reason.strip(), purpose=Purpose.HCOMPL)
        return Event(action, Outcome.SUCCESS, by, note=note, ref=event)

    # --- the monthly sample

    def sample(self, month: date, names: Mapping[PersonId, str]) -> tuple[Sampled, ...]:
        """SAMPLE accesses of a month, drawn by a key that nobody reads: always the same ones, not to be foreseen."""
        since, until = parse_period(month.replace(day=1).isoformat(), None)[0], _next_month(month)
        judged = {
            line.ref: Judgement(line.code)
            for line in self._lines(Filters(since=since, actions=(Action.AUDIT_SAMPLE_REVIEWED,)))
        }
        lines = [line_of(record, names, {}) for record in self._reader.open(self._drawn(month, since, until))]
        return tuple(Sampled(line, judged.get(line.id)) for line in lines)

    def _drawn(self, month: date, since: Micros | None, until: Micros | None) -> list[Entry]:
        columns = audit_entries.c
        wanted = columns.action.in_([action.value for action in _SAMPLED]) & columns.outcome.in_(["granted", "success"])
        with self._log.db.read() as connection:
            size = tiles.size_of(connection)
            start, end = self._search.bounds(connection, Filters(since=since, until=until), size)
            query = select(columns.position).where((columns.position >= start) & (columns.position < end) & wanted)
            positions = list(connection.execute(query.order_by(columns.position)).scalars())
            seed = self._log.keys().blind("sample", f"{month:%Y-%m}")
            drawn = sorted(random.Random(seed).sample(positions, min(SAMPLE, len(positions))))  # noqa: S311  # seeded by a keyed value
            rows = connection.execute(select(*COLUMNS).where(columns.position.in_(drawn)).order_by(columns.position))
            return [entry_of(row) for row in rows]

    def judge(self, by: Actor, event: EventId, judgement: Judgement, reason: str) -> Receipt:
        """Tick one access of a sample. Raises Invalid."""
        return self._log.record(self._judged(Action.AUDIT_SAMPLE_REVIEWED, by, event, judgement, reason))

    # --- reading

    def _lines(self, filters: Filters, limit: int = 5_000, names: Mapping[PersonId, str] | None = None) -> list[Line]:
        """The newest ``limit`` lines that the filters let through, oldest first."""
        found: list[Line] = []
        for page in self.pages(filters, names or {}):
            found += page
            if len(found) >= limit:
                break
        return found[:limit][::-1]

    def pages(self, filters: Filters, names: Mapping[PersonId, str]) -> Iterator[list[Line]]:
        """Lines newest first, a page at a time."""
        before: int | None = None
        while True:
            rows, more = self._search.newest(filters, before=before, limit=PAGE_LIMIT)
            if rows:
                yield [line_of(record, names, {}) for record in self._reader.open(rows)]
            if not more:
                return
            before = rows[-1].position


class _History:
    """What is usual for somebody, read from the log where a detector asks."""

    def __init__(self, review: Review) -> None:
        self._review = review

    def _before(self, actor: str, at: int, days: int) -> Iterator[Line]:
        filters = Filters(actor=PersonId(actor), since=Micros(max(0, at - days * DAY_US)), until=Micros(at))
        for page in self._review.pages(filters, {}):
            yield from page

    def usual_patients(self, actor: str, before: int) -> int:
        """The 95th percentile of patients in a ten-minute slot, over the slots in which this person worked."""
        slots: dict[int, set[str]] = {}
        for line in self._before(actor, before, 30):
            if line.patient_ref:
                slots.setdefault(line.at // (10 * MINUTE_US), set()).add(line.patient_ref)
        counts = sorted(len(patients) for patients in slots.values())
        return counts[int(len(counts) * 0.95)] if counts else 0

    def knows_device(self, actor: str, line: Line) -> bool:
        """Somebody without any history has no known device, and is not alerted for a first day at work."""
        is_new_here = True
        for earlier in self._before(actor, line.at, 30):
            is_new_here = False
            if (earlier.agent, earlier.workstation) == (line.agent, line.workstation) and earlier.session != line.session:
                return True
        return is_new_here

    def seen_before(self, actor: str, at: int) -> int | None:
        """The newest entry of this person before ``at``."""
        return next((line.at for line in self._before(actor, at, 3_650)), None)


def _next_month(month: date) -> Micros | None:
    following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    return parse_period(following.isoformat(), None)[0]
