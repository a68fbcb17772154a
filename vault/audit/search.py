"""Owns the questions asked of the log: filters, the part of the log that a role reads, keyset pages.

It must not know formats.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, Connection, and_, false, func, literal_column, or_, select

from vault.audit import tiles
from vault.audit.append import AuditLog
from vault.audit.entries import Entry
from vault.audit.events import Action, Keeps, Outcome
from vault.audit.groups import Flag
from vault.audit.reading import COLUMNS, entry_of
from vault.errors import Invalid
from vault.model import DocumentId, Micros, PatientId, PersonId
from vault.storage.schema import REFUSALS, audit_entries

PAGE_LIMIT = 500
COUNTED = 1_000
"""Where counting what a page passes over ends."""

TECHNICAL_FAMILIES = ("system.", "hsm.", "key.", "log.")
"""What a technical admin reads, beside the other events of the technical retention class."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which entries; every part that is given must hold."""

    since: Micros | None = None
    until: Micros | None = None
    """Exclusive."""
    actions: tuple[Action, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    actor: PersonId | None = None
    anonymous: str | None = None
    """The keyed hash of a name under which somebody failed to sign in."""
    patient: PatientId | None = None
    reference: str | None = None
    """A patient's log reference, as exports show it."""
    document: DocumentId | None = None
    person: PersonId | None = None
    """The account acted on."""
    flags: Flag = Flag.NONE
    """Any of these review bits."""

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise Invalid("the period ends before it starts", field="until", reason="before_since")
        if self.patient is not None and self.reference is not None:
            raise Invalid("give a patient or a log reference, not both", field="reference", reason="twice")

    def described(self) -> dict[str, str | int]:
        """The filters as ids and slugs, for the log itself and for an export's first lines; never a name."""
        parts: dict[str, str | int | None] = {
            "since": self.since,
            "until": self.until,
            "actions": " ".join(self.actions),
            "outcomes": " ".join(self.outcomes),
            "actor": self.actor,
            "anonymous": self.anonymous,
            "patient": self.patient,
            "reference": self.reference,
            "document": self.document,
            "person": self.person,
            "flags": int(self.flags),
        }
        return {name: value for name, value in parts.items() if value}


@dataclass(frozen=True, slots=True)
class Extent:
    """How far something goes: what a breach notification has to say (GDPR article 33)."""

    entries: int
    people: int
    """Accounts, components and unknown names that acted."""
    patients: int
    documents: int


def is_technical(action: Action) -> bool:
    """Whether a technical admin may read it: about the installation, never about somebody's work."""
    return action.keeps is Keeps.TECHNICAL or action.value.startswith(TECHNICAL_FAMILIES)


TECHNICAL_ACTIONS = tuple(action for action in Action if is_technical(action))


def position_at(connection: Connection, at: int, size: int) -> int:
    """The first position whose time is not before ``at``; ``size`` where there is none. Time never decreases with position."""
    column = audit_entries.c
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if connection.execute(select(column.at).where(column.position == middle)).scalar_one() < at:
            low = middle + 1
        else:
            high = middle
    return low


def _of_outcomes(outcomes: tuple[Outcome, ...]) -> list[ColumnElement[bool]]:
    """Refusals are few, and have an index of their own."""
    if not outcomes:
        return []
    wanted: ColumnElement[bool] = audit_entries.c.outcome.in_([outcome.value for outcome in outcomes])
    only_refusals = {Outcome.DENIED, Outcome.FAILED}.issuperset(outcomes)
    return [and_(wanted, REFUSALS)] if only_refusals else [wanted]


def _of_flags(flags: Flag) -> list[ColumnElement[bool]]:
    """Any of these; by the very condition of the index of flagged entries."""
    column = audit_entries.c.flags
    return [column != literal_column("0"), or_(*[column.bitwise_and(int(flag)) != 0 for flag in flags])] if flags else []


class Search:
    """Finds rows; what is found stays sealed."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def bounds(self, connection: Connection, filters: Filters, size: int) -> tuple[int, int]:
        """Positions [start, end) of the filters' period among the first ``size`` entries."""
        start = 0 if filters.since is None else position_at(connection, filters.since, size)
        end = size if filters.until is None else position_at(connection, filters.until, size)
        return start, max(start, end)

    def condition(self, filters: Filters) -> ColumnElement[bool] | None:
        """Everything but the period, as SQL over the keyed columns; None where nothing else is asked."""
        blind = self._log.keys().blind
        columns = audit_entries.c
        parts: list[ColumnElement[bool]] = []
        if filters.actions:
            parts.append(columns.action.in_([action.value for action in filters.actions]))
        parts += _of_outcomes(filters.outcomes)
        if filters.actor:
            parts.append(columns.actor_index == blind("actor", f"person {filters.actor}"))
        if filters.anonymous:
            parts.append(columns.actor_index == blind("actor", f"anonymous {filters.anonymous}"))
        if filters.patient:
            known = self._log.references.find(filters.patient)
            parts.append(columns.patient_index == known.blind if known else false())
        if filters.reference:
            parts.append(columns.patient_index == blind("patient", filters.reference))
        if filters.document:
            parts.append(columns.document_index == blind("document", filters.document))
        if filters.person:
            parts.append(columns.person_index == blind("person", filters.person))
        parts += _of_flags(filters.flags)
        if not parts:
            return None
        whole = parts[0]
        for part in parts[1:]:
            whole = whole & part
        return whole

    def newest(
        self, filters: Filters, *, before: int | None, limit: int, without: Collection[Action] = ()
    ) -> tuple[list[Entry], bool]:
        """The newest entries before position ``before``, none of an action of ``without``, and whether older ones remain."""
        limit = max(1, min(limit, PAGE_LIMIT))
        columns = audit_entries.c
        condition = self.condition(filters)
        if without:
            heard = columns.action.not_in([action.value for action in without])
            condition = heard if condition is None else condition & heard
        with self._log.db.read() as connection:
            size = tiles.size_of(connection)
            start, end = self.bounds(connection, filters, size)
            end = end if before is None else min(end, before)
            query = select(*COLUMNS).where((columns.position >= start) & (columns.position < end))
            if condition is not None:
                query = query.where(condition)
            rows = [entry_of(row) for row in connection.execute(query.order_by(columns.position.desc()).limit(limit + 1))]
        return rows[:limit], len(rows) > limit

    def passed_over(self, filters: Filters, actions: Collection[Action], start: int, end: int | None) -> int:
        """How many entries of ``actions`` in positions [start, end) are among what the filters let through; COUNTED at most."""
        columns = audit_entries.c
        wanted = columns.action.in_([action.value for action in actions]) & (columns.position >= start)
        if end is not None:
            wanted &= columns.position < end
        condition = self.condition(filters)
        query = select(columns.position).where(wanted if condition is None else wanted & condition).limit(COUNTED)
        with self._log.db.read() as connection:
            return connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()

    def extent(self, filters: Filters) -> Extent:
        """How many entries, people, patients and documents; reads every entry that the filters let through."""
        columns = audit_entries.c
        counted = [func.count(func.distinct(columns[name])) for name in ("actor_index", "patient_index", "document_index")]
        condition = self.condition(filters)
        with self._log.db.read() as connection:
            start, end = self.bounds(connection, filters, tiles.size_of(connection))
            query = select(func.count(), *counted).where((columns.position >= start) & (columns.position < end))
            counts = connection.execute(query if condition is None else query.where(condition)).one()
        return Extent(*[int(count) for count in counts])


def narrowed(filters: Filters, actor: PersonId) -> Filters:
    """The same question about one's own accesses only."""
    if filters.actor not in {None, actor}:
        raise Invalid("only one's own accesses can be asked for", field="actor", reason="not_own")
    return replace(filters, actor=actor)
