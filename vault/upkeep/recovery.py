"""Owns the recovery slot's life: made, kept complete, rehearsed, and used to move to an empty token.

It must not know the command line.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from kms.keys import KeyService, KeyUse, Secret, WrappedKey
from kms.lifecycle import Lifecycle
from vault.audit.append import AuditLog
from vault.audit.events import Action, Event, Note, Outcome
from vault.errors import Conflict, NotFound, Tampered
from vault.model import Actor, Micros, ScopeId, TenantId
from vault.sealing.binding import scope_context
from vault.sealing.faults import key_faults
from vault.sealing.recovery import SEED_BYTES, combine, open_copy, private_key, recovery_copy, split
from vault.storage.keyring import Keyring, RecoverySlot, ScopeRow
from vault.storage.slots import Slots

BATCH = 256
Report = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Cards:
    """A new slot and its words: shown once, kept nowhere."""

    slot: RecoverySlot
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Migrated:
    """How a move to another token ended."""

    master: int
    moved: int
    lost: tuple[ScopeId, ...]
    """Scopes without a readable recovery copy: they stand under the old token's key as before."""


class Recovery:
    """The way back when the token is gone."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        slots: Slots,
        keys: KeyService,
        tenant: TenantId,
        clock: Callable[[], Micros],
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._keyring = keyring
        self._slots = slots
        self._keys = keys
        self._tenant = tenant
        self._clock = clock
        self._random = random

    def create(self, needed: int, shares: int, report: Report = lambda _count: None) -> Cards:
        """A new slot, its copies of every scope key, and its words. An older slot's cards are then worthless."""
        with Secret(self._random(SEED_BYTES)) as seed:
            lines = split(seed, needed, shares)
            public = private_key(seed).public_key().public_bytes_raw()
        slot = RecoverySlot(uuid4().hex, public, needed, shares, self._clock())
        self._slots.add(slot)
        self.complete(report)
        return Cards(slot, tuple(lines))

    def complete(self, report: Report = lambda _count: None) -> int:
        """Copy what is not copied yet (an interrupted ``create``); gives how many."""
        slot, done = self._slot(), 0
        while rows := self._slots.without_copy(slot.id, BATCH):
            copies = []
            for row in rows:
                with key_faults(), self._keys.unwrap(row.wrapped, context=scope_context(self._tenant, row.id)) as key:
                    copy = recovery_copy(slot, self._tenant, row.id, key)
                copies += [copy] if copy else []
            self._slots.add_copies(copies)
            done += len(rows)
            report(len(rows))
        return done

    def rehearse(self, lines: Sequence[str], report: Report = lambda _count: None) -> int:
        """Try a quorum's words on every copy, beside the token; remembers the date. Gives how many copies are right.

        Raises Invalid (the words), Conflict (another slot's words), Tampered (a copy that does not give its scope's key).
        """
        slot, checked = self._slot(), 0
        self.complete()
        private = self._private(slot, lines)
        for rows in self._batches(0):
            copies = self._slots.copies([row.id for row in rows])
            for row in rows:
                with (
                    key_faults(),
                    self._keys.unwrap(row.wrapped, context=scope_context(self._tenant, row.id)) as key,
                    open_copy(private, self._tenant, row.id, copies.get(row.id, b"")) as copy,
                ):
                    if key.view != copy.view:
                        raise Tampered(f"the recovery copy of scope {row.id} is another key's", kind="recovery_copy")
                checked += 1
            report(len(rows))
        self._slots.mark_rehearsed(slot.id, self._clock())
        return checked

    def migrate(self, life: Lifecycle | None, lines: Sequence[str], report: Report = lambda _count: None) -> Migrated:
        """Bring every scope key under fresh keys on the token that the settings name now. Safe to repeat.

        Without ``life`` a key process holds the token, and its host has made the fresh keys (Raises Conflict where not).

        The old token is not needed. Search values and fingerprints stand under its MAC key: vault/upkeep/reindex.py comes next.
        """
        slot = self._slot()
        private = self._private(slot, lines)
        master = self._renewed() if life is None else _fresh_master(life)
        moved, lost = 0, list[ScopeId]()
        for rows in self._batches(master):
            copies, changes = self._slots.copies([row.id for row in rows]), list[tuple[ScopeRow, WrappedKey]]()
            for row in rows:
                try:
                    key = open_copy(private, self._tenant, row.id, copies.get(row.id, b""))
                except Tampered:
                    lost.append(row.id)
                    continue
                with key_faults(), key:
                    changes.append((row, self._keys.wrap(key.view, context=scope_context(self._tenant, row.id))))
            self._keyring.replace_wrapped(changes, master)
            moved += len(changes)
            report(len(rows))
        return Migrated(master, moved, tuple(lost))

    def _renewed(self) -> int:
        """The active master key of a key process, proved by its canary."""
        health = self._keys.health()
        if not health.ok:
            raise Conflict(
                f"the key process has no fresh keys ({health.detail}): on its host name the empty token in its settings, "
                "then run coffre keys renew for kek, mac and audit"
            )
        with key_faults():
            return self._keys.active(KeyUse.MASTER)

    @staticmethod
    def tell(log: AuditLog, actor: Actor, moved: Migrated) -> None:
        """The move is an event; the log itself can be opened only once its scope key stands on the new token."""
        outcome = Outcome.PARTIAL if moved.lost else Outcome.SUCCESS
        log.record(Event(Action.KEY_REWRAP, outcome, actor, note=Note(count=moved.moved, code=f"migrated:kek/{moved.master}")))

    def scope_count(self) -> int:
        """How many scope keys there are."""
        return sum(self._keyring.scopes_by_master().values())

    def _batches(self, but_under: int) -> list[list[ScopeRow]]:
        batches, after = list[list[ScopeRow]](), ScopeId("")
        while rows := self._keyring.scopes_not_under(but_under, after, BATCH):
            batches.append(rows)
            after = rows[-1].id
        return batches

    def _slot(self) -> RecoverySlot:
        slot = self._keyring.slot()
        if slot is None:
            raise NotFound("there is no recovery slot yet: coffre keys recovery-create")
        return slot

    @staticmethod
    def _private(slot: RecoverySlot, lines: Sequence[str]) -> X25519PrivateKey:
        with combine(lines) as seed:
            private = private_key(seed)
        if private.public_key().public_bytes_raw() != slot.public_key:
            raise Conflict("these words belong to another recovery slot")
        return private


def _fresh_master(life: Lifecycle) -> int:
    return next(record.number for record in life.found_on_this_token() if record.use is KeyUse.MASTER)
