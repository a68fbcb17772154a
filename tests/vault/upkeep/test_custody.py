"""The custodian's acts: logged first, two people for an end, nothing destroyed that is still needed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kms.canary import HANDOVER, verifies
from kms.errors import KeyDestroyed, KeyMissing
from kms.keys import KeyState, KeyUse
from kms.lifecycle import Lifecycle, create_first_keys
from kms.settings import KmsSettings
from kms.token import TokenKeys
from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.vault.audit.conftest import Rig, open_rig, person
from tests.vault.upkeep.test_rotation import TENANT, fill, unreadable
from vault.audit import offline
from vault.audit.checkpoint import Checkpoints
from vault.audit.events import Action, Event, Outcome, System
from vault.audit.search import Filters
from vault.errors import Conflict, Forbidden, NotFound, StepUpRequired
from vault.model import Actor, Micros, Role
from vault.sealing.scopes import ScopeKeys
from vault.storage.keyring import Keyring, SqlRegistry
from vault.upkeep.custody import Custody
from vault.upkeep.reindex import Reindexed, Reindexing
from vault.upkeep.rotation import Rewrapping

pytestmark = pytest.mark.hsm


class House:
    """A log, a keyring and a token with keys."""

    def __init__(self, rig: Rig, keys: TokenKeys) -> None:
        self.rig, self.keys, self.keyring = rig, keys, Keyring(rig.keyring)
        self.custody = Custody(
            lifecycle=Lifecycle(keys, SqlRegistry(rig.keyring)),
            keys=keys,
            rewrapping=Rewrapping(self.keyring, keys, TENANT, sleep=lambda _seconds: None),
            reindexing=Reindexing(rig.db, ScopeKeys(self.keyring, keys, TENANT), keys, TENANT, sleep=lambda _seconds: None),
            keyring=self.keyring,
            keyring_db=rig.keyring,
            log=rig.log,
            clock=lambda: Micros(rig.clock()),
        )

    def admin(self, number: int = 1) -> Actor:
        return person(number, Role.ADMIN, self.rig.clock.now)

    def owner(self, number: int = 2) -> Actor:
        return person(number, Role.OWNER, self.rig.clock.now)


@pytest.fixture
def house(tmp_path: Path, clock: Clock, softhsm: KmsSettings) -> Iterator[House]:
    with closing(open_rig(tmp_path, clock, FakeKeyService())) as rig:
        registry = SqlRegistry(rig.keyring)
        create_first_keys(softhsm, registry)
        with closing(TokenKeys(softhsm, registry)) as keys:
            yield House(rig, keys)


def logged(house: House) -> list[str]:
    with house.rig.db.read() as connection:
        rows = connection.exec_driver_sql("SELECT action FROM audit_entries ORDER BY position").all()
    return [row[0] for row in rows if row[0].startswith("key.")]


def test_a_whole_life(house: House) -> None:
    custody = house.custody
    fill(house.keyring, house.keys, 40)
    done = custody.rotate(house.admin(), KeyUse.MASTER, lambda _count: None)
    assert done.rewrapped is not None
    assert (done.record.number, done.is_resumed, done.rewrapped.done) == (2, False, 40)
    custody.retire(house.admin(), KeyUse.MASTER, 1)
    custody.destroy(house.owner(), KeyUse.MASTER, 1)
    states = {record.number: record.state for record in custody.lifecycle.records() if record.use is KeyUse.MASTER}
    assert states == {1: KeyState.DESTROYED, 2: KeyState.ACTIVE}
    assert unreadable(house.keyring, house.keys) == []
    assert not any(custody.lifecycle.check(record) for record in custody.lifecycle.records())
    assert logged(house) == ["key.rotate"] * 2 + ["key.rewrap"] * 2 + ["key.destroy"] * 4


def test_what_a_destroyed_key_wrapped_is_gone(house: House) -> None:
    wrapped = house.keys.wrap(bytes(32), context=b"c")
    house.custody.rotate(house.admin(), KeyUse.MASTER, lambda _count: None)
    house.custody.retire(house.admin(), KeyUse.MASTER, 1)
    house.custody.destroy(house.owner(), KeyUse.MASTER, 1)
    house.keys.ledger.forget()
    with pytest.raises((KeyDestroyed, KeyMissing)):
        house.keys.unwrap(wrapped, context=b"c")


def test_an_interrupted_rotation_is_taken_up(house: House) -> None:
    fill(house.keyring, house.keys, 5)
    house.custody.lifecycle.rotate(KeyUse.MASTER)  # as if the process had died before rewrapping
    done = house.custody.rotate(house.admin(), KeyUse.MASTER, lambda _count: None)
    assert (done.is_resumed, done.record.number) == (True, 2)
    assert house.custody.scope_counts() == {2: 5}


def test_the_same_person_can_not_do_both(house: House) -> None:
    house.custody.rotate(house.admin(), KeyUse.MASTER, lambda _count: None)
    house.custody.retire(house.admin(7), KeyUse.MASTER, 1)
    with pytest.raises(Forbidden, match="two people"):
        house.custody.destroy(house.owner(7), KeyUse.MASTER, 1)
    assert house.custody.lifecycle.record(KeyUse.MASTER, 1).state is KeyState.DECRYPT_ONLY


def test_roles_are_kept_apart(house: House) -> None:
    house.custody.rotate(house.admin(), KeyUse.MASTER, lambda _count: None)
    for actor in (house.owner(), replace(house.admin(), role=Role.CLINICIAN), replace(house.admin(), role=Role.AUDITOR)):
        with pytest.raises(Forbidden):
            house.custody.retire(actor, KeyUse.MASTER, 1)
    house.custody.retire(house.admin(), KeyUse.MASTER, 1)
    with pytest.raises(Forbidden):
        house.custody.destroy(house.admin(3), KeyUse.MASTER, 1)
    with pytest.raises(StepUpRequired):
        house.custody.destroy(person(2, Role.OWNER, house.rig.clock.now - 600_000_000), KeyUse.MASTER, 1)


def test_nothing_that_is_needed_is_destroyed(house: House) -> None:
    fill(house.keyring, house.keys, 3)
    with pytest.raises(Conflict, match="active"):
        house.custody.retire(house.admin(), KeyUse.MASTER, 1)
    house.custody.lifecycle.rotate(KeyUse.MASTER)
    with pytest.raises(Conflict, match="3 scope keys"):
        house.custody.retire(house.admin(), KeyUse.MASTER, 1)
    house.custody.rewrap(house.admin(), lambda _count: None)
    house.custody.retire(house.admin(), KeyUse.MASTER, 1)
    with pytest.raises(Conflict, match="already"):
        house.custody.retire(house.admin(3), KeyUse.MASTER, 1)
    with pytest.raises(NotFound):
        house.custody.retire(house.admin(), KeyUse.MASTER, 9)


def test_without_a_request_nothing_is_destroyed_and_a_request_can_be_taken_back(house: House) -> None:
    house.custody.rotate(house.admin(), KeyUse.MASTER, lambda _count: None)
    with pytest.raises(Conflict, match="not retired"):
        house.custody.destroy(house.owner(), KeyUse.MASTER, 1)
    house.custody.retire(house.admin(), KeyUse.MASTER, 1)
    house.custody.restore(house.admin(), KeyUse.MASTER, 1)
    with pytest.raises(Conflict, match="not retired"):
        house.custody.destroy(house.owner(), KeyUse.MASTER, 1)
    with pytest.raises(NotFound):
        house.custody.restore(house.admin(), KeyUse.MASTER, 1)


def test_a_new_audit_key_is_vouched_for_by_the_old_one(house: House) -> None:
    old, digest = house.keys.public_key(), hashlib.sha256(b"checkpoint").digest()
    before = house.keys.sign(digest)
    done = house.custody.rotate(house.admin(), KeyUse.AUDIT, lambda _count: None)
    after = house.keys.sign(digest)
    assert (done.record.number, before.number, after.number) == (2, 1, 2)
    assert house.keys.public_key(1) == old
    assert verifies(house.keys.public_key(2), digest, after.raw)
    assert not verifies(old, digest, after.raw)
    filters = Filters(actions=(Action.LOG_KEY_ROTATED,))
    [told] = house.rig.auditing.timeline(house.rig.auditor(), filters).page.items
    handover = hashlib.sha256(HANDOVER + house.keys.public_key(2)).digest()
    assert verifies(old, handover, base64.b64decode(told.reason))


def test_a_new_ed25519_key_is_vouched_for_too_and_old_checkpoints_still_open(house: House) -> None:
    marked = Checkpoints(house.rig.log, house.keys)
    house.rig.log.record(Event(Action.LOG_HEARTBEAT, Outcome.SUCCESS, System("test")))
    before = marked.make()
    done = house.custody.rotate(house.admin(), KeyUse.AUDIT_ED, lambda _count: None)
    after = marked.make()
    assert done.record.number == 2
    filters = Filters(actions=(Action.LOG_KEY_ROTATED,))
    [told] = house.rig.auditing.timeline(house.rig.auditor(), filters).page.items
    handover = hashlib.sha256(HANDOVER + house.keys.public_key(2, KeyUse.AUDIT_ED)).digest()
    assert told.code == "audit-ed/2"
    assert verifies(house.keys.public_key(), handover, base64.b64decode(told.reason))
    trust = offline.read_trust("".join(f"{each}\n" for each in marked.verifiers()))
    assert [key.kind for key in trust] == [offline.ECDSA, offline.ED25519, offline.ED25519]
    for signed, edwards in ((before, trust[2]), (after, trust[1])):
        assert offline.open_checkpoint(signed.note, trust).size == signed.checkpoint.size
        assert offline.open_checkpoint(signed.note, [edwards]).size == signed.checkpoint.size
        with pytest.raises(offline.Fault, match="unknown_key"):
            offline.open_checkpoint(signed.note, [key for key in trust[1:] if key != edwards])


def test_a_new_mac_key_is_taken_into_use_and_the_old_one_may_go(house: House) -> None:
    """What stands under it comes along: tests/vault/upkeep/test_reindex.py."""
    done = house.custody.rotate(house.admin(), KeyUse.MAC, lambda _count: None)
    assert (done.record.number, done.is_resumed, done.reindexed) == (2, False, Reindexed(2, 0, 0, (), {}))
    assert house.keys.versions(KeyUse.MAC) == (2, 1)
    house.custody.retire(house.admin(), KeyUse.MAC, 1)
    house.custody.destroy(house.owner(), KeyUse.MAC, 1)
    assert house.keys.versions(KeyUse.MAC) == (2,)
    assert logged(house) == ["key.rotate"] * 2 + ["key.rewrap"] * 2 + ["key.destroy"] * 4
