"""A log of its own for each test: SQLite in a temporary directory, a fake key service, a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from kms.keys import Secret
from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.tables import lay_out
from vault.audit.append import AuditLog
from vault.audit.auditing import Auditing
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject
from vault.model import Actor, Client, DocumentId, Micros, PatientId, PersonId, Role, TenantId
from vault.people.policy import Relation
from vault.settings import DatabaseSettings
from vault.storage import migrate
from vault.storage.db import Database, open_databases

TENANT = TenantId("7e" * 16)


def person(number: int, role: Role = Role.CLINICIAN, factor_at: int = 0) -> Actor:
    """Somebody signed in; the same number is the same person."""
    return Actor(
        PersonId(f"{number:032x}"),
        f"user{number}",
        f"Dr {number}",
        role,
        f"session{number}",
        ("pwd", "otp"),
        Micros(factor_at),
        Client("192.0.2.7", "Firefox", f"poste-{number}"),
    )


def patient(number: int) -> PatientId:
    return PatientId(f"aa{number:030x}")


def document(number: int) -> DocumentId:
    return DocumentId(f"dd{number:030x}")


def created(number: int, by: Actor | None = None) -> Event:
    return Event(Action.PATIENT_CREATE, Outcome.SUCCESS, by or person(1), Subject(patient=patient(number)))


def viewed(number: int, of: int = 1, by: Actor | None = None) -> Event:
    return Event(
        Action.DOCUMENT_VIEW,
        Outcome.GRANTED,
        by or person(1),
        Subject(patient=patient(of), document=document(number), version=1, document_class="11502-2"),
        Note(purpose=Purpose.TREAT),
    )


class Names:
    """What people are called."""

    def display_names(self) -> Mapping[PersonId, str]:
        return {PersonId(f"{number:032x}"): f"Dr {number}" for number in range(20)}


class Identities:
    """Patients' names, one of them a spreadsheet formula."""

    def names(self, wanted: Sequence[PatientId]) -> dict[PatientId, str]:
        known = {patient(number): f"MARTIN Zoé {number}" for number in range(5)} | {patient(5): "=cmd|' /C calc'!A0"}
        return {each: known[each] for each in wanted if each in known}


class Team:
    """Everybody treats patients with an odd number."""

    def to_patient(self, connection: Connection, actor: Actor, patient: PatientId, now: Micros) -> Relation:
        return Relation(in_care_team=int(patient[-1], 16) % 2 == 1)


@dataclass
class Rig:
    """A log and everything around it."""

    path: Path
    clock: Clock
    keys: FakeKeyService
    db: Database
    keyring: Database
    log: AuditLog
    auditing: Auditing

    def auditor(self, role: Role = Role.AUDITOR) -> Actor:
        """An auditor with a fresh second factor."""
        return person(9, role, self.clock.now)

    def sql(self, *statements: str) -> None:
        """What somebody does who can write the database."""

        def work(connection: Connection) -> None:
            for statement in statements:
                connection.execute(text(statement))

        self.db.write(work)

    def reopened(self) -> Rig:
        """The same files opened again, as another process would."""
        return open_rig(self.path, self.clock, self.keys)

    def close(self) -> None:
        self.auditing.close()
        self.db.close()
        self.keyring.close()


def open_rig(path: Path, clock: Clock, keys: FakeKeyService, settings: DatabaseSettings | None = None) -> Rig:
    """On SQLite files in ``path``, or on the databases of ``settings``."""
    where = settings or DatabaseSettings(f"sqlite:///{path}/coffre.db", f"sqlite:///{path}/keyring.db")
    lay_out(where)
    db, keyring = open_databases(where)
    migrate.upgrade(db, keyring)
    log = AuditLog(
        db=db,
        keyring=keyring,
        tenant=TENANT,
        open_key=lambda: Secret(b"\x17" * 32),
        clock=lambda: Micros(clock()),
        monotonic=lambda: clock() / 1_000_000,
        source="test",
    )
    return Rig(
        path,
        clock,
        keys,
        db,
        keyring,
        log,
        Auditing(log=log, keys=keys, names=Names(), relations=Team(), identities=Identities()),
    )


@pytest.fixture
def rig(tmp_path: Path, clock: Clock) -> Iterator[Rig]:
    made = open_rig(tmp_path, clock, FakeKeyService())
    yield made
    made.close()
