"""How long a search over sealed identities takes, at 2,000 and at 200,000 patients, and what the index gives away."""

from __future__ import annotations

import collections
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sqlalchemy import func, select

from kms.keys import KeyService
from kms.lifecycle import create_first_keys
from kms.settings import KmsSettings
from kms.token import TokenKeys
from tests.bench.population import add_rows, people, settle
from tests.conftest import make_token
from tests.parts import softhsm_module
from vault.audit.append import AuditLog
from vault.model import Actor, Identity, Micros, PersonId, Role, ScopeKind, TenantId
from vault.people.relations import Relations
from vault.records.patients.patients import Patients
from vault.records.tickets import Tickets
from vault.sealing.index import IndexName, tokens
from vault.sealing.scopes import ScopeKeys
from vault.storage import migrate
from vault.storage.db import Database
from vault.storage.keyring import Keyring, SqlRegistry
from vault.storage.schema import keyring_metadata, patient_index
from vault.storage.schema import people as persons

TENANT = TenantId("a" * 32)
SEARCHES = 100


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one kind of search."""

    patients: int
    kind: str
    median_ms: float
    p95_ms: float


def token_settings(place: Path) -> KmsSettings:
    """What reaches a token that ``make_token`` has made."""
    return KmsSettings(softhsm_module(), "coffre-test", place / "pin", softhsm_conf=place / "softhsm2.conf")


def now() -> Micros:
    return Micros(time.time_ns() // 1000)


def typed(kind: str, who: Identity) -> str:
    """What somebody at the desk types to find ``who``."""
    year, month, day = who.birth_date.split("-")
    match kind:
        case "name and date":
            return f"{who.birth_name[:3]} {day}/{month}/{year[2:]}"
        case "date":
            return f"{day}{month}{year}"
        case "beginning of a name":
            return who.birth_name[:4]
        case _:
            return f"{who.birth_name[:3]} {who.given_names[0][:3]}"


KINDS = ("name and date", "date", "beginning of a name", "name and given name")


def measure(patients: Patients, actor: Actor, count: int) -> list[Timing]:
    """Time ``SEARCHES`` searches of each kind for people who are there."""
    dice = random.Random(3)
    wanted = dice.sample(list(people(count)), SEARCHES)
    found: list[Timing] = []
    for kind in KINDS:
        times = []
        for who in wanted:
            started = time.perf_counter()
            page = patients.search(actor, typed(kind, who))
            times.append((time.perf_counter() - started) * 1000)
            assert page.items, kind
        found.append(Timing(count, kind, statistics.median(times), statistics.quantiles(times, n=20)[-1]))
    return found


@contextmanager
def keys_in_token(directory: Path) -> Iterator[KeyService]:
    """A SoftHSM2 token in ``directory``, made the first time, as a vault opens it."""
    registry_db = Database(f"sqlite:///{directory / 'registry.db'}")
    keyring_metadata.create_all(registry_db.engine)
    registry, place = SqlRegistry(registry_db), directory / "token"
    is_new = not place.exists()
    settings = make_token(place) if is_new else token_settings(place)
    if is_new:
        create_first_keys(settings, registry)
    with closing(TokenKeys(settings, registry)) as keys:
        yield keys
    registry_db.close()


@dataclass(frozen=True)
class Practice:
    """``count`` settled patients, and somebody at the desk."""

    patients: Patients
    desk: Actor
    db: Database
    count: int
    mb: float
    """Both databases with their write-ahead logs."""


@contextmanager
def practice(keys: KeyService, count: int, directory: Path) -> Iterator[Practice]:
    """Open the practice of ``count`` patients in ``directory``; settle it the first time."""
    files = directory / f"{count}.db", directory / f"{count}-keyring.db"
    is_new = not files[0].exists()
    db, keyring_db = (Database(f"sqlite:///{path}") for path in files)
    migrate.upgrade(db, keyring_db)
    scopes = ScopeKeys(Keyring(keyring_db), keys, TENANT, clock=now)
    who = Actor(PersonId("d" * 32), "desk", "Desk", Role.RECEPTION, uuid4().hex, ("pwd", "otp"), now())
    if is_new:
        row = {"id": who.person, "username": "desk", "username_key": "desk", "display_name_sealed": b"", "role": "reception"}
        add_rows(db, persons, [row | {"state": "active", "created_at": 0}])
        settle(db, keyring_db, keys, TENANT, creator=who.person, count=count)
    log_scope = scopes.create(ScopeKind.LOG)
    log = AuditLog(db=db, keyring=keyring_db, tenant=TENANT, open_key=lambda: scopes.open(log_scope), clock=now)
    patients = Patients(
        db=db, scopes=scopes, keys=keys, log=log, tenant=TENANT, relations=Relations(db), clock=now, tickets=Tickets(now)
    )
    size = sum(path.stat().st_size for path in directory.glob(f"{count}*.db*"))
    yield Practice(patients, who, db, count, size / 1e6)
    scopes.close()
    db.close()
    keyring_db.close()


def leakage(db: Database) -> dict[str, float]:
    """What somebody who holds the database, but not the token, can count: sizes of groups of equal index values."""
    size = func.count().label("size")
    with db.read() as connection:
        groups = list(
            connection.execute(
                select(size).select_from(patient_index).group_by(patient_index.c.value).order_by(size.desc())
            ).scalars()
        )
    return {
        "values": len(groups),
        "rows": sum(groups),
        "largest_group": groups[0],
        "alone": sum(1 for group in groups if group == 1) / len(groups),
    }


def guessable(count: int, known: int) -> float:
    """The share of index entries whose prefix an attacker names right by frequency alone, knowing real frequencies.

    Ranks the true frequencies of three-letter prefixes in one population against those seen in another of the same law.
    """
    seen, reference = (
        collections.Counter(
            text for who in people(count, seed) for name, text in tokens(who) if name is IndexName.NAME and len(text) == 3
        )
        for seed in (1, 2)
    )
    order, truth = [text for text, _ in seen.most_common(known)], [text for text, _ in reference.most_common(known)]
    right = sum(seen[mine] for mine, theirs in zip(order, truth, strict=False) if mine == theirs)
    return right / sum(seen.values())
