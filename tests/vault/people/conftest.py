"""The people room on a real database and log, over keys in memory, with hashing made cheap."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pyotp
import pytest
from sqlalchemy import select

from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.tables import lay_out
from vault.audit.append import AuditLog
from vault.model import Actor, Client, Micros, PersonId, Role, ScopeId, ScopeKind, TenantId
from vault.people.opening import People, open_people
from vault.people.passwords import Cost, Hasher
from vault.people.sign_in import SignedIn
from vault.people.totp import STEP_S
from vault.sealing.scopes import ScopeKeys
from vault.settings import DatabaseSettings
from vault.storage import migrate
from vault.storage.db import Database, open_databases
from vault.storage.keyring import Keyring
from vault.storage.schema import audit_entries

TENANT = TenantId("a" * 32)
PASSWORD = "Cerisier-Ombre-47"
OFFICE = Client(ip="192.0.2.7", agent="Firefox", workstation="accueil-1")
CHEAP = Cost(memory_kib=64, passes=1)


@dataclass(frozen=True)
class Installed:
    tenant: TenantId
    system_scope: ScopeId
    log_scope: ScopeId


@dataclass(frozen=True)
class House:
    """A practice with its people room, and what tests ask of it."""

    people: People
    db: Database
    keyring_db: Database
    keys: FakeKeyService
    log: AuditLog
    clock: Clock
    installed: Installed

    def console(self) -> Actor:
        return self.people.sessions.console_actor()

    def hire(self, username: str = "lmartin", role: Role = Role.CLINICIAN, password: str = PASSWORD) -> PersonId:
        return self.people.accounts.create(
            self.console(), username=username, display_name=f"Prénom {username}", role=role, password=password
        )

    def code(self, secret: str, offset_steps: int = 0) -> str:
        """What the telephone shows now (or ``offset_steps`` later)."""
        return pyotp.TOTP(secret).at(self.clock.now // 1_000_000 + offset_steps * STEP_S)

    def enrol(self, username: str = "lmartin", role: Role = Role.CLINICIAN) -> tuple[str, SignedIn]:
        """Hire somebody and take them through their first sign-in; then wait until the next code."""
        self.hire(username, role)
        halfway = self.people.sign_in.password(username, PASSWORD, OFFICE)
        secret = self.people.sign_in.enrolment(halfway.token).secret
        signed_in = self.people.sign_in.confirm_enrolment(halfway.token, self.code(secret), OFFICE)
        self.clock.advance(seconds=STEP_S)
        return secret, signed_in

    def sign_in(self, username: str, secret: str) -> SignedIn:
        """Both steps, with a fresh code."""
        self.clock.advance(seconds=STEP_S)
        halfway = self.people.sign_in.password(username, PASSWORD, OFFICE)
        return self.people.sign_in.code(halfway.token, self.code(secret), OFFICE)

    def actions(self) -> list[tuple[str, str]]:
        """Every event so far: (action, outcome), oldest first."""
        columns = audit_entries.c
        with self.db.read() as connection:
            rows = connection.execute(select(columns.action, columns.outcome).order_by(columns.position)).all()
        return [(row.action, row.outcome) for row in rows]


def build(settings: DatabaseSettings, clock: Clock, *, cost: Cost = CHEAP, at_once: int | None = None) -> House:
    lay_out(settings)
    db, keyring_db = open_databases(settings)
    migrate.upgrade(db, keyring_db)
    keys = FakeKeyService()
    scopes = ScopeKeys(Keyring(keyring_db), keys, TENANT, clock=lambda: Micros(clock()))
    installed = Installed(TENANT, scopes.create(ScopeKind.SYSTEM), scopes.create(ScopeKind.LOG))
    log = AuditLog(
        db=db,
        keyring=keyring_db,
        tenant=TENANT,
        open_key=lambda: scopes.open(installed.log_scope),
        clock=lambda: Micros(clock()),
        monotonic=lambda: clock() / 1_000_000,
    )
    people = open_people(
        db=db,
        scopes=scopes,
        log=log,
        installation=installed,
        clock=lambda: Micros(clock()),
        random=Random(20_260_921).randbytes,  # the same codes in every run: no guess of a test is ever right by chance
        hasher=Hasher(cost, at_once=at_once),
        context=("Cabinet des Tilleuls", "Angoulême"),
    )
    return House(people, db, keyring_db, keys, log, clock, installed)


@contextlib.contextmanager
def open_house(settings: DatabaseSettings, clock: Clock, *, cost: Cost = CHEAP, at_once: int | None = None) -> Iterator[House]:
    house = build(settings, clock, cost=cost, at_once=at_once)
    try:
        yield house
    finally:
        house.people.roster.scopes.close()
        house.db.close()
        house.keyring_db.close()


@pytest.fixture
def house(sqlite: DatabaseSettings, clock: Clock) -> Iterator[House]:
    with open_house(sqlite, clock) as house:
        yield house


@pytest.fixture
def everywhere(databases: DatabaseSettings, clock: Clock) -> Iterator[House]:
    """A house on each database in turn."""
    with open_house(databases, clock) as house:
        yield house
