"""Owns a patient's documents as a timeline: by date of the act, by class. It must not know which page shows it."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from flask import request

from vault.errors import Invalid
from vault.model import Document, PatientId
from vault.records.types import document_type
from web.session import actor, vault

MOST_LISTED = 2000


def file_of(patient: PatientId) -> dict[str, Any]:
    """What the patient's page and the document's page both show."""
    found = vault().patients.get(actor(), patient)
    documents = _all_documents(patient)
    wanted = request.args.get("class", "")
    chosen = [item for item in documents if not wanted or _class_of(item) == wanted]
    return {
        "patient": found,
        "years": _by_year(chosen),
        "groups": _groups(documents),
        "chosen_class": wanted,
        "total": len(documents),
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


def _by_year(documents: list[Document]) -> list[tuple[int | None, list[Document]]]:
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
        counts[_class_of(item)] = counts.get(_class_of(item), 0) + 1
    return sorted(counts.items(), key=lambda pair: -pair[1])


def _class_of(document: Document) -> str:
    """The class of a document's type; what the actor may not know is a document of no class."""
    try:
        return str(document_type(document.type).group)
    except Invalid:
        return ""
