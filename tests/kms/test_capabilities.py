"""What a key may do, which key is ours, and how its IVs are packed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from kms import constants as ck
from kms.cryptoki import CryptokiError, KeyObject, Mechanism
from kms.errors import (
    BadSettings,
    KeyMissing,
)
from kms.keys import KeyState, KeyUse
from kms.lifecycle import Lifecycle
from kms.objects import generate, label_of
from kms.sessions import Session
from kms.structures import Template
from kms.token import TokenKeys
from tests.kms.fake import MemoryRegistry

pytestmark = [
    pytest.mark.hsm,
    # python-pkcs11 ends a search that never began while it frees it, and can only complain about that to nobody
    pytest.mark.filterwarnings("ignore:.*OperationContext:pytest.PytestUnraisableExceptionWarning"),
]
OpenShim = Callable[..., TokenKeys]
SECRET = bytes(range(32))


# --- 8 what a key may do ---


@pytest.fixture
def master(token_keys: TokenKeys) -> Callable[[Callable[[Session, KeyObject], None]], None]:
    """Runs a piece of work with the master key's raw handle."""

    def run(work: Callable[[Session, KeyObject], None]) -> None:
        def inside(session: Session) -> None:
            [handle] = session.cryptoki.find(session.open, {ck.CKA_LABEL: "coffre/kek/0001"})
            work(session, handle)

        token_keys.pool.run(inside, writable=True)

    return run


def test_no_key_has_a_weakness(lifecycle: Lifecycle) -> None:
    assert not any(lifecycle.check(record) for record in lifecycle.records())


def test_wrap_then_decrypt_fails(master: Callable[[Callable[[Session, KeyObject], None]], None]) -> None:
    def attack(session: Session, handle: KeyObject) -> None:
        for mechanism in (Mechanism(ck.CKM_AES_KEY_WRAP), Mechanism.gcm(ck.CKM_AES_GCM, bytes(12), b"")):
            with pytest.raises(CryptokiError):
                session.cryptoki.wrap_key(handle, mechanism, handle)

    master(attack)


def test_a_thief_with_the_pin_can_not_wrap_the_master_key_under_his_own(
    master: Callable[[Callable[[Session, KeyObject], None]], None],
) -> None:
    def attack(session: Session, handle: KeyObject) -> None:
        his: Template = {
            ck.CKA_CLASS: ck.CKO_SECRET_KEY,
            ck.CKA_KEY_TYPE: ck.CKK_AES,
            ck.CKA_VALUE_LEN: 32,
            ck.CKA_WRAP: True,
            ck.CKA_DECRYPT: True,
            ck.CKA_TOKEN: False,
        }
        own = session.cryptoki.generate_key(session.open, ck.CKM_AES_KEY_GEN, his)
        with pytest.raises(CryptokiError) as refused:
            session.cryptoki.wrap_key(own, Mechanism(ck.CKM_AES_KEY_WRAP), handle)
        assert refused.value.rv == ck.CKR_KEY_UNEXTRACTABLE

    master(attack)


def test_the_master_key_s_value_can_not_be_read(master: Callable[[Callable[[Session, KeyObject], None]], None]) -> None:
    def attack(session: Session, handle: KeyObject) -> None:
        with pytest.raises(CryptokiError) as refused:
            session.cryptoki.attribute(handle, ck.CKA_VALUE)
        assert refused.value.rv == ck.CKR_ATTRIBUTE_SENSITIVE

    master(attack)


def test_check_names_a_key_that_could_leave(token_keys: TokenKeys, lifecycle: Lifecycle, registry: MemoryRegistry) -> None:
    record = lifecycle.create(KeyUse.MASTER)

    def weaken(session: Session) -> None:
        [handle] = session.cryptoki.find(session.open, {ck.CKA_LABEL: label_of("coffre", KeyUse.MASTER, record.number)})
        session.cryptoki.destroy_object(handle)
        weak: Template = {
            ck.CKA_CLASS: ck.CKO_SECRET_KEY,
            ck.CKA_KEY_TYPE: ck.CKK_AES,
            ck.CKA_VALUE_LEN: 32,
            ck.CKA_LABEL: label_of("coffre", KeyUse.MASTER, record.number),
            ck.CKA_ID: record.key_id,
            ck.CKA_TOKEN: True,
            ck.CKA_EXTRACTABLE: True,
            ck.CKA_WRAP: True,
        }
        session.cryptoki.generate_key(session.open, ck.CKM_AES_KEY_GEN, weak)

    token_keys.pool.run(weaken, writable=True)
    assert lifecycle.check(record)


# --- 9 the registry decides ---


def test_a_newer_key_on_the_token_is_not_taken_for_ours(token_keys: TokenKeys, registry: MemoryRegistry) -> None:
    stranger = replace(next(r for r in registry.records() if r.use is KeyUse.MASTER), number=2, key_id=b"another vault's!")
    token_keys.pool.run(lambda session: generate(session, token_keys.pool.profile, "coffre", stranger), writable=True)
    assert token_keys.number_of(token_keys.wrap(SECRET, context=b"c")) == 1
    with pytest.raises(BadSettings, match="already holds a key"):
        Lifecycle(token_keys, registry).create(KeyUse.MASTER)


def test_two_keys_with_one_label_and_id_are_refused(token_keys: TokenKeys, registry: MemoryRegistry) -> None:
    mine = next(record for record in registry.records() if record.use is KeyUse.MASTER)
    token_keys.pool.run(lambda session: generate(session, token_keys.pool.profile, "coffre", mine), writable=True)
    with pytest.raises(KeyMissing, match="2 keys"):
        token_keys.wrap(SECRET, context=b"c")


def test_only_one_version_is_active(lifecycle: Lifecycle, token_keys: TokenKeys) -> None:
    old = token_keys.wrap(SECRET, context=b"c")
    lifecycle.rotate(KeyUse.MASTER)
    states = {record.number: record.state for record in lifecycle.records() if record.use is KeyUse.MASTER}
    assert states == {1: KeyState.DECRYPT_ONLY, 2: KeyState.ACTIVE}
    assert token_keys.number_of(token_keys.rewrap(old, context=b"c")) == 2


# --- 10 IVs ---


@pytest.mark.parametrize("length", [12, 16, 32])
def test_an_iv_of_any_length_is_packed(token_keys: TokenKeys, registry: MemoryRegistry, length: int) -> None:
    iv = os.urandom(length)

    def both_ways(session: Session) -> None:
        [handle] = session.cryptoki.find(session.open, {ck.CKA_LABEL: "coffre/kek/0001"})
        cryptoki = session.cryptoki
        sealed = cryptoki.encrypt(handle, Mechanism.gcm(ck.CKM_AES_GCM, iv, b"a"), SECRET)
        with cryptoki.decrypt(handle, Mechanism.gcm(ck.CKM_AES_GCM, iv, b"a"), sealed) as opened:
            assert opened.view == SECRET

    token_keys.pool.run(both_ways)
