"""Owns a patient's documents as a timeline: by date of the act, narrowed by class, period, author. It knows no page.

The filters stand in the address as ids and slugs; nothing there says anything of anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Any

from flask import request

from vault.errors import Invalid
from vault.model import Document, PatientId
from vault.records.documents.types import document_type
from web.pages import today
from web.session import actor, vault

MOST_LISTED = 2000
RECENT_DAYS = {"3m": 92, "1y": 365, "5y": 1826}
"""Periods that end today; a year of its own is written as it is."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What one asks to see; everything by default."""

    group: str = ""
    period: str = ""
    author: str = ""
    is_unread: bool = False

    @property
    def args(self) -> dict[str, str]:
        """The same as the query of an address."""
        given = {"class": self.group, "period": self.period, "author": self.author, "unread": "yes" if self.is_unread else ""}
        return {name: value for name, value in given.items() if value}

    def without_class(self) -> dict[str, str]:
        """The query of the same filters over every class."""
        return {name: value for name, value in self.args.items() if name != "class"}

    def lets(self, document: Document, on: date) -> bool:
        """Whether ``document`` is wanted, seen ``on`` a day."""
        return (
            (not self.group or class_of(document) == self.group)
            and (not self.author or document.deposited_by == self.author)
            and (not self.is_unread or document.integrated_at is None)
            and self._is_in_period(document, on)
        )

    def _is_in_period(self, document: Document, on: date) -> bool:
        if not self.period:
            return True
        if document.act_date is None:
            return False
        if self.period in RECENT_DAYS:
            return document.act_date >= on - timedelta(days=RECENT_DAYS[self.period])
        return str(document.act_date.year) == self.period


def narrowed(args: Mapping[str, str]) -> Narrowed:
    """The filters of an address; what is not one is left out."""
    period = args.get("period", "")
    known = period in RECENT_DAYS or (len(period) == 4 and period.isascii() and period.isdigit())
    return Narrowed(
        group=args.get("class", ""),
        period=period if known else "",
        author=args.get("author", ""),
        is_unread=args.get("unread") == "yes",
    )


def file_of(patient: PatientId) -> dict[str, Any]:
    """What the patient's page and the document's page both show."""
    found = vault().patients.get(actor(), patient)
    documents = _all_documents(patient)
    wanted, on = narrowed(request.args), today()
    chosen = [item for item in documents if wanted.lets(item, on)]
    names = vault().people.roster.display_names()
    authors = {item.deposited_by: names.get(item.deposited_by, "—") for item in documents}
    return {
        "patient": found,
        "years": by_year(chosen),
        "groups": _groups(documents),
        "chosen_class": wanted.group,
        "narrowed": wanted,
        "authors": sorted(authors.items(), key=lambda pair: pair[1].casefold()),
        "act_years": sorted({item.act_date.year for item in documents if item.act_date}, reverse=True),
        "shown": len(chosen),
        "total": len(documents),
        "names": names,
        "tombstones": vault().documents.tombstones(actor(), patient),
    }


def _all_documents(patient: PatientId) -> list[Document]:
    """Every document of a patient, since the timeline goes by date of the act and lists come by date of deposit."""
    found: list[Document] = []
    more = True
    while more and len(found) < MOST_LISTED:
        page = vault().documents.list(actor(), patient, before=found[-1].id if found else None)
        found += page.items
        more = page.more
    return found


def by_year(documents: list[Document]) -> list[tuple[int | None, list[Document]]]:
    """Newest act first, undated documents on top (they are to be qualified), grouped by year."""
    dated = sorted(
        (item for item in documents if item.act_date), key=lambda item: (item.act_date, item.deposited_at), reverse=True
    )
    undated = [item for item in documents if not item.act_date]
    years = [(year, list(items)) for year, items in groupby(dated, key=lambda item: item.act_date.year if item.act_date else 0)]
    return [(None, undated), *years] if undated else list(years)


def _groups(documents: list[Document]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for item in documents:
        counts[class_of(item)] = counts.get(class_of(item), 0) + 1
    return sorted(counts.items(), key=lambda pair: -pair[1])


def class_of(document: Document) -> str:
    """The class of a document's type; what the actor may not know is a document of no class."""
    try:
        return str(document_type(document.type).group)
    except Invalid:
        return ""
