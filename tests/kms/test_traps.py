"""The ways in which PKCS#11 bites: threads, sessions, epochs, lost tokens, forks. Each test fails on naive code."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from kms import constants as ck
from kms.errors import (
    Forked,
    KeyMissing,
    KeysBusy,
    KeysUnavailable,
    KmsError,
    WrongToken,
)
from kms.keys import KeyUse, Purpose
from kms.lifecycle import Lifecycle, create_first_keys
from kms.objects import generate
from kms.sessions import Session
from kms.settings import KmsSettings
from kms.token import TokenKeys
from tests.kms.fake import MemoryRegistry
from tests.kms.shim import Shim
from tests.kms.threads import together

pytestmark = [
    pytest.mark.hsm,
    # python-pkcs11 ends a search that never began while it frees it, and can only complain about that to nobody
    pytest.mark.filterwarnings("ignore:.*OperationContext:pytest.PytestUnraisableExceptionWarning"),
]
OpenShim = Callable[..., TokenKeys]
SECRET = bytes(range(32))


# --- 1 threads ---


def test_the_module_is_told_about_threads(shim: Shim, open_shim: OpenShim) -> None:
    open_shim().wrap(SECRET, context=b"c")
    assert shim.get("flags") == ck.CKF_OS_LOCKING_OK


def test_four_threads_hammer_without_an_error(token_keys: TokenKeys) -> None:
    wrapped = token_keys.wrap(SECRET, context=b"c")

    def work() -> None:
        for _ in range(500):
            with token_keys.unwrap(wrapped, context=b"c") as secret:
                assert secret.view == SECRET

    assert together(4, work) == []


def test_a_module_that_cannot_lock_is_called_by_one_thread_at_a_time(shim: Shim, open_shim: OpenShim) -> None:
    keys = open_shim()
    shim.misbehave("C_Initialize", every=1, times=1, answer=ck.CKR_CANT_LOCK)
    keys.wrap(SECRET, context=b"c")
    assert shim.get("flags") == 0
    shim.misbehave("", delay_ms=1)
    before = shim.get("most")
    assert together(6, lambda: keys.mac(Purpose.FINGERPRINT, b"m")) == []
    assert before == shim.get("most") == 1


# --- 2 sessions ---


def test_sessions_are_bounded_and_log_in_once(shim: Shim, open_shim: OpenShim) -> None:
    keys = open_shim(sessions=4)
    logins, opened = shim.calls("C_Login"), shim.calls("C_OpenSession")
    shim.misbehave("C_Decrypt", delay_ms=5)
    wrapped = keys.wrap(SECRET, context=b"c")
    assert together(12, lambda: keys.unwrap(wrapped, context=b"c").wipe()) == []
    assert shim.calls("C_Login") - logins == 1
    assert shim.calls("C_OpenSession") - opened <= 4
    assert shim.get("most") <= 4


def test_a_pool_that_stays_full_says_busy(shim: Shim, open_shim: OpenShim) -> None:
    keys = open_shim(sessions=2, timeout_ms=30_000)  # the anchor, and one that works
    wrapped = keys.wrap(SECRET, context=b"c")
    with ThreadPoolExecutor(1) as beside:
        with shim.hanging("C_Decrypt"):
            first = beside.submit(keys.unwrap, wrapped, context=b"c")
            while not shim.get("inside"):
                time.sleep(0.001)
            keys.pool.timeout_ms = 400
            raised = together(6, lambda: keys.unwrap(wrapped, context=b"c").wipe())
            assert [type(error) for error in raised] == [KeysBusy] * 6
        with first.result() as secret:
            assert secret.view == SECRET
    keys.pool.timeout_ms = 30_000
    assert together(6, lambda: keys.unwrap(wrapped, context=b"c").wipe()) == []


def test_closing_one_service_does_not_log_the_other_out(softhsm: KmsSettings, registry: MemoryRegistry) -> None:
    create_first_keys(softhsm, registry)
    with closing(TokenKeys(softhsm, registry)) as second:
        with closing(TokenKeys(softhsm, registry)) as first:
            wrapped = first.wrap(SECRET, context=b"c")
            second.unwrap(wrapped, context=b"c").wipe()
            before = second.pool.module.reopenings
        with second.unwrap(wrapped, context=b"c") as secret:
            assert secret.view == SECRET
        assert second.pool.module.reopenings == before


def test_key_handles_are_searched_once(shim: Shim, open_shim: OpenShim) -> None:
    keys = open_shim(sessions=2)  # the anchor, and one that works: each searches for itself
    wrapped = keys.wrap(SECRET, context=b"c")
    searches = shim.calls("C_FindObjectsInit")
    for _ in range(20):
        keys.unwrap(wrapped, context=b"c").wipe()
    assert shim.calls("C_FindObjectsInit") == searches


@pytest.mark.parametrize("read_only", [True, False])
def test_sessions_are_for_reading_unless_the_module_knows_none(token_keys: TokenKeys, read_only: bool) -> None:
    token_keys.pool.profile = replace(token_keys.pool.profile, read_only_sessions=read_only)
    assert token_keys.pool.run(lambda session: session.open.rw) is not read_only
    assert len(token_keys.mac(Purpose.SEARCH, b"m")) == 32


# --- 3 epochs ---


def test_a_handle_dies_with_its_epoch(token_keys: TokenKeys, lifecycle: Lifecycle) -> None:
    wrapped = token_keys.wrap(SECRET, context=b"c")
    for _ in range(6):
        lifecycle.create(KeyUse.MASTER)  # more objects: handles are numbered anew after a re-initialisation
    token_keys.pool.module._reopened_at = float("-inf")
    token_keys.pool.lose(token_keys.pool.module.epoch)
    with token_keys.unwrap(wrapped, context=b"c") as secret:
        assert secret.view == SECRET


def test_another_key_under_our_label_and_id_is_not_used(token_keys: TokenKeys, registry: MemoryRegistry) -> None:
    mine = next(record for record in registry.records() if record.use is KeyUse.MAC)

    def swap(session: Session) -> None:
        [handle] = session.cryptoki.find(session.open, {ck.CKA_LABEL: "coffre/mac/0001"})
        session.cryptoki.destroy_object(handle)
        generate(session, token_keys.pool.profile, "coffre", mine)

    token_keys.pool.run(swap, writable=True)
    with pytest.raises(WrongToken):
        token_keys.mac(Purpose.SEARCH, b"x")


# --- 4 a lost token ---


def test_a_lost_token_is_not_a_missing_key_and_comes_back(
    softhsm: KmsSettings, token_keys: TokenKeys, registry: MemoryRegistry
) -> None:
    wrapped = token_keys.wrap(SECRET, context=b"c")
    known = registry.records()
    tokens = softhsm.pin_file.parent / "tokens"
    away = tokens.with_name("away")
    tokens.rename(away)
    tokens.mkdir(mode=0o700)
    refused = set()
    for _ in range(8):
        with pytest.raises(KmsError) as caught:
            token_keys.unwrap(wrapped, context=b"c")
        refused.add(type(caught.value))
        with pytest.raises(KmsError):
            token_keys.wrap(SECRET, context=b"c")
        time.sleep(0.2)
    assert refused == {KeysUnavailable}
    assert not token_keys.health().ok
    assert [(record.use, record.number, record.state) for record in known] == [
        (record.use, record.number, record.state) for record in registry.records()
    ]
    shutil.rmtree(tokens)
    away.rename(tokens)
    begun = time.monotonic()
    while time.monotonic() - begun < 10:
        try:
            token_keys.unwrap(wrapped, context=b"c").wipe()
            break
        except KeysUnavailable:
            time.sleep(0.1)
    else:
        pytest.fail("the token came back and was not noticed")
    assert token_keys.health().ok


def test_a_key_destroyed_behind_our_back_is_missing_and_nothing_is_made_instead(token_keys: TokenKeys) -> None:
    wrapped = token_keys.wrap(SECRET, context=b"c")

    def remove(session: Session) -> None:
        for handle in session.cryptoki.find(session.open, {ck.CKA_LABEL: "coffre/kek/0001"}):
            session.cryptoki.destroy_object(handle)

    token_keys.pool.run(remove, writable=True)
    token_keys.pool.module._reopened_at = float("-inf")
    for _ in range(3):
        with pytest.raises((KeyMissing, KeysUnavailable)):
            token_keys.unwrap(wrapped, context=b"c")
        time.sleep(1.1)
    with pytest.raises(KeyMissing):
        token_keys.unwrap(wrapped, context=b"c")
    assert len(token_keys.mac(Purpose.SEARCH, b"other keys still work")) == 32


def test_an_empty_token_under_our_label_is_the_wrong_token(
    softhsm: KmsSettings, new_token: Callable[[str], KmsSettings], registry: MemoryRegistry
) -> None:
    create_first_keys(softhsm, registry)
    before = len(registry.records())
    other = new_token("coffre-test")
    with closing(TokenKeys(other, registry)) as keys:
        with pytest.raises((WrongToken, KeysUnavailable)):
            keys.wrap(SECRET, context=b"c")
        time.sleep(1.1)
        with pytest.raises(WrongToken):
            keys.wrap(SECRET, context=b"c")
    assert len(registry.records()) == before


def test_an_absent_token_does_not_stop_the_opening(softhsm: KmsSettings, registry: MemoryRegistry) -> None:
    create_first_keys(softhsm, registry)
    shutil.rmtree(softhsm.pin_file.parent / "tokens")
    with closing(TokenKeys(softhsm, registry)) as keys:
        health = keys.health()
    assert (health.ok, health.code) == (False, "keys_unavailable")


# --- 7 forks ---


def test_a_forked_child_is_refused(token_keys: TokenKeys) -> None:
    wrapped = token_keys.wrap(SECRET, context=b"c")
    child = os.fork()
    if child == 0:
        try:
            token_keys.unwrap(wrapped, context=b"c")
            os._exit(1)
        except Forked:
            token_keys.close()
            os._exit(0)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with token_keys.unwrap(wrapped, context=b"c") as secret:
        assert secret.view == SECRET
