"""Owns what people do with patients: create, find, read, correct. It must not know HTTP, SQL or ciphers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from uuid import uuid4

from kms.keys import KeyService
from vault.audit.append import AuditLog, Receipt, Transaction
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject
from vault.errors import Conflict, Invalid
from vault.model import Actor, Identity, Micros, Page, Patient, PatientId, PersonId, Role, ScopeKind, TenantId
from vault.people.policy import Act, decide_role
from vault.people.relations import Relations
from vault.records import duplicates, patient_rows
from vault.records.access import Gate, flags
from vault.records.identity import checked
from vault.records.local_time import practice_day
from vault.records.patient_rows import StoredPatient, open_identity, seal_identity
from vault.records.query import alternatives, matches, parse
from vault.records.tickets import Tickets
from vault.sealing.index import BlindIndex, Token, joined
from vault.sealing.scopes import ScopeKeys
from vault.storage.db import Database

SEARCH_LIMIT = 50
OPENED = 120
"""How many candidates one search may open before it answers that there are more: bounds its time and what it touches."""


class Patients:
    """Thread-safe. Every method takes the actor first and raises VaultError subclasses only."""

    def __init__(
        self,
        *,
        db: Database,
        scopes: ScopeKeys,
        keys: KeyService,
        log: AuditLog,
        tenant: TenantId,
        relations: Relations,
        clock: Callable[[], Micros],
        tickets: Tickets[Receipt],
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._db = db
        self._scopes = scopes
        self._log = log
        self._tenant = tenant
        self._clock = clock
        self._new_id = new_id
        self._index = BlindIndex(keys, tenant)
        self._gate = Gate(log, relations.to_patient, clock)
        self._tickets = tickets

    def create(self, actor: Actor, identity: Identity, *, care_team: Sequence[PersonId] = (), anyway: bool = False) -> Patient:
        """A new patient with a key of their own; identity, index, care team and event in one transaction.

        Without ``care_team``, a carer who creates joins it; reception's patient joins the practice's first clinician.
        Raises Forbidden, Invalid (``field``, ``reason``), Conflict (``reason`` possible_duplicate, ``candidates``: ids that may
        be the same person) unless ``anyway``, KeysUnavailable, StorageUnavailable, StorageFull, LogUnavailable.
        """
        with self._gate.refusals(actor, Action.PATIENT_CREATE, Subject()):
            decide_role(actor.role, Act.PATIENT_CREATE)
            identity = checked(identity, self._today())
            with self._db.read() as connection:
                team = self._team(actor, care_team, patient_rows.first_clinician(connection))
                if not patient_rows.are_carers(connection, team):
                    raise Invalid("a care team holds clinicians", field="care_team", reason="not_a_clinician")
            if not anyway:
                self._refuse_double(actor, identity)
            patient, index = PatientId(self._new_id()), self._index.values(identity)
            scope = self._scopes.create(ScopeKind.PATIENT)
            with self._scopes.open(scope) as key:
                sealed = seal_identity(key, self._tenant, patient, identity)
            stored = StoredPatient(patient, scope, sealed, self._clock(), actor.person)
            event = Event(Action.PATIENT_CREATE, Outcome.SUCCESS, actor, Subject(patient=patient), Note(purpose=Purpose.TREAT))

            def work(tx: Transaction) -> None:
                patient_rows.add(tx.connection, stored, index, team)
                tx.record(event)

            self._log.transact(work)
        return Patient(patient, identity, stored.created_at, team)

    def get(self, actor: Actor, patient: PatientId) -> Patient:
        """One patient's identity. One event per session within five minutes. Raises NotFound, Forbidden, KeysUnavailable."""
        subject = Subject(patient=patient)
        with self._gate.refusals(actor, Action.PATIENT_VIEW, subject):
            decide_role(actor.role, Act.PATIENT_VIEW)
            with self._db.read() as connection:
                stored = patient_rows.stored_patient(connection, patient)
                team = patient_rows.team_of(connection, patient)
                relation = self._gate.relation(connection, actor, patient)
            self._gate.authorise(actor, Act.PATIENT_VIEW, relation)
            note = Note(purpose=Purpose.TREAT, relation=flags(relation))
            if self._tickets.find(actor, "list", patient) is None:
                receipt = self._log.record(Event(Action.PATIENT_VIEW, Outcome.GRANTED, actor, subject, note))
                self._tickets.keep(actor, receipt, "list", patient)
            return Patient(patient, self._identity(stored), stored.created_at, team)

    def update(self, actor: Actor, patient: PatientId, identity: Identity) -> Patient:
        """Correct an identity. Raises NotFound, Forbidden, Invalid, KeysUnavailable, LogUnavailable."""
        subject = Subject(patient=patient)
        with self._gate.refusals(actor, Action.PATIENT_UPDATE, subject):
            decide_role(actor.role, Act.PATIENT_UPDATE)
            identity = checked(identity, self._today())
            with self._db.read() as connection:
                stored = patient_rows.stored_patient(connection, patient)
                team = patient_rows.team_of(connection, patient)
                self._gate.authorise(actor, Act.PATIENT_UPDATE, self._gate.relation(connection, actor, patient))
            before, index = self._identity(stored), self._index.values(identity)
            with self._scopes.open(stored.scope) as key:
                sealed = seal_identity(key, self._tenant, patient, identity)
            event = Event(Action.PATIENT_UPDATE, Outcome.SUCCESS, actor, subject, Note(changed=_changed(before, identity)))

            def work(tx: Transaction) -> None:
                patient_rows.stored_patient(tx.connection, patient)
                patient_rows.change(tx.connection, patient, sealed, index)
                tx.record(event)

            self._log.transact(work)
        return Patient(patient, identity, stored.created_at, team)

    def search(self, actor: Actor, text: str, limit: int = 20) -> Page[Patient]:
        """The patients meant by ``text``, by name; those whom the actor treats come first where there are more than ``limit``.

        What was typed is never written anywhere. Raises Forbidden, KeysUnavailable, StorageUnavailable, LogUnavailable.
        """
        limit = min(max(limit, 1), SEARCH_LIMIT)
        with self._gate.refusals(actor, Action.PATIENT_SEARCH, Subject()):
            decide_role(actor.role, Act.PATIENT_SEARCH)
            query = parse(text, self._today())
            if not query.is_enough:
                return Page(())
            sets = [{self._index.value(token) for token in wanted} for wanted in alternatives(query)]
            with self._db.read() as connection:
                rows = patient_rows.candidates(connection, sets, actor.person, OPENED + 1)
            found: list[Patient] = []
            for stored in rows[:OPENED]:
                identity = self._identity(stored)
                if matches(query, identity):
                    found.append(Patient(stored.id, identity, stored.created_at))
                if len(found) > limit:
                    break
            more = len(found) > limit or len(rows) > OPENED
            self._log.record(Event(Action.PATIENT_SEARCH, Outcome.SUCCESS, actor, note=Note(count=len(found[:limit]))))
        return Page(tuple(sorted(found[:limit], key=_by_name)), more)

    def recent(self, actor: Actor, limit: int = 20) -> Page[Patient]:
        """The newest patients: a carer's own, or the practice's for reception. Raises Forbidden, KeysUnavailable."""
        limit = min(max(limit, 1), SEARCH_LIMIT)
        with self._gate.refusals(actor, Action.PATIENT_LIST, Subject()):
            decide_role(actor.role, Act.PATIENT_SEARCH)
            with self._db.read() as connection:
                mine = None if actor.role is Role.RECEPTION else actor.person
                rows = patient_rows.latest(connection, mine, limit + 1)
            note = Note(count=len(rows[:limit]))
            if self._tickets.find(actor, "recent") is None:
                receipt = self._log.record(Event(Action.PATIENT_LIST, Outcome.GRANTED, actor, note=note))
                self._tickets.keep(actor, receipt, "recent")
            found = tuple(Patient(stored.id, self._identity(stored), stored.created_at) for stored in rows[:limit])
        return Page(found, len(rows) > limit)

    def similar(self, actor: Actor, identity: Identity) -> tuple[Patient, ...]:
        """Patients who may be the same person as ``identity``. Raises Forbidden, Invalid, KeysUnavailable."""
        decide_role(actor.role, Act.PATIENT_SEARCH)
        return self._similar(actor, checked(identity, self._today()))

    def named(self, actor: Actor, wanted: Sequence[PatientId]) -> dict[PatientId, Patient]:
        """The identities of some patients for a list that the caller has logged. Raises Forbidden, KeysUnavailable."""
        decide_role(actor.role, Act.PATIENT_VIEW)
        with self._db.read() as connection:
            rows = patient_rows.stored_patients(connection, wanted)
        return {stored.id: Patient(stored.id, self._identity(stored), stored.created_at) for stored in rows}

    def recognise(
        self, actor: Actor, sets: Sequence[Iterable[Token]], holds: Callable[[Identity], bool]
    ) -> tuple[Patient, ...]:
        """The patients that stand under every token of one of ``sets`` and for whom ``holds``; an event like any search.

        Raises Forbidden, KeysUnavailable, StorageUnavailable, LogUnavailable.
        """
        decide_role(actor.role, Act.PATIENT_SEARCH)
        found = self._holding(actor, sets, holds)
        self._log.record(Event(Action.PATIENT_SEARCH, Outcome.SUCCESS, actor, note=Note(count=len(found))))
        return found

    # --- what they share ------------------------------------------------------------------------------------------------------

    def _similar(self, actor: Actor, identity: Identity) -> tuple[Patient, ...]:
        return self._holding(actor, duplicates.lookups(identity), lambda who: duplicates.may_be_one(identity, who))

    def _holding(self, actor: Actor, sets: Sequence[Iterable[Token]], holds: Callable[[Identity], bool]) -> tuple[Patient, ...]:
        values = [{self._index.value(token) for token in wanted} for wanted in sets]
        with self._db.read() as connection:
            rows = patient_rows.candidates(connection, values, actor.person, OPENED)
        opened = (Patient(stored.id, self._identity(stored), stored.created_at) for stored in rows)
        return tuple(patient for patient in opened if holds(patient.identity))

    def _refuse_double(self, actor: Actor, identity: Identity) -> None:
        doubles = self._similar(actor, identity)
        if doubles:
            ids = " ".join(patient.id for patient in doubles)
            raise Conflict("this may be a patient who is already here", reason="possible_duplicate", candidates=ids)

    def _team(self, actor: Actor, asked: Sequence[PersonId], first: PersonId | None) -> tuple[PersonId, ...]:
        if asked:
            return tuple(dict.fromkeys(asked))
        if actor.role in (Role.CLINICIAN, Role.OWNER):
            return (actor.person,)
        team = [first] if first is not None else []
        if actor.role is Role.LOCUM:
            team.append(actor.person)
        return tuple(team)

    def _identity(self, stored: StoredPatient) -> Identity:
        with self._scopes.open(stored.scope) as key:
            return open_identity(key, self._tenant, stored.id, stored.identity_sealed)

    def _today(self) -> date:
        return practice_day(self._clock())


def _by_name(patient: Patient) -> tuple[str, str, str]:
    identity = patient.identity
    return joined(identity.birth_name), joined(identity.given_names[0]), identity.birth_date


def _changed(before: Identity, after: Identity) -> tuple[str, ...]:
    """The names of the traits that differ, for the log; never their values."""
    traits = ("birth_name", "given_names", "birth_date", "sex", "used_name", "ins")
    return tuple(trait for trait in traits if getattr(before, trait) != getattr(after, trait))
