"""The PIN: tried once, latched, read from a closed file."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kms import constants as ck
from kms.errors import (
    BadSettings,
    PinRefused,
)
from kms.keys import Purpose
from kms.lifecycle import create_first_keys
from kms.settings import KmsSettings
from kms.token import TokenKeys
from tests.kms.fake import MemoryRegistry
from tests.kms.shim import Shim

pytestmark = [
    pytest.mark.hsm,
    # python-pkcs11 ends a search that never began while it frees it, and can only complain about that to nobody
    pytest.mark.filterwarnings("ignore:.*OperationContext:pytest.PytestUnraisableExceptionWarning"),
]
OpenShim = Callable[..., TokenKeys]
SECRET = bytes(range(32))


# --- 6 the PIN ---


def test_a_wrong_pin_is_tried_once(shim: Shim, open_shim: OpenShim, registry: MemoryRegistry) -> None:
    open_shim(sessions=2).close()  # one lane: a second one, woken for nothing, may not be there to close its session
    pin_file = shim.settings.pin_file
    right = pin_file.read_text()
    pin_file.write_text("0" * 32)
    logins = shim.calls("C_Login")
    for _ in range(3):  # three restarts of a service
        with closing(TokenKeys(shim.settings, registry)) as keys:
            for _ in range(5):
                with pytest.raises(PinRefused):
                    keys.mac(Purpose.FINGERPRINT, b"m")
            assert keys.health().code == "pin_refused"
    assert shim.calls("C_Login") - logins == 1
    assert shim.calls("C_OpenSession") == shim.calls("C_CloseSession")
    pin_file.write_text(right)
    with closing(TokenKeys(shim.settings, registry)) as keys:
        assert len(keys.mac(Purpose.FINGERPRINT, b"m")) == 32


def test_an_operator_may_allow_one_more_try(shim: Shim, open_shim: OpenShim, registry: MemoryRegistry) -> None:
    open_shim().close()
    shim.misbehave("C_Login", every=1, times=1, answer=ck.CKR_PIN_LOCKED)
    with closing(TokenKeys(shim.settings, registry)) as keys:
        for _ in range(2):
            with pytest.raises(PinRefused):
                keys.mac(Purpose.FINGERPRINT, b"m")
        keys.pool.retry_pin()
        time.sleep(1.05)
        assert len(keys.mac(Purpose.FINGERPRINT, b"m")) == 32


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_pin_file_that_others_read_is_refused(softhsm: KmsSettings, registry: MemoryRegistry, mode: int) -> None:
    softhsm.pin_file.chmod(mode)
    with pytest.raises(BadSettings, match="chmod 600"):
        create_first_keys(softhsm, registry)


def test_a_missing_or_empty_pin_file_is_named(softhsm: KmsSettings, registry: MemoryRegistry) -> None:
    softhsm.pin_file.write_text("")
    with pytest.raises(BadSettings, match="empty"):
        create_first_keys(softhsm, registry)
    with pytest.raises(BadSettings, match="can't be read"):
        create_first_keys(replace(softhsm, pin_file=Path("/nowhere/pin")), registry)
