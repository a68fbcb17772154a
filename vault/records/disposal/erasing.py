"""Owns which rows say anything of a patient, and their removal. It must not know keys, bodies or who decided.

A disposal takes the patients' own rows too: what still comes for them from a request under way then fails at the database.
A restore keeps them, marked, because what was erased since the backup is told nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, func, select, update

from vault.model import BlobId, PatientId, ScopeId
from vault.storage.schema import (
    breakglass,
    care_team,
    disposals,
    document_versions,
    documents,
    grants,
    legal_holds,
    merges,
    notices,
    objections,
    patient_index,
    patients,
    restrictions,
    retention_facts,
    suspected_doubles,
    tombstones,
)

_OF_PATIENTS = (patient_index, care_team, grants, objections, restrictions, breakglass, retention_facts, legal_holds)
"""Tables whose rows each belong to one patient."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What the database alone can't take away, and what a crash therefore leaves to be done."""

    patients: tuple[PatientId, ...]
    scopes: tuple[ScopeId, ...]
    blobs: tuple[BlobId, ...]

    def word(self) -> str:
        """As it stands in the disposal's row."""
        return json.dumps(asdict(self), separators=(",", ":"))


def parse_remains(word: str) -> Remains:
    """Read ``Remains.word``."""
    fields = json.loads(word)
    return Remains(**{name: tuple(values) for name, values in fields.items()})


def remains_of(connection: Connection, parts: Sequence[PatientId]) -> tuple[Remains, int]:
    """What has to go with these records beside their rows, and how many bytes the bodies take."""
    scopes = connection.execute(select(patients.c.scope).where(patients.c.id.in_(parts)).order_by(patients.c.id)).scalars()
    filed = document_versions.join(documents, documents.c.id == document_versions.c.document)
    mine = documents.c.patient.in_(parts)
    blobs = connection.execute(select(document_versions.c.blob).select_from(filed).where(mine)).scalars()
    size = connection.execute(
        select(func.coalesce(func.sum(document_versions.c.sealed_size), 0)).select_from(filed).where(mine)
    )
    remains = Remains(tuple(parts), tuple(map(ScopeId, scopes)), tuple(map(BlobId, blobs)))
    return remains, int(size.scalar_one())


def empty(connection: Connection, parts: Sequence[PatientId]) -> None:
    """Remove every row that says anything of these records, but their own."""
    mine = select(documents.c.id).where(documents.c.patient.in_(parts))
    connection.execute(delete(tombstones).where(tombstones.c.patient.in_(parts) | tombstones.c.document.in_(mine)))
    connection.execute(delete(document_versions).where(document_versions.c.document.in_(mine)))
    connection.execute(delete(documents).where(documents.c.patient.in_(parts)))
    broken = select(breakglass.c.id).where(breakglass.c.patient.in_(parts))
    connection.execute(delete(notices).where(notices.c.about.in_(broken)))
    for table in _OF_PATIENTS:
        connection.execute(delete(table).where(table.c.patient.in_(parts)))
    pairs = suspected_doubles.c
    connection.execute(delete(suspected_doubles).where(pairs.one.in_(parts) | pairs.other.in_(parts)))
    connection.execute(delete(merges).where(merges.c.kept.in_(parts) | merges.c.absorbed.in_(parts)))


def remove(connection: Connection, parts: Sequence[PatientId]) -> None:
    """``empty``, and the records themselves."""
    empty(connection, parts)
    alone = {"merged_into": None, "merged_since": None}
    connection.execute(update(patients).where(patients.c.id.in_(parts)).values(**alone))
    connection.execute(delete(patients).where(patients.c.id.in_(parts)))


def mark(connection: Connection, parts: Sequence[PatientId], state: str) -> None:
    """``empty``, and nothing but id and state left in the records: what a restore does with whom it finds erased."""
    empty(connection, parts)
    nothing = {"state": state, "identity_sealed": b"", "merged_into": None, "merged_since": None}
    connection.execute(update(patients).where(patients.c.id.in_(parts)).values(**nothing))
    waiting = disposals.c.patient.in_(parts) & (disposals.c.state == "proposed")
    connection.execute(delete(disposals).where(waiting))
