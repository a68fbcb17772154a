"""A practice's records on a real database and log, over keys in memory: the rooms, and people to act."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import insert, select

from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.tables import lay_out
from vault.audit.append import AuditLog, Receipt
from vault.audit.events import Action, Event, Outcome, System
from vault.model import Actor, Identity, Micros, PersonId, Role, ScopeId, ScopeKind, Sex, TenantId
from vault.people.relations import Relations
from vault.records.patients.patients import Patients
from vault.records.tickets import Tickets
from vault.sealing.scopes import ScopeKeys
from vault.settings import DatabaseSettings
from vault.storage import migrate
from vault.storage.db import Database
from vault.storage.keyring import Keyring
from vault.storage.schema import audit_entries, people

TENANT = TenantId("a" * 32)
CLAIRE = Identity("Dupont", ("Claire", "Anne"), "1980-03-12", Sex.FEMALE, used_name="Moreau")


@dataclass(frozen=True)
class House:
    """Everything that records stand on."""

    db: Database
    keyring_db: Database
    keys: FakeKeyService
    scopes: ScopeKeys
    log: AuditLog
    tickets: Tickets[Receipt]
    inbox_scope: ScopeId
    clock: Clock
    patients: Patients

    def person(self, role: Role, state: str = "active") -> Actor:
        """Somebody at work, signed in."""
        name = f"{role}-{uuid4().hex[:6]}"
        person = PersonId(uuid4().hex)
        row = {
            "id": person,
            "username": name,
            "username_key": name,
            "display_name_sealed": b"",
            "role": role.value,
            "state": state,
            "created_at": self.clock(),
        }
        self.clock.advance(seconds=1)
        self.db.write(lambda connection: connection.execute(insert(people), [row]))
        return Actor(person, name, f"Dr {name}", role, uuid4().hex, ("pwd", "otp"), Micros(self.clock()))

    def events(self) -> list[tuple[str, str]]:
        """Every event since the founding, oldest first."""
        with self.db.read() as connection:
            rows = connection.execute(
                select(audit_entries.c.action, audit_entries.c.outcome).order_by(audit_entries.c.position)
            )
            return [(row.action, row.outcome) for row in rows][2:]

    def close(self) -> None:
        self.scopes.close()
        self.db.close()
        self.keyring_db.close()


def open_house(settings: DatabaseSettings, clock: Clock) -> House:
    """A founded, empty practice."""
    lay_out(settings)
    db, keyring_db = (Database(url, settings.password_file) for url in (settings.url, settings.keyring_url))
    migrate.upgrade(db, keyring_db)
    keys = FakeKeyService()

    def now() -> Micros:
        return Micros(clock())

    scopes = ScopeKeys(Keyring(keyring_db), keys, TENANT, clock=now)
    log_scope, inbox_scope = scopes.create(ScopeKind.LOG), scopes.create(ScopeKind.INBOX)
    log = AuditLog(db=db, keyring=keyring_db, tenant=TENANT, open_key=lambda: scopes.open(log_scope), clock=now)
    log.record(Event(Action.SYSTEM_START, Outcome.SUCCESS, System()))
    tickets: Tickets[Receipt] = Tickets(now)
    patients = Patients(
        db=db, scopes=scopes, keys=keys, log=log, tenant=TENANT, relations=Relations(db), clock=now, tickets=tickets
    )
    return House(db, keyring_db, keys, scopes, log, tickets, inbox_scope, clock, patients)
