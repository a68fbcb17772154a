"""Forgery told from outage, failing and hanging modules, rationed re-initialisation, settings that can not work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kms import constants as ck
from kms.errors import (
    BadSettings,
    KeysBusy,
    KeysUnavailable,
    UnwrapRejected,
    WrongToken,
)
from kms.keys import Purpose, WrappedKey
from kms.lifecycle import create_first_keys
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
PATIENT_MS = 30_000
"""A deadline that a module which does not hang meets on a loaded machine too."""


# --- 5 forgery and outage ---


def test_a_forged_blob_is_rejected_without_re_initialising(token_keys: TokenKeys) -> None:
    wrapped = token_keys.wrap(SECRET, context=b"c")
    forged = WrappedKey(wrapped[:-1] + bytes([wrapped[-1] ^ 1]))
    before = token_keys.pool.module.reopenings
    for _ in range(20):
        with pytest.raises(UnwrapRejected):
            token_keys.unwrap(forged, context=b"c")
    assert token_keys.pool.module.reopenings == before


@pytest.mark.parametrize("every", [2, 3, 4, 5, 7, 12])
@pytest.mark.parametrize("swallow", [False, True])
def test_a_module_that_fails_every_nth_call_never_makes_a_forgery_of_a_good_key(
    shim: Shim, open_shim: OpenShim, every: int, swallow: bool
) -> None:
    keys = open_shim()
    wrapped = keys.wrap(SECRET, context=b"c")
    shim.misbehave("", every=every, swallow=swallow)
    for _ in range(12):
        try:
            with keys.unwrap(wrapped, context=b"c") as secret:
                assert secret.view == SECRET
        except KeysUnavailable:
            pass  # a refusal that may be tried again; UnwrapRejected or KeyMissing would fail this test


@pytest.mark.parametrize("function", ["C_Decrypt", "C_DecryptInit", "C_Encrypt", "C_Sign", "C_OpenSession", "C_FindObjects"])
def test_one_failure_is_not_felt_or_is_an_outage(shim: Shim, open_shim: OpenShim, function: str) -> None:
    keys = open_shim()
    wrapped = keys.wrap(SECRET, context=b"c")
    for answer in (ck.CKR_GENERAL_ERROR, ck.CKR_DEVICE_ERROR, ck.CKR_FUNCTION_FAILED, 0x80000001):
        shim.misbehave(function, every=1, times=1, answer=answer)
        try:
            keys.unwrap(wrapped, context=b"c").wipe()
            keys.wrap(SECRET, context=b"d")
            keys.mac(Purpose.FINGERPRINT, b"m")
        except KeysUnavailable:
            time.sleep(1.05)
        shim.behave()  # what nobody called keeps no failure in store for a session that a second lane may open
        with keys.unwrap(wrapped, context=b"c") as secret:
            assert secret.view == SECRET


def test_an_outage_is_not_called_a_forgery(shim: Shim, open_shim: OpenShim) -> None:
    keys = open_shim()
    wrapped = keys.wrap(SECRET, context=b"c")
    shim.misbehave("C_Decrypt", every=1)
    for _ in range(5):
        with pytest.raises(KeysUnavailable):
            keys.unwrap(wrapped, context=b"c")


def test_re_initialisations_are_rationed(shim: Shim, open_shim: OpenShim) -> None:
    keys = open_shim()
    wrapped = keys.wrap(SECRET, context=b"c")
    before, begun = shim.calls("C_Initialize"), time.monotonic()
    shim.misbehave("C_OpenSession", every=1, answer=ck.CKR_DEVICE_REMOVED)
    keys.pool.lose(keys.pool.module.epoch)
    while time.monotonic() - begun < 2.5:
        assert together(4, lambda: keys.unwrap(wrapped, context=b"c").wipe())
    elapsed = time.monotonic() - begun
    assert shim.calls("C_Initialize") - before <= elapsed + 1
    shim.behave()
    time.sleep(1.05)
    keys.unwrap(wrapped, context=b"c").wipe()


# --- hanging ---


def test_a_hanging_module_is_given_up_and_recovers(shim: Shim, open_shim: OpenShim) -> None:
    keys = open_shim(timeout_ms=PATIENT_MS)
    wrapped = keys.wrap(SECRET, context=b"c")
    slowest = 0.0

    def ask() -> None:
        nonlocal slowest
        begun = time.monotonic()
        try:
            keys.unwrap(wrapped, context=b"c").wipe()
        finally:
            slowest = max(slowest, time.monotonic() - begun)

    with shim.hanging("C_Decrypt"):
        keys.pool.timeout_ms = 600
        begun = time.monotonic()
        while time.monotonic() - begun < 2:
            raised = together(8, ask)
            assert {type(error) for error in raised} <= {KeysUnavailable, KeysBusy}
            assert len(raised) == 8
        keys.pool.timeout_ms, begun = 2000, time.monotonic()
        for _ in range(50):
            with pytest.raises(KeysUnavailable):
                keys.unwrap(wrapped, context=b"c")
        assert time.monotonic() - begun < 10  # refused at once: after another deadline each it would be 100 s
    assert slowest < 3  # nobody waited for the module, which hung all the while
    keys.pool.timeout_ms = PATIENT_MS
    time.sleep(0.2)
    begun = time.monotonic()
    while True:
        try:
            ask()
            break
        except KeysUnavailable:
            assert time.monotonic() - begun < 5
            time.sleep(0.05)
    assert together(8, ask) == []
    assert keys.health().ok


def test_a_module_that_hangs_while_it_starts_is_given_up(shim: Shim, open_shim: OpenShim) -> None:
    keys = open_shim(timeout_ms=PATIENT_MS)
    keys.pool.timeout_ms = 300
    with shim.hanging("C_Initialize"):
        for _ in range(3):
            begun = time.monotonic()
            with pytest.raises(KeysUnavailable):
                keys.mac(Purpose.FINGERPRINT, b"m")
            assert time.monotonic() - begun < 3
    keys.pool.timeout_ms = PATIENT_MS
    begun = time.monotonic()
    while True:
        try:
            keys.mac(Purpose.FINGERPRINT, b"m")
            break
        except KeysUnavailable:
            assert time.monotonic() - begun < 5
            time.sleep(0.05)


# --- settings ---


def test_a_wrong_module_path_is_one_sentence(softhsm: KmsSettings, registry: MemoryRegistry) -> None:
    with pytest.raises(BadSettings, match="can't be loaded"):
        TokenKeys(replace(softhsm, module=Path("/nowhere/module.so")), registry)
    with pytest.raises(BadSettings, match="not known"):
        TokenKeys(replace(softhsm, profile="enigma"), registry)


def test_a_missing_mechanism_is_one_sentence(shim: Shim, registry: MemoryRegistry) -> None:
    shim.misbehave("C_GetMechanismInfo", every=1, answer=ck.CKR_MECHANISM_INVALID)
    with pytest.raises(BadSettings, match="has no AES key generation"):
        create_first_keys(shim.settings, registry)


def test_two_tokens_with_one_label_are_refused(softhsm: KmsSettings, registry: MemoryRegistry) -> None:
    import subprocess

    command = [
        "softhsm2-util",
        "--init-token",
        "--free",
        "--label",
        softhsm.token_label,
        "--so-pin",
        "1234567",
        "--pin",
        "1234567",
    ]
    subprocess.run(command, env={**os.environ, "SOFTHSM2_CONF": str(softhsm.softhsm_conf)}, check=True, capture_output=True)
    with pytest.raises(WrongToken, match="2 tokens"):
        create_first_keys(softhsm, registry)
    assert registry.records()[0].canary == b"" if registry.records() else True
