"""A practice with an old file in it, on real databases, blobs and log, over keys in memory. Knows no test."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from sqlalchemy import select

from tests.conftest import Clock
from tests.vault.records.desk import scan
from tests.vault.records.house import TENANT, House, open_house
from vault.audit.auditing import Auditing
from vault.audit.reading import Reader, Record
from vault.model import Actor, Document, Identity, Micros, PatientId, Role, Sex
from vault.people.relations import Relations
from vault.records.disposal.disposals import Disposals
from vault.records.disposal.keeping import Keeping
from vault.records.documents.documents import Documents
from vault.records.documents.scanning import Scanner
from vault.records.patients.identities import Identities
from vault.rendering.renderer import Renderer
from vault.settings import DatabaseSettings, LimitSettings, ScanSettings
from vault.storage.blobs import DiskBlobs
from vault.storage.keyring import Keyring
from vault.storage.schema import keyring_metadata, metadata

OLD_ACT = date(2001, 5, 2)
"""More than twenty years before the clock's 2026."""
NAME = "ZEPHYRIN"


class Nobody:
    def display_names(self) -> dict[object, str]:
        return {}


@dataclass
class Archive:
    """Everybody and everything that a test of disposals needs."""

    house: House
    documents: Documents
    keeping: Keeping
    disposals: Disposals
    auditing: Auditing
    blobs: DiskBlobs
    owner: Actor
    doctor: Actor
    stranger: Actor
    dpo: Actor
    reception: Actor

    def fresh(self, actor: Actor) -> Actor:
        """The same with the second factor shown this moment."""
        return replace(actor, factor_at=Micros(self.house.clock()))

    def patient(self, birth_date: str = "1950-06-01", name: str = NAME) -> PatientId:
        who = Identity(name, ("Claire",), birth_date, Sex.FEMALE)
        return self.house.patients.create(self.doctor, who, anyway=True).id

    def file(self, patient: PatientId, act: date | None = OLD_ACT, seed: int = 1, size: int = 20_000) -> Document:
        return self.documents.store(
            self.doctor, patient, type="11502-2", act_date=act, file_name=f"{NAME}.pdf", body=io.BytesIO(scan(size, seed))
        )

    def old(self, count: int = 2) -> PatientId:
        """A patient whose file is past its end."""
        patient = self.patient()
        for seed in range(count):
            self.file(patient, seed=hash((patient, seed)) % 10**9)
        return patient

    def log(self) -> list[Record]:
        reader = Reader(self.house.log)
        return [record for page in reader.scan(0, 1 << 30) for record in reader.open(page)]

    def naming(self, needle: str) -> list[str]:
        """The tables of both databases in which an id stands, the disposals themselves apart."""
        found = []
        for db, tables in ((self.house.db, metadata), (self.house.keyring_db, keyring_metadata)):
            with db.read() as connection:
                for name, table in tables.tables.items():
                    rows = connection.execute(select(table)).all()
                    if name != "disposals" and any(needle in map(str, row) for row in rows):
                        found.append(name)
        return found


def over(house: House, documents: Documents) -> tuple[Keeping, Disposals, Auditing]:
    """The rooms of a disposal on a practice's records."""
    rooms = documents.rooms
    names = Identities(house.db, house.scopes, TENANT)
    auditing = Auditing(
        log=house.log, keys=house.keys, names=Nobody(), relations=Relations(house.db), identities=names  # type: ignore[arg-type]  # nobody has a name here
    )  # fmt: skip
    keeping = Keeping(rooms)
    keyring = Keyring(house.keyring_db)
    disposals = Disposals(rooms=rooms, keyring=keyring, keeping=keeping, forget=auditing.forget, backup_days=35)
    return keeping, disposals, auditing


@contextmanager
def open_archive(databases: DatabaseSettings, directory: Path, clock: Clock) -> Iterator[Archive]:
    house, renderer = open_house(databases, clock), Renderer()
    blobs = DiskBlobs(directory / "blobs")
    documents = Documents(
        db=house.db, scopes=house.scopes, keys=house.keys, log=house.log, tenant=TENANT, relations=Relations(house.db),
        blobs=blobs, renderer=renderer, limits=LimitSettings(document_mib=4), clock=lambda: Micros(clock()),
        tickets=house.tickets, scanner=Scanner(ScanSettings()),
    )  # fmt: skip
    keeping, disposals, auditing = over(house, documents)
    people = [house.person(role) for role in (Role.OWNER, Role.CLINICIAN, Role.CLINICIAN, Role.DPO, Role.RECEPTION)]
    try:
        yield Archive(house, documents, keeping, disposals, auditing, blobs, *people)
    finally:
        renderer.close()
        house.close()
