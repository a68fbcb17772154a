"""Owns which index of the log answers a question: disjoint conditions, each one stretch of one index in the log's own order.

A page of any question thereby costs the same in a log of a thousand entries and of ten million, and no database has to guess:
what an index does not lead by is said so that no other index is taken for it. It must not know keys, rights or who asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Select, TextClause, and_, false, func, select, tuple_, union_all

from vault.audit.reading import COLUMNS
from vault.storage.schema import FLAGGED, REFUSALS, audit_entries

Query = TypeVar("Query", bound=Select[Any])

_LEADS: Final = (
    ("detector_index",),
    ("document_index",),
    ("patient_index",),
    ("person_index",),
    ("actor_index", "flags"),
    ("actor_index", "outcome"),
    ("actor_index", "action"),
    ("actor_index",),
    ("flags",),
    ("action", "outcome"),
    ("action",),
    ("outcome",),
)
"""The indexes' leading columns; the first whose columns are all asked for is taken. A patient's, a document's, an account's and
a detector's entries are few: what else is asked of them is looked up in each."""
_OF_REFUSALS: Final = frozenset({("actor_index", "outcome"), ("action", "outcome"), ("outcome",)})
"""What went well is most of the log: it is found soonest by reading that backwards, and costs no index with each entry."""
_REFUSED: Final = frozenset({"denied", "failed"})
_FLAG_VALUES: Final = range(1, 16)
"""Every value of ``flags`` but none."""
_position: Final = audit_entries.c.position


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked, in the words of the table; an empty part asks for nothing."""

    keyed: Mapping[str, bytes] = field(default_factory=dict)
    """Index column → keyed value."""
    actions: Sequence[str] = ()
    outcomes: Sequence[str] = ()
    flags: int = 0
    """Any of these bits."""
    without: Sequence[str] = ()
    """Actions that are left out."""


@dataclass(frozen=True, slots=True)
class Way:
    """One stretch of one index: its leading columns, their values, and what else is looked up in each entry."""

    lead: tuple[str, ...]
    values: tuple[Any, ...]
    said: tuple[ColumnElement[bool] | TextClause, ...]

    def condition(self) -> ColumnElement[bool]:
        """What it lets through."""
        return and_(*[audit_entries.c[name] == value for name, value in zip(self.lead, self.values, strict=True)], *self.said)


def at(position: int) -> Way:
    """The way to a single entry."""
    return Way((), (), (_position == position,))


def ways(wanted: Wanted) -> list[Way]:
    """Disjoint ways that together let through what is wanted; none at all where that is everything."""
    actions = [action for action in wanted.actions if action not in wanted.without]
    if wanted.actions and not actions:
        return [Way((), (), (false(),))]
    values: dict[str, Sequence[Any]] = {name: [value] for name, value in wanted.keyed.items()}
    values |= {"action": actions, "outcome": list(wanted.outcomes)}
    values["flags"] = [value for value in _FLAG_VALUES if value & wanted.flags]
    values = {name: choices for name, choices in values.items() if choices}
    lead = next((lead for lead in _LEADS if values.keys() >= set(lead) and _serves(lead, values)), ())
    column = _aside if lead else audit_entries.c.__getitem__
    said = [column(name).in_(choices) for name, choices in values.items() if name not in lead]
    if wanted.without and not actions:
        said.append(audit_entries.c.action.not_in(wanted.without))
    if not lead:
        return [Way((), (), tuple(said))] if said else []
    return [Way(lead, chosen, (*_of_index(lead), *said)) for chosen in product(*[values[name] for name in lead])]


def _of_index(lead: tuple[str, ...]) -> Iterator[ColumnElement[bool] | TextClause]:
    """What an index holds entries of, in the index's own words."""
    if lead[0].endswith("_index"):
        yield audit_entries.c[lead[0]].is_not(None)
    if "flags" in lead:
        yield FLAGGED
    if lead in _OF_REFUSALS:
        yield REFUSALS


def _aside(name: str) -> ColumnElement[Any]:
    """A column by which no index is chosen."""
    return func.coalesce(audit_entries.c[name], audit_entries.c[name])


def _serves(lead: tuple[str, ...], values: Mapping[str, Sequence[Any]]) -> bool:
    """Some of the indexes hold refusals only."""
    return lead not in _OF_REFUSALS or _REFUSED.issuperset(values["outcome"])


@dataclass(frozen=True, slots=True)
class Stretch:
    """Positions [start, end) of some ways, to be read in order.

    SQLite takes the index whose columns are compared for equality. PostgreSQL may believe that what was frequent once is
    frequent at the log's end too and read that backwards instead; rows compared and ordered by the index's own columns leave
    it no other way.
    """

    ways: Sequence[Way]
    start: int
    end: int
    is_sqlite: bool
    is_newest_first: bool = False

    def positions(self, limit: int) -> Select[int]:
        """The first ``limit`` of them."""
        parts = [self._along(select(_position), way).limit(limit) for way in self.ways]
        if not parts:
            return self._plain(select(_position)).limit(limit)
        if len(parts) == 1:
            return parts[0]
        every = union_all(*[select(part.subquery().c.position) for part in parts]).subquery().c.position
        return select(every).order_by(self._turned(every)).limit(limit)

    def rows(self, limit: int, columns: Sequence[ColumnElement[Any]] = COLUMNS) -> Select[*tuple[object, ...]]:
        """The same, as whole rows (reading.COLUMNS) or the columns given."""
        query = select(*columns)
        match self.ways:
            case []:
                return self._plain(query).limit(limit)
            case [way]:
                return self._along(query, way).limit(limit)
            case _:
                return query.where(_position.in_(self.positions(limit))).order_by(self._turned(_position))

    def counted(self, most: int) -> Select[int]:
        """How many they are; counting ends at ``most``."""
        return select(func.count()).select_from(self.positions(most).subquery())

    def _turned(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column.desc() if self.is_newest_first else column.asc()

    def _plain(self, query: Query) -> Query:
        return query.where(_position >= self.start, _position < self.end).order_by(self._turned(_position))

    def _along(self, query: Query, way: Way) -> Query:
        if self.is_sqlite or not way.lead:
            return self._plain(query.where(way.condition()))
        columns = [*[audit_entries.c[name] for name in way.lead], _position]
        bounds = [(tuple_(*columns) >= (*way.values, self.start)), (tuple_(*columns) < (*way.values, self.end))]
        return query.where(*bounds, *way.said).order_by(*[self._turned(column) for column in columns])
