"""Owns writing to the access log: ``record``, ``transact`` and the receipts that open documents. It must not know who may read.

Every batch of the database's writer ends with this module's rows, so an event and the change that it tells of are committed
together, and sixteen clients share one fsync.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from sqlalchemy import Connection

from kms.errors import KmsError
from kms.keys import Secret
from vault.audit import tiles
from vault.audit.canonical import encode
from vault.audit.entries import Entry, counts, insert_entries, last_leaf, leaf_at, store_counts
from vault.audit.events import Action, Event, Note, Outcome, System
from vault.audit.groups import (
    NONCE_BYTES,
    SALT_BYTES,
    Fields,
    Group,
    LogKeys,
    PatientKeys,
    actor_fields,
    client_fields,
    commitment,
    counted_as,
    flags_of,
    note_fields,
    subject_fields,
)
from vault.audit.head import Head
from vault.audit.references import References
from vault.audit.tree import Tile, leaf_hash
from vault.errors import KeysUnavailable, LogUnavailable, StorageFull, StorageUnavailable
from vault.model import DocumentId, EventId, Micros, PatientId, TenantId
from vault.storage.db import Database

T = TypeVar("T")

VERSION: Final = 1
CLOCK_STEP_US: Final = 2_000_000
"""Wall clock against monotonic clock between two batches: more than NTP slews, so somebody set it."""
_RANDOM: Final = SALT_BYTES + NONCE_BYTES
_EXISTS: Final = frozenset({Outcome.GRANTED, Outcome.SUCCESS, Outcome.PARTIAL})
_GENESIS: Final = Event(Action.LOG_GENESIS, Outcome.SUCCESS, System("log"))
"""The first entry of every log."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that an event is durable in the log. Only this module makes one, after the commit: no receipt, no key."""

    event: EventId
    position: int
    at: Micros
    action: Action
    outcome: Outcome
    patient: PatientId | None
    document: DocumentId | None

    def must_open(self, document: DocumentId) -> None:
        """Raises LogUnavailable unless this receipt grants access to ``document``: the log does not tell of that access."""
        if self.outcome is not Outcome.GRANTED or self.document != document:
            raise LogUnavailable(f"receipt {self.event} does not open document {document}")


@dataclass(frozen=True, slots=True)
class Committed(Generic[T]):
    """A durable change and the receipts of its events, in the order in which they were recorded."""

    value: T
    receipts: tuple[Receipt, ...]


@dataclass(slots=True)
class _Pending:
    """An event on its way to the log; the writer fills in id, position and time."""

    event: Event
    at: int
    patient: PatientKeys | None
    actor: Fields
    id: str = ""
    position: int = -1

    def receipt(self) -> Receipt:
        subject = self.event.subject
        return Receipt(
            EventId(self.id),
            self.position,
            Micros(self.at),
            self.event.action,
            self.event.outcome,
            subject.patient,
            subject.document,
        )


def _own(event: Event, at: int) -> _Pending:
    """An event of the log itself."""
    return _Pending(event, at, None, actor_fields(event))


class Transaction:
    """What a change works with: the writer's connection, and ``record`` for the events that tell of it."""

    __slots__ = ("_log", "connection", "pending")

    def __init__(self, connection: Connection, log: AuditLog) -> None:
        self.connection = connection
        self.pending: list[_Pending] = []
        self._log = log

    def record(self, event: Event) -> None:
        """Add an event to this change; it becomes durable with it, and is dropped with it if the work raises."""
        self.pending.append(self._log.prepare(event))


def uuid7(at: int, random: bytes) -> str:
    """RFC 9562 §5.7 as 32 hexadecimal digits: milliseconds of ``at`` (µs), then 74 of the 80 ``random`` bits."""
    bits = (at // 1000) << 80 | int.from_bytes(random[:10])
    bits &= ~(0xF << 76 | 0x3 << 62)
    return f"{bits | 0x7 << 76 | 0x2 << 62:032x}"


def _detector_index(keys: LogKeys, event: Event) -> bytes | None:
    """Of an alert: which detector raised it."""
    return keys.blind("detector", event.note.code or "") if event.action is Action.AUDIT_ALERT_RAISED else None


class AuditLog:
    """The access log of one installation. Thread-safe; joins every batch that ``db`` writes."""

    def __init__(
        self,
        *,
        db: Database,
        keyring: Database,
        tenant: TenantId,
        open_key: Callable[[], AbstractContextManager[Secret]],
        clock: Callable[[], Micros],
        monotonic: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
        source: str = "vault",
    ) -> None:
        """``open_key`` gives the LOG scope key; it is asked once, at the first event: a vault can open without its token."""
        self.db = db
        self.keyring = keyring
        self.tenant = tenant
        self.clock = clock
        self.references = References(keyring, self.keys, random, monotonic)
        self._open_key = open_key
        self._monotonic = monotonic
        self._random = random
        self._source = source
        self._keys: LogKeys | None = None
        self._opening = threading.Lock()
        self._batch: list[_Pending] = []
        self._head: Head | None = None
        self._next: Head | None = None
        self._clocks: tuple[int, float] | None = None
        self.is_dirty = False
        """Entries were added since the last checkpoint of this process."""
        db.join(self)

    def keys(self) -> LogKeys:
        """The log's keys. Raises LogUnavailable while the token is away and they were never opened."""
        if self._keys is None:
            with self._opening:
                if self._keys is None:
                    try:
                        with self._open_key() as secret:
                            self._keys = LogKeys(secret.view, self.tenant)
                    except (KmsError, KeysUnavailable) as error:
                        raise LogUnavailable("the log's key can't be opened: the key module does not answer") from error
        return self._keys

    def record(self, event: Event) -> Receipt:
        """Write one event; durable when this returns. Raises LogUnavailable: then nothing may be opened."""
        return self.record_all([event])[0]

    def record_all(self, events: list[Event]) -> tuple[Receipt, ...]:
        """Write several events in one commit, for one operation over many documents. Raises LogUnavailable."""
        try:
            pending = [self.prepare(event) for event in events]
            self.db.ride(lambda: self._batch.extend(pending))
        except (StorageUnavailable, StorageFull) as error:
            raise LogUnavailable(f"the access log can't be written: {error}") from error
        return tuple(each.receipt() for each in pending)

    def transact(self, work: Callable[[Transaction], T]) -> Committed[T]:
        """Do a change and record its events in one transaction.

        ``work`` may be run again from scratch and does SQL only. What it raises is raised here, its changes and events undone.
        Raises StorageUnavailable, StorageFull, LogUnavailable.
        """

        def job(connection: Connection) -> tuple[T, list[_Pending]]:
            transaction = Transaction(connection, self)
            value = work(transaction)
            self._batch.extend(transaction.pending)
            return value, transaction.pending

        value, pending = self.db.write(job)
        return Committed(value, tuple(each.receipt() for each in pending))

    def prepare(self, event: Event) -> _Pending:
        """An event with everything that can be known before the writer has its turn."""
        self.keys()
        patient = event.subject.patient
        known: PatientKeys | None = None
        if patient is not None:
            known = self.references.ensure(patient) if event.outcome in _EXISTS else self.references.find(patient)
        return _Pending(event, self.clock(), known, actor_fields(event))

    # --- inside the writer ----------------------------------------------------------------------------------------------------

    def flush(self, connection: Connection) -> None:
        """Add the batch's events to the log; called by the writer just before its commit."""
        if not self._batch:
            return
        batch = self._batch
        head, rewound = self._current_head(connection)
        step = self._clock_step(batch[-1].at)
        genesis = None if head.frontier.size else _own(_GENESIS, batch[0].at)
        batch = [each for each in (genesis, rewound, step) if each is not None] + batch
        entries, full = self._build(connection, head, batch)
        insert_entries(connection, entries)
        tiles.store(connection, full)
        store_counts(connection, head.counted)
        self._next = head

    def ended(self, *, committed: bool) -> None:
        """The batch is durable, or it never was; called by the writer."""
        if committed and self._next is not None:
            self._next.settle()
            self._head = self._next
            self.is_dirty = True
        elif not committed:
            self._head = None
        self._next = None
        self._batch = []

    def _current_head(self, connection: Connection) -> tuple[Head, _Pending | None]:
        """A copy of the head to build on, moved on where another process has appended.

        Where what this process wrote is no longer there, an event says so: the database was rewound or rewritten under it.
        """
        size, leaf, at = last_leaf(connection)
        known = self._head
        if known is not None and (known.frontier.size, known.last_leaf) == (size, leaf):
            return known.copy(), None
        if known is not None and (moved := known.moved_on(connection, size, at)) is not None:
            return moved, None
        rewound: _Pending | None = None
        if known is not None and leaf_at(connection, known.frontier.size - 1) != known.last_leaf:
            note = Note(count=known.frontier.size - size, code="rewound_while_running")
            event = Event(Action.LOG_ROLLBACK_DETECTED, Outcome.SUCCESS, System("log"), note=note)
            rewound = _own(event, self.clock())
        return Head(tiles.frontier(connection, size), leaf, at), rewound

    def _clock_step(self, at: int) -> _Pending | None:
        """An event where the wall clock moved away from the monotonic clock since the last batch."""
        now = self._monotonic()
        before, self._clocks = self._clocks, (at, now)
        if before is None:
            return None
        step = (at - before[0]) - int((now - before[1]) * 1_000_000)
        if abs(step) < CLOCK_STEP_US:
            return None
        note = Note(count=round(step / 1_000_000), code="clock_forward" if step > 0 else "clock_backward")
        return _own(Event(Action.SYSTEM_CLOCK_STEP, Outcome.SUCCESS, System("clock"), note=note), at)

    def _build(self, connection: Connection, head: Head, batch: list[_Pending]) -> tuple[list[Entry], list[Tile]]:
        keys = self.keys()
        actors = [keys.blind("count", counted_as(each.actor)) for each in batch]
        subjects = [each.patient.blind if each.patient else None for each in batch]
        counted = self._counters(connection, head, {blind for blind in (*actors, *subjects) if blind is not None})
        entries: list[Entry] = []
        full: list[Tile] = []
        for each, actor, subject in zip(batch, actors, subjects, strict=True):
            counted[actor] += 1
            if subject is not None:
                counted[subject] += 1
            each.at = head.last_at = max(each.at, head.last_at)
            each.position = head.frontier.size
            entry = self._entry(keys, each, counted[actor], counted[subject] if subject else 0)
            head.last_leaf = entry.leaf
            full += head.frontier.append(leaf_hash(entry.leaf))
            entries.append(entry)
        head.counted = counted
        return entries, full

    def _counters(self, connection: Connection, head: Head, wanted: set[bytes]) -> dict[bytes, int]:
        """The counters to go on from; 0 for who is new."""
        missing = [blind for blind in wanted if blind not in head.counters]
        stored = counts(connection, missing) if missing else {}
        return {blind: head.counters.get(blind, stored.get(blind, 0)) for blind in wanted}

    def _entry(self, keys: LogKeys, pending: _Pending, actor_n: int, subject_n: int) -> Entry:
        """Groups, then commitments, then the leaf, then the groups sealed to their place: position and leaf hash."""
        event, patient = pending.event, pending.patient
        random = self._random(4 * _RANDOM + 10)
        pending.id = uuid7(pending.at, random[-10:])
        actor = pending.actor
        subject = subject_fields(event, patient.reference if patient else None)
        fields = (
            actor | {"n": actor_n},
            subject | {"n": subject_n} if subject_n else subject,
            client_fields(event),
            note_fields(event),
        )
        opened = [random[n * SALT_BYTES : (n + 1) * SALT_BYTES] + encode(each) for n, each in enumerate(fields)]
        leaf = encode(self._skeleton(pending, opened))
        hashed = leaf_hash(leaf)
        nonces = random[4 * SALT_BYTES :]
        sealed = [
            keys.seal(
                group,
                opened[n],
                keys.context(group, pending.position, hashed, patient.blind if patient else None),
                nonces[n * NONCE_BYTES : (n + 1) * NONCE_BYTES],
                patient,
            )
            for n, group in enumerate(Group)
        ]
        document, person = event.subject.document, event.subject.person
        return Entry(
            position=pending.position,
            leaf=leaf,
            at=pending.at,
            action=event.action.value,
            outcome=event.outcome.value,
            actor_sealed=sealed[0],
            subject_sealed=sealed[1],
            client_sealed=sealed[2],
            note_sealed=sealed[3],
            actor_index=keys.blind("actor", f"{actor['kind']} {actor['ref']}"),
            patient_index=patient.blind if patient else None,
            document_index=keys.blind("document", document) if document else None,
            person_index=keys.blind("person", person) if person else None,
            flags=int(flags_of(event)),
            detector_index=_detector_index(keys, event),
        )

    def _skeleton(self, pending: _Pending, opened: list[bytes]) -> dict[str, str | int]:
        """What the leaf says in clear: nothing about anybody, and a commitment to each group."""
        event = pending.event
        skeleton: dict[str, str | int] = {
            "v": VERSION,
            "id": pending.id,
            "t": pending.at,
            "action": event.action.value,
            "outcome": event.outcome.value,
            "sev": int(event.severity),
            "src": self._source,
        }
        if event.op:
            skeleton["op"] = event.op
        if event.ref:
            skeleton["ref"] = event.ref
        for group, data in zip(Group, opened, strict=True):
            skeleton[f"c_{group.value}"] = commitment(group.value, data)
        return skeleton
