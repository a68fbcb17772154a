"""A rotation of the MAC key: everything is found before, during and after it; nobody is locked out; no key goes too early."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from kms.keys import KeyRecord, KeyState, KeyUse
from kms.lifecycle import Lifecycle
from kms.settings import KmsSettings
from kms.token import TokenKeys
from tests.vault.upkeep.test_recovery import TEXT, anne_of
from tests.vault.upkeep.test_rotation import begun, timed
from vault import founding
from vault.errors import AlreadyPresent, Conflict
from vault.model import Actor, Identity, Micros, PatientId, Role, Sex
from vault.opening import Vault, open_vault
from vault.records.inbox.proposals import Proposals
from vault.settings import VaultSettings, load
from vault.storage.keyring import SqlRegistry
from vault.storage.schema import patients
from vault.upkeep.custody import Custody
from vault.upkeep.reindex import BATCH, Reindexed, Reindexing
from vault.upkeep.rotation import Rewrapping

pytestmark = pytest.mark.hsm
Instant = Callable[[float], None]


def at_once(_seconds: float) -> None:
    """Tests wait for nobody."""


def reindexing(vault: Vault, sleep: Instant = at_once) -> Reindexing:
    return Reindexing(vault.db, vault.scopes, vault.keys, vault.installation.tenant, sleep=sleep)


def custody_of(vault: Vault) -> Custody:
    assert isinstance(vault.keys, TokenKeys)
    return Custody(
        lifecycle=Lifecycle(vault.keys, SqlRegistry(vault.keyring_db)),
        keys=vault.keys,
        rewrapping=Rewrapping(vault.keyring, vault.keys, vault.installation.tenant, sleep=at_once),
        reindexing=reindexing(vault),
        keyring=vault.keyring,
        keyring_db=vault.keyring_db,
        log=vault.log,
        clock=vault.clock,
    )


def person(vault: Vault, role: Role, number: int) -> Actor:
    console = vault.people.sessions.console_actor(role)
    return replace(console, person=type(console.person)(f"{number:032x}"), role=role, factor_at=vault.clock())


def rotate(vault: Vault) -> KeyRecord:
    """A new MAC key in use, nothing re-indexed yet: the process died there."""
    return custody_of(vault).lifecycle.rotate(KeyUse.MAC)


def named(number: int) -> Identity:
    return Identity(f"Durand{chr(97 + number % 26)}{chr(97 + number // 26)}", ("Zoé",), "1980-03-12", Sex.FEMALE)


def admit(vault: Vault, actor: Actor, count: int, start: int = 0) -> list[PatientId]:
    return [vault.patients.create(actor, named(start + number), anyway=True).id for number in range(count)]


def deposit(vault: Vault, actor: Actor, patient: PatientId, body: bytes) -> None:
    vault.documents.store(
        actor, patient, type="11502-2", act_date=None, file_name="a.pdf", body=io.BytesIO(body), channel="api"
    )


def lost(vault: Vault, actor: Actor, admitted: list[PatientId]) -> list[PatientId]:
    """Who is no longer found under their own name."""
    asked = [(patient, named(number).birth_name) for number, patient in enumerate(admitted)]
    return [patient for patient, name in asked if [hit.id for hit in vault.patients.search(actor, name).items] != [patient]]


@pytest.fixture
def settings(tmp_path: Path, softhsm: KmsSettings) -> VaultSettings:
    config = tmp_path / "vault" / "coffre.toml"
    founding.write_settings(config, softhsm, practice="Cabinet", bind="127.0.0.1:1")
    found = load(config, {})
    founding.found(found, Micros(1_790_000_000_000_000))
    return found


@pytest.fixture
def vault(settings: VaultSettings) -> Iterator[Vault]:
    with closing(open_vault(settings)) as opened:
        yield opened


def test_everything_is_found_before_during_and_after(vault: Vault) -> None:
    anne = anne_of(vault)
    admitted = admit(vault, anne, 3)
    deposit(vault, anne, admitted[0], TEXT)
    draft = vault.inbox.deposit(anne, file_name="b.pdf", body=io.BytesIO(TEXT + b"draft"))
    rotate(vault)
    late = vault.patients.create(anne, named(3), anyway=True).id  # stands under the new key, the others under the old one
    assert lost(vault, anne, [*admitted, late]) == []
    with pytest.raises(AlreadyPresent):
        deposit(vault, anne, admitted[0], TEXT)
    with pytest.raises(AlreadyPresent):
        vault.inbox.deposit(anne, file_name="c.pdf", body=io.BytesIO(TEXT + b"draft"))
    deposit(vault, anne, late, TEXT + b"draft")
    assert vault.inbox.get(anne, draft.id).is_filed_elsewhere  # the draft stands under the old key, its twin under the new
    done = reindexing(vault).run()
    assert (done.mac, done.patients, done.versions, done.failed, done.left) == (2, 3, 2, (), {})
    assert lost(vault, anne, [*admitted, late]) == []
    assert vault.inbox.list(anne).items[0].is_filed_elsewhere
    with pytest.raises(AlreadyPresent):
        deposit(vault, anne, admitted[0], TEXT)
    assert reindexing(vault).standing() == {2: {"patients": 4, "versions": 3}}
    assert reindexing(vault).run() == Reindexed(2, 0, 0, (), {})


def test_a_correction_meanwhile_is_not_undone(vault: Vault) -> None:
    """Between reading an identity and writing its values somebody corrects it: the second pass takes the correction."""
    anne = anne_of(vault)
    [patient] = admit(vault, anne, 1)
    work = reindexing(vault)
    rotate(vault)
    identity, opened = named(25), work._entry

    def slow(row: object) -> object:
        entry = opened(row)
        if len(corrected) == 0:
            corrected.append(vault.patients.update(anne, patient, identity))
            vault.db.write(lambda c: c.execute(update(patients).values(mac=1)).rowcount)  # by a process that knows the old key
        return entry

    corrected = list[object]()
    work._entry = slow  # type: ignore[method-assign,assignment]  # the moment between reading and writing
    first = work._patients(2, lambda *_: None)
    assert first == {}
    assert vault.patients.search(anne, named(0).birth_name).items == ()
    assert reindexing(vault).run().patients == 1
    assert [hit.id for hit in vault.patients.search(anne, identity.birth_name).items] == [patient]


def test_what_another_process_wrote_meanwhile_is_caught_by_the_second_pass(vault: Vault) -> None:
    anne = anne_of(vault)
    admitted = admit(vault, anne, 2)
    rotate(vault)

    def meanwhile(_seconds: float) -> None:
        vault.db.write(lambda c: c.execute(update(patients).where(patients.c.id == admitted[0]).values(mac=1)).rowcount)

    done = reindexing(vault, meanwhile).run()
    assert (done.patients, done.left) == (3, {})


def test_one_bad_row_is_named_and_the_others_are_done(vault: Vault) -> None:
    anne = anne_of(vault)
    first, second = admit(vault, anne, 2)
    stolen = b"no identity at all"
    vault.db.write(lambda c: c.execute(update(patients).where(patients.c.id == first).values(identity_sealed=stolen)).rowcount)
    rotate(vault)
    done = reindexing(vault).run()
    assert done.patients == 1
    assert done.failed == ((f"patient {first}", "tampered"),)
    assert done.left == {1: 1}
    assert [hit.id for hit in vault.patients.search(anne, named(1).birth_name).items] == [second]


def test_an_old_key_goes_only_when_nothing_stands_under_it(vault: Vault) -> None:
    anne, custody = anne_of(vault), custody_of(vault)
    admitted = admit(vault, anne, 2)
    deposit(vault, anne, admitted[1], TEXT)
    sheet = Proposals(vault.keys, vault.installation.tenant, vault.patients).sheet(admitted[0], "11502-2")
    rotate(vault)
    admin, owner = person(vault, Role.ADMIN, 1), person(vault, Role.OWNER, 2)
    with pytest.raises(Conflict, match="2 patients and 1 versions still stand under MAC key 1"):
        custody.retire(admin, KeyUse.MAC, 1)
    done = custody.rotate(admin, KeyUse.MAC, lambda _count: None)
    assert (done.is_resumed, done.record.number) == (True, 2)
    assert done.reindexed == Reindexed(2, 2, 1, (), {})
    proposals = Proposals(vault.keys, vault.installation.tenant, vault.patients)
    assert proposals._of_sheet(sheet) is not None  # paper printed before
    custody.retire(admin, KeyUse.MAC, 1)
    custody.destroy(owner, KeyUse.MAC, 1)
    assert custody.lifecycle.record(KeyUse.MAC, 1).state is KeyState.DESTROYED
    assert lost(vault, anne, admitted) == []
    assert proposals._of_sheet(sheet) is None
    assert proposals._of_sheet(proposals.sheet(admitted[0], "11502-2")) is not None


def test_nobody_is_locked_out_and_no_failure_is_forgotten(vault: Vault) -> None:
    """What is one-way does not stand under this key."""
    roster, client = vault.people.roster, anne_of(vault).client
    before = roster.mark("anne", client), roster.keyed_hash("coffre/recovery/v1", "anne", "code")
    rotate(vault)
    assert (roster.mark("anne", client), roster.keyed_hash("coffre/recovery/v1", "anne", "code")) == before


def test_a_rate_is_kept(vault: Vault) -> None:
    anne, slept = anne_of(vault), [0.0]
    admit(vault, anne, BATCH + 10)
    rotate(vault)
    work = Reindexing(vault.db, vault.scopes, vault.keys, vault.installation.tenant, sleep=slept.append, monotonic=lambda: 0.0)
    told: list[int] = []
    work.run(told.append, per_second=BATCH)
    assert slept[1:3] == [1.0, (BATCH + 10) / BATCH]
    assert told == [BATCH, 10]


MOST = 30
"""Blows, where many of them fall when the work is done already."""
WORKER = """
import sys
from pathlib import Path
from kms.keys import KeyUse
from kms.lifecycle import Lifecycle
from vault.opening import open_vault
from vault.settings import load
from vault.storage.keyring import SqlRegistry
from vault.upkeep import reindex

reindex.BATCH = 2
vault = open_vault(load(Path(sys.argv[1]), {}))
work = reindex.Reindexing(vault.db, vault.scopes, vault.keys, vault.installation.tenant, sleep=lambda _: None)
if work.remaining() == 0:
    Lifecycle(vault.keys, SqlRegistry(vault.keyring_db)).rotate(KeyUse.MAC)
print("begun", flush=True)
print("left", work.run().left, flush=True)
vault.close()
"""


@pytest.mark.alone
@pytest.mark.timeout(180)
def test_kill_9_at_ten_points_loses_nothing(settings: VaultSettings) -> None:
    """A rotation in its own process, killed at ten moments; after each, everything is found. Then it finishes."""
    with closing(open_vault(settings)) as vault:
        anne = anne_of(vault)
        admitted = admit(vault, anne, 24)
    command = [sys.executable, "-c", WORKER, str(settings.path)]
    start_s, work_s = timed(command)
    chance, killed = random.Random(20261126), 0
    for turn in range(MOST):
        if turn >= 10 and killed > 5:
            break
        worker = begun(command)
        assert worker.stdout is not None
        if turn % 3:
            worker.stdout.readline()  # into the re-indexing; else also into the making of the key
            time.sleep(chance.uniform(0, work_s / 2))  # half was done by the one before
        else:
            time.sleep(chance.uniform(start_s / 2, start_s + work_s / 2))
        worker.send_signal(signal.SIGKILL)
        killed += worker.wait() == -signal.SIGKILL
        worker.stdout.close()
        with closing(open_vault(settings)) as vault:
            assert lost(vault, anne, admitted) == []
    assert killed > 5
    finished = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert finished.stdout.endswith("left {}\n")
    with closing(open_vault(settings)) as vault:
        assert lost(vault, anne, admitted) == []
        assert len(reindexing(vault).standing()) == 1
