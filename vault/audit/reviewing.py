"""Owns the reviewer's and the data protection officer's use cases: alerts, the monthly sample, a patient's report, erasure.

It must not know HTTP or the command line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date

from vault.audit import report
from vault.audit.append import Receipt
from vault.audit.desk import Desk
from vault.audit.detect import Detector
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject, System
from vault.audit.incidents import Incident, Incidents
from vault.audit.retention import Durations
from vault.audit.review import Judgement, OpenAlert, Sampled
from vault.audit.search import Filters
from vault.errors import NotFound
from vault.model import Actor, DocumentId, EventId, PatientId
from vault.people.policy import LOG_REACH, Act, LogReach

NOT_FOR_PATIENTS = frozenset({Action.AUDIT_ALERT_RAISED, Action.AUDIT_ALERT_CLOSED, Action.AUDIT_REVEAL_IDENTITY})
"""Reviews under way are not in the report that a patient gets: they may concern other people."""


class Reviewing(Desk):
    """Judging what the log shows, and answering patients."""

    def alerts(self, actor: Actor, detector: Detector | None = None) -> tuple[OpenAlert, ...]:
        """The newest of what waits for a reviewer; of one detector where it is given. Raises Forbidden."""
        self._allowed(actor, Act.AUDIT_REVIEW, Filters())
        return self.review.queue(self._names.display_names(), detector)

    def waiting(self, actor: Actor) -> Mapping[Detector | None, int]:
        """How many alerts of each detector wait. Raises Forbidden."""
        self._allowed(actor, Act.AUDIT_REVIEW, Filters())
        return Counter(each.detector for each in self.review.standing.raised())

    def close_alert(self, actor: Actor, alert: EventId, judgement: Judgement, reason: str) -> Receipt:
        """Judge an alert, with a reason. Raises Forbidden, NotFound, Conflict, Invalid."""
        self._allowed(actor, Act.AUDIT_REVIEW, Filters())
        return self.review.close(actor, alert, judgement, reason)

    def incident(self, actor: Actor, position: int) -> Incident:
        """The draft of the incident whose alert stands at ``position``. Raises Forbidden, NotFound."""
        self._allowed(actor, Act.AUDIT_REVIEW, Filters())
        draft = Incidents(self._log).draft(position, self._names.display_names())
        subject, note = Subject(document=DocumentId(draft.alert.document)), Note(purpose=Purpose.HCOMPL)
        self._log.record(Event(Action.AUDIT_VIEW, Outcome.SUCCESS, actor, subject, note))
        return draft

    def sample(self, actor: Actor, month: date) -> tuple[Sampled, ...]:
        """The month's random sample of accesses. Raises Forbidden."""
        self._allowed(actor, Act.AUDIT_REVIEW, Filters())
        return self.review.sample(month, self._names.display_names())

    def judge_sampled(self, actor: Actor, month: date, event: EventId, judgement: Judgement, reason: str) -> Receipt:
        """Tick one access of the month's sample. Raises Forbidden, NotFound, Invalid."""
        if event not in {each.line.id for each in self.sample(actor, month)}:
            raise NotFound(f"event {event} is not in the sample")
        return self.review.judge(actor, event, judgement, reason)

    def patient_report(self, actor: Actor, filters: Filters, practice: str) -> report.Paper:
        """The report of accesses that a patient may ask for; giving it is itself an entry.

        ``filters`` name the patient, by id or by log reference, and the period; nothing else of them counts. Whoever treats the
        patient reads all of it anyway; others want the right to see names.
        Raises Forbidden, StepUpRequired, NotFound, KeysUnavailable.
        """
        is_clinician = LOG_REACH[actor.role] is LogReach.OWN_PATIENTS
        treats = is_clinician and filters.patient is not None and self._treats(actor, filters.patient)
        act = Act.AUDIT_READ if treats else Act.AUDIT_REVEAL
        self._allowed(actor, act, Filters(patient=filters.patient, reference=filters.reference))
        patient = self._patient(filters)
        names = self._identities.names([patient]) if patient else {}
        if patient is None or patient not in names:
            raise NotFound("no such patient in the log")
        asked = Filters(since=filters.since, until=filters.until, patient=patient)
        people = self._names.display_names()
        lines = [line for page in self.review.pages(asked, people) for line in page if line.action not in NOT_FOR_PATIENTS]
        note_ = Note(purpose=Purpose.PATRQT, count=len(lines))
        self._log.record(Event(Action.PATIENT_REPORT_GIVEN, Outcome.SUCCESS, actor, Subject(patient=patient), note_))
        return report.access_report(names[patient], lines, practice, self._log.clock())

    def expired(self, durations: Durations) -> dict[str, int]:
        """How many entries a purge would look through, by what would be emptied; says nothing about anybody."""
        due, done = self.retention.due(durations), self.retention.done()
        return {part: max(0, getattr(due, part) - getattr(done, part)) for part in ("client", "technical", "access")}

    def purge(self, actor: Actor, durations: Durations) -> Receipt | None:
        """Empty what has expired; None where nothing has. Raises Forbidden, LogUnavailable, StorageUnavailable, StorageFull."""
        self._allowed(actor, Act.PRIVACY_MANAGE, Filters())
        return self.retention.purge(actor, durations)

    def forget(self, by: Actor | System, patient: PatientId) -> Receipt | None:
        """Erase a patient's traces: nobody can read any more that these entries were about them; every proof stands.

        The records' room calls it after it has judged and erased. Raises LogUnavailable, StorageUnavailable.
        """
        return self.retention.forget(by, patient)
