"""Owns the deposit of a document: checks, sealing, one transaction with its event. It must not know HTTP or ciphers.

Order: policy, then key, blob, and last the row with its event (``vault.records.documents.bodies``). Whatever fails on the way,
nothing is kept; what a crash leaves is an orphan blob for the sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Outcome, Subject
from vault.errors import AlreadyPresent, Conflict, Invalid, StorageUnavailable
from vault.model import Actor, Document, DocumentId, Micros, PatientId, Scan, ScopeId
from vault.people.files import file_of
from vault.people.policy import Act, decide_role
from vault.records.documents import catalogue
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.descriptions import Description, Place, seal_description
from vault.records.documents.file_names import accepted_name
from vault.records.documents.intake import ByteStream, Intake
from vault.records.documents.rights import relation_to
from vault.records.documents.rooms import Fingerprint, Rooms, document_of, first_row
from vault.records.documents.setting_apart import Sender, apart
from vault.records.documents.turns import Turns
from vault.records.documents.types import document_type
from vault.records.patients.access import note_of
from vault.sealing.documents import Sealed
from vault.storage.schema import FILED

T = TypeVar("T")

OLDEST_ACT = date(1900, 1, 1)


@dataclass(frozen=True, slots=True)
class Filing:
    """Where a deposit goes and what is said of it."""

    patient: PatientId
    scope: ScopeId
    document: DocumentId
    version: int
    type: str
    act_date: date | None
    file_name: str
    channel: str
    is_urgent: bool = False


class Deposits:
    """Thread-safe."""

    def __init__(self, rooms: Rooms, *, limit_bytes: int, uploads: int) -> None:
        self._rooms = rooms
        self._limit_bytes = limit_bytes
        self.turns = Turns(uploads, "deposits", rooms.floor)

    def store(
        self,
        actor: Actor,
        patient: PatientId,
        *,
        type: str,  # noqa: A002  # the field's word, as in Document
        act_date: date | None,
        file_name: str,
        body: ByteStream,
        expected_sha256: bytes | None,
        declared_size: int | None,
        channel: str,
        is_urgent: bool = False,
    ) -> Document:
        """``Documents.store``."""
        rooms = self._rooms
        with rooms.gate.refusals(actor, Action.DOCUMENT_UPLOAD, Subject(patient=patient)):
            decide_role(actor.role, Act.DOCUMENT_UPLOAD)
            with rooms.db.read() as connection:
                scope = catalogue.filing_scope(connection, patient)
                relation = rooms.gate.relation(connection, actor, patient)
            rooms.gate.authorise(actor, Act.DOCUMENT_UPLOAD, relation)
            kind = document_type(type)
            check_act_date(act_date, rooms.clock())
            document = DocumentId(rooms.new_id())
            filing = Filing(patient, scope, document, 1, kind.code, act_date, accepted_name(file_name), channel, is_urgent)
            intake = Intake(body, limit_bytes=self._limit_bytes, declared_size=declared_size, expected_sha256=expected_sha256)
            stored, description, prints = self._take_in(actor, filing, intake)
            subject = Subject(patient, document, 1, document_class=kind.group)
            note = replace(note_of(relation, size=stored.size), code=scan_code(description.scan), changed=urgent(is_urgent))
            event = Event(Action.DOCUMENT_UPLOAD, Outcome.SUCCESS, actor, subject, note)
            is_elsewhere = self._file(stored, prints, event)
            return replace(document_of(stored, description), is_elsewhere=is_elsewhere)

    def replace(
        self,
        actor: Actor,
        document: DocumentId,
        *,
        file_name: str,
        body: ByteStream,
        expected_sha256: bytes | None,
        declared_size: int | None,
        channel: str,
    ) -> Document:
        """``Documents.replace``."""
        rooms = self._rooms
        with rooms.gate.refusals(actor, Action.DOCUMENT_REPLACE, Subject(document=document)):
            decide_role(actor.role, Act.DOCUMENT_REPLACE)
            with rooms.db.read() as connection:
                before = catalogue.stored_version(connection, document)
                scope = catalogue.patient_scope(connection, before.patient)
                known = rooms.gate.relation(connection, actor, before.patient)
            described = rooms.description(before)
            relation = relation_to(known, actor, before, described, rooms.clock())
            rooms.gate.authorise(actor, Act.DOCUMENT_REPLACE, relation)
            intake = Intake(body, limit_bytes=self._limit_bytes, declared_size=declared_size, expected_sha256=expected_sha256)
            version, name = before.version + 1, accepted_name(file_name)
            filing = Filing(before.patient, scope, document, version, described.type, described.act_date, name, channel)
            stored, description, prints = self._take_in(actor, filing, intake)
            group = document_type(described.type).group
            subject = Subject(before.patient, document, version, document_class=group)
            note = replace(note_of(relation, size=stored.size), code=scan_code(description.scan))
            event = Event(Action.DOCUMENT_REPLACE, Outcome.SUCCESS, actor, subject, note)

            def work(transaction: Transaction) -> None:
                twins = catalogue.same_bytes(transaction.connection, prints.known)
                if twins:
                    catalogue.refuse_twin(twins, file_of(transaction.connection, before.patient).parts)
                catalogue.supersede(transaction.connection, document, version)
                catalogue.add_version(transaction.connection, stored)
                transaction.record(event)

            self._commit(work, stored)
            return document_of(stored, description)

    def _take_in(self, actor: Actor, filing: Filing, intake: Intake) -> tuple[StoredVersion, Description, Fingerprint]:
        """Seal the body and make it durable; the row to be written, its description, and how a twin would be known."""
        rooms = self._rooms
        judged = list[Fingerprint]()

        def judge(sealed: Sealed) -> None:
            with rooms.fingerprinted(sealed.sha256) as (prints, connection):
                judged.append(prints)
                twins = catalogue.same_bytes(connection, prints.known)
                if twins:
                    catalogue.refuse_twin(twins, file_of(connection, filing.patient).parts)

        with self.turns.take():
            sender = Sender(actor, filing.file_name, filing.channel, filing.patient)
            deposited = rooms.bodies.take_in(
                intake,
                scope=filing.scope,
                document=filing.document,
                version=filing.version,
                judge=judge,
                apart=apart(rooms, rooms.aside, sender),
            )
        description = Description(
            filing.type,
            filing.act_date,
            filing.file_name,
            deposited.media_type,
            deposited.sealed.sha256.hex(),
            scan=deposited.scan,
        )
        with rooms.scopes.open(filing.scope) as scope_key:
            place = Place(filing.document, filing.version, filing.patient, actor.person)
            sealed = seal_description(scope_key, rooms.tenant, place, description)
        stored = first_row(
            deposited,
            judged[-1],
            document=filing.document,
            patient=filing.patient,
            version=filing.version,
            state=FILED,
            scope=filing.scope,
            description_sealed=sealed,
            at=rooms.clock(),
            by=actor.person,
            channel=filing.channel,
            is_urgent=filing.is_urgent,
        )
        return stored, description, judged[-1]

    def _file(self, stored: StoredVersion, prints: Fingerprint, event: Event) -> bool:
        """Row and event in one transaction; True where the same bytes are filed with another patient too."""

        def work(transaction: Transaction) -> bool:
            twins = catalogue.same_bytes(transaction.connection, prints.known)
            if twins:
                catalogue.refuse_twin(twins, file_of(transaction.connection, stored.patient).parts)
            catalogue.add_document(transaction.connection, stored)
            transaction.record(event)
            return bool(twins)

        return self._commit(work, stored)

    def _commit(self, work: Callable[[Transaction], T], stored: StoredVersion) -> T:
        try:
            return self._rooms.log.transact(work).value
        except (AlreadyPresent, Conflict):
            with suppress(StorageUnavailable):  # what can't be removed now is an orphan, which the sweep removes later
                self._rooms.bodies.withdraw(stored.blob)
            raise


def scan_code(scan: str) -> str | None:
    """What the event of a deposit says of its virus scan: nothing, unless it was let in without one."""
    return "not_scanned" if scan == Scan.MISSED else None


def urgent(is_urgent: bool) -> tuple[str, ...]:
    """What the event of a filing says was set beside type and date."""
    return ("urgent",) if is_urgent else ()


def check_act_date(act_date: date | None, now: Micros) -> None:
    """Raises Invalid for a date of the act that can't be: before 1900, or in the future."""
    today = datetime.fromtimestamp(now / 1_000_000, UTC).date()
    if act_date is not None and not OLDEST_ACT <= act_date <= today + timedelta(days=1):
        raise Invalid("the date of the act is impossible", field="act_date", reason="impossible_date")
