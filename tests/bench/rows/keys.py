"""Keys: an unwrap through the room beside a bare loop on the token, and a rotation while clinicians read."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import insert

from kms.constants import CKM_AES_GCM
from kms.cryptoki import Mechanism
from kms.keys import KeyUse, WrappedKey
from kms.lifecycle import Lifecycle, create_first_keys
from kms.sessions import Session
from kms.suites import KeyInUse
from kms.token import TokenKeys
from kms.wrapped import take_apart
from tests.bench.measure import Figure, against, alternate, percentile, seconds
from tests.bench.readers import READERS, TENANT, Readers
from tests.conftest import make_token
from tests.kms.fake import MemoryRegistry
from vault.model import ScopeId
from vault.sealing.binding import scope_context
from vault.storage.db import Database
from vault.storage.keyring import Keyring, SqlRegistry
from vault.storage.schema import keyring_metadata
from vault.storage.schema import scopes as scopes_table
from vault.upkeep.rotation import Rewrapping

UNWRAPS = 2_000
IDLE_SECONDS = 2.0
"""How long the readers read in an idle vault."""


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


def _bare_rewraps(keys: TokenKeys, session: Session) -> None:
    """The same for a rewrapping, on one thread: no database either."""
    secret, key = bytes(32), keys._key(session, keys.ledger.record(KeyUse.MASTER, 1))
    mechanism = Mechanism.gcm(CKM_AES_GCM, bytes(range(12)), b"c")
    options = mechanism.options
    body = key.key.encrypt(secret, **options)
    for _ in range(UNWRAPS):
        key.key.decrypt(body, **options)
        key.key.encrypt(secret, **options)


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
        with _filled(count) as (keys, keyring, life, readers):
            limit = UNWRAPS / seconds(lambda keys=keys: keys.pool.run(partial(_bare_rewraps, keys), timeout_ms=60_000))  # type: ignore[misc]  # bound now
            with readers.reading() as idle:
                time.sleep(IDLE_SECONDS)
            life.rotate(KeyUse.MASTER)
            with readers.reading() as meanwhile:
                start = time.perf_counter()
                result = Rewrapping(keyring, keys, TENANT, sleep=lambda _seconds: None).run()
                elapsed = time.perf_counter() - start
            if not result.is_complete or result.done != count:
                raise RuntimeError(f"{result.left} scopes are left")
            rates.append(count / elapsed)
            late = percentile(meanwhile, 0.99) / percentile(idle, 0.99)
            name = f"rewrap {count:,} scopes, {READERS} readers"
            yield Figure(name, rates[-1], "scope/s", "C_Decrypt and C_Encrypt in a loop", limit, rates[-1] / limit,
                         "≥ 15,000/s", holds=rates[-1] >= 15_000)  # fmt: skip
            yield Figure(f"readers' p99 meanwhile ({count:,})", late, "× idle", target="≤ 1.5 ×", holds=late <= 1.5)
    yield Figure("ten times the scopes", rates[1] / rates[0], "× the rate", target="≥ 0.8 ×", holds=rates[1] / rates[0] >= 0.8)


@contextmanager
def _filled(count: int) -> Iterator[tuple[TokenKeys, Keyring, Lifecycle, Readers]]:
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coffre-bench-")))
        settings = make_token(place / "token")
        url = f"sqlite:///{place}/keyring.db"
        db = stack.enter_context(closing(Database(url)))
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
        yield keys, Keyring(db), Lifecycle(keys, registry), stack.enter_context(closing(Readers(settings, url)))
