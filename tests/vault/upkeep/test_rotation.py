"""Rewrapping: on both databases, with failures, interrupted by kill -9, beside work that goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert

from kms import open_keys
from kms.errors import KeysUnavailable as TokenAway
from kms.errors import KmsError
from kms.keys import KeyService, KeyUse, WrappedKey
from kms.lifecycle import Lifecycle, create_first_keys
from kms.settings import KmsSettings
from kms.token import TokenKeys
from tests.kms.fake import FakeKeyService
from vault.errors import KeysUnavailable
from vault.model import Micros, ScopeId, ScopeKind, TenantId
from vault.sealing.binding import scope_context
from vault.settings import DatabaseSettings
from vault.storage.db import Database
from vault.storage.keyring import Keyring, ScopeRow, SqlRegistry
from vault.storage.schema import keyring_metadata
from vault.storage.schema import scopes as scopes_table
from vault.upkeep.rotation import Rewrapping

TENANT = TenantId("7e" * 16)


def secret_of(scope: ScopeId) -> bytes:
    """What the tests put into a scope: known from its id."""
    return scope.encode()


def fill(keyring: Keyring, keys: KeyService, count: int, start: int = 0) -> list[ScopeId]:
    """``count`` scopes under the active master key."""
    made = [ScopeId(f"{number:032x}") for number in range(start, start + count)]
    rows = []
    for scope in made:
        wrapped = keys.wrap(secret_of(scope), context=scope_context(TENANT, scope))
        rows.append({"id": scope, "kind": "patient", "wrapped": wrapped, "master": keys.number_of(wrapped), "created_at": 0})
    keyring._db.write(lambda connection: connection.execute(insert(scopes_table), rows).rowcount)  # one commit
    return made


def unreadable(keyring: Keyring, keys: KeyService) -> list[ScopeId]:
    """The scopes whose key does not come back as it was."""
    bad = []
    for row in keyring.scopes_not_under(0, ScopeId(""), 10_000):
        scope = row.id
        try:
            with keys.unwrap(row.wrapped, context=scope_context(TENANT, scope)) as secret:
                is_right = secret.view == secret_of(scope) and keys.number_of(row.wrapped) == row.master
        except KmsError:
            is_right = False
        if not is_right:
            bad.append(scope)
    return bad


def rewrapping(keyring: Keyring, keys: KeyService) -> Rewrapping:
    return Rewrapping(keyring, keys, TENANT, sleep=lambda _seconds: None)


@pytest.fixture
def keyring(databases: DatabaseSettings) -> Iterator[Keyring]:
    """A keyring on each database."""
    with closing(Database(databases.keyring_url, databases.password_file)) as db:
        keyring_metadata.create_all(db.engine)
        yield Keyring(db)


def test_every_scope_comes_under_the_new_key(keyring: Keyring) -> None:
    keys = FakeKeyService()
    fill(keyring, keys, 1200)
    assert rewrapping(keyring, keys).remaining() == 0
    keys.rotate()
    assert rewrapping(keyring, keys).remaining() == 1200
    told: list[int] = []
    result = rewrapping(keyring, keys).run(told.append)
    assert (result.master, result.done, result.failed, result.left) == (2, 1200, (), {})
    assert sum(told) == 1200
    assert keyring.scopes_by_master() == {2: 1200}
    assert unreadable(keyring, keys) == []


def test_nothing_to_do_is_done_at_once(keyring: Keyring) -> None:
    keys = FakeKeyService()
    fill(keyring, keys, 3)
    result = rewrapping(keyring, keys).run()
    assert (result.done, result.is_complete) == (0, True)


def test_one_bad_scope_is_named_and_the_others_are_done(keyring: Keyring) -> None:
    keys = FakeKeyService()
    scopes = fill(keyring, keys, 700)
    row = keyring.scope(scopes[300])
    keyring.delete_scope(row.id)
    forged = WrappedKey(row.wrapped[:-1] + bytes([row.wrapped[-1] ^ 1]))
    keyring.add_scope(replace(row, wrapped=forged), Micros(0))
    keys.rotate()
    result = rewrapping(keyring, keys).run()
    assert result.done == 699
    assert result.failed == ((scopes[300], "unwrap_rejected"),)
    assert result.left == {1: 1}
    assert not result.is_complete
    assert keyring.scope(scopes[300]).wrapped == forged


def test_an_outage_stops_it_and_the_next_run_finishes(keyring: Keyring) -> None:
    keys = FakeKeyService()
    fill(keyring, keys, 1500)
    keys.rotate()
    keys.fail_at(2 * 1300, TokenAway("gone"))  # two calls for each scope, so somewhere in the third batch
    with pytest.raises(KeysUnavailable):
        rewrapping(keyring, keys).run()
    assert 0 < rewrapping(keyring, keys).remaining() < 1500
    assert unreadable(keyring, keys) == []
    assert rewrapping(keyring, keys).run().is_complete


def test_a_scope_erased_meanwhile_stays_erased(keyring: Keyring) -> None:
    keys = FakeKeyService()
    scopes = fill(keyring, keys, 10)
    keys.rotate()
    rows = keyring.scopes_not_under(2, ScopeId(""), 100)
    fresh = [(row, keys.rewrap(row.wrapped, context=scope_context(TENANT, row.id))) for row in rows]
    keyring.delete_scope(scopes[4])
    keyring.replace_wrapped(fresh, 2)
    assert sum(keyring.scopes_by_master().values()) == 9
    assert unreadable(keyring, keys) == []


def test_scopes_made_under_the_old_key_meanwhile_are_caught_by_the_second_pass(keyring: Keyring) -> None:
    keys = FakeKeyService()
    fill(keyring, keys, 5)
    late = [ScopeId(f"{number:032x}") for number in range(900, 903)]  # another process has not noticed the rotation yet
    wrapped = [keys.wrap(secret_of(scope), context=scope_context(TENANT, scope)) for scope in late]
    keys.rotate()

    def meanwhile(_seconds: float) -> None:
        for scope, old in zip(late, wrapped, strict=True):
            keyring.add_scope(ScopeRow(scope, ScopeKind.PATIENT, old, 1), Micros(0))

    result = Rewrapping(keyring, keys, TENANT, sleep=meanwhile).run()
    assert (result.done, result.left) == (8, {})
    assert unreadable(keyring, keys) == []


def test_a_rate_is_kept(keyring: Keyring) -> None:
    keys, slept = FakeKeyService(), [0.0]
    fill(keyring, keys, 1024)
    keys.rotate()

    def sleep(seconds: float) -> None:
        slept.append(seconds)

    Rewrapping(keyring, keys, TENANT, sleep=sleep, monotonic=lambda: 0.0).run(per_second=512)
    assert slept[1:3] == [1.0, 2.0]


MOST = 60
"""Blows, where many of them fall when the work is done already."""
WORKER = """
import sys
from pathlib import Path
from kms import open_keys
from kms.lifecycle import Lifecycle
from kms.keys import KeyUse
from kms.settings import KmsSettings
from vault.storage.db import Database
from vault.storage.keyring import Keyring, SqlRegistry
from vault.upkeep.rotation import Rewrapping
from vault.model import TenantId

url, module, label, pin, conf = sys.argv[1:6]
settings = KmsSettings(Path(module), label, Path(pin), softhsm_conf=Path(conf))
db = Database(url)
registry = SqlRegistry(db)
keys = open_keys(settings, registry)
keyring = Keyring(db)
work = Rewrapping(keyring, keys, TenantId("7e" * 16), batch=32, sleep=lambda _: None)
if work.remaining() == 0:
    Lifecycle(keys, registry).rotate(KeyUse.MASTER)
print("begun", flush=True)
print("left", work.run().left, flush=True)
"""


def begun(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])


def timed(command: list[str]) -> tuple[float, float]:
    """What a worker that nobody kills takes until its work begins, and after that: blows shall fall within, on any machine."""
    started = time.monotonic()
    with begun(command) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"
        at_work = time.monotonic()
        assert worker.stdout.read() == "left {}\n"
    assert worker.returncode == 0
    return at_work - started, time.monotonic() - at_work


@pytest.mark.hsm
@pytest.mark.alone
@pytest.mark.timeout(180)
def test_kill_9_at_twenty_points_loses_nothing(softhsm: KmsSettings, tmp_path: Path) -> None:
    """A rotation in its own process, killed at twenty moments; after each, everything opens. Then it finishes."""
    url = f"sqlite:///{tmp_path}/keyring.db"
    with closing(Database(url)) as db:
        keyring_metadata.create_all(db.engine)
        registry, keyring = SqlRegistry(db), Keyring(db)
        create_first_keys(softhsm, registry)
        with closing(open_keys(softhsm, registry)) as keys:
            fill(keyring, keys, 480)
        command = [sys.executable, "-c", WORKER, url, str(softhsm.module), softhsm.token_label]
        command += [str(softhsm.pin_file), str(softhsm.softhsm_conf)]
        chance = random.Random(20260921)
        start_s, work_s = timed(command)
        killed = 0
        for turn in range(MOST):
            if turn >= 20 and killed > 10:
                break
            worker = begun(command)
            assert worker.stdout is not None
            if turn % 4:
                worker.stdout.readline()  # into the rewrapping; else also into the making of the key
                time.sleep(chance.uniform(0, work_s / 2))  # half was done by the one before
            else:
                time.sleep(chance.uniform(start_s / 2, start_s + work_s / 2))
            worker.send_signal(signal.SIGKILL)
            killed += worker.wait() == -signal.SIGKILL
            worker.stdout.close()
            with closing(open_keys(softhsm, registry)) as keys:
                assert unreadable(keyring, keys) == []
        assert killed > 10
        finished = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3])
        assert finished.stdout.endswith("left {}\n")
        with closing(TokenKeys(softhsm, registry)) as keys:
            assert unreadable(keyring, keys) == []
            life = Lifecycle(keys, registry)
            assert [life.check(record) for record in life.records() if record.canary] == [
                [] for record in life.records() if record.canary
            ]
            assert keys.active(KeyUse.MASTER) in keyring.scopes_by_master()
    assert os.environ  # the worker inherits nothing secret: everything it needs stood in files
