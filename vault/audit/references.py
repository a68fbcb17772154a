"""Owns how the access log names patients: a random reference and a salt for each, in the keyring database.

It must not know patients' records. Erasing a row makes the patient's log groups unreadable for good.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import lru_cache

from sqlalchemy import Connection, delete, insert, select

from vault.audit.groups import LogKeys, PatientKeys
from vault.model import PatientId
from vault.storage.db import Database
from vault.storage.schema import log_salts

CACHE = 4_096
"""Patients whose log keys stay in memory: a day's work of a large practice."""
KNOWN_S = 120.0
"""How long one is known without being looked up: another process may have erased the patient."""


class References:
    """Reference and keys of each patient, by patient id (to write) or by index value (to read). Thread-safe."""

    def __init__(
        self,
        keyring: Database,
        keys: Callable[[], LogKeys],
        random: Callable[[int], bytes],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = keyring
        self._monotonic = monotonic
        self._keys = keys
        self._random = random
        self._derived = lru_cache(maxsize=CACHE)(lambda reference, salt: self._keys().patient(reference, salt))
        self._cache: OrderedDict[PatientId, tuple[float, PatientKeys]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, patient: PatientId) -> PatientKeys | None:
        """The patient's keys, None where the log has never known them or has forgotten them."""
        with self._lock:
            looked_up_at, keys = self._cache.get(patient, (-KNOWN_S, None))
            if self._monotonic() - looked_up_at < KNOWN_S:
                self._cache.move_to_end(patient)
                return keys
            self._cache.pop(patient, None)
        with self._db.read() as connection:
            row = connection.execute(
                select(log_salts.c.reference, log_salts.c.salt).where(log_salts.c.patient == patient)
            ).one_or_none()
        return self._remember(patient, self._derived(row.reference, row.salt)) if row else None

    def ensure(self, patient: PatientId) -> PatientKeys:
        """The patient's keys, made durably with the first event about them."""
        found = self.find(patient)
        if found is not None:
            return found
        made = self._random(16).hex(), self._random(32)

        def work(connection: Connection) -> tuple[str, bytes]:
            row = connection.execute(
                select(log_salts.c.reference, log_salts.c.salt).where(log_salts.c.patient == patient)
            ).one_or_none()
            if row is not None:
                return row.reference, row.salt
            reference, salt = made
            blind = self._keys().blind("patient", reference)
            connection.execute(insert(log_salts).values(patient=patient, reference=reference, blind=blind, salt=salt))
            return made

        return self._remember(patient, self._derived(*self._db.write(work)))

    def forget(self, patient: PatientId) -> bytes | None:
        """Erase; gives the index value under which the patient's entries stood, None where there was nothing to erase."""
        known = self.find(patient)

        def work(connection: Connection) -> None:
            connection.execute(delete(log_salts).where(log_salts.c.patient == patient))

        self._db.write(work)
        with self._lock:
            self._cache.pop(patient, None)
        self._derived.cache_clear()
        return known.blind if known else None

    def by_blind(self, blinds: Iterable[bytes]) -> dict[bytes, tuple[PatientId, PatientKeys]]:
        """The patients behind index values; those that were erased are missing from the answer."""
        wanted = list(set(blinds))
        found: dict[bytes, tuple[PatientId, PatientKeys]] = {}
        with self._db.read() as connection:
            for start in range(0, len(wanted), 500):
                part = wanted[start : start + 500]
                for row in connection.execute(select(log_salts).where(log_salts.c.blind.in_(part))):
                    found[row.blind] = PatientId(row.patient), self._derived(row.reference, row.salt)
        return found

    def by_reference(self, reference: str) -> PatientId | None:
        """Whose reference this is: the first half of a reveal."""
        with self._db.read() as connection:
            patient = connection.execute(
                select(log_salts.c.patient).where(log_salts.c.reference == reference)
            ).scalar_one_or_none()
        return PatientId(patient) if patient else None

    def _remember(self, patient: PatientId, keys: PatientKeys) -> PatientKeys:
        with self._lock:
            self._cache[patient] = (self._monotonic(), keys)
            while len(self._cache) > CACHE:
                self._cache.popitem(last=False)
        return keys
