"""A practice with patients and documents on real databases, blobs and log, over keys in memory. Knows no test."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.conftest import Clock
from tests.vault.people.conftest import TENANT, House, open_house
from tests.vault.records.scans import PDF, scan
from vault.audit.append import Receipt
from vault.audit.groups import Group
from vault.audit.reading import Reader, Record
from vault.model import Actor, Document, DocumentId, Identity, Micros, PatientId, PersonId, Role, ScopeId, ScopeKind, Sex
from vault.records.documents.catalogue import patient_scope
from vault.records.documents.documents import Documents
from vault.records.documents.scanning import Scanner
from vault.records.patients.patients import Patients
from vault.records.tickets import Tickets
from vault.rendering.renderer import Renderer
from vault.settings import DatabaseSettings, LimitSettings, ScanSettings
from vault.storage.blobs import DiskBlobs


@dataclass(frozen=True)
class Desk:
    """Everybody and everything that a test of documents needs."""

    house: House
    clock: Clock
    documents: Documents
    patients: Patients
    blobs: DiskBlobs
    directory: Path
    reception: Actor
    clinician: Actor
    stranger: Actor
    """A clinician of another care team."""
    auditor: Actor
    patient: PatientId
    other_patient: PatientId
    """Followed by the stranger."""

    def deposit(self, actor: Actor | None = None, data: bytes | None = None, **changes: object) -> Document:
        """File a scan with the patient, as reception unless told otherwise."""
        body = scan() if data is None else data
        wanted: dict[str, object] = {"type": "11502-2", "act_date": None, "file_name": "bilan.pdf", "body": io.BytesIO(body)}
        patient = changes.pop("patient", self.patient)
        return self.documents.store(actor or self.reception, patient, **(wanted | changes))  # type: ignore[arg-type]  # as asked

    def blob_path(self, document: DocumentId) -> Path:
        """Where the body of a document lies on disk."""
        with closing(sqlite3.connect(self.directory / "coffre.db")) as connection:
            query = "SELECT blob FROM document_versions WHERE document = ? ORDER BY version DESC"
            blob = str(connection.execute(query, (document,)).fetchone()[0])
        return self.directory / "blobs" / blob[:2] / blob

    def scope(self) -> ScopeId:
        """The patient's scope."""
        return self.scope_of(self.patient)

    def scope_of(self, patient: PatientId) -> ScopeId:
        with self.house.db.read() as connection:
            return patient_scope(connection, patient)

    def swap_scopes(self, one: PatientId, other: PatientId) -> None:
        """Exchange two wrapped keys in the keyring behind the vault's back."""
        first, second = self.scope_of(one), self.scope_of(other)
        with closing(sqlite3.connect(self.directory / "keyring.db")) as connection, connection:
            wrapped = dict(connection.execute("SELECT id, wrapped FROM scopes WHERE id IN (?, ?)", (first, second)).fetchall())
            connection.execute("UPDATE scopes SET wrapped = ? WHERE id = ?", (wrapped[second], first))
            connection.execute("UPDATE scopes SET wrapped = ? WHERE id = ?", (wrapped[first], second))

    def erase_scope(self, patient: PatientId) -> None:
        """Delete a wrapped key from the keyring."""
        with closing(sqlite3.connect(self.directory / "keyring.db")) as connection, connection:
            connection.execute("DELETE FROM scopes WHERE id = ?", (self.scope_of(patient),))

    def execute(self, sql: str, *values: object) -> None:
        """Change the database behind the vault's back."""
        with closing(sqlite3.connect(self.directory / "coffre.db")) as connection, connection:
            connection.execute(sql, values)

    def row(self, document: DocumentId) -> dict[str, object]:
        """The current version's row."""
        with closing(sqlite3.connect(self.directory / "coffre.db")) as connection:
            connection.row_factory = sqlite3.Row
            query = "SELECT * FROM document_versions WHERE document = ? ORDER BY version DESC"
            return dict(connection.execute(query, (document,)).fetchone())

    def plan(self, statement: str) -> list[str]:
        """How SQLite would go about a SELECT."""
        with closing(sqlite3.connect(self.directory / "coffre.db")) as connection:
            rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", [None] * statement.count("?")).fetchall()
        return [str(row[3]) for row in rows]

    def files(self) -> list[Path]:
        """Every file in the blob store, leftovers included."""
        return sorted(path for path in (self.directory / "blobs").rglob("*") if path.is_file())

    def log(self) -> list[Record]:
        """Every event so far, opened, oldest first."""
        reader = Reader(self.house.log)
        return [record for page in reader.scan(0, 1 << 30) for record in reader.open(page)]

    def told(self) -> list[tuple[str, str]]:
        """Every event about documents so far: (action, outcome)."""
        return [(record.action.value, record.outcome.value) for record in self.log() if record.action.value[:8] == "document"]


def actor_of(house: House, username: str, role: Role, clock: Clock) -> Actor:
    person: PersonId = house.hire(username, role)
    return Actor(
        person=person,
        username=username,
        display_name=f"Dr {username}",
        role=role,
        session=f"{username:0<32}"[:32],
        methods=("pwd", "otp"),
        factor_at=Micros(clock()),
    )


def identity(name: str) -> Identity:
    return Identity(birth_name=name, given_names=("Jeanne",), birth_date="1980-03-12", sex=Sex.FEMALE)


@contextmanager
def open_desk(
    directory: Path,
    clock: Clock,
    limits: LimitSettings | None = None,
    scan: ScanSettings | None = None,
    *,
    has_quarantine: bool = False,
) -> Iterator[Desk]:
    """``has_quarantine``: what is infected has a scope in which it is set apart; else it is refused."""
    databases = DatabaseSettings(f"sqlite:///{directory / 'coffre.db'}", f"sqlite:///{directory / 'keyring.db'}")
    with open_house(databases, clock) as house:
        micros = lambda: Micros(clock())  # noqa: E731  # the shape that every room wants
        renderer = Renderer()
        blobs = DiskBlobs(directory / "blobs")
        tickets: Tickets[Receipt] = Tickets(micros)
        roster = house.people.roster
        documents = Documents(
            db=house.db, scopes=roster.scopes, keys=house.keys, log=house.log, tenant=TENANT, relations=house.people.relations,
            blobs=blobs, renderer=renderer, limits=limits or LimitSettings(document_mib=4), clock=micros, tickets=tickets,
            scanner=Scanner(scan or ScanSettings()), aside=roster.scopes.create(ScopeKind.INBOX) if has_quarantine else None,
        )  # fmt: skip
        patients = Patients(
            db=house.db, scopes=roster.scopes, keys=house.keys, log=house.log, tenant=TENANT, relations=house.people.relations,
            clock=micros, tickets=tickets,
        )  # fmt: skip
        clinician = actor_of(house, "lmartin", Role.CLINICIAN, clock)
        stranger = actor_of(house, "pdurand", Role.CLINICIAN, clock)
        patient = patients.create(clinician, identity("MARTIN")).id
        other = patients.create(stranger, identity("BERNARD")).id
        yield Desk(
            house, clock, documents, patients, blobs, directory,
            actor_of(house, "accueil", Role.RECEPTION, clock), clinician, stranger,
            actor_of(house, "controle", Role.AUDITOR, clock), patient, other,
        )  # fmt: skip
        renderer.close()


def in_another_session(actor: Actor) -> Actor:
    return replace(actor, session="f" * 32)


__all__ = ["PDF", "Desk", "Group", "in_another_session", "open_desk", "scan"]
