"""Owns what happens to an infected body once it is sealed: its row in the quarantine, its event, its notices, at once.

It must not know who looks at the quarantine, nor how a body is scanned.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject
from vault.errors import StorageUnavailable
from vault.model import Actor, DocumentId, PatientId, ScopeId
from vault.people.notices import Notice, tell_unless_waiting
from vault.people.roster import Roster
from vault.records.documents import quarantine_rows
from vault.records.documents.bodies import Apart, Hit
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.quarantined import ApartDescription, seal_apart
from vault.records.documents.rooms import Rooms, first_row
from vault.storage.schema import QUARANTINED

INFECTED = "infected"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a body, under which name, by which way, and for what."""

    actor: Actor
    file_name: str = field(repr=False)
    channel: str
    patient: PatientId | None = None
    """With whom it was to be filed."""


def apart(rooms: Rooms, scope: ScopeId | None, sender: Sender) -> Apart | None:
    """Where an infected body of ``sender`` goes; None where there is no such place, so that it is refused."""
    return None if scope is None else Apart(scope, lambda hit: _keep(rooms, scope, sender, hit))


def _keep(rooms: Rooms, scope: ScopeId, sender: Sender, hit: Hit) -> DocumentId:
    """Row, event and notices in one transaction; equal bytes that are there already are told again and kept once."""
    stored = _stored(rooms, scope, sender, hit)
    known = rooms.fingerprint(hit.sealed.sha256).known
    note = Note(purpose=Purpose.HOPERAT, bytes=stored.size, code=INFECTED)

    def work(tx: Transaction) -> DocumentId:
        twin = quarantine_rows.twin(tx.connection, known)
        document = twin or stored.document
        if twin is None:
            quarantine_rows.add(tx.connection, stored)
            for warden in Roster.wardens(tx.connection):
                tell_unless_waiting(tx.connection, warden, Notice.QUARANTINED, stored.deposited_at, document)
        subject = Subject(patient=sender.patient, document=document)
        tx.record(Event(Action.DOCUMENT_QUARANTINE, Outcome.SUCCESS, sender.actor, subject, note))
        return document

    document = rooms.log.transact(work).value
    if document != stored.document:
        with suppress(StorageUnavailable):  # else an orphan, which the sweep removes later
            rooms.bodies.withdraw(hit.blob)
    return document


def _stored(rooms: Rooms, scope: ScopeId, sender: Sender, hit: Hit) -> StoredVersion:
    """The row. A version of a document that exists gets an id of its own: the document must not be touched by it."""
    document = hit.document if hit.version == 1 else DocumentId(rooms.new_id())
    prints = rooms.fingerprint(hit.sealed.sha256)
    description = ApartDescription(
        sender.file_name, hit.media_type.value, hit.sealed.sha256.hex(), hit.signature, hit.document, hit.version
    )
    with rooms.scopes.open(scope) as key:
        description_sealed = seal_apart(key, rooms.tenant, document, description)
    return first_row(
        hit,
        prints,
        document=document,
        state=QUARANTINED,
        scope=scope,
        description_sealed=description_sealed,
        at=rooms.clock(),
        by=sender.actor.person,
        channel=sender.channel,
    )
