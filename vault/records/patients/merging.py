"""Owns the merge of two files of one patient, undone within 30 days, and the pairs that may be one. It knows no HTTP.

Nothing moves: documents, keys, index values and log of each record stay where they are, so that undoing restores exactly what
was. See docs/decisions/0044.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from sqlalchemy import Connection

from vault.audit.append import AuditLog, Transaction
from vault.audit.events import REASON_CHARACTERS, Action, Event, Note, Outcome, Subject
from vault.errors import Conflict, Invalid, NotFound
from vault.model import Actor, Identity, IdentityStatus, Micros, Patient, PatientId, PersonId
from vault.people.files import file_of
from vault.people.policy import Act, decide_role, ever_allowed
from vault.people.relations import Mode, Relations, mode_of
from vault.records.patients import merge_rows, patient_rows
from vault.records.patients.access import Gate, is_allowed
from vault.records.patients.merge_rows import StoredMerge
from vault.records.patients.patient_rows import StoredPatient
from vault.records.patients.patients import Patients
from vault.storage.db import Database

UNDO_DAYS = 30
"""How long a merge can be undone."""
_DAY = 24 * 3_600_000_000
PAIRS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Side:
    """One of two files that are compared."""

    patient: Patient = field(repr=False)
    documents: int = 0
    is_followed: bool = False
    """Whether the actor follows it: whoever merges follows both."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two files side by side, and why they can't be merged by this actor; no reason where they can."""

    one: Side
    other: Side
    obstacle: str | None = None


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge that stands."""

    id: str
    kept: PatientId
    absorbed: Patient = field(repr=False)
    """The record that is read through the kept one, under its own id and name."""
    merged_at: Micros
    merged_by: PersonId
    until: Micros
    """The last moment to undo it."""
    can_be_undone: bool


@dataclass(frozen=True, slots=True)
class Unmerged:
    """Two files again."""

    kept: PatientId
    absorbed: PatientId
    filed_since: int
    """Documents filed in the kept file while it was one: they stay there, and are to be looked at."""


def obstacle(one: Identity, other: Identity, teams: tuple[frozenset[PersonId], frozenset[PersonId]], mode: Mode) -> str | None:
    """Why two files can never be one, as a slug; None where they can. Pure.

    Two different matricules, both qualified, are two persons whatever anybody says (RNIV). Independent practitioners keep their
    own files: only those of the same team become one.
    """
    qualified = one.status is other.status is IdentityStatus.QUALIFIED
    if qualified and ((one.ins or "")[:13], one.ins_oid) != ((other.ins or "")[:13], other.ins_oid):
        return "qualified_ins"
    if mode is Mode.PARTITIONED and teams[0] != teams[1]:
        return "partitioned_merge"
    return None


class Merging:
    """Thread-safe. Every method takes the actor first and raises VaultError subclasses only."""

    def __init__(
        self,
        *,
        db: Database,
        log: AuditLog,
        relations: Relations,
        patients: Patients,
        clock: Callable[[], Micros],
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._db = db
        self._log = log
        self._patients = patients
        self._clock = clock
        self._new_id = new_id
        self._gate = Gate(log, relations.to_patient, clock)

    # --- suspected doubles

    def suspected(self, actor: Actor) -> tuple[tuple[Patient, Patient], ...]:
        """The pairs of files that may be one patient, newest suspicion first; an event like any list of patients.

        Raises Forbidden, KeysUnavailable, LogUnavailable.
        """
        with self._gate.refusals(actor, Action.PATIENT_LIST, Subject()):
            decide_role(actor.role, Act.PATIENT_DOUBLES)
            with self._db.read() as connection:
                pairs = merge_rows.open_suspicions(connection, PAIRS_SHOWN)
            who = self._patients.named(actor, tuple({patient for pair in pairs for patient in pair}))
            self._log.record(Event(Action.PATIENT_LIST, Outcome.GRANTED, actor, note=Note(count=len(who), code="doubles")))
        return tuple((who[one], who[other]) for one, other in pairs if one in who and other in who)

    def count(self, actor: Actor) -> int:
        """How many pairs wait. Raises Forbidden."""
        decide_role(actor.role, Act.PATIENT_DOUBLES)
        with self._db.read() as connection:
            return merge_rows.count_suspicions(connection)

    def doubles_of(self, actor: Actor, patient: PatientId) -> tuple[PatientId, ...]:
        """Which files may be of the same patient; nothing for whoever may not judge it."""
        if Act.PATIENT_DOUBLES not in ever_allowed(actor.role):
            return ()
        with self._db.read() as connection:
            return tuple(merge_rows.suspicions_of(connection, patient))

    def dismiss(self, actor: Actor, one: PatientId, other: PatientId) -> None:
        """Say that two files are of two persons: the pair is not shown again.

        Raises NotFound, Forbidden, Conflict (``decided``: somebody judged already, ``merged``), LogUnavailable.
        """
        subject = Subject(patient=one)
        with self._gate.refusals(actor, Action.PATIENT_UPDATE, subject):
            decide_role(actor.role, Act.PATIENT_DOUBLES)
            _must_differ(one, other)

            def work(tx: Transaction) -> None:
                for patient in (one, other):
                    patient_rows.stored_patient(tx.connection, patient)
                if not merge_rows.dismiss(tx.connection, one, other, self._clock(), actor.person):
                    raise Conflict("somebody has judged these two already", reason="decided")
                for patient in (one, other):
                    note = Note(changed=("double",), code="two_persons")
                    tx.record(Event(Action.PATIENT_UPDATE, Outcome.SUCCESS, actor, Subject(patient=patient), note))

            self._log.transact(work)

    # --- merging

    def compare(self, actor: Actor, one: PatientId, other: PatientId) -> Comparison:
        """Two files side by side: identities and how much is in each, no document. Raises NotFound, Forbidden, Conflict."""
        decide_role(actor.role, Act.PATIENT_DOUBLES)
        _must_differ(one, other)
        found = [self._patients.get(actor, patient) for patient in (one, other)]
        if found[0].id == found[1].id:
            raise Conflict("these two are one file already", reason="same_patient")
        with self._db.read() as connection:
            sides = [self._side(connection, actor, patient) for patient in found]
            mode = mode_of(connection)
        teams = frozenset(found[0].care_team), frozenset(found[1].care_team)
        hindrance = obstacle(found[0].identity, found[1].identity, teams, mode)
        if hindrance is None and not all(side.is_followed for side in sides):
            hindrance = "not_followed"
        return Comparison(sides[0], sides[1], hindrance)

    def merge(self, actor: Actor, kept: PatientId, absorbed: PatientId, *, reason: str) -> StoredMerge:
        """Read ``absorbed`` through ``kept`` from now on; both events stand in the same transaction as the change.

        The actor follows both files: nobody may read more by merging. Raises NotFound, Forbidden, StepUpRequired, Invalid
        (``reason``), Conflict (``qualified_ins``, ``partitioned_merge``, ``same_patient``, ``merged``, ``changed``),
        KeysUnavailable, LogUnavailable.
        """
        with self._gate.refusals(actor, Action.PATIENT_MERGE, Subject(patient=kept)):
            decide_role(actor.role, Act.PATIENT_MERGE)
            _must_differ(kept, absorbed)
            with self._db.read() as connection:
                before = [patient_rows.stored_patient(connection, patient) for patient in (kept, absorbed)]
                for patient in (kept, absorbed):
                    self._gate.authorise(actor, Act.PATIENT_MERGE, self._gate.relation(connection, actor, patient))
            tidy = _checked_reason(reason)
            who = self._patients.named(actor, (kept, absorbed))
            stored = StoredMerge(self._new_id(), kept, absorbed, self._clock(), actor.person, None, None)
            events = _events(Action.PATIENT_MERGE, actor, stored, tidy)

            def work(tx: Transaction) -> None:
                _must_be_as_before(tx.connection, before)
                teams = [frozenset(_team(tx.connection, patient)) for patient in (kept, absorbed)]
                hindrance = obstacle(who[kept].identity, who[absorbed].identity, (teams[0], teams[1]), mode_of(tx.connection))
                if hindrance is not None:
                    raise Conflict("these two files can't be one", reason=hindrance)
                if not merge_rows.add_merge(tx.connection, stored):
                    raise Conflict("somebody else has just merged one of them", reason="merged")
                for event in events:
                    tx.record(event)

            self._log.transact(work)
        return stored

    def undo(self, actor: Actor, merge: str, *, reason: str) -> Unmerged:
        """Make two files again, each exactly as it was; what was filed since stays where it was filed.

        Raises NotFound, Forbidden, StepUpRequired, Invalid, Conflict (``undone``, ``too_late``, ``merged_again``),
        LogUnavailable.
        """
        with self._db.read() as connection:
            found = merge_rows.stored_merge(connection, merge)
        kept = found.kept if found is not None else None
        with self._gate.refusals(actor, Action.PATIENT_UNMERGE, Subject(patient=kept)):
            decide_role(actor.role, Act.PATIENT_MERGE)
            if found is None:
                raise NotFound("no such merge")
            with self._db.read() as connection:
                self._gate.authorise(actor, Act.PATIENT_MERGE, self._gate.relation(connection, actor, found.kept))
            tidy = _checked_reason(reason)
            now = self._clock()
            if now > last_moment(found.merged_at):
                raise Conflict(f"a merge is undone within {UNDO_DAYS} days", reason="too_late")
            events = _events(Action.PATIENT_UNMERGE, actor, found, tidy)

            def work(tx: Transaction) -> int:
                if file_of(tx.connection, found.kept).root != found.kept:
                    raise Conflict("undo the later merge first", reason="merged_again")
                if not merge_rows.undo_merge(tx.connection, found, now, actor.person):
                    raise Conflict("this merge was undone already", reason="undone")
                for event in events:
                    tx.record(event)
                return merge_rows.count_filed(tx.connection, [found.kept], found.merged_at)

            filed = self._log.transact(work).value
        return Unmerged(found.kept, found.absorbed, filed)

    def of(self, actor: Actor, patient: PatientId) -> tuple[Merge, ...]:
        """The merges that stand and make up a patient's file, newest first; the caller has logged that it is looked at.

        Raises Forbidden, KeysUnavailable.
        """
        decide_role(actor.role, Act.PATIENT_VIEW)
        with self._db.read() as connection:
            file = file_of(connection, patient)
            found = merge_rows.live_merges(connection, file.parts) if file.is_merged else []
            absorbed = {row.id: row for row in patient_rows.stored_patients(connection, file.parts[1:])}
        who = self._patients.own(actor, tuple(absorbed.values()))
        now = self._clock()
        return tuple(
            Merge(
                merge.id,
                merge.kept,
                who[merge.absorbed],
                merge.merged_at,
                merge.merged_by,
                last_moment(merge.merged_at),
                can_be_undone=merge.kept == file.root and now <= last_moment(merge.merged_at),
            )
            for merge in found
        )

    # --- inside

    def _side(self, connection: Connection, actor: Actor, patient: Patient) -> Side:
        relation = self._gate.relation(connection, actor, patient.id)
        count = merge_rows.count_filed(connection, file_of(connection, patient.id).parts)
        return Side(patient, count, is_allowed(actor, Act.PATIENT_MERGE, relation))


def last_moment(merged_at: Micros) -> Micros:
    """Until when a merge can be undone."""
    return Micros(merged_at + UNDO_DAYS * _DAY)


def _team(connection: Connection, patient: PatientId) -> tuple[PersonId, ...]:
    return patient_rows.team_of(connection, file_of(connection, patient).parts)


def _must_differ(one: PatientId, other: PatientId) -> None:
    if one == other:
        raise Conflict("these two are one file already", reason="same_patient")


def _must_be_as_before(connection: Connection, before: list[StoredPatient]) -> None:
    """What was judged is what is merged: neither identity changed meanwhile, neither was merged. Raises Conflict."""
    for stored in before:
        if patient_rows.stored_patient(connection, stored.id).identity_sealed != stored.identity_sealed:
            raise Conflict("an identity was corrected meanwhile: compare again", reason="changed")


def _checked_reason(reason: str) -> str:
    tidy = " ".join(reason.split())
    if not tidy:
        raise Invalid("a merge wants a reason", field="reason", reason="missing")
    if len(tidy) > REASON_CHARACTERS:
        raise Invalid("a reason is too long", field="reason", reason="too_long", limit=REASON_CHARACTERS)
    return tidy


def _events(action: Action, actor: Actor, merge: StoredMerge, reason: str) -> list[Event]:
    """One event for each of the two patients, so that each one's history tells of it; ``op`` joins them."""
    sides = ((merge.kept, "kept"), (merge.absorbed, "absorbed"))
    return [
        Event(action, Outcome.SUCCESS, actor, Subject(patient=patient), Note(reason=reason, code=code), op=merge.id)
        for patient, code in sides
    ]
