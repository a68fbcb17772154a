"""The same story on both columns: SQLite with a disk, PostgreSQL with an S3-compatible store."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import insert

from kms.settings import KmsSettings
from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.tables import lay_out
from tests.vault.people.conftest import CHEAP
from tests.vault.records.desk import identity, scan
from vault.audit.events import Action, System
from vault.errors import AlreadyPresent, NotFound, Tampered, UnsupportedType
from vault.model import Actor, BlobId, DocumentId, Micros, PatientId, Role, ScopeKind, TenantId
from vault.opening import Vault, open_vault
from vault.people.passwords import Hasher
from vault.records.documents import catalogue
from vault.sealing.scopes import ScopeKeys
from vault.settings import BlobSettings, DatabaseSettings, LimitSettings, VaultSettings
from vault.storage import migrate
from vault.storage.db import open_databases
from vault.storage.keyring import Keyring
from vault.storage.schema import installation
from vault.storage.stores import open_blobs
from vault.upkeep.patrol import Patrol
from vault.upkeep.scrub import Report, Scrub
from vault.upkeep.sweep import Sweep


@dataclass(frozen=True)
class Column:
    """A vault on one column, with somebody who treats a patient."""

    vault: Vault
    clinician: Actor
    patient: PatientId

    def deposit(self, seed: int, size: int = 200_000) -> DocumentId:
        body = io.BytesIO(scan(size, seed))
        filed = self.vault.documents.store(
            self.clinician, self.patient, type="11502-2", act_date=None, file_name="bilan.pdf", body=body
        )
        return filed.id

    def read(self, document: DocumentId, start: int = 0, stop: int | None = None) -> bytes:
        with self.vault.documents.open(self.clinician, document, Action.DOCUMENT_DOWNLOAD) as opened:
            return b"".join(opened.read(start, stop))

    def blob(self, document: DocumentId) -> BlobId:
        with self.vault.db.read() as connection:
            return catalogue.stored_version(connection, document).blob

    def scrub(self) -> Report:
        return Scrub(self.vault.documents.rooms, self.vault.blobs, by=System("test")).run()


def _found(databases: DatabaseSettings, keys: FakeKeyService) -> None:
    lay_out(databases)
    db, keyring_db = open_databases(databases)
    migrate.upgrade(db, keyring_db)
    scopes = ScopeKeys(Keyring(keyring_db), keys, TenantId("a" * 32))
    row = {f"{kind}_scope": scopes.create(kind) for kind in (ScopeKind.SYSTEM, ScopeKind.LOG, ScopeKind.INBOX)}
    statement = insert(installation).values(tenant="a" * 32, created_at=0, **row)
    db.write(lambda connection: connection.execute(statement).rowcount)
    scopes.close()
    db.close()
    keyring_db.close()


@pytest.fixture(params=["sqlite+disk", pytest.param("postgresql+s3", marks=[pytest.mark.postgresql, pytest.mark.s3])])
def column(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Column]:
    beyond = request.param == "postgresql+s3"
    databases: DatabaseSettings = request.getfixturevalue("postgresql" if beyond else "sqlite")
    blobs: BlobSettings = request.getfixturevalue("s3") if beyond else BlobSettings(f"file://{tmp_path / 'blobs'}")
    settings = VaultSettings(
        kms=KmsSettings(module=tmp_path / "none.so", token_label="none", pin_file=tmp_path / "none"),
        database=databases, blobs=blobs, limits=LimitSettings(document_mib=64), path=tmp_path / "coffre.toml",
    )  # fmt: skip
    keys = FakeKeyService()
    _found(databases, keys)
    vault = open_vault(settings, lambda: Micros(clock()), lambda _settings, _registry: keys, hasher=Hasher(CHEAP))
    person = vault.people.accounts.create(
        vault.people.sessions.console_actor(), username="lmartin", display_name="Dr Martin", role=Role.CLINICIAN,
        password="Cerisier-Ombre-47",
    )  # fmt: skip
    clinician = Actor(person, "lmartin", "Dr Martin", Role.CLINICIAN, session="5" * 32, factor_at=Micros(clock()))
    yield Column(vault, clinician, vault.patients.create(clinician, identity("MARTIN")).id)
    vault.close()


@pytest.mark.parametrize("size", [9_000, 1_048_576, 20_000_000])
def test_what_is_filed_comes_back(column: Column, size: int) -> None:
    document = column.deposit(1, size)
    assert column.read(document) == scan(size, 1)
    assert column.read(document, size // 2, size // 2 + 70_000) == scan(size, 1)[size // 2 : size // 2 + 70_000]
    assert column.read(document, size - 1) == scan(size, 1)[-1:]
    found = column.vault.documents.describe(column.clinician, document)
    assert found.sha256 == hashlib.sha256(scan(size, 1)).hexdigest()
    assert column.scrub().findings == ()


def test_corrections_and_refilings(column: Column) -> None:
    document = column.deposit(1)
    body = io.BytesIO(scan(seed=2))
    column.vault.documents.replace(column.clinician, document, file_name="x.pdf", body=body)
    other = column.vault.patients.create(column.clinician, identity("BERNARD")).id
    column.vault.documents.refile(column.clinician, document, other)
    assert column.read(document) == scan(seed=2)
    assert [d.id for d in column.vault.documents.list(column.clinician, other).items] == [document]
    assert column.vault.documents.list(column.clinician, column.patient).items == ()
    assert column.scrub().findings == ()


def test_refusals_leave_nothing(column: Column) -> None:
    with pytest.raises(UnsupportedType):
        column.vault.documents.store(
            column.clinician,
            column.patient,
            type="11502-2",
            act_date=None,
            file_name="x.pdf",
            body=io.BytesIO(b"MZ" + bytes(99)),
        )
    first = column.deposit(1)
    with pytest.raises(AlreadyPresent):
        column.deposit(1)
    assert [entry.blob for entry in column.vault.blobs.list()] == [column.blob(first)]
    assert list(column.vault.blobs.leftovers()) == []


def test_of_many_uploads_at_once_none_is_lost_and_twins_meet(column: Column) -> None:
    filed: list[DocumentId] = []
    refused: list[AlreadyPresent] = []

    def upload(seed: int) -> None:
        try:
            filed.append(column.deposit(seed, 60_000))
        except AlreadyPresent as error:
            refused.append(error)

    threads = [threading.Thread(target=upload, args=(number // 2,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(filed), len(refused)) == (8, 8)
    assert {d.id for d in column.vault.documents.list(column.clinician, column.patient).items} == set(filed)
    assert len(list(column.vault.blobs.list())) == 8
    assert column.scrub().findings == ()


def test_a_lost_and_a_foreign_body_are_refused_and_named(column: Column) -> None:
    lost, sound = column.deposit(1), column.deposit(2)
    column.vault.blobs.delete(column.blob(lost))
    with pytest.raises(Tampered):
        column.read(lost)
    assert [(f.document, f.kind.value) for f in column.scrub().findings] == [(lost, "missing")]
    with column.vault.blobs.write(column.blob(lost)) as sink:
        sink.write(memoryview(bytes(5_000)))
        sink.commit()
    with pytest.raises(Tampered):
        column.read(lost)
    assert column.read(sound) == scan(seed=2)


def test_the_patrol_goes_round_once_and_puts_back_from_a_copy(column: Column, clock: Clock) -> None:
    vault = column.vault
    lost, sound = column.deposit(1), column.deposit(2)
    copy = open_blobs(replace(vault.settings.blobs, url=f"{vault.settings.blobs.url}-copy"))
    reader = vault.blobs.open(column.blob(lost))
    body = bytearray(reader.size)
    reader.read_into(0, memoryview(body))
    reader.close()
    with copy.write(column.blob(lost)) as sink:
        sink.write(memoryview(body))
        sink.commit()
    one, other = (Patrol(vault.documents.rooms, vault.blobs, days=7, replica=copy, pause=lambda _: None) for _ in range(2))
    assert (one.turn(), other.turn()) == (0, 0)
    vault.blobs.delete(column.blob(lost))
    vault.blobs.delete(column.blob(sound))
    clock.advance(days=7)
    assert (other.turn(), one.turn()) == (2, 0)
    assert [(f.document, f.kind.value) for f in vault.patrol.watch().findings] == [(sound, "missing")]
    assert column.read(lost) == scan(seed=1)


def test_orphans_are_swept(column: Column, clock: Clock) -> None:
    column.deposit(1)
    orphan = BlobId("e" * 32)
    with column.vault.blobs.write(orphan) as sink:
        sink.write(memoryview(b"what a crash left"))
        sink.commit()
    clock.advance(days=365 * 5)
    swept = Sweep(column.vault.documents.rooms, column.vault.blobs, by=System("test")).run(grace_days=40)
    assert swept.orphans == 1
    with pytest.raises(NotFound):
        column.vault.blobs.open(orphan)
    assert column.scrub().findings == ()
