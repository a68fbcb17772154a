"""Owns a carer's reading: what is unread, urgent first, "Vu et validé", "à remettre". It must not know HTTP, pages or ciphers.

Unread means that nobody has taken the document over yet: the practice reads together, and one word settles it for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, Select, func, select, update

from vault.audit.append import Receipt, Transaction
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject
from vault.model import Actor, Document, DocumentId, Micros, Page, Patient, Role
from vault.people.files import followed_by
from vault.people.policy import Act, decide_role
from vault.people.relations import running_window
from vault.records.documents import catalogue
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.descriptions import Description
from vault.records.documents.rights import relation_to
from vault.records.documents.rooms import Rooms, document_of
from vault.records.documents.types import document_type
from vault.records.patients.access import is_allowed, note_of
from vault.records.patients.patients import Patients
from vault.records.tickets import Tickets
from vault.storage.schema import FILED, documents, locum_windows

UNREAD_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Unread:
    """One document that waits for its reader, and whose it is."""

    document: Document
    patient: Patient = field(repr=False)


class Reading:
    """Thread-safe. Every method takes the actor first and raises VaultError subclasses only."""

    def __init__(self, rooms: Rooms, patients: Patients, tickets: Tickets[Receipt]) -> None:
        self._rooms = rooms
        self._patients = patients
        self._tickets = tickets

    def unread(self, actor: Actor, limit: int = UNREAD_LIMIT, *, only_urgent: bool = False) -> Page[Unread]:
        """The documents of the actor's patients that nobody has taken over: urgent ones first, then newest deposit first.

        One event a session within five minutes. Raises Forbidden, Tampered, KeysUnavailable, LogUnavailable.
        """
        decide_role(actor.role, Act.DOCUMENT_INTEGRATE)
        now = self._rooms.clock()
        with self._rooms.db.read() as connection:
            waiting = _waiting(actor, now)
            wanted = waiting.where(documents.c.is_urgent == 1) if only_urgent else waiting
            ids = connection.execute(wanted.limit(limit + 1)).scalars().all()
            rows = [catalogue.stored_version(connection, DocumentId(found)) for found in ids[:limit]]
            relations = {row.patient: self._rooms.gate.relation(connection, actor, row.patient) for row in rows}
        note = Note(purpose=Purpose.TREAT, count=len(rows))
        if rows and self._tickets.find(actor, "unread") is None:
            receipt = self._rooms.log.record(Event(Action.PATIENT_LIST, Outcome.GRANTED, actor, note=note))
            self._tickets.keep(actor, receipt, "unread")
        who = self._patients.named(actor, tuple(relations))
        items = []
        for row in rows:
            description = self._rooms.description(row)
            whole = relation_to(relations[row.patient], actor, row, description, now)
            if row.patient in who and is_allowed(actor, Act.DOCUMENT_DESCRIPTION, whole):
                items.append(Unread(document_of(row, description), who[row.patient]))
        return Page(tuple(items), len(ids) > limit)

    def count(self, actor: Actor) -> int:
        """How many wait. Raises Forbidden."""
        decide_role(actor.role, Act.DOCUMENT_INTEGRATE)
        statement = select(func.count()).select_from(_waiting(actor, self._rooms.clock()).order_by(None).subquery())
        with self._rooms.db.read() as connection:
            return connection.execute(statement).scalar_one()

    def integrate(self, actor: Actor, document: DocumentId) -> Document:
        """The actor takes the document over ("Vu et validé"); saying it twice changes nothing.

        Raises NotFound, Forbidden, KeysUnavailable, LogUnavailable.
        """
        now = self._rooms.clock()

        def change(connection: Connection) -> bool:
            here = (documents.c.id == document) & (documents.c.state == FILED) & documents.c.integrated_at.is_(None)
            values = {"integrated_at": now, "integrated_by": actor.person}
            return connection.execute(update(documents).where(here).values(**values)).rowcount == 1

        stored, description = self._change(actor, document, Action.DOCUMENT_INTEGRATE, change)
        return replace(document_of(stored, description), integrated_at=stored.integrated_at or now)

    def hand_over(self, actor: Actor, document: DocumentId, *, is_wanted: bool) -> Document:
        """Mark a document "à remettre au patient", so that reception may open and print it, or take the mark away.

        Raises NotFound, Forbidden, KeysUnavailable, LogUnavailable.
        """

        def change(connection: Connection) -> bool:
            here = (documents.c.id == document) & (documents.c.state == FILED) & (documents.c.is_handover != int(is_wanted))
            return connection.execute(update(documents).where(here).values(is_handover=int(is_wanted))).rowcount == 1

        stored, description = self._change(actor, document, Action.DOCUMENT_METADATA, change, changed=("handover",))
        return document_of(replace(stored, is_handover=is_wanted), description)

    def mark_urgent(self, actor: Actor, document: DocumentId, *, is_wanted: bool) -> Document:
        """Put a document first among the unread ones, or take the mark away.

        Raises NotFound, Forbidden, KeysUnavailable, LogUnavailable.
        """

        def change(connection: Connection) -> bool:
            here = (documents.c.id == document) & (documents.c.state == FILED) & (documents.c.is_urgent != int(is_wanted))
            return connection.execute(update(documents).where(here).values(is_urgent=int(is_wanted))).rowcount == 1

        stored, description = self._change(actor, document, Action.DOCUMENT_METADATA, change, changed=("urgent",))
        return document_of(replace(stored, is_urgent=is_wanted), description)

    def _change(
        self,
        actor: Actor,
        document: DocumentId,
        action: Action,
        change: Callable[[Connection], bool],
        changed: tuple[str, ...] = (),
    ) -> tuple[StoredVersion, Description]:
        """Judge, change one row and tell the log in one transaction; no event where nothing changed."""
        with self._rooms.gate.refusals(actor, action, Subject(document=document)):
            decide_role(actor.role, Act.DOCUMENT_INTEGRATE)
            with self._rooms.db.read() as connection:
                stored = catalogue.stored_version(connection, document)
                relation = self._rooms.gate.relation(connection, actor, stored.patient)
            description = self._rooms.description(stored)
            whole = relation_to(relation, actor, stored, description, self._rooms.clock())
            self._rooms.gate.authorise(actor, Act.DOCUMENT_INTEGRATE, whole)
            group = document_type(description.type).group
            subject = Subject(stored.patient, document, stored.version, document_class=group)

            def work(tx: Transaction) -> None:
                if change(tx.connection):
                    tx.record(Event(action, Outcome.SUCCESS, actor, subject, replace(note_of(whole), changed=changed)))

            self._rooms.log.transact(work)
        return stored, description


def _waiting(actor: Actor, now: Micros) -> Select[str]:
    """The documents of the actor's patients that nobody has taken over; a locum's are those of whom they replace now."""
    mine = followed_by(actor.person)
    if actor.role is Role.LOCUM:
        mine = followed_by(select(locum_windows.c.replaces).where(running_window(actor.person, now)))
    return (
        select(documents.c.id)
        .where(documents.c.state == FILED, documents.c.integrated_at.is_(None), documents.c.patient.in_(mine))
        .where(documents.c.deposited_by != actor.person)
        .order_by(documents.c.is_urgent.desc(), documents.c.deposited_at.desc(), documents.c.id)
    )
