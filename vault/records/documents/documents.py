"""Owns what people do with documents: deposit, list, describe, open, look at a page. It must not know HTTP or ciphers.

Every act goes policy → event → key → bytes; see ``vault.records.documents.bodies`` for the order of a deposit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date
from uuid import uuid4

from sqlalchemy import Connection

from kms.keys import KeyService
from vault.audit.append import AuditLog, Receipt
from vault.audit.events import Action, Event, Note, Outcome, Subject
from vault.errors import LogUnavailable, Tampered, VaultError
from vault.floor import Floor
from vault.model import Actor, Document, DocumentId, Micros, Page, PatientId, ScopeId, TenantId
from vault.people.files import File, file_of
from vault.people.policy import Act, Relation, decide_role
from vault.people.relations import Relations
from vault.records.documents import catalogue
from vault.records.documents.bodies import Bodies
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.depositing import Deposits
from vault.records.documents.descriptions import Description
from vault.records.documents.intake import ByteStream
from vault.records.documents.opened import OpenedDocument
from vault.records.documents.pages import DrawnPages
from vault.records.documents.refiling import Refiled, Tombstone, refile
from vault.records.documents.rights import ACT_OF, relation_to
from vault.records.documents.rooms import Rooms, document_of
from vault.records.documents.scanning import Scanner
from vault.records.documents.turns import Turns
from vault.records.documents.types import document_type
from vault.records.local_time import watermark
from vault.records.patients.access import Gate, integrity_failure, is_allowed, note_of
from vault.records.patients.likeness import Likenesses
from vault.records.tickets import Tickets
from vault.rendering.messages import PageForm
from vault.rendering.recognise import MediaType
from vault.rendering.renderer import RenderedPage, Renderer
from vault.sealing.scopes import ScopeKeys
from vault.settings import MIB, LimitSettings
from vault.storage.blobs import BlobStore
from vault.storage.db import Database

LIST_LIMIT = 200
PDF_COPY = "pdf_copy"
"""What the log says of a picture that left as a PDF."""
OPENINGS = 4
"""Documents authenticated at once in one process: two for each core keep the processors busy and the others waiting briefly."""


class Documents:
    """Thread-safe. Every method takes the actor first and raises VaultError subclasses only.

    ``tickets`` are shared with ``Patients``: a patient's page and list are one opening. ``aside``: the scope under which an
    infected body is set apart; without one it is refused.
    """

    def __init__(
        self,
        *,
        db: Database,
        scopes: ScopeKeys,
        keys: KeyService,
        log: AuditLog,
        tenant: TenantId,
        relations: Relations,
        blobs: BlobStore,
        renderer: Renderer,
        limits: LimitSettings,
        scanner: Scanner,
        clock: Callable[[], Micros],
        tickets: Tickets[Receipt],
        likenesses: Likenesses | None = None,
        aside: ScopeId | None = None,
        new_id: Callable[[], str] = lambda: uuid4().hex,
        floor: Floor | None = None,
    ) -> None:
        floor = floor or Floor()
        bodies = Bodies(blobs=blobs, keys=keys, scopes=scopes, tenant=tenant, scanner=scanner, new_id=new_id, floor=floor)
        gate = Gate(log, relations.to_patient, clock, likenesses)
        self._rooms = Rooms(db, scopes, keys, log, bodies, gate, tenant, clock, new_id, aside, floor)
        self._renderer = renderer
        self.openings = Turns(OPENINGS, "openings", floor)
        self._deposits = Deposits(self._rooms, limit_bytes=limits.document_mib * MIB, uploads=limits.uploads)
        self._tickets = tickets
        self.drawn = DrawnPages(clock)

    @property
    def rooms(self) -> Rooms:
        """Where documents live, for what works beside this: the inbox."""
        return self._rooms

    def store(
        self,
        actor: Actor,
        patient: PatientId,
        *,
        type: str,  # noqa: A002  # the field's word, as in Document
        act_date: date | None,
        file_name: str,
        body: ByteStream,
        expected_sha256: bytes | None = None,
        declared_size: int | None = None,
        channel: str = "browser",
        is_urgent: bool = False,
    ) -> Document:
        """File a new document with a patient; durable and logged when this returns, and otherwise nothing was kept.

        ``expected_sha256``: 32 bytes that the sender announced; ``declared_size``: bytes announced. Raises NotFound, Forbidden,
        Invalid, UnsupportedType, EmptyDocument, TooLarge, IncompleteBody, DigestMismatch, AlreadyPresent, Infected, Quarantined
        (kept, set apart), ScannerUnavailable, Busy, StorageFull,
        StorageUnavailable, KeysUnavailable, LogUnavailable.
        """
        return self._deposits.store(
            actor,
            patient,
            type=type,
            act_date=act_date,
            file_name=file_name,
            body=body,
            expected_sha256=expected_sha256,
            declared_size=declared_size,
            channel=channel,
            is_urgent=is_urgent,
        )

    def replace(
        self,
        actor: Actor,
        document: DocumentId,
        *,
        file_name: str,
        body: ByteStream,
        expected_sha256: bytes | None = None,
        declared_size: int | None = None,
        channel: str = "browser",
    ) -> Document:
        """File a corrected body as the document's new version; the old one stays readable. Type and date stay.

        Raises as ``store``, and Conflict where somebody has just replaced it too.
        """
        return self._deposits.replace(
            actor,
            document,
            file_name=file_name,
            body=body,
            expected_sha256=expected_sha256,
            declared_size=declared_size,
            channel=channel,
        )

    def refile(self, actor: Actor, document: DocumentId, patient: PatientId, *, reason: str = "") -> Refiled:
        """Move a document that was filed with the wrong patient; its sealed bodies are not touched.

        Once a clinician has taken it over, a ``reason`` is wanted. Raises NotFound, Forbidden, Invalid (``reason``), Conflict,
        AlreadyPresent, Tampered, KeysUnavailable, LogUnavailable.
        """
        return refile(self._rooms, actor, document, patient, reason=reason)

    def tombstones(self, actor: Actor, patient: PatientId) -> tuple[Tombstone, ...]:
        """What once stood in a patient's file by mistake, without a title. Raises NotFound, Forbidden."""
        with self._rooms.gate.refusals(actor, Action.PATIENT_VIEW, Subject(patient=patient)):
            decide_role(actor.role, Act.DOCUMENT_LIST)
            with self._rooms.db.read() as connection:
                catalogue.patient_scope(connection, patient)
                readable = self._readable(connection, actor, file_of(connection, patient))
                return tuple(Tombstone(*row) for row in catalogue.buried(connection, tuple(readable)))

    def versions(self, actor: Actor, document: DocumentId) -> tuple[Document, ...]:
        """Every version of a document, newest first: "Remplacé par". Raises as ``describe``."""
        current = self.describe(actor, document)
        with self._rooms.db.read() as connection:
            older = catalogue.stored_versions(connection, document)[1:]
        return (current, *(document_of(stored, self._rooms.description(stored)) for stored in older))

    def list(
        self, actor: Actor, patient: PatientId, *, before: DocumentId | None = None, limit: int = LIST_LIMIT
    ) -> Page[Document]:
        """The documents of a patient's file, newest deposit first; what the actor may not describe comes masked.

        ``before``: the last document of the page before. One event per patient and session within five minutes.
        Raises NotFound, Forbidden, KeysUnavailable, LogUnavailable.
        """
        subject = Subject(patient=patient)
        with self._rooms.gate.refusals(actor, Action.PATIENT_VIEW, subject):
            decide_role(actor.role, Act.DOCUMENT_LIST)
            with self._rooms.db.read() as connection:
                scope = catalogue.patient_scope(connection, patient)
                file = file_of(connection, patient)
                readable = self._readable(connection, actor, file)
                start = None
                if before is not None:
                    last = catalogue.stored_version(connection, before)
                    start = (last.first_deposited_at, before)
                rows = catalogue.patient_documents(connection, tuple(readable), before=start, limit=limit + 1)
            note = replace(note_of(next(iter(readable.values()))), count=len(rows[:limit]))
            event = Event(Action.PATIENT_VIEW, Outcome.GRANTED, actor, Subject(patient=file.root), note)
            self._once(actor, event, "list", file.root)
            with self._rooms.scopes.open(scope):  # one unwrap for the whole page
                items = tuple(self._listed(actor, row, readable[row.patient]) for row in rows[:limit])
            return Page(items, more=len(rows) > limit)

    def describe(self, actor: Actor, document: DocumentId, *, version: int | None = None) -> Document:
        """What is known about a document, in its current version by default.

        Raises NotFound (also: not for this actor), Forbidden, Tampered, KeysUnavailable.
        """
        with self._rooms.gate.refusals(actor, Action.DOCUMENT_PREVIEW, Subject(document=document)):
            decide_role(actor.role, Act.DOCUMENT_DESCRIPTION)
            stored, description, relation = self._look_up(actor, document, version)
            self._rooms.gate.authorise(actor, Act.DOCUMENT_DESCRIPTION, relation)
            event = Event(
                Action.DOCUMENT_PREVIEW, Outcome.GRANTED, actor, self._subject(stored, description), note_of(relation)
            )
            self._once(actor, event, "describe", document, stored.version)
            return document_of(stored, description)

    def open(
        self, actor: Actor, document: DocumentId, action: Action, *, version: int | None = None, form: str | None = None
    ) -> OpenedDocument:
        """Open a document to view, preview, download or print it; the grant is durable in the log before this returns.

        ``version``: an older one; the current one by default. ``form``: what leaves instead of the exact bytes, for the log.

        Its bytes are fetched and authenticated by ``OpenedDocument.read``. Raises NotFound, Forbidden, StepUpRequired,
        Tampered, KeysUnavailable, LogUnavailable.
        """
        with self._rooms.gate.refusals(actor, action, Subject(document=document)):
            decide_role(actor.role, ACT_OF[action])
            stored, description, relation = self._look_up(actor, document, version)
            self._rooms.gate.authorise(actor, ACT_OF[action], relation)
            subject = self._subject(stored, description)
            note = note_of(relation, size=stored.size, code=form)
            granted = Event(action, Outcome.GRANTED, actor, subject, note)
            receipt = self._once(actor, granted, action, document, stored.version, form or "")
        return OpenedDocument(
            document_of(stored, description),
            receipt.event,
            unlock=lambda: self._rooms.bodies.open(receipt, stored),
            turns=self.openings,
            failed=lambda error: self._tell_failure(actor, granted, receipt, error),
        )

    def page(
        self,
        actor: Actor,
        document: DocumentId,
        number: int,
        width: int,
        *,
        quarter_turns: int = 0,
        version: int | None = None,
        form: PageForm = PageForm.JPEG,
    ) -> RenderedPage:
        """One page as pixels, ``number`` from 1, ``width`` in pixels; belongs to the same opening as the document's view.

        A faint watermark names the reader and the minute. A page drawn for this opening a moment ago is not drawn again.
        Raises as ``open``, and NotRenderable, Busy.
        """
        with self.open(actor, document, Action.DOCUMENT_VIEW, version=version) as opened:
            mark = watermark(actor, self._rooms.clock())
            what = (opened.grant, document, opened.document.version, number, width, quarter_turns % 4, form, mark)
            page = self.drawn.find(actor, *what)
            if page is None:
                kind = MediaType(opened.media_type)
                page = self._renderer.page(
                    opened.read(), kind, number, width, watermark=mark, quarter_turns=quarter_turns, form=form
                )
                self.drawn.keep(actor, page, *what)
            return page

    def pdf_copy(self, actor: Actor, document: DocumentId) -> tuple[Document, bytes]:
        """A picture as a PDF made in the sandbox; the document itself stays as it was received. A download in the log.

        Raises as ``open``, and NotRenderable (``no_picture`` for what is a PDF already), Busy.
        """
        with self.open(actor, document, Action.DOCUMENT_DOWNLOAD, form=PDF_COPY) as opened:
            return opened.document, self._renderer.copy(opened.read(), MediaType(opened.media_type))

    def text(self, actor: Actor, document: DocumentId, number: int, *, version: int | None = None) -> str:
        """The text layer of one page, for screen readers; empty where the page is a picture. Raises as ``page``."""
        with self.open(actor, document, Action.DOCUMENT_VIEW, version=version) as opened:
            return self._renderer.text(opened.read(), MediaType(opened.media_type), number)

    # --- what they share ------------------------------------------------------------------------------------------------------

    def _look_up(
        self, actor: Actor, document: DocumentId, version: int | None = None
    ) -> tuple[StoredVersion, Description, Relation]:
        with self._rooms.db.read() as connection:
            stored = catalogue.stored_version(connection, document, version)
            relation = self._rooms.gate.opening(connection, actor, stored.patient)
        description = self._rooms.description(stored)
        return stored, description, relation_to(relation, actor, stored, description, self._rooms.clock())

    def _readable(self, connection: Connection, actor: Actor, file: File) -> dict[PatientId, Relation]:
        """The records of a file whose documents the actor may list, with the tie to each. Raises NotFound, Forbidden."""
        ties = {part: self._rooms.gate.opening(connection, actor, part) for part in file.parts}
        readable = {part: tie for part, tie in ties.items() if is_allowed(actor, Act.DOCUMENT_LIST, tie)}
        if not readable:
            self._rooms.gate.authorise(actor, Act.DOCUMENT_LIST, ties[file.root])
        return readable

    def _once(self, actor: Actor, event: Event, *what: str | int) -> Receipt:
        """Record ``event`` unless this session was granted the same a moment ago."""
        receipt = self._tickets.find(actor, *what)
        if receipt is None:
            receipt = self._rooms.log.record(event)
            self._tickets.keep(actor, receipt, *what)
        return receipt

    def _tell_failure(self, actor: Actor, granted: Event, receipt: Receipt, error: VaultError) -> None:
        """After a grant nothing could be released: the log says so, and names an altered document as an incident."""
        version, form = granted.subject.version or 0, granted.note.code or ""
        self._tickets.drop(actor, granted.action, receipt.document or "", version, form)
        events = [Event(granted.action, Outcome.FAILED, actor, granted.subject, Note(code=error.code), ref=receipt.event)]
        if isinstance(error, Tampered):
            events.append(integrity_failure(actor, granted.subject, error, receipt.event))
        with suppress(LogUnavailable):  # nothing was released: the first error is the one to tell
            self._rooms.log.record_all(events)

    def _listed(self, actor: Actor, stored: StoredVersion, relation: Relation) -> Document:
        description = self._rooms.description(stored)
        whole = relation_to(relation, actor, stored, description, self._rooms.clock())
        document = document_of(stored, description)
        if is_allowed(actor, Act.DOCUMENT_DESCRIPTION, whole):
            return document
        return replace(document, type="", act_date=None, file_name="", media_type="", sha256="", is_masked=True)

    @staticmethod
    def _subject(stored: StoredVersion, description: Description) -> Subject:
        group = document_type(description.type).group
        return Subject(stored.patient, stored.document, stored.version, document_class=group)
