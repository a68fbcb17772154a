"""A whole practice behind the web room: real rooms and a real database, keys in memory that fail when a test says so."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyotp
import pytest
from flask import Flask
from flask.testing import FlaskClient
from reportlab.pdfgen.canvas import Canvas
from sqlalchemy import func, insert, select

from kms.keys import KeyService
from kms.settings import KmsSettings
from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.tables import lay_out
from tests.vault.people.conftest import CHEAP
from tests.web.described import DescribedClient
from vault.errors import SessionEnded
from vault.model import Client, Identity, Micros, Patient, Role, ScopeKind, Sex, TenantId
from vault.opening import Vault, open_vault
from vault.people.passwords import Hasher
from vault.sealing.scopes import ScopeKeys
from vault.settings import BlobSettings, DatabaseSettings, LimitSettings, ScanSettings, VaultSettings
from vault.storage import migrate
from vault.storage.db import Database
from vault.storage.keyring import Keyring
from vault.storage.schema import audit_entries, document_versions, documents, installation
from web import create_app
from web.settings import WebSettings, WebTable

PASSWORD = "Cerisier-Ombre-47"
OFFICE = Client(ip="127.0.0.1", agent="Firefox")
STEP_S = 30
NEAR_STEPS = 25
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n%%EOF\n"
CSRF = re.compile(r'name="csrf-token" content="([^"]+)"')


@dataclass
class Practice:
    """The vault, the application over it, and what tests ask of them."""

    vault: Vault
    app: Flask
    keys: FakeKeyService
    clock: Clock
    room: Path
    secrets: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def hire(self, username: str, role: Role, *, enrolled: bool = True) -> None:
        """An account with a second factor, ready to sign in."""
        people = self.vault.people
        people.accounts.create(
            people.sessions.console_actor(),
            username=username,
            display_name=f"Dr {username.title()}",
            role=role,
            password=PASSWORD,
        )
        if enrolled:
            halfway = people.sign_in.password(username, PASSWORD, OFFICE)
            self.secrets[username] = people.sign_in.enrolment(halfway.token).secret
            people.sign_in.confirm_enrolment(halfway.token, self.code(username), OFFICE)

    def code(self, username: str) -> str:
        """A code of the telephone that was never shown before: time moves on by a step."""
        self.clock.advance(seconds=STEP_S)
        return pyotp.TOTP(self.secrets[username]).at(self.clock.now // 1_000_000)

    def codes_near(self, secret: str) -> list[str]:
        """What a telephone shows around the present moment, further than the vault looks for the moment of a code."""
        shown, now = pyotp.TOTP(secret), self.clock.now // 1_000_000
        return [shown.at(now + step * STEP_S) for step in range(-NEAR_STEPS, NEAR_STEPS + 1)]

    def wrong_code(self, secret: str) -> str:
        """Six digits that this telephone shows at no time near by: a fixed number would be right now and then."""
        near = self.codes_near(secret)
        return next(code for code in map("{:06}".format, range(len(near) + 1)) if code not in near)

    def tell_codes_apart(self, username: str) -> None:
        """Move time on until no two codes near by are alike: each then belongs to one moment."""
        while len(set(near := self.codes_near(self.secrets[username]))) < len(near):
            self.clock.advance(seconds=STEP_S)

    def token(self, username: str) -> str:
        """A session's token, the one of before where it still lives."""
        with suppress(KeyError, SessionEnded):
            self.vault.people.sessions.actor(self.tokens[username], OFFICE)
            return self.tokens[username]
        self.tokens[username] = self.fresh_token(username)
        return self.tokens[username]

    def fresh_token(self, username: str) -> str:
        """The token of a session that has just begun."""
        return self.vault.people.sign_in.at_once(username, PASSWORD, self.code(username), OFFICE).token

    def program(self, username: str) -> Program:
        """A program signed in as ``username``."""
        return Program(self.app.test_client(), self.token(username))

    def browser(self, username: str | None = None) -> Browser:
        """A browser, signed in or not; it keeps cookies and finds anti-forgery tokens."""
        client = self.app.test_client()
        if username:
            client.set_cookie("coffre", self.token(username))
        return Browser(client)

    def patient(self, username: str = "claire", name: str = "Dupont") -> Patient:
        """A patient of that person's."""
        actor = self.vault.people.sessions.actor(self.token(username), OFFICE)
        identity = Identity(name, ("Camille",), "1980-03-12", Sex.FEMALE)
        return self.vault.patients.create(actor, identity, anyway=True)

    def left_behind(self) -> tuple[int, int, int]:
        """Documents, versions and files: what a refused deposit must not change."""
        with self.vault.db.read() as connection:
            rows = [
                connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (documents, document_versions)
            ]
        return rows[0], rows[1], sum(1 for path in (self.room / "blobs").rglob("*") if path.is_file())

    def events(self, action: str) -> list[str]:
        """Outcomes of the events of one kind, oldest first."""
        columns = audit_entries.c
        query = select(columns.outcome).where(columns.action == action).order_by(columns.position)
        with self.vault.db.read() as connection:
            return list(connection.execute(query).scalars())


@dataclass
class Program:
    """Something that speaks the API with a bearer token."""

    client: FlaskClient
    token: str

    def ask(self, method: str, path: str, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return self.client.open(f"/api/v1{path}", method=method, headers=headers, **options)

    def upload(self, patient: str, body: bytes = PDF, *, type: str = "11502-2", name: str | None = None, **headers: str) -> Any:  # noqa: A002  # API word
        if name is not None:
            headers["Content-Disposition"] = name
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.ask("POST", f"/documents?patient={patient}&type={type}", data=body, headers=given)


@dataclass
class Browser:
    """Something that fills in forms."""

    client: FlaskClient

    def csrf(self, path: str = "/sign-in") -> str:
        """The anti-forgery token that a page shows."""
        page = self.client.get(path, follow_redirects=True)
        found = CSRF.search(page.get_data(as_text=True))
        assert found, page.status
        return found[1]

    def post(self, path: str, form: dict[str, str], **options: Any) -> Any:
        return self.client.post(path, data={"csrf_token": self.csrf(), **form}, **options)


def _found(settings: VaultSettings, keys: KeyService, now: int) -> None:
    lay_out(settings.database)
    db, keyring_db = Database(settings.database.url), Database(settings.database.keyring_url)
    migrate.upgrade(db, keyring_db)
    tenant = TenantId("a" * 32)
    scopes = ScopeKeys(Keyring(keyring_db), keys, tenant)
    row = {f"{kind}_scope": scopes.create(kind) for kind in (ScopeKind.SYSTEM, ScopeKind.LOG, ScopeKind.INBOX)}
    statement = insert(installation).values(tenant=tenant, created_at=now, **row)
    db.write(lambda connection: connection.execute(statement).rowcount)
    scopes.close()
    db.close()
    keyring_db.close()


def pdf_of(*lines: str) -> bytes:
    """A real page that says ``lines``."""
    buffer = io.BytesIO()
    paper = Canvas(buffer, pagesize=(300, 424))
    for number, line in enumerate(lines):
        paper.drawString(40, 380 - 20 * number, line)
    paper.showPage()
    paper.save()
    return buffer.getvalue()


STAFF = {"claire": Role.CLINICIAN, "sophie": Role.RECEPTION, "nadia": Role.AUDITOR, "thomas": Role.ADMIN}


def open_practice(
    room: Path,
    clock: Clock,
    web: WebTable | None = None,
    *,
    limits: LimitSettings | None = None,
    scan: ScanSettings | None = None,
    staff: Iterable[str] = ("claire",),
    token: KeyService | None = None,
) -> Practice:
    """Found and open a practice in ``room``; its passwords are hashed cheaply, as they guard nothing.

    ``token``: real keys in the place of those in memory.
    """
    settings = VaultSettings(
        kms=KmsSettings(module=room / "none.so", token_label="none", pin_file=room / "none"),
        database=DatabaseSettings(url=f"sqlite:///{room / 'coffre.db'}", keyring_url=f"sqlite:///{room / 'keyring.db'}"),
        blobs=BlobSettings(url=f"file://{room / 'blobs'}"),
        limits=limits or LimitSettings(document_mib=1),
        path=room / "coffre.toml",
        scan=scan or ScanSettings(),
    )
    keys = FakeKeyService()
    service = token or keys
    _found(settings, service, clock())
    vault = open_vault(settings, lambda: Micros(clock()), lambda _settings, _registry: service, hasher=Hasher(CHEAP))
    app = create_app(WebSettings(web or WebTable(practice="Cabinet des Tilleuls"), settings), vault)
    app.test_client_class = DescribedClient
    practice = Practice(vault, app, keys, clock, room)
    for username in staff:
        practice.hire(username, STAFF[username])
    return practice


@pytest.fixture(scope="session")
def practice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    """One practice for all tests that leave it as they found it."""
    opened = open_practice(tmp_path_factory.mktemp("practice"), Clock(), staff=STAFF)
    yield opened
    opened.vault.close()


@pytest.fixture
def open_another(tmp_path: Path) -> Iterator[Callable[..., Practice]]:
    """Opens further practices, for tests that break something or want other settings."""
    opened: list[Practice] = []

    def another(**options: Any) -> Practice:
        room = tmp_path / str(len(opened))
        room.mkdir()
        opened.append(open_practice(room, Clock(), **options))
        return opened[-1]

    yield another
    for each in opened:
        each.vault.close()
