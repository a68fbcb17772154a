"""Keys: an unwrap through the room beside a bare loop on the token, and a rotation while clinicians read."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from sqlalchemy import insert

from kms.cryptoki import Mechanism
from kms.keys import KeyUse, WrappedKey
from kms.lifecycle import Lifecycle, create_first_keys
from kms.sessions import Session
from kms.suites import KeyInUse
from kms.token import TokenKeys
from kms.wrapped import take_apart
from tests.bench.measure import Figure, against, alternate, percentile
from tests.conftest import make_token
from tests.kms.fake import MemoryRegistry
from vault.model import ScopeId, TenantId
from vault.sealing.binding import scope_context
from vault.storage.db import Database
from vault.storage.keyring import Keyring, SqlRegistry
from vault.storage.schema import keyring_metadata
from vault.storage.schema import scopes as scopes_table
from vault.upkeep.rotation import Rewrapping

UNWRAPS = 2_000
READERS = 4
TENANT = TenantId("7e" * 16)


def token() -> Iterator[Figure]:
    """Targets: ≥ 0.8 × a bare loop on one thread; eight threads never slower than one."""
    registry = MemoryRegistry()
    with ExitStack() as stack:
        settings = make_token(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coffre-bench-"))))
        create_first_keys(settings, registry)
        keys = stack.enter_context(closing(TokenKeys(settings, registry)))
        wrapped = keys.wrap(bytes(32), context=b"c")

        def ours() -> None:
            for _ in range(UNWRAPS):
                keys.unwrap(wrapped, context=b"c").wipe()

        pair = alternate(ours, lambda: keys.pool.run(lambda session: _bare(keys, session, wrapped), timeout_ms=60_000))
        yield against("unwrap, one thread", pair, UNWRAPS, "unwrap/s", "C_Decrypt in a loop", least=0.8)
        crowd = alternate(lambda: _together(8, keys, wrapped), ours)
        yield against("unwrap, eight threads", crowd, UNWRAPS, "unwrap/s", "one thread", least=1.0)


def _bare(keys: TokenKeys, session: Session, wrapped: WrappedKey) -> None:
    """What the library can do at best: no deadline, no epoch, no format, no wiping."""
    record = keys.ledger.record(KeyUse.MASTER, 1)
    key: KeyInUse = keys._key(session, record)
    parts = take_apart(wrapped)
    mechanism = Mechanism.gcm(parts.mechanism, parts.iv, parts.associated_data(b"c"))
    options = mechanism.options
    for _ in range(UNWRAPS):
        key.key.decrypt(parts.body, **options)


def _together(threads: int, keys: TokenKeys, wrapped: WrappedKey) -> None:
    def work() -> None:
        for _ in range(UNWRAPS // threads):
            keys.unwrap(wrapped, context=b"c").wipe()

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def rotate() -> Iterator[Figure]:
    """Targets: ≥ 15,000 scope keys a second, linear, readers' p99 ≤ 1.5 × that of an idle vault."""
    rates = []
    for count in (20_000, 200_000):
        with _filled(count) as (keys, keyring, life):
            idle = percentile(_read_for(1.0, keys, keyring), 0.99)
            life.rotate(KeyUse.MASTER)
            times: list[float] = []
            stop = threading.Event()
            readers = [threading.Thread(target=_read_until, args=(stop, keys, keyring, times)) for _ in range(READERS)]
            for reader in readers:
                reader.start()
            start = time.perf_counter()
            result = Rewrapping(keyring, keys, TENANT, sleep=lambda _seconds: None).run()
            elapsed = time.perf_counter() - start
            stop.set()
            for reader in readers:
                reader.join()
            if not result.is_complete or result.done != count:
                raise RuntimeError(f"{result.left} scopes are left")
            rates.append(count / elapsed)
            late = percentile(times, 0.99) / idle
            yield Figure(f"rewrap {count:,} scopes, {READERS} readers", rates[-1], "scope/s", target="≥ 15,000/s",
                         holds=rates[-1] >= 15_000)  # fmt: skip
            yield Figure(f"readers' p99 meanwhile ({count:,})", late, "× idle", target="≤ 1.5 ×", holds=late <= 1.5)
    yield Figure("ten times the scopes", rates[1] / rates[0], "× the rate", target="≥ 0.8 ×", holds=rates[1] / rates[0] >= 0.8)


@contextmanager
def _filled(count: int) -> Iterator[tuple[TokenKeys, Keyring, Lifecycle]]:
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coffre-bench-")))
        settings = make_token(place / "token")
        db = stack.enter_context(closing(Database(f"sqlite:///{place}/keyring.db")))
        keyring_metadata.create_all(db.engine)
        registry = SqlRegistry(db)
        create_first_keys(settings, registry)
        keys = stack.enter_context(closing(TokenKeys(settings, registry)))
        rows = []
        for number in range(count):
            scope = ScopeId(f"{number:032x}")
            wrapped = keys.wrap(os.urandom(32), context=scope_context(TENANT, scope))
            rows.append({"id": scope, "kind": "patient", "wrapped": wrapped, "master": 1, "created_at": 0})
        db.write(lambda connection: connection.execute(insert(scopes_table), rows).rowcount)
        yield keys, Keyring(db), Lifecycle(keys, registry)


def _read_once(keys: TokenKeys, keyring: Keyring, number: int) -> float:
    scope = ScopeId(f"{number % 20_000:032x}")
    start = time.perf_counter()
    keys.unwrap(keyring.scope(scope).wrapped, context=scope_context(TENANT, scope)).wipe()
    return time.perf_counter() - start


def _read_for(seconds: float, keys: TokenKeys, keyring: Keyring) -> list[float]:
    stop, times = threading.Event(), list[float]()
    readers = [threading.Thread(target=_read_until, args=(stop, keys, keyring, times)) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    stop.wait(seconds)
    stop.set()
    for reader in readers:
        reader.join()
    return times


def _read_until(stop: threading.Event, keys: TokenKeys, keyring: Keyring, times: list[float]) -> None:
    """A clinician opens a file every 20 ms."""
    number = threading.get_ident()
    while not stop.wait(0.02):
        number += 7919
        times.append(_read_once(keys, keyring, number))
