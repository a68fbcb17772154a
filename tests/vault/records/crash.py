"""A vault in a directory that outlives its process: what crash tests kill, and how they look at what is left. Knows no test.

Run as a program it deposits documents and says ``ACK <document> <sha256>`` for each that was acknowledged:
``python -m tests.vault.records.crash DIRECTORY FIRST COUNT``; with ``erase`` behind, it puts them into the inbox and then
destroys them, and says ``GONE <draft>`` for each whose destruction was acknowledged.

With ``infect SOCKET`` it sends them past the scanner behind that socket: ``APART <file>`` for each that was set apart. With
``release SOCKET N`` it has the newest ``N`` files of the quarantine scanned again: ``FREE <file>`` for each that was let out.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import insert, select

from tests.kms.fake import FakeKeyService
from tests.vault.records.scans import scan
from vault.audit.append import AuditLog, Receipt
from vault.audit.events import Action, System
from vault.errors import Quarantined, VaultError
from vault.model import Actor, Document, DocumentId, Micros, PatientId, PersonId, Role, ScopeId, ScopeKind, TenantId
from vault.people.relations import Relations
from vault.records.documents.documents import Documents
from vault.records.documents.scanning import Scanner
from vault.records.inbox.inbox import Inbox
from vault.records.inbox.proposals import Proposals
from vault.records.inbox.quarantine import Quarantine
from vault.records.patients.patients import Patients
from vault.records.tickets import Tickets
from vault.rendering.renderer import Renderer
from vault.sealing.scopes import ScopeKeys
from vault.settings import LimitSettings, ScanSettings
from vault.storage import migrate
from vault.storage.blobs import DiskBlobs
from vault.storage.db import Database
from vault.storage.keyring import Keyring
from vault.storage.schema import care_team, installation, patients, people
from vault.upkeep.scrub import Report, Scrub

TENANT = TenantId("a" * 32)
PERSON, WARDEN, PATIENT = PersonId("1" * 32), PersonId("6" * 32), PatientId("2" * 32)
RECEPTION = Actor(PERSON, "accueil", "Accueil", Role.RECEPTION, session="4" * 32, methods=("pwd", "otp"))
OWNER = Actor(WARDEN, "titulaire", "Titulaire", Role.OWNER, session="5" * 32, methods=("pwd", "otp"))
CLINICIAN = Actor(PERSON, "lmartin", "Dr Martin", Role.CLINICIAN, session="3" * 32, methods=("pwd", "otp"))
BEGIN = "/upload-begins-here"
"""The child looks for this file just before it deposits: a mark in a trace of its system calls."""


class KeptKeys(FakeKeyService):
    """Keys in memory that are the same in every process."""

    def __init__(self) -> None:
        super().__init__()
        self._masters = {1: hashlib.sha256(b"master").digest()}
        self._macs = {1: hashlib.sha256(b"mac").digest()}
        self._audits = {1: ec.derive_private_key(int.from_bytes(hashlib.sha256(b"audit").digest()) >> 8, ec.SECP256R1())}


def now() -> Micros:
    return Micros(time.time_ns() // 1000)


@dataclass(frozen=True)
class Standing:
    """An open vault in its directory."""

    documents: Documents
    inbox: Inbox
    quarantine: Quarantine
    blobs: DiskBlobs
    log: AuditLog
    db: Database


@contextmanager
def standing(
    directory: Path, *, new_id: Callable[[], str] = lambda: uuid4().hex, scanner: Path | None = None
) -> Iterator[Standing]:
    """Open the vault in ``directory``, founding it the first time; ``scanner``: the socket of one, else nothing is scanned."""
    db, keyring_db = Database(f"sqlite:///{directory / 'coffre.db'}"), Database(f"sqlite:///{directory / 'keyring.db'}")
    migrate.upgrade(db, keyring_db)
    keys = KeptKeys()
    scopes = ScopeKeys(Keyring(keyring_db), keys, TENANT)
    log_scope = _scope(db, "log_scope") or _found(db, scopes)
    log = AuditLog(db=db, keyring=keyring_db, tenant=TENANT, open_key=lambda: scopes.open(ScopeId(log_scope)), clock=now)
    blobs, renderer = DiskBlobs(directory / "blobs"), Renderer()
    tray = ScopeId(_scope(db, "inbox_scope") or "")
    tickets: Tickets[Receipt] = Tickets(now)
    documents = Documents(
        db=db, scopes=scopes, keys=keys, log=log, tenant=TENANT, relations=Relations(db), blobs=blobs, renderer=renderer,
        limits=LimitSettings(document_mib=64), clock=now, tickets=tickets, new_id=new_id,
        scanner=Scanner(ScanSettings(scanner)), aside=tray,
    )  # fmt: skip
    patients = Patients(
        db=db, scopes=scopes, keys=keys, log=log, tenant=TENANT, relations=Relations(db), clock=now, tickets=tickets
    )
    inbox = Inbox(
        rooms=documents.rooms, scope=tray, renderer=renderer,
        limits=LimitSettings(document_mib=64), tickets=tickets, proposals=Proposals(keys, TENANT, patients),
        drawn=documents.drawn,
    )  # fmt: skip
    try:
        yield Standing(documents, inbox, Quarantine(rooms=documents.rooms, scope=tray, days=30), blobs, log, db)
    finally:
        renderer.close()
        scopes.close()
        db.close()
        keyring_db.close()


def _scope(db: Database, name: str) -> str | None:
    with db.read() as connection:
        return connection.execute(select(installation.c[name])).scalar_one_or_none()


def _found(db: Database, scopes: ScopeKeys) -> str:
    system, log, inbox, patient = (
        scopes.create(kind) for kind in (ScopeKind.SYSTEM, ScopeKind.LOG, ScopeKind.INBOX, ScopeKind.PATIENT)
    )

    def work(connection: object) -> None:
        execute = connection.execute  # type: ignore[attr-defined]  # a SQLAlchemy connection
        for person, name, role in ((PERSON, "lmartin", "clinician"), (WARDEN, "titulaire", "owner")):
            execute(insert(people).values(
                id=person, username=name, username_key=name, display_name_sealed=b"", role=role, state="active",
                totp_step=0, created_at=0,
            ))  # fmt: skip
        execute(insert(patients).values(
            id=PATIENT, scope=patient, identity_sealed=b"", state="active", created_at=0, created_by=PERSON, mac=1
        ))  # fmt: skip
        execute(insert(care_team).values(patient=PATIENT, person=PERSON, since=0))
        execute(insert(installation).values(
            tenant=TENANT, system_scope=system, log_scope=log, inbox_scope=inbox, created_at=0
        ))  # fmt: skip

    db.write(work)
    return log


def paper(number: int) -> bytes:
    """The document ``number``: always the same bytes; sizes from one chunk to several blocks."""
    return scan(random.Random(number).choice((9_000, 40_000, 200_000, 1_400_000)), seed=number)


def deposit(vault: Standing, number: int) -> DocumentId:
    """File document ``number``."""
    body = io.BytesIO(paper(number))
    name = f"scan-{number}.pdf"
    return vault.documents.store(CLINICIAN, PATIENT, type="11502-2", act_date=None, file_name=name, body=body).id


@dataclass(frozen=True)
class Found:
    """What a look after the crash saw."""

    contents: dict[str, str]
    """Document id → SHA-256 of what it opens to."""
    scrub: Report
    ready_s: float
    """From the first line of opening until everything could be listed."""
    leftovers: int


def look(directory: Path) -> Found:
    """Open the vault anew, as after a restart; verify the log; open every document."""
    begun = time.monotonic()
    with standing(directory) as vault:
        listed: list[Document] = []
        page = vault.documents.list(CLINICIAN, PATIENT)
        listed += page.items
        while page.more:
            page = vault.documents.list(CLINICIAN, PATIENT, before=page.items[-1].id)
            listed += page.items
        ready_s = time.monotonic() - begun
        contents: dict[str, str] = {}
        for document in listed:
            with vault.documents.open(CLINICIAN, document.id, Action.DOCUMENT_DOWNLOAD) as opened:
                contents[document.id] = hashlib.sha256(b"".join(opened.read())).hexdigest()
            if contents[document.id] != document.sha256:
                raise AssertionError(f"{document.id} opens to other bytes than were received")
        report = Scrub(vault.documents.rooms, vault.blobs, by=System("test")).run()
        return Found(contents, report, ready_s, sum(1 for _ in vault.blobs.leftovers()))


def ids(first: int) -> Iterator[str]:
    """The ids that a child makes whose first document has the number ``first``: document, blob, document, blob …"""
    return (hashlib.sha256(f"{first} {turn}".encode()).hexdigest()[:32] for turn in itertools.count())


def erase(directory: Path, first: int, count: int) -> None:
    """Put ``count`` documents into the inbox, then destroy them, saying when each is gone."""
    with standing(directory) as vault:
        drafts = [
            vault.inbox.deposit(RECEPTION, file_name=f"scan-{number}.pdf", body=io.BytesIO(paper(number))).id
            for number in range(first, first + count)
        ]
        os.write(1, "".join(f"DRAFT {draft}\n" for draft in drafts).encode())
        os.path.exists(BEGIN)  # noqa: PTH110  # one system call, no more
        for draft in drafts:
            vault.inbox.discard(RECEPTION, draft)
            os.write(1, f"GONE {draft}\n".encode())
        os.path.exists(BEGIN)  # noqa: PTH110  # as above


def infect(directory: Path, first: int, count: int, scanner: Path) -> None:
    """Send ``count`` infected documents, to the inbox and to a patient's file in turn, saying what was set apart."""
    with standing(directory, scanner=scanner) as vault:
        os.path.exists(BEGIN)  # noqa: PTH110  # one system call, no more
        for number in range(first, first + count):
            try:
                if number % 2:
                    deposit(vault, number)
                else:
                    vault.inbox.deposit(RECEPTION, file_name=f"scan-{number}.pdf", body=io.BytesIO(paper(number)))
            except Quarantined as told:
                os.write(1, f"APART {told.details['document']}\n".encode())
        os.path.exists(BEGIN)  # noqa: PTH110  # as above


def release(directory: Path, count: int, scanner: Path) -> None:
    """Have the newest ``count`` files of the quarantine scanned again, saying which were let out."""
    with standing(directory, scanner=scanner) as vault:
        files = [file.id for file in vault.quarantine.list(OWNER).items][:count]
        os.path.exists(BEGIN)  # noqa: PTH110  # one system call, no more
        for file in files:
            if vault.quarantine.rescan(OWNER, file):
                os.write(1, f"FREE {file}\n".encode())
        os.path.exists(BEGIN)  # noqa: PTH110  # as above


def main() -> None:
    """Do what the command line says."""
    directory, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    match sys.argv[4:]:
        case ["erase"]:
            erase(directory, first, count)
        case ["dispose", disposal]:
            from tests.vault.records.disposal.crash import dispose

            dispose(directory, disposal)
        case ["infect", scanner]:
            infect(directory, first, count, Path(scanner))
        case ["release", scanner, several]:
            release(directory, int(several), Path(scanner))
        case _:
            _deposit_all(directory, first, count)


def _deposit_all(directory: Path, first: int, count: int) -> None:
    """Deposit ``count`` documents from number ``first`` on, saying what became of each."""
    made = ids(first)
    with standing(directory, new_id=lambda: next(made)) as vault:
        os.path.exists(BEGIN)  # noqa: PTH110  # one system call, no more
        for number in range(first, first + count):
            try:
                document = deposit(vault, number)
            except VaultError as error:
                line = f"REFUSED {error.code} {number}"
            else:
                line = f"ACK {document} {hashlib.sha256(paper(number)).hexdigest()}"
            os.write(1, f"{line}\n".encode())
        os.path.exists(BEGIN)  # noqa: PTH110  # the plain system call is what the trace looks for


if __name__ == "__main__":
    main()
