"""Owns the quarantine: what is in it, having it scanned again, destroying it. Nothing leaves it but by a clean word.

It must not know HTTP or ciphers. What the scanner calls clean is sealed anew while the scanner reads it, so that the draft
holds the very bytes that were judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Subject, System
from vault.errors import AlreadyPresent, Conflict, Infected, StorageUnavailable
from vault.model import Actor, DocumentId, Micros, Page, Role, ScopeId
from vault.people.policy import Act, decide_role
from vault.records.documents import quarantine_rows
from vault.records.documents.bodies import Deposited
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.intake import Intake
from vault.records.documents.quarantined import ApartDescription, SetApart, bound, open_apart
from vault.records.documents.rooms import Fingerprint, Rooms
from vault.records.documents.turns import Turns
from vault.records.inbox import draft_rows
from vault.records.inbox.drafts import DraftDescription, seal_draft
from vault.sealing.documents import Sealed
from vault.storage.schema import DRAFT

LIST_LIMIT = 200
RESCANS = 2
"""Files scanned again at once in one process: each takes a body's worth of disk and of the scanner."""
DAY_US = 86_400 * 1_000_000
PAGE = 100


class _Plain:
    """An opened body as a readable."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._rest = block
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class Quarantine:
    """Thread-safe. Every method but ``expire`` takes the actor first; all raise VaultError subclasses only."""

    def __init__(self, *, rooms: Rooms, scope: ScopeId, days: int) -> None:
        """``scope``: the inbox's, under which everything here is sealed; ``days``: how long it stays."""
        self._rooms = rooms
        self._scope = scope
        self._days = days
        self._turns = Turns(RESCANS, "scans", rooms.floor)

    @property
    def days(self) -> int:
        """After how many days what is here is destroyed by itself."""
        return self._days

    def list(self, actor: Actor, limit: int = LIST_LIMIT) -> Page[SetApart]:
        """What is in quarantine, newest first. Raises Forbidden, Tampered, KeysUnavailable."""
        decide_role(actor.role, Act.QUARANTINE_MANAGE)
        with self._rooms.db.read() as connection:
            rows = quarantine_rows.latest(connection, limit + 1)
        return Page(tuple(self._shown(actor, stored) for stored in rows[:limit]), len(rows) > limit)

    def get(self, actor: Actor, document: DocumentId) -> SetApart:
        """One file in quarantine. Raises NotFound, Forbidden, Tampered, KeysUnavailable."""
        decide_role(actor.role, Act.QUARANTINE_MANAGE)
        return self._shown(actor, self._find(document))

    def count(self, actor: Actor) -> int:
        """How many files are in quarantine. Raises Forbidden."""
        decide_role(actor.role, Act.QUARANTINE_MANAGE)
        with self._rooms.db.read() as connection:
            return quarantine_rows.count(connection)

    def total(self) -> int:
        """The same for the installation's own reports, which name nobody."""
        with self._rooms.db.read() as connection:
            return quarantine_rows.count(connection)

    def own(self, actor: Actor) -> int:
        """How many of one's own files are in quarantine. Raises Forbidden."""
        decide_role(actor.role, Act.INBOX_USE)
        with self._rooms.db.read() as connection:
            return quarantine_rows.count(connection, actor.person)

    def rescan(self, actor: Actor, document: DocumentId) -> bool:
        """Have a file scanned again: True where it was clean, and waits in the inbox under the same id; False: it stays.

        Only a clear word lets it out, whatever ``[scan] policy`` says. Raises NotFound, Forbidden, AlreadyPresent (the same
        bytes wait in the inbox), Conflict, ScannerUnavailable, TooLarge, Busy, Tampered, KeysUnavailable, LogUnavailable.
        """
        subject = Subject(document=document)
        try:
            with self._rooms.gate.refusals(actor, Action.DOCUMENT_RESCAN, subject):
                decide_role(actor.role, Act.QUARANTINE_MANAGE)
                stored = self._find(document)
                told = self._description(stored)
                with self._turns.take():
                    taken, prints = self._scanned(actor, stored, told)
                self._release(actor, stored, told, taken, prints)
        except Infected:  # the log has it
            return False
        with suppress(StorageUnavailable):  # else an orphan, which the sweep removes later
            self._rooms.bodies.withdraw(stored.blob)
        return True

    def discard(self, actor: Actor, document: DocumentId) -> None:
        """Destroy a file, its key with it. Raises NotFound, Forbidden, Conflict (another was faster)."""
        with self._rooms.gate.refusals(actor, Action.DOCUMENT_DELETE, Subject(document=document)):
            decide_role(actor.role, Act.QUARANTINE_MANAGE)
            self._destroy(actor, self._find(document), "quarantine")

    def expire(self) -> int:
        """Destroy what has been here for too long; gives how many. Raises StorageUnavailable, LogUnavailable."""
        before, done = Micros(self._rooms.clock() - self._days * DAY_US), 0
        while True:
            with self._rooms.db.read() as connection:
                due = quarantine_rows.expired(connection, before, PAGE)
            if not due:
                return done
            for stored in due:
                with suppress(Conflict):  # somebody was faster
                    self._destroy(System("upkeep"), stored, "quarantine_expired")
                    done += 1

    # --- what they share ------------------------------------------------------------------------------------------------------

    def _find(self, document: DocumentId) -> StoredVersion:
        with self._rooms.db.read() as connection:
            return quarantine_rows.find(connection, document)

    def _description(self, stored: StoredVersion) -> ApartDescription:
        with self._rooms.scopes.open(self._scope) as key:
            return open_apart(key, self._rooms.tenant, stored.document, stored.description_sealed)

    def _shown(self, actor: Actor, stored: StoredVersion) -> SetApart:
        told, is_masked = self._description(stored), actor.role is Role.ADMIN
        return SetApart(
            id=stored.document,
            file_name="" if is_masked else told.file_name,
            signature=told.signature,
            size=stored.size,
            deposited_at=stored.deposited_at,
            deposited_by=stored.deposited_by,
            channel=stored.channel,
            until=Micros(stored.deposited_at + self._days * DAY_US),
            is_masked=is_masked,
        )

    def _scanned(self, actor: Actor, stored: StoredVersion, told: ApartDescription) -> tuple[Deposited, Fingerprint]:
        """The same bytes, sealed as a draft's while the scanner reads them. Raises Infected, ScannerUnavailable, TooLarge."""
        judged = list[Fingerprint]()

        def judge(sealed: Sealed) -> None:
            judged.append(self._rooms.fingerprint(sealed.sha256))

        note = Note(bytes=stored.size)
        receipt = self._rooms.log.record(
            Event(Action.DOCUMENT_RESCAN, Outcome.GRANTED, actor, Subject(document=stored.document), note)
        )
        body = self._rooms.bodies.open_apart(receipt, bound(stored, told))
        try:
            body.opener.authenticate()
            plain, sha256 = _Plain(body.opener.whole()), bytes.fromhex(told.sha256)
            intake = Intake(plain, limit_bytes=stored.size, declared_size=stored.size, expected_sha256=sha256)
            taken = self._rooms.bodies.take_in(
                intake, scope=self._scope, document=stored.document, version=1, judge=judge, must_scan=True
            )
        finally:
            body.close()
        return taken, judged[-1]

    def _release(
        self, actor: Actor, stored: StoredVersion, told: ApartDescription, taken: Deposited, prints: Fingerprint
    ) -> None:
        """Out of the quarantine and into the inbox, in one transaction."""
        description = DraftDescription(told.file_name, told.media_type, told.sha256, scan=taken.scan)
        with self._rooms.scopes.open(self._scope) as key:
            sealed = seal_draft(key, self._rooms.tenant, stored.document, description)
        draft = replace(
            stored,
            state=DRAFT,
            blob=taken.blob,
            data_key_sealed=taken.data_key_sealed,
            description_sealed=sealed,
            sealed_size=taken.sealed.sealed_size,
            sealed_sha256=taken.sealed.sealed_sha256,
            fingerprint=prints.value,
            mac=prints.mac,
        )
        event = Event(
            Action.DOCUMENT_RELEASE, Outcome.SUCCESS, actor, Subject(document=stored.document), Note(bytes=stored.size)
        )

        def work(tx: Transaction) -> None:
            twin = draft_rows.twin(tx.connection, prints.known)
            if twin is not None:
                raise AlreadyPresent(f"these bytes wait as draft {twin}", document=twin)
            quarantine_rows.remove(tx.connection, stored.document)
            draft_rows.add(tx.connection, draft)
            tx.record(event)

        try:
            self._rooms.log.transact(work)
        except (AlreadyPresent, Conflict):
            with suppress(StorageUnavailable):
                self._rooms.bodies.withdraw(taken.blob)
            raise

    def _destroy(self, by: Actor | System, stored: StoredVersion, code: str) -> None:
        note = Note(bytes=stored.size, code=code)
        event = Event(Action.DOCUMENT_DELETE, Outcome.SUCCESS, by, Subject(document=stored.document), note)

        def work(tx: Transaction) -> None:
            quarantine_rows.remove(tx.connection, stored.document)
            tx.record(event)

        self._rooms.log.transact(work)
        with suppress(StorageUnavailable):  # else an orphan, which the sweep removes later
            self._rooms.bodies.withdraw(stored.blob)
