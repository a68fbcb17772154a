"""Owns uploads that outlive their connection: the bytes come in pieces, in order, and are sealed as they come.

A transfer is a deposit in a thread of its own that reads from a pipe; connections push into the pipe, one after the other.
Nothing else is kept of it: what waits is one piece in memory and the sealed file of every deposit under way, and both go when
nobody comes back. It must not know HTTP, nor what a deposit does with the bytes. Docs: docs/decisions/0046-uploads-resume.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

from kms.caller import act_for
from vault.errors import Busy, Conflict, Invalid, NotFound, TooLarge
from vault.model import Actor, Document, PersonId
from vault.records.documents.intake import ByteStream
from vault.records.documents.turns import RETRY_S
from vault.records.inbox.drafts import Draft

PIECE_BYTES = 256 * 1024
"""What is taken from a connection at once: at most so much is sent again after a cut."""
PATIENCE_S = 15 * 60.0
"""How long a transfer waits for its sender to come back, and how long its result can be asked for."""
LIFE_S = 12 * 3600.0
"""No transfer goes on for longer."""
MOST_EACH = 4
"""Transfers under way of one person in one process: a page sends two files at once, and may have been reloaded."""
ENDING_S = 10.0

Deposited = Document | Draft
Deposit = Callable[[ByteStream], Deposited]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer has come."""

    id: str
    offset: int
    """Bytes that need not be sent again."""
    size: int
    """Bytes announced."""
    result: Deposited | None
    """What was filed, once everything has arrived and is durable."""


class _Transfer:
    """One deposit and the pipe that feeds it: whoever holds the newest lease may push."""

    def __init__(self, owner: PersonId, size: int, deposit: Deposit, monotonic: Callable[[], float]) -> None:
        self.id = uuid4().hex
        self.owner = owner
        self.size = size
        self.offset = 0
        self._deposit = deposit
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._began_at = self.seen_at = monotonic()
        self._piece = b""
        self._lease = 0
        self.feeders = 0
        """Connections that are sending now."""
        self._is_wanting = False
        self._is_given_up = False
        self.is_over = False
        self._result: Deposited | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="transfer", daemon=True)

    # --- the deposit's side

    def start(self) -> None:
        """Begin the deposit; returns once it asks for bytes. Raises what it refuses before that."""
        self._thread.start()
        with self._changed:
            while not self._is_wanting and not self.is_over:
                self._changed.wait()
        self._tell_failure()

    def _run(self) -> None:
        act_for(self.owner)
        try:
            self._result = self._deposit(self)
        except BaseException as error:  # noqa: BLE001  # carried to the connections, which raise it
            self._failure = error
        with self._changed:
            self.is_over = True
            self._piece = b""
            self.seen_at = self._monotonic()
            self._changed.notify_all()

    def read(self, size: int, /) -> bytes:
        """``ByteStream`` for the deposit. Raises EOFError where the sender stays away."""
        with self._changed:
            self._is_wanting = True
            self._changed.notify_all()
            while not self._piece:
                if self.offset == self.size:
                    return b""
                now = self._monotonic()
                left = min(self.seen_at + PATIENCE_S, self._began_at + LIFE_S) - now
                if self._is_given_up or left <= 0:
                    raise EOFError("the sender did not come back")
                self._changed.wait(left)
            data, self._piece = self._piece[:size], self._piece[size:]
            self._changed.notify_all()
            return data

    # --- the connections' side

    def lease(self) -> int:
        """The right to push; whoever had it before has lost it: a cut connection may look alive for a while."""
        with self._changed:
            self._lease += 1
            self.seen_at = self._monotonic()
            self._changed.notify_all()
            return self._lease

    def push(self, lease: int, data: bytes) -> None:
        """Hand over the next bytes; waits while the deposit is busy. Raises Conflict, Invalid, what the deposit raised."""
        with self._changed:
            while self._piece and not self.is_over and lease == self._lease:
                self._changed.wait()
            if lease != self._lease:
                raise Conflict("another connection goes on with this transfer", reason="taken_over", offset=self.offset)
            self._tell_failure()
            if self.offset + len(data) > self.size:
                raise Invalid("more bytes than were announced", field="upload_length", reason="too_long")
            self._piece = data
            self.offset += len(data)
            self.seen_at = self._monotonic()
            self._changed.notify_all()

    @contextmanager
    def fed(self) -> Iterator[int]:
        """A connection's lease, for as long as it sends."""
        lease = self.lease()
        with self._changed:
            self.feeders += 1
        try:
            yield lease
        finally:
            with self._changed:
                self.feeders -= 1

    def progress(self) -> Progress:
        """Where it stands, its result where everything has arrived. Raises what the deposit raised."""
        with self._changed:
            while self.offset == self.size and not self.is_over:
                self._changed.wait()
            self._tell_failure()
            return Progress(self.id, self.offset, self.size, self._result)

    def give_up(self) -> bool:
        """Let the deposit forget what it has; False where it was filed already."""
        with self._changed:
            self._is_given_up = True
            self._lease += 1
            self._changed.notify_all()
        self._thread.join(ENDING_S)
        return self._result is None

    def _tell_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


class Transfers:
    """Every transfer of this process. Thread-safe; each belongs to the person who began it, and to nobody else."""

    def __init__(self, *, limit_bytes: int, most: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        """``most``: how many may be under way at once, fewer than deposits, so that a cut line stops nobody else."""
        self._limit_bytes = limit_bytes
        self._most = most
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._transfers: dict[str, _Transfer] = {}

    def begin(self, actor: Actor, size: int, deposit: Deposit) -> Progress:
        """Start a deposit of ``size`` bytes to come. Raises Busy, TooLarge, and what ``deposit`` refuses before any byte.

        Somebody who has too many loses the one that was left alone for longest: a page that was reloaded begins anew.
        """
        if size > self._limit_bytes:
            raise TooLarge("the document is over the limit", limit_bytes=self._limit_bytes)
        transfer = _Transfer(actor.person, size, deposit, self._monotonic)
        with self._lock:
            self._forget_old()
            forsaken = self._room_for(actor.person)
            self._transfers[transfer.id] = transfer
        if forsaken is not None:
            forsaken.give_up()
        try:
            transfer.start()
        except BaseException:
            with self._lock:
                del self._transfers[transfer.id]
            raise
        return transfer.progress()

    def _room_for(self, person: PersonId) -> _Transfer | None:
        """Raises Busy where there is none; the transfer to give up for it, where there must be one."""
        under_way = [each for each in self._transfers.values() if not each.is_over]
        own = [each for each in under_way if each.owner == person]
        if len(own) < MOST_EACH and len(under_way) < self._most:
            return None
        alone = [each for each in own if not each.feeders]
        if not alone:
            raise Busy("too many transfers are under way", retry_after_s=RETRY_S)
        oldest = min(alone, key=lambda each: each.seen_at)
        del self._transfers[oldest.id]
        return oldest

    def progress(self, actor: Actor, transfer: str) -> Progress:
        """How far it has come; a connection that was feeding it is cut off. Raises NotFound, what the deposit raised."""
        found = self._find(actor, transfer)
        found.lease()
        return found.progress()

    def append(self, actor: Actor, transfer: str, offset: int, body: ByteStream) -> Progress:
        """Take the bytes from ``offset`` on; with the last one, what was filed. Repeating the last call repeats its answer.

        Raises NotFound, Conflict (another offset is due: ``details['offset']``), Invalid, IncompleteBody (come back), and
        whatever the deposit raises.
        """
        found = self._find(actor, transfer)
        with found.fed() as lease:
            if offset != found.offset:
                raise Conflict("other bytes are due", reason="wrong_offset", offset=found.offset)
            while piece := body.read(PIECE_BYTES):
                found.push(lease, piece)
            return found.progress()

    def cancel(self, actor: Actor, transfer: str) -> None:
        """Give it up: nothing is kept. Raises NotFound, Conflict (it was filed meanwhile)."""
        found = self._find(actor, transfer)
        if not found.give_up():
            raise Conflict("the document is filed already", reason="already_filed")
        with self._lock, suppress(KeyError):
            del self._transfers[transfer]

    def close(self) -> None:
        """Give up whatever waits; idempotent."""
        with self._lock:
            waiting = list(self._transfers.values())
            self._transfers.clear()
        for each in waiting:
            each.give_up()

    def _find(self, actor: Actor, transfer: str) -> _Transfer:
        with self._lock:
            found = self._transfers.get(transfer)
        if found is None or found.owner != actor.person:
            raise NotFound(f"transfer {transfer[:32]}")
        return found

    def _forget_old(self) -> None:
        before = self._monotonic() - PATIENCE_S
        for each in [each for each in self._transfers.values() if each.is_over and each.seen_at < before]:
            del self._transfers[each.id]
