"""Faults under load: threads work while the token vanishes, hangs, loses a key or gets another PIN. Never a wrong secret."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from kms import constants as ck
from kms.errors import KeyMissing, KeysBusy, KeysUnavailable, KmsError
from kms.keys import KeyUse
from kms.lifecycle import Lifecycle
from kms.sessions import Session
from kms.settings import KmsSettings
from kms.token import TokenKeys
from tests.kms.fake import MemoryRegistry
from tests.kms.shim import Shim

pytestmark = [
    pytest.mark.hsm,
    pytest.mark.alone,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:.*OperationContext:pytest.PytestUnraisableExceptionWarning"),
]
RETRYABLE = {KeysUnavailable, KeysBusy}


@dataclass
class Crowd:
    """What eight threads met."""

    done: int = 0
    wrong: int = 0
    errors: Counter[type[KmsError]] = field(default_factory=Counter)
    slowest_s: float = 0.0
    last_done_at: float = 0.0


@contextmanager
def crowd(keys: TokenKeys, threads: int = 8) -> Iterator[Crowd]:
    """Threads that wrap and unwrap until the block ends."""
    met, stop, lock = Crowd(), threading.Event(), threading.Lock()
    ready = {number: keys.wrap(bytes([number]) * 32, context=b"%d" % number) for number in range(threads)}

    def work(number: int) -> None:
        mine, wrapped = bytes([number]) * 32, ready[number]
        while not stop.is_set():
            begun = time.monotonic()
            error: type[KmsError] | None = None
            is_right = True
            try:
                with keys.unwrap(wrapped, context=b"%d" % number) as secret:
                    is_right = secret.view == mine
            except KmsError as refused:
                error = type(refused)
            with lock:
                met.slowest_s = max(met.slowest_s, time.monotonic() - begun)
                if error is not None:
                    met.errors[error] += 1
                else:
                    met.done += 1
                    met.wrong += not is_right
                    met.last_done_at = time.monotonic()
            stop.wait(0.005)

    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield met
    finally:
        stop.set()
        for thread in running:
            thread.join()


def wait_until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > within_s:
            pytest.fail(what)
        time.sleep(0.05)


def test_the_token_s_directory_goes_away_and_comes_back(softhsm: KmsSettings, token_keys: TokenKeys) -> None:
    tokens = softhsm.pin_file.parent / "tokens"
    module = token_keys.pool.module
    with crowd(token_keys) as met:
        time.sleep(0.5)
        before, begun = module.reopenings, time.monotonic()
        for _ in range(2):
            tokens.rename(tokens.with_name("away"))
            time.sleep(2)
            tokens.with_name("away").rename(tokens)
            back, done = time.monotonic(), met.done
            wait_until(lambda done=done: met.done > done + 20, 10, "it did not come back within 10 s")  # type: ignore[misc]  # bound now
        elapsed = time.monotonic() - begun
        assert time.monotonic() - back < 10
    assert met.wrong == 0
    assert set(met.errors) <= RETRYABLE
    assert module.reopenings - before <= elapsed + 1
    assert met.slowest_s < 5


def test_the_module_hangs_under_load(shim: Shim, open_shim: Callable[..., TokenKeys]) -> None:
    keys = open_shim(timeout_ms=1500)
    with crowd(keys) as met:
        time.sleep(0.5)
        with shim.hanging():
            time.sleep(5)
        done = met.done
        wait_until(lambda: met.done > done + 20, 10, "it did not come back within 10 s")
    assert met.wrong == 0
    assert set(met.errors) <= RETRYABLE
    assert met.slowest_s < 5


@pytest.mark.parametrize("every", [3, 7])
def test_every_nth_call_fails_under_load(shim: Shim, open_shim: Callable[..., TokenKeys], every: int) -> None:
    keys = open_shim()
    with crowd(keys) as met:
        shim.misbehave("", every=every)
        time.sleep(3)
        shim.behave()
        done = met.done
        wait_until(lambda: met.done > done + 20, 10, "it did not come back within 10 s")
    assert met.wrong == 0
    assert set(met.errors) <= RETRYABLE


def test_another_process_destroys_a_key(softhsm: KmsSettings, token_keys: TokenKeys, registry: MemoryRegistry) -> None:
    """The old key's secrets are refused for good; the new key's go on."""
    old = token_keys.wrap(bytes(32), context=b"c")
    Lifecycle(token_keys, registry).rotate(KeyUse.MASTER)
    with crowd(token_keys) as met:
        time.sleep(0.3)

        def remove(session: Session) -> None:
            for key in session.cryptoki.find(session.open, {ck.CKA_LABEL: "coffre/kek/0001"}):
                session.cryptoki.destroy_object(key)

        token_keys.pool.run(remove, writable=True)
        token_keys.pool.lose(token_keys.pool.module.epoch)
        refused = Counter[type[KmsError]]()
        for _ in range(30):
            try:
                token_keys.unwrap(old, context=b"c").wipe()
            except KmsError as error:
                refused[type(error)] += 1
            time.sleep(0.1)
        done = met.done
        wait_until(lambda: met.done > done + 20, 10, "the other key suffers")
    assert refused[KeyMissing] > 0
    assert set(refused) <= {KeyMissing, *RETRYABLE}
    assert met.wrong == 0
    assert set(met.errors) <= RETRYABLE


def test_the_pin_changes_while_it_works(softhsm: KmsSettings, token_keys: TokenKeys) -> None:
    """Sessions that are open go on; once the operator has put the new PIN into the file, so does everything after a loss."""
    pin, fresh = softhsm.pin_file.read_text(), secrets.token_hex(16)
    tool = shutil.which("pkcs11-tool")
    if tool is None:
        pytest.skip("OpenSC's pkcs11-tool is not installed")
    with crowd(token_keys, 4) as met:
        time.sleep(0.3)
        command = [tool, "--module", str(softhsm.module), "--token-label", softhsm.token_label, "--login"]
        command += ["--pin", pin, "--change-pin", "--new-pin", fresh]
        subprocess.run(command, check=True, capture_output=True, env={"SOFTHSM2_CONF": str(softhsm.softhsm_conf)})
        time.sleep(0.3)
        softhsm.pin_file.write_text(fresh)
        time.sleep(1.1)
        token_keys.pool.lose(token_keys.pool.module.epoch)
        done = met.done
        wait_until(lambda: met.done > done + 20, 10, "the new PIN was not taken")
    assert met.wrong == 0
    assert set(met.errors) <= RETRYABLE
