"""Owns the questions asked of the log: filters, the part of the log that a role reads, keyset pages.

It must not know formats.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, or_, select

from vault.audit import paths, tiles
from vault.audit.append import AuditLog
from vault.audit.detect import Detector
from vault.audit.entries import Entry
from vault.audit.events import Action, Keeps, Outcome
from vault.audit.groups import Flag
from vault.audit.reading import entry_of
from vault.errors import Invalid
from vault.model import DocumentId, Micros, PatientId, PersonId
from vault.storage.schema import audit_entries

PAGE_LIMIT = 500
COUNTED = 10_000
"""Where counting what a question finds ends: more than that is said in these words."""
PASSED = 1_000
"""Where counting what a page passes over ends."""
NOBODY = b""
"""No keyed value: what is asked for does not exist."""

ID = re.compile("[0-9a-f]{32}")
IDS = ("actor", "patient", "reference", "document", "person")

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
    detector: Detector | None = None
    """Alerts that this detector raised."""

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise Invalid("the period ends before it starts", field="until", reason="before_since")
        if self.patient is not None and self.reference is not None:
            raise Invalid("give a patient or a log reference, not both", field="reference", reason="twice")

    def well_formed(self) -> Filters:
        """These filters as somebody typed them, if every id is one: 32 lower-case hexadecimal digits. Raises Invalid.

        What is no id names nothing, and an answer that nothing matches would say that nothing happened.
        """
        for name in IDS:
            value = getattr(self, name)
            if value is not None and not ID.fullmatch(value):
                raise Invalid(f"{name} is not an id (32 hexadecimal digits)", field=name, reason="not_an_id")
        return self

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
            "detector": self.detector,
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


class Search:
    """Finds rows; what is found stays sealed."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def bounds(self, connection: Connection, filters: Filters, size: int) -> tuple[int, int]:
        """Positions [start, end) of the filters' period among the first ``size`` entries."""
        start = 0 if filters.since is None else position_at(connection, filters.since, size)
        end = size if filters.until is None else position_at(connection, filters.until, size)
        return start, max(start, end)

    def wanted(self, filters: Filters, without: Collection[Action] = ()) -> paths.Wanted:
        """Everything but the period, in the words of the table. ``without``: actions that are left out."""
        actions, outcomes, left_out = ([each.value for each in part] for part in (filters.actions, filters.outcomes, without))
        return paths.Wanted(self._keyed(filters), actions, outcomes, int(filters.flags), left_out)

    def ways(self, filters: Filters, without: Collection[Action] = ()) -> list[paths.Way]:
        """The same as ways along the indexes (vault/audit/paths.py); none for everything."""
        return paths.ways(self.wanted(filters, without))

    def stretch(self, ways: list[paths.Way], start: int, end: int, *, is_newest_first: bool = False) -> paths.Stretch:
        """Positions [start, end) along the ways."""
        return paths.Stretch(ways, start, end, self._log.db.is_sqlite, is_newest_first)

    def _keyed(self, filters: Filters) -> dict[str, bytes]:
        """Index column → keyed value of what the filters name; of what contradicts itself or nobody knows, NOBODY."""
        blind = self._log.keys().blind
        actors: list[tuple[str, str]] = [("person", filters.actor)] if filters.actor else []
        actors += [("anonymous", filters.anonymous)] if filters.anonymous else []
        found: dict[str, bytes] = {}
        if actors:
            found["actor_index"] = blind("actor", " ".join(actors[0])) if len(actors) == 1 else NOBODY
        if filters.patient:
            known = self._log.references.find(filters.patient)
            found["patient_index"] = known.blind if known else NOBODY
        named = {
            "patient": filters.reference,
            "document": filters.document,
            "person": filters.person,
            "detector": filters.detector,
        }
        return found | {f"{kind}_index": blind(kind, value) for kind, value in named.items() if value}

    def newest(
        self, filters: Filters, *, before: int | None, limit: int, without: Collection[Action] = ()
    ) -> tuple[list[Entry], bool]:
        """The newest entries before position ``before``, none of an action of ``without``, and whether older ones remain."""
        limit = max(1, min(limit, PAGE_LIMIT))
        ways = self.ways(filters, without)
        with self._log.db.read() as connection:
            start, end = self._within(connection, filters, 0, before)
            query = self.stretch(ways, start, end, is_newest_first=True).rows(limit + 1)
            rows = [entry_of(row) for row in connection.execute(query)]
        return rows[:limit], len(rows) > limit

    def _within(self, connection: Connection, filters: Filters, start: int, end: int | None) -> tuple[int, int]:
        """What the filters' period and positions [start, end) share."""
        first, last = self.bounds(connection, filters, tiles.size_of(connection))
        return max(first, start), last if end is None else min(last, end)

    def count(
        self,
        filters: Filters,
        *,
        start: int = 0,
        end: int | None = None,
        most: int = COUNTED,
        without: Collection[Action] = (),
    ) -> int:
        """How many entries in positions [start, end) the filters let through; counting ends at ``most``."""
        ways = self.ways(filters, without)
        with self._log.db.read() as connection:
            first, last = self._within(connection, filters, start, end)
            if not ways:
                return min(most, max(0, last - first))
            return connection.execute(self.stretch(ways, first, last).counted(most)).scalar_one()

    def passed_over(self, filters: Filters, actions: Collection[Action], start: int, end: int | None) -> int:
        """How many entries of ``actions`` in positions [start, end) are among what the filters let through; at most PASSED."""
        left_out = tuple(action for action in actions if action in filters.actions or not filters.actions)
        return self.count(replace(filters, actions=left_out), start=start, end=end, most=PASSED) if left_out else 0

    def extent(self, filters: Filters) -> Extent:
        """How many entries, people, patients and documents; reads every entry that the filters let through."""
        columns = audit_entries.c
        counted = [func.count(func.distinct(columns[name])) for name in ("actor_index", "patient_index", "document_index")]
        ways = self.ways(filters)
        with self._log.db.read() as connection:
            start, end = self.bounds(connection, filters, tiles.size_of(connection))
            query = select(func.count(), *counted).where((columns.position >= start) & (columns.position < end))
            counts = connection.execute(query.where(or_(*[way.condition() for way in ways])) if ways else query).one()
        return Extent(*[int(count) for count in counts])


def narrowed(filters: Filters, actor: PersonId) -> Filters:
    """The same question about one's own accesses only."""
    if filters.actor not in {None, actor}:
        raise Invalid("only one's own accesses can be asked for", field="actor", reason="not_own")
    return replace(filters, actor=actor)
