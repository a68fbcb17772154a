"""Owns scope keys: made, wrapped by the master key, opened through a short-lived cache. It must not know what they seal."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import uuid4

from kms.keys import KeyService, Secret
from vault.model import Micros, ScopeId, ScopeKind, TenantId
from vault.sealing.binding import scope_context
from vault.sealing.faults import key_faults
from vault.sealing.recovery import recovery_copy
from vault.storage.keyring import Keyring, ScopeRow

SCOPE_KEY_BYTES = 32
CACHE_ENTRIES = 256
"""Patients whose key may stay open at once: a busy practice's day, 8 KiB of secrets."""
CACHE_SECONDS = 120
"""No key stays open longer without asking the token again."""
IDLE_SECONDS = 45
"""A key that nobody uses is wiped after this, so that none is left in memory 60 s into a pause."""
SWEEP_SECONDS = 10

_SECOND = 1_000_000


@dataclass(slots=True)
class _Entry:
    secret: Secret
    opened_at: int
    used_at: int


class ScopeKeys:
    """Thread-safe. Each user of a key gets a copy of its own, so that eviction never wipes a key in use."""

    def __init__(
        self,
        keyring: Keyring,
        keys: KeyService,
        tenant: TenantId,
        *,
        clock: Callable[[], Micros] = lambda: Micros(time.time_ns() // 1000),
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._keys = keys
        self._keyring = keyring
        self._tenant = tenant
        self._clock = clock
        self._new_id = new_id
        self._cache: OrderedDict[ScopeId, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._sweeper: threading.Thread | None = None

    def create(self, kind: ScopeKind) -> ScopeId:
        """A fresh 256-bit scope key, wrapped and durable in the keyring before this returns.

        Raises KeysUnavailable, StorageUnavailable, StorageFull.
        """
        scope = ScopeId(self._new_id())
        with key_faults(), Secret(self._keys.random(SCOPE_KEY_BYTES)) as key:
            wrapped = self._keys.wrap(key.view, context=scope_context(self._tenant, scope))
            master = self._keys.number_of(wrapped)
            copy = recovery_copy(self._keyring.slot(), self._tenant, scope, key)
        self._keyring.add_scope(ScopeRow(scope, kind, wrapped, master), self._clock(), copy)
        return scope

    def open(self, scope: ScopeId) -> Secret:
        """The scope's key, for the length of a ``with`` block; wiped on exit.

        Raises NotFound (erased or never made), KeysUnavailable, Tampered (the wrapped key was altered or swapped).
        """
        return self._cached(scope) or self._unwrap(scope)

    def fetch(self, wanted: Iterable[ScopeId]) -> None:
        """Open several keys at once, for the ``open`` of each that follows: one question to the keyring, one to the token.

        One that can't be opened is left for its ``open`` to say so. Raises KeysUnavailable, Busy.
        """
        missing = [scope for scope in dict.fromkeys(wanted) if not self._holds(scope)]
        if len(missing) < 2:
            return
        rows = self._keyring.some_scopes(missing)
        asked = [(row.wrapped, scope_context(self._tenant, row.id)) for row in rows]
        with key_faults(), self._keys.unwrap_many(asked) as secrets:
            for row, secret in zip(rows, secrets, strict=True):
                if isinstance(secret, Secret):
                    self._keep(row.id, secret)

    def forget(self, scope: ScopeId) -> None:
        """Drop a key from memory at once: after its erasure, or when its patient is restricted."""
        with self._lock:
            entry = self._cache.pop(scope, None)
            if entry is not None:
                entry.secret.wipe()

    def sweep(self) -> int:
        """Wipe every key that is too old or idle; returns how many are left."""
        now = self._clock()
        with self._lock:
            for scope in [scope for scope, entry in self._cache.items() if self._is_stale(entry, now)]:
                self._cache.pop(scope).secret.wipe()
            return len(self._cache)

    def close(self) -> None:
        """Wipe every key and stop the sweeping thread; idempotent."""
        self._stopping.set()
        with self._lock:
            sweeper, self._sweeper = self._sweeper, None
            while self._cache:
                self._cache.popitem()[1].secret.wipe()
        if sweeper is not None and sweeper is not threading.current_thread():
            sweeper.join()

    @staticmethod
    def _is_stale(entry: _Entry, now: int) -> bool:
        # A clock that was set back makes every entry stale rather than immortal.
        age, idle = now - entry.opened_at, now - entry.used_at
        return not 0 <= age < CACHE_SECONDS * _SECOND or not 0 <= idle < IDLE_SECONDS * _SECOND

    def _cached(self, scope: ScopeId) -> Secret | None:
        now = self._clock()
        with self._lock:
            entry = self._cache.get(scope)
            if entry is None:
                return None
            if self._is_stale(entry, now):
                self._cache.pop(scope).secret.wipe()
                return None
            entry.used_at = now
            self._cache.move_to_end(scope)
            return entry.secret.copy()

    def _unwrap(self, scope: ScopeId) -> Secret:
        row = self._keyring.scope(scope)
        with key_faults():
            secret = self._keys.unwrap(row.wrapped, context=scope_context(self._tenant, scope))
        self._keep(scope, secret)
        return secret

    def _holds(self, scope: ScopeId) -> bool:
        now = self._clock()
        with self._lock:
            entry = self._cache.get(scope)
            return entry is not None and not self._is_stale(entry, now)

    def _keep(self, scope: ScopeId, secret: Secret) -> None:
        """A copy for the next ones who ask."""
        now = self._clock()
        with self._lock:
            if self._stopping.is_set():
                return
            replaced = self._cache.pop(scope, None)
            if replaced is not None:
                replaced.secret.wipe()
            self._cache[scope] = _Entry(secret.copy(), now, now)
            while len(self._cache) > CACHE_ENTRIES:
                self._cache.popitem(last=False)[1].secret.wipe()
            if self._sweeper is None:
                self._sweeper = threading.Thread(target=self._sweep_until_closed, name="scope-sweeper", daemon=True)
                self._sweeper.start()

    def _sweep_until_closed(self) -> None:
        while not self._stopping.wait(SWEEP_SECONDS):
            self.sweep()
