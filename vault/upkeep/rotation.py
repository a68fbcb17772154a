"""Owns the rewrapping of scope keys under the active master key, while the practice works. It must not know how keys are made.

Safe to stop at any moment: each batch is one transaction, and what is left is read from the keyring itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from kms.errors import KmsError
from kms.keys import KeyService, KeyUse, WrappedKey
from vault.model import ScopeId, TenantId
from vault.sealing.binding import scope_context
from vault.sealing.faults import key_faults
from vault.storage.keyring import Keyring, ScopeRow

BATCH = 512
"""Scope keys in one transaction: some 25 ms of work, so that clinicians' own writes never wait long."""
SETTLE_SECONDS = 2.5
"""Other processes notice a new active key within 2 s (kms/ledger.py); scopes made before that stand under the old one."""
NONE = ScopeId("")


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """How a rewrapping ended."""

    master: int
    """The active master key."""
    done: int
    """How many were rewrapped by this run."""
    failed: tuple[tuple[ScopeId, str], ...]
    """Scopes that can't be rewrapped, with the error's code. Nothing was lost: they stand as they stood."""
    left: dict[int, int]
    """The proof: how many scope keys stand under each other master key, counted in the keyring at the end."""

    @property
    def is_complete(self) -> bool:
        return not self.left


class Rewrapping:
    """Brings every scope key under the active master key."""

    def __init__(
        self,
        keyring: Keyring,
        keys: KeyService,
        tenant: TenantId,
        *,
        batch: int = BATCH,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keyring = keyring
        self._keys = keys
        self._tenant = tenant
        self._batch = batch
        self._sleep = sleep
        self._monotonic = monotonic

    def remaining(self) -> int:
        """How many scope keys do not stand under the active master key."""
        with key_faults():
            active = self._keys.active(KeyUse.MASTER)
        return sum(count for master, count in self._keyring.scopes_by_master().items() if master != active)

    def run(self, report: Callable[[int], None] = lambda _count: None, *, per_second: int | None = None) -> Rewrapped:
        """Rewrap until nothing is left but failures; ``report`` is told each batch's size.

        Raises KeysUnavailable, StorageUnavailable, StorageFull: what was done stays done; run it again.
        """
        with key_faults():
            active = self._keys.active(KeyUse.MASTER)
        done, failed = self._pass(active, report, per_second)
        if done:
            self._sleep(SETTLE_SECONDS)
            more, failed = self._pass(active, report, per_second)
            done += more
        left = {master: count for master, count in self._keyring.scopes_by_master().items() if master != active}
        return Rewrapped(active, done, tuple(failed.items()), left)

    def _pass(self, active: int, report: Callable[[int], None], per_second: int | None) -> tuple[int, dict[ScopeId, str]]:
        """Once over everything by id: the token works on a batch while the database writes the one before."""
        done, failed, begun = 0, dict[ScopeId, str](), self._monotonic()
        with ThreadPoolExecutor(1, thread_name_prefix="rewrap") as writer:
            writing: Future[None] | None = None
            for rows in self._batches(active):
                fresh, refused = self._rewrap(rows)
                failed |= refused
                if writing is not None:
                    writing.result()
                writing = writer.submit(self._keyring.replace_wrapped, fresh, active)
                done += len(fresh)
                report(len(rows))
                if per_second:
                    self._sleep(max(0.0, done / per_second - (self._monotonic() - begun)))
            if writing is not None:
                writing.result()
        return done, failed

    def _batches(self, active: int) -> Iterator[list[ScopeRow]]:
        after = NONE
        while rows := self._keyring.scopes_not_under(active, after, self._batch):
            after = rows[-1].id
            yield rows

    def _rewrap(self, rows: list[ScopeRow]) -> tuple[list[tuple[ScopeRow, WrappedKey]], dict[ScopeId, str]]:
        items = [(row.wrapped, scope_context(self._tenant, row.id)) for row in rows]
        with key_faults():
            answers = self._keys.rewrap_many(items)
        fresh, refused = [], {}
        for row, result in zip(rows, answers, strict=True):
            if isinstance(result, KmsError):
                refused[row.id] = result.code
            else:
                fresh.append((row, result))
        return fresh, refused
