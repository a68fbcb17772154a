"""Owns the draft of an incident: a document that stood with the wrong patient while copies of it were taken.

The draft is the log itself: the alert raised with the correction, the accesses before it, the sentence that closed it. No
second record has to be kept true. It must not know HTTP, nor who may read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, select

from vault.audit.append import AuditLog
from vault.audit.detect import Detector
from vault.audit.events import Action, Outcome
from vault.audit.lines import Line, line_of
from vault.audit.reading import COLUMNS, Reader
from vault.errors import NotFound
from vault.model import DocumentId, Micros, PatientId, PersonId
from vault.storage.schema import audit_entries

LOOKED: Final = frozenset({Action.DOCUMENT_VIEW, Action.DOCUMENT_PREVIEW})
TAKEN: Final = frozenset({Action.DOCUMENT_DOWNLOAD, Action.DOCUMENT_PRINT, Action.DOCUMENT_SEND, Action.DOCUMENT_LINK_OPEN})
_FILED: Final = frozenset({Action.DOCUMENT_UPLOAD, Action.DOCUMENT_REFILE})
TELL_WITHIN_US: Final = 72 * 3_600_000_000
"""GDPR art. 33(1): where there is a risk for somebody, the authority hears of it within 72 hours; week-ends count."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One misfiling as the log tells it."""

    alert: Line
    """The draft's own entry; its time is when the practice became aware."""
    filed: Line | None
    """How the document came into the wrong file; None where that has expired."""
    corrected: Line | None
    """Who moved it, and why."""
    accesses: tuple[Line, ...]
    """Who looked at it or took a copy meanwhile, oldest first."""
    closed: Line | None
    """The sentence that ended it."""

    @property
    def tell_before(self) -> Micros:
        """The end of the 72 hours."""
        return Micros(self.alert.at + TELL_WITHIN_US)


class Incidents:
    """Reads drafts; ``vault.audit.reviewing`` judges who may."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._reader = Reader(log)

    def readers(self, document: DocumentId, there: PatientId, mover: PersonId) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Who had opened a document in the file of ``there``, ``mover`` apart, and who had taken a copy of it there.

        ``mover`` counts among those who took one: paper is paper.
        """
        rows = self._reader.rows(select(*COLUMNS).where(self._about(document)).order_by(audit_entries.c.position))
        opened = [
            (record.action, str((record.actor or {}).get("ref", "")))
            for record in self._reader.open(rows)
            if record.outcome is Outcome.GRANTED and record.patient == there and record.action in LOOKED | TAKEN
        ]
        seen = dict.fromkeys(person for _, person in opened if person not in {"", mover})
        return tuple(seen), tuple(dict.fromkeys(person for action, person in opened if action in TAKEN and person))

    def draft(self, position: int, names: Mapping[PersonId, str]) -> Incident:
        """The draft that the alert at ``position`` raised. Raises NotFound for another kind of entry."""
        raised = next(iter(self._lines(audit_entries.c.position == position, names)), None)
        if raised is None or raised.action is not Action.AUDIT_ALERT_RAISED or raised.code != Detector.MISFILED:
            raise NotFound(f"no incident at {position}")
        history = self._lines(self._about(DocumentId(raised.document)), names)
        there = [each for each in history if each.position < position and each.patient_ref == raised.patient_ref]
        filed = next((each for each in reversed(there) if each.action in _FILED and each.op != raised.op), None)
        start = filed.position if filed else 0
        opened = (each for each in there if each.position > start and each.outcome is Outcome.GRANTED)
        corrected = next((each for each in there if each.op == raised.op and each.action is Action.DOCUMENT_REFILE), None)
        return Incident(
            raised, filed, corrected, tuple(each for each in opened if each.action in LOOKED | TAKEN), self._end(raised, names)
        )

    def _end(self, raised: Line, names: Mapping[PersonId, str]) -> Line | None:
        """The judgement of an alert; what it refers to stands in the leaf, so that no other one is opened."""
        column = audit_entries.c.position
        query = select(column, audit_entries.c.leaf).where(
            (audit_entries.c.action == Action.AUDIT_ALERT_CLOSED.value) & (column > raised.position)
        )
        with self._log.db.read() as connection:
            found = [at for at, leaf in connection.execute(query) if json.loads(leaf)["ref"] == raised.id]
        return self._lines(column == found[0], names)[0] if found else None

    def _about(self, document: DocumentId) -> ColumnElement[bool]:
        return audit_entries.c.document_index == self._log.keys().blind("document", document)

    def _lines(self, where: ColumnElement[bool], names: Mapping[PersonId, str]) -> list[Line]:
        rows = self._reader.rows(select(*COLUMNS).where(where).order_by(audit_entries.c.position))
        return [line_of(record, names, {}) for record in self._reader.open(rows)]
