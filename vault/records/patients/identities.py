"""Owns what patients are called, for those who may know it: the access log's revealed names, a patient's own access report.

It must not know who asks: its callers have judged and written that down before.
"""

from __future__ import annotations

from collections.abc import Sequence

from vault.errors import NotFound
from vault.model import PatientId, TenantId
from vault.records.patients.patient_rows import open_identity, stored_patients
from vault.sealing.scopes import ScopeKeys
from vault.storage.db import Database


class Identities:
    """Names by patient id; erased patients have none."""

    def __init__(self, db: Database, scopes: ScopeKeys, tenant: TenantId) -> None:
        self._db = db
        self._scopes = scopes
        self._tenant = tenant

    def names(self, wanted: Sequence[PatientId]) -> dict[PatientId, str]:
        """``BIRTH NAME Given names, YYYY-MM-DD`` of each patient that exists. Raises KeysUnavailable, Tampered."""
        with self._db.read() as connection:
            found = stored_patients(connection, wanted)
        names: dict[PatientId, str] = {}
        for stored in found:
            try:
                with self._scopes.open(stored.scope) as key:
                    identity = open_identity(key, self._tenant, stored.id, stored.identity_sealed)
            except NotFound:
                continue
            names[stored.id] = f"{identity.birth_name} {' '.join(identity.given_names)}, {identity.birth_date}"
        return names
