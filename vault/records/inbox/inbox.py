"""Owns the inbox ("bannette"): documents that wait, sealed, to be filed with a patient. It must not know HTTP or ciphers.

A draft is sealed from its first byte under the inbox's own scope. Filing re-seals its data key and its description under the
patient's scope and changes two rows; the blob, which binds only vault, document and version, is never touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date

from vault.audit.append import Receipt, Transaction
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject
from vault.errors import AlreadyPresent, Busy, Conflict, NotFound, NotRenderable, StorageUnavailable
from vault.model import Actor, Document, DocumentId, Identity, Page, PatientId, Scan, ScopeId
from vault.people.files import file_of
from vault.people.policy import Act, decide_role
from vault.records.documents import catalogue
from vault.records.documents.catalogue import NOBODY, StoredVersion
from vault.records.documents.depositing import check_act_date, scan_code, urgent
from vault.records.documents.descriptions import Description, Place, seal_description
from vault.records.documents.file_names import accepted_name
from vault.records.documents.intake import ByteStream, Intake
from vault.records.documents.pages import DrawnPages
from vault.records.documents.rooms import Fingerprint, Rooms, document_of, first_row
from vault.records.documents.setting_apart import Sender, apart
from vault.records.documents.turns import Turns
from vault.records.documents.types import document_type
from vault.records.inbox import draft_rows
from vault.records.inbox.draft_pages import DraftPages
from vault.records.inbox.drafts import Concordance, Draft, DraftDescription, open_draft, seal_draft
from vault.records.inbox.proposals import Proposals, concordance
from vault.records.local_time import practice_day
from vault.records.patients.access import note_of
from vault.records.tickets import Tickets
from vault.rendering.recognise import MediaType
from vault.rendering.renderer import RenderedPage, Renderer
from vault.sealing.documents import Sealed
from vault.settings import MIB, LimitSettings
from vault.storage import standing
from vault.storage.schema import DRAFT

LIST_LIMIT = 200


@dataclass(frozen=True, slots=True)
class _Filed:
    """What is needed to take a filing back."""

    patient: PatientId
    description: DraftDescription


class Inbox:
    """Thread-safe. Every method takes the actor first and raises VaultError subclasses only."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        scope: ScopeId,
        renderer: Renderer,
        limits: LimitSettings,
        tickets: Tickets[Receipt],
        proposals: Proposals,
        drawn: DrawnPages,
    ) -> None:
        self._rooms = rooms
        self._scope = scope
        self._pages = DraftPages(rooms, renderer, tickets, drawn, proposals)
        self._limit_bytes = limits.document_mib * MIB
        self._turns = Turns(limits.uploads, "deposits", rooms.floor)
        self._filed: Tickets[_Filed] = Tickets(rooms.clock)
        self._proposals = proposals

    def deposit(
        self,
        actor: Actor,
        *,
        file_name: str,
        body: ByteStream,
        expected_sha256: bytes | None = None,
        declared_size: int | None = None,
        channel: str = "browser",
    ) -> Draft:
        """Take a document in; sealed, durable and logged when this returns, and otherwise nothing was kept.

        Raises Forbidden, Invalid, UnsupportedType, EmptyDocument, TooLarge, IncompleteBody, DigestMismatch, AlreadyPresent
        (it waits in the inbox already), Infected, Quarantined (kept, set apart), ScannerUnavailable, Busy, StorageFull,
        StorageUnavailable, KeysUnavailable, LogUnavailable.
        """
        document = DocumentId(self._rooms.new_id())
        subject = Subject(document=document)
        with self._rooms.gate.refusals(actor, Action.DOCUMENT_UPLOAD, subject):
            decide_role(actor.role, Act.INBOX_USE)
            name = accepted_name(file_name)
            intake = Intake(body, limit_bytes=self._limit_bytes, declared_size=declared_size, expected_sha256=expected_sha256)
            stored, description, prints = self._take_in(actor, document, name, intake, channel)
            note = Note(purpose=Purpose.HOPERAT, bytes=stored.size, code=scan_code(description.scan))
            self._add(stored, prints, Event(Action.DOCUMENT_UPLOAD, Outcome.SUCCESS, actor, subject, note))
        with suppress(Busy, NotFound, StorageUnavailable):  # it is safely in; its pages are counted when it is first looked at
            description = self._examine(actor, stored, description)
        return self._draft(stored, description, is_filed=bool(self._filed_elsewhere([(stored, description)])))

    def list(self, actor: Actor, limit: int = LIST_LIMIT) -> Page[Draft]:
        """What waits, newest first. Raises Forbidden, Tampered, KeysUnavailable."""
        decide_role(actor.role, Act.INBOX_USE)
        with self._rooms.db.read() as connection:
            rows = draft_rows.latest(connection, limit + 1)
        described = [(stored, self._description(stored)) for stored in rows[:limit]]
        elsewhere = self._filed_elsewhere(described)
        drafts = (self._draft(stored, told, is_filed=stored.document in elsewhere) for stored, told in described)
        return Page(tuple(drafts), len(rows) > limit)

    def count(self, actor: Actor) -> int:
        """How many documents wait. Raises Forbidden."""
        decide_role(actor.role, Act.INBOX_USE)
        with self._rooms.db.read() as connection:
            return draft_rows.count(connection)

    def get(self, actor: Actor, draft: DocumentId) -> Draft:
        """One draft, examined if it was not yet. Raises NotFound, Forbidden, KeysUnavailable."""
        decide_role(actor.role, Act.INBOX_USE)
        stored = self._find(draft)
        description = self._description(stored)
        if description.pages is None and description.trouble is None:
            with suppress(Busy):
                description = self._examine(actor, stored, description)
        return self._draft(stored, description, is_filed=bool(self._filed_elsewhere([(stored, description)])))

    def page(self, actor: Actor, draft: DocumentId, number: int, width: int, *, quarter_turns: int = 0) -> RenderedPage:
        """A page as pixels, watermarked; one event per session within five minutes.

        Raises NotFound, Forbidden, NotRenderable, Busy, Tampered, KeysUnavailable, LogUnavailable.
        """
        stored = self._find(draft)
        with self._rooms.gate.refusals(actor, Action.DOCUMENT_PREVIEW, Subject(document=draft)):
            decide_role(actor.role, Act.INBOX_USE)
            media_type = MediaType(self._description(stored).media_type)
            return self._pages.page(actor, stored, media_type, number, width=width, quarter_turns=quarter_turns)

    def concordance(self, actor: Actor, draft: DocumentId, identity: Identity) -> Concordance:
        """Whether the first page's own text fits ``identity``: the guard against the wrong patient.

        Raises NotFound, Forbidden, Busy, Tampered, KeysUnavailable, LogUnavailable.
        """
        decide_role(actor.role, Act.INBOX_USE)
        stored = self._find(draft)
        try:
            text = self._pages.text(actor, stored, MediaType(self._description(stored).media_type))
        except NotRenderable:
            return Concordance.UNREADABLE
        return concordance(text, identity, practice_day(self._rooms.clock()))

    def sheet(self, actor: Actor, patient: PatientId, type: str) -> str:  # noqa: A002  # the field's word, as in Document
        """What the QR code of a separator sheet says. Raises Forbidden, Invalid, KeysUnavailable."""
        decide_role(actor.role, Act.INBOX_USE)
        return self._proposals.sheet(patient, document_type(type).code)

    def file(
        self,
        actor: Actor,
        draft: DocumentId,
        patient: PatientId,
        *,
        type: str,  # noqa: A002  # the field's word, as in Document
        act_date: date | None,
        is_urgent: bool = False,
    ) -> Document:
        """File a draft with a patient, under that patient's key from now on; the blob stays as it is.

        ``Document.is_elsewhere`` says that the same bytes are filed with another patient. Raises NotFound, Forbidden, Invalid,
        AlreadyPresent (this patient has these bytes), Conflict (another was faster), Tampered, KeysUnavailable, LogUnavailable.
        """
        subject = Subject(patient=patient, document=draft, version=1)
        with self._rooms.gate.refusals(actor, Action.DOCUMENT_REFILE, subject):
            decide_role(actor.role, Act.INBOX_USE)
            kind = document_type(type)
            check_act_date(act_date, self._rooms.clock())
            with self._rooms.db.read() as connection:
                scope = catalogue.filing_scope(connection, patient)
                parts = file_of(connection, patient).parts
                relation = self._rooms.gate.relation(connection, actor, patient)
            self._rooms.gate.authorise(actor, Act.DOCUMENT_UPLOAD, relation)
            stored = self._find(draft)
            known = self._description(stored)
            description = Description(kind.code, act_date, known.file_name, known.media_type, known.sha256, scan=known.scan)
            with self._rooms.scopes.open(scope) as key:
                place = Place(draft, 1, patient, stored.deposited_by)
                sealed = seal_description(key, self._rooms.tenant, place, description)
            data_key = self._rooms.bodies.reseal(stored, scope)
            prints = self._rooms.fingerprint(bytes.fromhex(known.sha256)).known
            event = Event(
                Action.DOCUMENT_REFILE,
                Outcome.SUCCESS,
                actor,
                replace(subject, document_class=kind.group),
                replace(note_of(relation, size=stored.size), code="filed_from_inbox", changed=urgent(is_urgent)),
            )

            def work(tx: Transaction) -> bool:
                owners = catalogue.same_bytes(tx.connection, prints)
                catalogue.refuse_twin(owners, parts, besides=draft)
                draft_rows.move(
                    tx.connection,
                    draft,
                    patient=patient,
                    scope=scope,
                    data_key_sealed=data_key,
                    description_sealed=sealed,
                    is_urgent=is_urgent,
                )
                tx.record(event)
                return bool(owners)

            is_elsewhere = self._rooms.log.transact(work).value
        self._filed.keep(actor, _Filed(patient, known), "filed", draft)
        filed = document_of(replace(stored, patient=patient, is_urgent=is_urgent), description)
        return replace(filed, is_elsewhere=is_elsewhere)

    def take_back(self, actor: Actor, document: DocumentId) -> Draft:
        """Undo one's own filing of the last five minutes: back into the inbox, unless a clinician has taken it over.

        Raises Conflict (``reason`` too_late, already_moved), Forbidden, KeysUnavailable, LogUnavailable.
        """
        filed = self._filed.find(actor, "filed", document)
        subject = Subject(patient=filed.patient if filed else None, document=document, version=1)
        with self._rooms.gate.refusals(actor, Action.DOCUMENT_REFILE, subject):
            decide_role(actor.role, Act.INBOX_USE)
            if filed is None:
                raise Conflict("this filing can't be taken back any more", reason="too_late")
            with self._rooms.db.read() as connection:
                stored = catalogue.stored_version(connection, document)
            with self._rooms.scopes.open(self._scope) as key:
                sealed = seal_draft(key, self._rooms.tenant, document, filed.description)
            data_key = self._rooms.bodies.reseal(stored, self._scope)
            note = Note(purpose=Purpose.HOPERAT, code="back_to_inbox")
            event = Event(Action.DOCUMENT_REFILE, Outcome.SUCCESS, actor, subject, note)

            def work(tx: Transaction) -> None:
                draft_rows.move(
                    tx.connection,
                    document,
                    patient=None,
                    scope=self._scope,
                    data_key_sealed=data_key,
                    description_sealed=sealed,
                )
                tx.record(event)

            self._rooms.log.transact(work)
        self._filed.drop(actor, "filed", document)
        return self._draft(replace(stored, patient=NOBODY, state=DRAFT), filed.description)

    def discard(self, actor: Actor, draft: DocumentId) -> None:
        """Destroy a draft: a wrong scan, a blank page. Raises NotFound, Forbidden, Conflict (it was filed meanwhile)."""
        with self._rooms.gate.refusals(actor, Action.DOCUMENT_DELETE, subject := Subject(document=draft)):
            decide_role(actor.role, Act.INBOX_USE)
            stored = self._find(draft)
            event = Event(Action.DOCUMENT_DELETE, Outcome.SUCCESS, actor, subject, Note(bytes=stored.size, code="draft"))

            def work(tx: Transaction) -> None:
                draft_rows.remove(tx.connection, draft)
                tx.record(event)

            self._rooms.log.transact(work)
        with suppress(StorageUnavailable):  # else an orphan, which the sweep removes later
            self._rooms.bodies.withdraw(stored.blob)

    def _take_in(
        self, actor: Actor, document: DocumentId, name: str, intake: Intake, channel: str
    ) -> tuple[StoredVersion, DraftDescription, Fingerprint]:
        judged = list[Fingerprint]()

        def judge(sealed: Sealed) -> None:
            judged.append(self._rooms.fingerprint(sealed.sha256))
            with self._rooms.db.read() as connection:
                self._refuse_twin(draft_rows.twin(connection, judged[-1].known))

        with self._turns.take():
            aside = apart(self._rooms, self._scope, Sender(actor, name, channel))
            taken = self._rooms.bodies.take_in(
                intake, scope=self._scope, document=document, version=1, judge=judge, apart=aside
            )
        description = DraftDescription(name, taken.media_type.value, taken.sealed.sha256.hex(), scan=taken.scan)
        stored = first_row(
            taken,
            judged[-1],
            document=document,
            state=DRAFT,
            scope=self._scope,
            description_sealed=self._sealed(document, description),
            at=self._rooms.clock(),
            by=actor.person,
            channel=channel,
        )
        return stored, description, judged[-1]

    def _add(self, stored: StoredVersion, prints: Fingerprint, event: Event) -> None:
        def work(tx: Transaction) -> None:
            self._refuse_twin(draft_rows.twin(tx.connection, prints.known))
            draft_rows.add(tx.connection, stored)
            tx.record(event)

        try:
            self._rooms.log.transact(work)
        except AlreadyPresent:
            with suppress(StorageUnavailable):
                self._rooms.bodies.withdraw(stored.blob)
            raise

    @staticmethod
    def _refuse_twin(twin: DocumentId | None) -> None:
        if twin is not None:
            raise AlreadyPresent(f"these bytes wait as draft {twin}", document=twin)

    def _find(self, draft: DocumentId) -> StoredVersion:
        with self._rooms.db.read() as connection:
            return draft_rows.find(connection, draft)

    def _description(self, stored: StoredVersion) -> DraftDescription:
        with self._rooms.scopes.open(self._scope) as key:
            return open_draft(key, self._rooms.tenant, stored.document, stored.description_sealed)

    def _sealed(self, document: DocumentId, description: DraftDescription) -> bytes:
        with self._rooms.scopes.open(self._scope) as key:
            return seal_draft(key, self._rooms.tenant, document, description)

    def _examine(self, actor: Actor, stored: StoredVersion, description: DraftDescription) -> DraftDescription:
        """Count the pages and read the codes of the first one; what was found is kept, sealed."""
        description = self._pages.examined(actor, stored, description)
        sealed = self._sealed(stored.document, description)
        self._rooms.db.write(lambda connection: draft_rows.describe(connection, stored.document, sealed))
        return description

    def _filed_elsewhere(self, drafts: Sequence[tuple[StoredVersion, DraftDescription]]) -> set[DocumentId]:
        """Those whose bytes are filed with some patient already, under whichever MAC key."""
        with self._rooms.db.read() as connection:
            macs = standing.versions(connection, standing.VERSIONS)
        prints = {stored.document: self._rooms.twin_prints(stored, told.sha256, macs) for stored, told in drafts}
        with self._rooms.db.read() as connection:
            found = draft_rows.filed_twins(connection, frozenset[bytes]().union(*prints.values()))
        return {document for document, known in prints.items() if not known.isdisjoint(found)}

    def _draft(self, stored: StoredVersion, description: DraftDescription, *, is_filed: bool = False) -> Draft:
        return Draft(
            id=stored.document,
            file_name=description.file_name,
            media_type=description.media_type,
            size=stored.size,
            deposited_at=stored.deposited_at,
            deposited_by=stored.deposited_by,
            channel=stored.channel,
            pages=description.pages,
            trouble=description.trouble,
            proposal=description.proposal,
            is_filed_elsewhere=is_filed,
            scan=Scan(description.scan),
        )
