"""Old files in the vault that crash tests kill, their disposal in a process of its own, and a look at what is left.

Knows no test. ``python -m tests.vault.records.crash DIRECTORY 0 0 dispose DISPOSAL`` says ``GONE <disposal>`` once it is.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from sqlalchemy import select

from tests.vault.records.crash import BEGIN, CLINICIAN, OWNER, TENANT, Standing, now, paper, standing
from vault.audit.append import Receipt
from vault.audit.events import Action
from vault.audit.reading import Reader
from vault.audit.retention import Retention
from vault.errors import NotFound
from vault.model import DocumentId, Identity, PatientId, ScopeId, Sex
from vault.people.relations import Relations
from vault.records.disposal.disposals import Disposals
from vault.records.disposal.keeping import Keeping
from vault.records.patients.patients import Patients
from vault.records.tickets import Tickets
from vault.storage.keyring import Keyring
from vault.storage.schema import disposals as disposal_rows
from vault.storage.schema import patients as patient_rows


@dataclass(frozen=True)
class Old:
    """A file past its end whose disposal waits."""

    disposal: str
    patient: PatientId
    scope: ScopeId
    documents: tuple[DocumentId, ...]


def room(vault: Standing) -> Disposals:
    """The disposals of an open vault."""
    rooms = vault.documents.rooms
    return Disposals(
        rooms=rooms,
        keyring=Keyring(vault.log.keyring),
        keeping=Keeping(rooms),
        forget=Retention(vault.log).forget,
        backup_days=35,
    )


def prepare(directory: Path, first: int, count: int) -> list[Old]:
    """``count`` old files of two documents each, their disposal proposed."""
    with standing(directory) as vault:
        rooms, tickets = vault.documents.rooms, Tickets[Receipt](now)
        patients = Patients(
            db=vault.db, scopes=rooms.scopes, keys=rooms.keys, log=vault.log, tenant=TENANT, relations=Relations(vault.db),
            clock=now, tickets=tickets,
        )  # fmt: skip
        return [_one(vault, patients, number) for number in range(first, first + count)]


def _one(vault: Standing, patients: Patients, number: int) -> Old:
    who = Identity(f"ANCIEN{number:06}".translate(str.maketrans("0123456789", "ABCDEFGHIJ")), ("Paul",), "1930-01-01", Sex.MALE)
    patient = patients.create(CLINICIAN, who, anyway=True).id
    filed = tuple(
        vault.documents.store(
            CLINICIAN, patient, type="11502-2", act_date=date(1999, 1, 1), file_name="a.pdf", body=io.BytesIO(paper(seed))
        ).id
        for seed in (10_000_000 + number * 2, 10_000_001 + number * 2)
    )  # fmt: skip
    with vault.db.read() as connection:
        scope = connection.execute(select(patient_rows.c.scope).where(patient_rows.c.id == patient)).scalar_one()
    return Old(room(vault).propose(CLINICIAN, patient).id, patient, ScopeId(scope), filed)


def dispose(directory: Path, disposal: str) -> None:
    """Approve one, saying when it is gone."""
    with standing(directory) as vault:
        os.path.exists(BEGIN)  # noqa: PTH110  # one system call, no more
        room(vault).approve(replace(OWNER, factor_at=now()), disposal)
        os.write(1, f"GONE {disposal}\n".encode())
        os.path.exists(BEGIN)  # noqa: PTH110  # as above


@dataclass(frozen=True)
class Look:
    """What a restart finds: ids of disposals."""

    whole: set[str]
    """Every document opens."""
    told: set[str]
    """The log tells of the erasure, and no way leads to the file."""
    left: int
    """Finished by the restart."""


def look(directory: Path, old: list[Old]) -> Look:
    """Open the vault as after a restart; judge each file before and after what is left was done."""
    with standing(directory) as vault:
        erased = _erased(vault)
        whole = {each.disposal for each in old if _is_whole(vault, each)}
        for each in old:
            if (each.disposal in whole) == (each.disposal in erased):
                raise AssertionError(f"{each.disposal}: half gone, or gone without a word")
        left = room(vault).finish()
        for each in old:
            if each.disposal not in whole and (traces := _traces(vault, each)):
                raise AssertionError(f"{each.disposal}: {traces} left")
        return Look(whole, erased, left)


def _is_whole(vault: Standing, each: Old) -> bool:
    """Whether every document of a file opens; AssertionError where only some do."""
    opened = 0
    for document in each.documents:
        try:
            with vault.documents.open(CLINICIAN, document, Action.DOCUMENT_DOWNLOAD) as body:
                opened += bool(b"".join(body.read()))
        except NotFound:
            continue
    if opened not in {0, len(each.documents)}:
        raise AssertionError(f"{each.patient}: {opened} of {len(each.documents)} documents open")
    return opened > 0


def _erased(vault: Standing) -> set[str]:
    """The disposals of which the log tells."""
    reader = Reader(vault.log)
    wanted = Action.PATIENT_ERASE.value
    records = [record for page in reader.scan(0, 1 << 30) for record in reader.open(page) if record.action.value == wanted]
    with vault.db.read() as connection:
        ids = set(connection.execute(select(disposal_rows.c.id)).scalars())
    return {each for each in ids if any(each.encode() in record.leaf for record in records)}


def _traces(vault: Standing, each: Old) -> list[str]:
    found = []
    try:
        Keyring(vault.log.keyring).scope(each.scope)
        found.append("key")
    except NotFound:
        pass
    if vault.log.references.find(each.patient) is not None:
        found.append("log salt")
    with vault.db.read() as connection:
        row = connection.execute(select(disposal_rows).where(disposal_rows.c.id == each.disposal)).one()
    return [*found, *(["remains"] if row.remains or row.state != "done" else [])]
