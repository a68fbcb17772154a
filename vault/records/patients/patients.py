"""Owns what people do with patients: create, find, read, correct. It must not know HTTP, SQL or ciphers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from uuid import uuid4

from kms.keys import KeyService
from vault.audit.append import AuditLog, Receipt, Transaction
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject
from vault.errors import Conflict, Invalid
from vault.model import Actor, Identity, IdentityStatus, Micros, Page, Patient, PatientId, PersonId, Role, ScopeKind, TenantId
from vault.people.files import file_of
from vault.people.policy import Act, decide_role
from vault.people.relations import Relations
from vault.records.local_time import practice_day
from vault.records.patients import duplicates, merge_rows, patient_rows
from vault.records.patients.access import Gate, flags
from vault.records.patients.identity import changed, checked, is_strictly_same
from vault.records.patients.likeness import Likenesses
from vault.records.patients.patient_rows import StoredPatient, open_identity, seal_identity
from vault.records.patients.query import alternatives, matches, parse
from vault.records.tickets import Tickets
from vault.sealing.index import BlindIndex, Token, joined, rarest_first
from vault.sealing.scopes import ScopeKeys
from vault.storage import standing
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
        likenesses: Likenesses | None = None,
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._db = db
        self._scopes = scopes
        self._log = log
        self._tenant = tenant
        self._clock = clock
        self._new_id = new_id
        self._index = BlindIndex(keys, tenant)
        self._gate = Gate(log, relations.to_patient, clock, likenesses)
        self._tickets = tickets

    def create(self, actor: Actor, identity: Identity, *, care_team: Sequence[PersonId] = (), anyway: bool = False) -> Patient:
        """A new patient with a key of their own; identity, index, care team and event in one transaction.

        Without ``care_team``, a carer who creates joins it; reception's patient joins the practice's first clinician.
        Raises Forbidden, Invalid (``field``, ``reason``), Conflict (``reason`` possible_duplicate, ``candidates``: ids that may
        be the same person), KeysUnavailable, StorageUnavailable, StorageFull, LogUnavailable. ``anyway``: the pairs are noted
        as suspected doubles instead.
        """
        with self._gate.refusals(actor, Action.PATIENT_CREATE, Subject()):
            decide_role(actor.role, Act.PATIENT_CREATE)
            identity = checked(identity, self._today())
            _must_vouch(actor, identity)
            with self._db.read() as connection:
                team = self._team(actor, care_team, patient_rows.first_clinician(connection))
                if not patient_rows.are_carers(connection, team):
                    raise Invalid("a care team holds clinicians", field="care_team", reason="not_a_clinician")
            doubles = tuple(double.id for double in self._similar(actor, identity))
            if doubles and not anyway:
                ids = " ".join(doubles)
                raise Conflict("this may be a patient who is already here", reason="possible_duplicate", candidates=ids)
            patient, index = PatientId(self._new_id()), self._index.entry(identity)
            scope = self._scopes.create(ScopeKind.PATIENT)
            with self._scopes.open(scope) as key:
                sealed = seal_identity(key, self._tenant, patient, identity)
            stored = StoredPatient(patient, scope, sealed, self._clock(), actor.person)
            event = Event(Action.PATIENT_CREATE, Outcome.SUCCESS, actor, Subject(patient=patient), Note(purpose=Purpose.TREAT))

            def work(tx: Transaction) -> None:
                patient_rows.add(tx.connection, stored, index, team)
                merge_rows.suspect(tx.connection, patient, doubles, stored.created_at)
                tx.record(event)

            self._log.transact(work)
        return Patient(patient, identity, stored.created_at, team, doubles=doubles)

    def get(self, actor: Actor, patient: PatientId) -> Patient:
        """One patient's identity; that of the file that was kept, where this one was merged into it.

        One event per session within five minutes. Raises NotFound, Forbidden, KeysUnavailable.
        """
        with self._gate.refusals(actor, Action.PATIENT_VIEW, Subject(patient=patient)):
            decide_role(actor.role, Act.PATIENT_VIEW)
            with self._db.read() as connection:
                stored = patient_rows.kept_patient(connection, patient)
                file = file_of(connection, stored.id)
                team = patient_rows.team_of(connection, file.parts)
                absorbed = patient_rows.stored_patients(connection, file.parts[1:])
                relation = self._gate.opening(connection, actor, stored.id)
            self._gate.authorise(actor, Act.PATIENT_VIEW, relation)
            note = Note(purpose=Purpose.TREAT, relation=flags(relation))
            if self._tickets.find(actor, "list", stored.id) is None:
                event = Event(Action.PATIENT_VIEW, Outcome.GRANTED, actor, Subject(patient=stored.id), note)
                self._tickets.keep(actor, self._log.record(event), "list", stored.id)
            others = tuple(self._identity(part) for part in absorbed)
            return Patient(stored.id, self._identity(stored), stored.created_at, team, others)

    def update(self, actor: Actor, patient: PatientId, identity: Identity) -> Patient:
        """Correct an identity; the event names the traits that changed, never what they say.

        Raises NotFound, Forbidden (a qualified identity is a carer's word), Invalid, Conflict (``changed``: somebody was
        faster, ``merged``), KeysUnavailable, LogUnavailable.
        """
        subject = Subject(patient=patient)
        with self._gate.refusals(actor, Action.PATIENT_UPDATE, subject):
            decide_role(actor.role, Act.PATIENT_UPDATE)
            identity = checked(identity, self._today())
            with self._db.read() as connection:
                stored = patient_rows.stored_patient(connection, patient)
                parts = file_of(connection, patient).parts
                team = patient_rows.team_of(connection, parts)
                self._gate.authorise(actor, Act.PATIENT_UPDATE, self._gate.relation(connection, actor, patient))
            before, index = self._identity(stored), self._index.entry(identity)
            _must_vouch(actor, identity, before)
            doubles = {double.id for double in self._similar(actor, identity)}.difference(parts)
            with self._scopes.open(stored.scope) as key:
                sealed = seal_identity(key, self._tenant, patient, identity)
            event = Event(Action.PATIENT_UPDATE, Outcome.SUCCESS, actor, subject, Note(changed=changed(before, identity)))

            def work(tx: Transaction) -> None:
                if patient_rows.stored_patient(tx.connection, patient).identity_sealed != stored.identity_sealed:
                    raise Conflict("somebody else has just corrected this identity", reason="changed")
                patient_rows.change(tx.connection, patient, sealed, index)
                merge_rows.suspect(tx.connection, patient, doubles, self._clock())
                tx.record(event)

            self._log.transact(work)
        return Patient(patient, identity, stored.created_at, team)

    def search(self, actor: Actor, text: str, limit: int = 20) -> Page[Patient]:
        """The patients meant by ``text``, by name; those whom the actor treats come first where there are more than ``limit``.

        A file that was merged is found under its own traits, and shown as the one that was kept (``Patient.absorbed``).
        What was typed is never written anywhere. Raises Forbidden, KeysUnavailable, StorageUnavailable, LogUnavailable.
        """
        limit = min(max(limit, 1), SEARCH_LIMIT)
        with self._gate.refusals(actor, Action.PATIENT_SEARCH, Subject()):
            decide_role(actor.role, Act.PATIENT_SEARCH)
            query = parse(text, self._today())
            if not query.is_enough:
                return Page(())
            ids = self._candidates(alternatives(query), actor.person, OPENED + 1)
            found = self._whole(ids[:OPENED], lambda who: matches(query, who), limit + 1)
            more = len(found) > limit or len(ids) > OPENED
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
        """The identities of some patients for a list that the caller has logged; a merged file's is that of the one kept.

        Raises Forbidden, KeysUnavailable.
        """
        decide_role(actor.role, Act.PATIENT_VIEW)
        with self._db.read() as connection:
            kept = patient_rows.kept_patients(connection, patient_rows.stored_patients(connection, wanted))
        who = {root.id: Patient(root.id, self._identity(root), root.created_at) for root in kept.values()}
        return {asked: who[root.id] for asked, root in kept.items()}

    def own(self, actor: Actor, rows: Sequence[StoredPatient]) -> dict[PatientId, Patient]:
        """The identities that records bear themselves, merged into others or not. Raises Forbidden, KeysUnavailable."""
        decide_role(actor.role, Act.PATIENT_VIEW)
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
        return tuple(self._whole(self._candidates(sets, actor.person, OPENED), holds, OPENED))

    def _whole(self, ids: Sequence[PatientId], holds: Callable[[Identity], bool], most: int) -> list[Patient]:
        """The files of those records for whose identity ``holds``, at most ``most``: each once, with what it was found by."""
        found: dict[PatientId, Patient] = {}
        for stored, root in self._fetched(ids, lambda: most - len(found)):
            identity = self._identity(stored)
            if not holds(identity):
                continue
            known = found.get(root.id)
            if root.id == stored.id:
                found[root.id] = Patient(root.id, identity, root.created_at, absorbed=known.absorbed if known else ())
            else:
                known = known or Patient(root.id, self._identity(root), root.created_at)
                found[root.id] = replace(known, absorbed=(*known.absorbed, identity))
        return list(found.values())

    def _fetched(self, ids: Sequence[PatientId], wanted: Callable[[], int]) -> Iterator[tuple[StoredPatient, StoredPatient]]:
        """The records of ``ids`` and of the files that they belong to, in that order, while any are ``wanted``.

        The keys of as many are opened together, never one more than could be of use.
        """
        start = 0
        while start < len(ids) and (count := wanted()) > 0:
            with self._db.read() as connection:
                rows = patient_rows.stored_patients(connection, ids[start : start + count])
                kept = patient_rows.kept_patients(connection, rows)
            self._scopes.fetch(stored.scope for stored in rows)
            there = {stored.id: stored for stored in rows}
            yield from ((there[each], kept[each]) for each in ids[start : start + count] if each in there)
            start += count

    def _candidates(self, sets: Sequence[Iterable[Token]], person: PersonId, limit: int) -> list[PatientId]:
        """Who stands under every token of one of ``sets``, under whichever MAC key: a rotation may be half done.

        Asked again where the rotation brought somebody under a further key between question and answer.
        """
        wanted = [rarest_first(tokens) for tokens in sets]
        every = dict.fromkeys(token for tokens in wanted for token in tokens)
        with self._db.read() as connection:
            macs = standing.versions(connection, standing.PATIENTS)
        while macs:
            known = {mac: self._index.values(every, mac) for mac in macs}
            values = [[known[mac][token] for token in tokens] for mac in macs for tokens in wanted]
            with self._db.read() as connection:
                ids = patient_rows.candidates(connection, values, person, limit)
                macs = tuple(set(standing.versions(connection, standing.PATIENTS)).union(macs))
            if len(macs) == len(known):
                return ids
        return []

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


def _must_vouch(actor: Actor, after: Identity, before: Identity | None = None) -> None:
    """Who calls an identity qualified, or changes one that stays so, vouches for it: a carer. Raises Forbidden."""
    is_kept = before is not None and before.status is IdentityStatus.QUALIFIED and is_strictly_same(before, after)
    if after.status is IdentityStatus.QUALIFIED and not is_kept:
        decide_role(actor.role, Act.PATIENT_QUALIFY)
