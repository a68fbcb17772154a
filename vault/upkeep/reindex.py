"""Owns making everything anew that stands under the MAC key: search values and fingerprints.

It must not know why the key changed.

What is one-way (recovery codes, invitations, counters of failures, familiar places) can't be made anew and is dropped: those
codes have to be issued again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from kms.keys import KeyService, Purpose, Secret
from vault.model import DocumentId, PatientId, PersonId, ScopeId, TenantId
from vault.records.descriptions import Place, open_description
from vault.records.drafts import open_draft
from vault.records.patient_rows import open_identity
from vault.sealing.binding import bind
from vault.sealing.faults import key_faults
from vault.sealing.index import BlindIndex
from vault.sealing.scopes import ScopeKeys
from vault.storage.db import Database
from vault.storage.schema import document_versions, documents, failures, familiar, patient_index, patients, recovery_codes

BATCH = 100


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What stands under the active MAC key again."""

    patients: int
    versions: int


@dataclass(frozen=True, slots=True)
class Reindexing:
    """Safe to repeat; each batch is one transaction."""

    db: Database
    scopes: ScopeKeys
    keys: KeyService
    tenant: TenantId

    def run(self, report: Callable[[int], None] = lambda _count: None) -> Reindexed:
        """Everything. Raises KeysUnavailable, StorageUnavailable, Tampered: run it again once that is mended."""
        found = self._patients(report)
        prints = self._versions(report)
        self.db.write(_drop_one_way)
        return Reindexed(found, prints)

    def _patients(self, report: Callable[[int], None]) -> int:
        index, after, done, columns = BlindIndex(self.keys, self.tenant), "", 0, patients.c
        while True:
            statement = select(columns.id, columns.scope, columns.identity_sealed).where(columns.id > after)
            with self.db.read() as connection:
                rows = connection.execute(statement.order_by(columns.id).limit(BATCH)).all()
            if not rows:
                return done
            values = list[dict[str, Any]]()
            for row in rows:
                with self.scopes.open(ScopeId(row.scope)) as key:
                    identity = open_identity(key, self.tenant, PatientId(row.id), row.identity_sealed)
                values += [{"value": value, "patient": row.id} for value in index.values(identity)]
            self.db.write(partial(_replace_values, [row.id for row in rows], values))
            after, done = rows[-1].id, done + len(rows)
            report(len(rows))

    def _versions(self, report: Callable[[int], None]) -> int:
        after, done, columns = ("", 0), 0, document_versions.c
        chosen = select(
            columns.document,
            columns.version,
            columns.scope,
            columns.description_sealed,
            columns.deposited_by,
            documents.c.patient,
        ).join_from(document_versions, documents, documents.c.id == columns.document)
        while True:
            beyond = (columns.document > after[0]) | ((columns.document == after[0]) & (columns.version > after[1]))
            with self.db.read() as connection:
                rows = connection.execute(chosen.where(beyond).order_by(columns.document, columns.version).limit(BATCH)).all()
            if not rows:
                return done
            prints = [{"doc": row.document, "ver": row.version, "print": self._fingerprint(row)} for row in rows]
            self.db.write(partial(_replace_prints, prints))
            after, done = (rows[-1].document, rows[-1].version), done + len(rows)
            report(len(rows))

    def _fingerprint(self, row: Any) -> bytes:
        with self.scopes.open(ScopeId(row.scope)) as key:
            sha256 = self._sha256(key, row)
        with key_faults():
            return self.keys.mac(Purpose.FINGERPRINT, bind("coffre/fingerprint/v1", self.tenant, bytes.fromhex(sha256)))

    def _sha256(self, key: Secret, row: Any) -> str:
        """What the sealed description says of the body; one that waits in the inbox has no patient yet."""
        document = DocumentId(row.document)
        if row.patient is None:
            return open_draft(key, self.tenant, document, row.description_sealed).sha256
        place = Place(document, row.version, PatientId(row.patient), PersonId(row.deposited_by))
        return open_description(key, self.tenant, place, row.description_sealed).sha256


def _replace_values(wanted: list[str], values: list[dict[str, Any]], connection: Connection) -> None:
    connection.execute(delete(patient_index).where(patient_index.c.patient.in_(wanted)))
    if values:
        connection.execute(insert(patient_index), values)


def _replace_prints(prints: list[dict[str, Any]], connection: Connection) -> None:
    columns = document_versions.c
    statement = update(document_versions).where(columns.document == bindparam("doc"), columns.version == bindparam("ver"))
    connection.execute(statement.values(fingerprint=bindparam("print")), prints)


def _drop_one_way(connection: Connection) -> None:
    for table in (failures, familiar, recovery_codes):
        connection.execute(delete(table))
