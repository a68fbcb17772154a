"""Owns how long the parts of the log stay readable, and the erasing of a patient's.

It must not know who decides. Nothing here removes a leaf: all proofs stand. A purge and an erasure are themselves events, and
verification accepts an absence only where one tells of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from sqlalchemy import Connection, Update, func, select, update

from vault.audit import tiles
from vault.audit.absences import Horizon, parse_horizon
from vault.audit.append import AuditLog, Receipt, Transaction
from vault.audit.events import Action, Event, Keeps, Note, Outcome, Purpose, System
from vault.audit.reading import Reader
from vault.audit.search import Filters, Search, position_at
from vault.errors import Invalid
from vault.model import Actor, PatientId
from vault.storage.schema import audit_entries

ACCESS_YEARS_FLOOR: Final = 3
"""No practice keeps its access events for less (CNIL, déliberation 2021-122: up to three years for the risky ones)."""
BATCH: Final = 5_000
"""Rows emptied in one transaction, so that others may write in between."""

_TECHNICAL = [action.value for action in Action if action.keeps is Keeps.TECHNICAL]


@dataclass(frozen=True, slots=True)
class Durations:
    """How long groups stay readable. Leaves and their hashes stay for life."""

    client_months: int = 12
    technical_months: int = 12
    access_years: int = 20

    def __post_init__(self) -> None:
        if self.access_years < ACCESS_YEARS_FLOOR or min(self.client_months, self.technical_months) < 1:
            raise Invalid(
                f"access events are kept {ACCESS_YEARS_FLOOR} years at least, the rest a month",
                field="durations",
                reason="too_short",
            )


def months_before(now: int, months: int) -> int:
    """The same day and hour ``months`` earlier (the month's last day where there is no such day), µs UTC."""
    moment = datetime.fromtimestamp(now // 1_000_000, UTC)
    count = moment.year * 12 + moment.month - 1 - months
    year, month = divmod(count, 12)
    for day in (moment.day, 30, 29, 28):
        try:
            return int(moment.replace(year=year, month=month + 1, day=day).timestamp()) * 1_000_000
        except ValueError:
            continue
    raise AssertionError("every month has a 28th")


class Retention:
    """Purges what has expired and erases what a patient may ask for."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def due(self, durations: Durations, now: int | None = None) -> Horizon:
        """Up to which positions something has expired."""
        at = self._log.clock() if now is None else now
        with self._log.db.read() as connection:
            size = tiles.size_of(connection)
            return Horizon(
                client=position_at(connection, months_before(at, durations.client_months), size),
                technical=position_at(connection, months_before(at, durations.technical_months), size),
                access=position_at(connection, months_before(at, durations.access_years * 12), size),
            )

    def done(self) -> Horizon:
        """Up to which positions the last purge went."""
        rows, _ = Search(self._log).newest(Filters(actions=(Action.AUDIT_PURGE,)), before=None, limit=1)
        for record in Reader(self._log).open(rows):
            return parse_horizon(str((record.note or {})["code"]))
        return Horizon()

    def purge(self, by: Actor | System, durations: Durations) -> Receipt | None:
        """Empty what has expired; None where nothing has. The event comes first: an absence is never unexplained.

        Raises LogUnavailable, StorageUnavailable, StorageFull.
        """
        horizon, done = self.due(durations), self.done()
        if (horizon.client, horizon.technical, horizon.access) <= (done.client, done.technical, done.access):
            return None
        event = Event(Action.AUDIT_PURGE, Outcome.SUCCESS, by, note=Note(purpose=Purpose.HCOMPL, code=horizon.word()))
        receipt = self._log.record(event)
        self._empty(done.client, horizon.client, None, everything=False)
        self._empty(done.technical, horizon.technical, _TECHNICAL, everything=True)
        self._empty(done.access, horizon.access, None, everything=True)
        return receipt

    def _empty(self, start: int, end: int, actions: list[str] | None, *, everything: bool) -> None:
        columns = audit_entries.c
        values: dict[str, None] = {"client_sealed": None}
        if everything:
            values |= dict.fromkeys(("actor_sealed", "subject_sealed", "note_sealed"))
            values |= dict.fromkeys(("actor_index", "document_index", "person_index", "detector_index"))
        for first in range(start, end, BATCH):
            where = (columns.position >= first) & (columns.position < min(first + BATCH, end))
            # What tells of absences, and the events of the log itself, stay readable for life.
            where &= columns.action.not_in([Action.AUDIT_PURGE.value, Action.AUDIT_SUBJECT_ERASED.value])
            if actions is not None:
                where &= columns.action.in_(actions)
            statement = update(audit_entries).where(where).values(**values)
            self._log.db.write(partial(_run, statement))

    def forget(self, by: Actor | System, patient: PatientId) -> Receipt | None:
        """Erase what the log says about a patient: their salt goes, their groups can't be opened any more, every proof stands.

        None where the log never knew the patient. Raises LogUnavailable, StorageUnavailable, StorageFull.
        """
        known = self._log.references.find(patient)
        if known is None:
            return None

        def work(tx: Transaction) -> None:
            count = _entries_about(tx.connection, known.blind)
            note = Note(purpose=Purpose.PATRQT, code=known.blind.hex(), count=count)
            tx.record(Event(Action.AUDIT_SUBJECT_ERASED, Outcome.SUCCESS, by, note=note))

        receipt = self._log.transact(work).receipts[0]
        self._log.references.forget(patient)
        return receipt


def _run(statement: Update, connection: Connection) -> None:
    connection.execute(statement)


def _entries_about(connection: Connection, blind: bytes) -> int:
    query = select(func.count()).select_from(audit_entries).where(audit_entries.c.patient_index == blind)
    return connection.execute(query).scalar_one()
