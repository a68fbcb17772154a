from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from kms import errors as kms
from kms.keys import WrappedKey
from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from vault.errors import Busy, KeysUnavailable, NotFound, Tampered, VaultError
from vault.model import Micros, ScopeId, ScopeKind, TenantId
from vault.sealing.scopes import CACHE_ENTRIES, CACHE_SECONDS, IDLE_SECONDS, ScopeKeys
from vault.settings import DatabaseSettings
from vault.storage.db import Database
from vault.storage.keyring import Keyring
from vault.storage.schema import keyring_metadata

TENANT = TenantId("a" * 32)


@pytest.fixture
def keyring(sqlite: DatabaseSettings) -> Iterator[Keyring]:
    db = Database(sqlite.keyring_url)
    keyring_metadata.create_all(db.engine)
    yield Keyring(db)
    db.close()


@pytest.fixture
def keys() -> FakeKeyService:
    return FakeKeyService()


@pytest.fixture
def scopes(keyring: Keyring, keys: FakeKeyService, clock: Clock) -> Iterator[ScopeKeys]:
    scopes = ScopeKeys(keyring, keys, TENANT, clock=lambda: Micros(clock()))
    yield scopes
    scopes.close()


def value(scopes: ScopeKeys, scope: ScopeId) -> bytes:
    with scopes.open(scope) as key:
        return bytes(key.view)


def test_a_scope_opens_to_the_same_32_bytes(scopes: ScopeKeys, keyring: Keyring, keys: FakeKeyService) -> None:
    scope = scopes.create(ScopeKind.PATIENT)
    again = ScopeKeys(keyring, keys, TENANT)
    assert len(value(scopes, scope)) == 32
    assert value(scopes, scope) == value(again, scope)
    again.close()


def test_every_scope_has_its_own_key(scopes: ScopeKeys) -> None:
    assert len({value(scopes, scopes.create(ScopeKind.PATIENT)) for _ in range(20)}) == 20


def test_a_key_is_wiped_when_its_block_ends(scopes: ScopeKeys) -> None:
    scope = scopes.create(ScopeKind.PATIENT)
    with scopes.open(scope) as key:
        buffer = key.view
        assert any(buffer)
    assert not any(buffer)
    assert len(key) == 0


def test_one_unwrap_serves_two_minutes(scopes: ScopeKeys, keys: FakeKeyService, clock: Clock) -> None:
    scope = scopes.create(ScopeKind.PATIENT)
    for _ in range(CACHE_SECONDS // 20):
        value(scopes, scope)
        clock.advance(seconds=20)
    assert keys.calls["unwrap"] == 1
    value(scopes, scope)
    assert keys.calls["unwrap"] == 2


def test_several_keys_are_fetched_in_one_call(scopes: ScopeKeys, keyring: Keyring, keys: FakeKeyService) -> None:
    some = [scopes.create(ScopeKind.PATIENT) for _ in range(5)]
    kept = {scope: value(scopes, scope) for scope in some}
    again = ScopeKeys(keyring, keys, TENANT)
    keyring.delete_scope(some[4])
    again.fetch(some)
    keys.break_down()
    assert {scope: value(again, scope) for scope in some[:4]} == {scope: kept[scope] for scope in some[:4]}
    keys.repair()
    with pytest.raises(NotFound):
        value(again, some[4])
    again.close()
    assert again.sweep() == 0


def test_a_fetch_fails_whole_where_the_token_is_away(scopes: ScopeKeys, keys: FakeKeyService) -> None:
    some = [scopes.create(ScopeKind.PATIENT) for _ in range(3)]
    keys.fail_at(2)
    with pytest.raises(KeysUnavailable):
        scopes.fetch(some)
    scopes.fetch(some)
    assert keys.calls["unwrap"] == 2 + len(some)  # it failed at the second one, and kept none


def test_an_idle_key_is_swept(scopes: ScopeKeys, keys: FakeKeyService, clock: Clock) -> None:
    scope = scopes.create(ScopeKind.PATIENT)
    value(scopes, scope)
    clock.advance(seconds=IDLE_SECONDS - 1)
    assert scopes.sweep() == 1
    clock.advance(seconds=1)
    assert scopes.sweep() == 0


def test_a_clock_set_back_keeps_nothing_alive(scopes: ScopeKeys, clock: Clock) -> None:
    value(scopes, scopes.create(ScopeKind.PATIENT))
    clock.advance(days=-1)
    assert scopes.sweep() == 0


def test_the_cache_is_bounded(scopes: ScopeKeys, keys: FakeKeyService) -> None:
    ids = [scopes.create(ScopeKind.PATIENT) for _ in range(CACHE_ENTRIES + 1)]
    for scope in ids:
        value(scopes, scope)
    assert scopes.sweep() == CACHE_ENTRIES
    calls = keys.calls["unwrap"]
    value(scopes, ids[-1])
    assert keys.calls["unwrap"] == calls
    value(scopes, ids[0])
    assert keys.calls["unwrap"] == calls + 1


def test_eviction_never_wipes_a_key_in_use(scopes: ScopeKeys) -> None:
    scope = scopes.create(ScopeKind.PATIENT)
    others = [scopes.create(ScopeKind.PATIENT) for _ in range(3)]
    wanted = value(scopes, scope)
    wrong: list[bytes] = []
    stop = threading.Event()

    def use() -> None:
        while not stop.is_set():
            with scopes.open(scope) as key:
                first = bytes(key.view)
                if first != wanted or bytes(key.view) != wanted:
                    wrong.append(first)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        scopes.forget(scope)
        for other in others:
            value(scopes, other)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_erased_scope_is_gone_at_once(scopes: ScopeKeys, keyring: Keyring) -> None:
    scope = scopes.create(ScopeKind.PATIENT)
    value(scopes, scope)
    keyring.delete_scope(scope)
    scopes.forget(scope)
    with pytest.raises(NotFound):
        value(scopes, scope)


def test_a_wrapped_key_of_another_scope_is_refused(scopes: ScopeKeys, keyring: Keyring, keys: FakeKeyService) -> None:
    one, other = scopes.create(ScopeKind.PATIENT), scopes.create(ScopeKind.PATIENT)
    stolen = keyring.scope(other).wrapped
    keyring.delete_scope(one)
    keyring.add_scope(type(keyring.scope(other))(one, ScopeKind.PATIENT, WrappedKey(stolen), 1), Micros(0))
    with pytest.raises(Tampered):
        value(scopes, one)


def test_a_wrapped_key_of_another_vault_is_refused(scopes: ScopeKeys, keyring: Keyring, keys: FakeKeyService) -> None:
    scope = scopes.create(ScopeKind.PATIENT)
    with pytest.raises(Tampered):
        value(ScopeKeys(keyring, keys, TenantId("b" * 32)), scope)


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (kms.KeysUnavailable("x"), KeysUnavailable),
        (kms.KeysBusy("x"), KeysUnavailable),
        (kms.PinRefused("x"), KeysUnavailable),
        (kms.UnwrapRejected("x"), Tampered),
        (kms.UnknownSuite("x"), Tampered),
        (kms.KeyDestroyed("x"), NotFound),
        (kms.BudgetExceeded("x"), Busy),
    ],
)
def test_errors_of_the_key_room_become_ours(
    scopes: ScopeKeys, keys: FakeKeyService, error: kms.KmsError, becomes: type[VaultError]
) -> None:
    scope = scopes.create(ScopeKind.PATIENT)
    keys.fail_at(1, error)
    with pytest.raises(becomes):
        value(scopes, scope)
    assert value(scopes, scope)


def test_no_scope_is_left_where_the_token_fails(scopes: ScopeKeys, keyring: Keyring, keys: FakeKeyService) -> None:
    for nth in (1, 2):
        keys.fail_at(nth)
        with pytest.raises(KeysUnavailable):
            scopes.create(ScopeKind.PATIENT)
    assert list(keyring.scope_ids()) == []


def test_nothing_is_kept_after_closing(scopes: ScopeKeys) -> None:
    scope = scopes.create(ScopeKind.PATIENT)
    value(scopes, scope)
    scopes.close()
    assert scopes.sweep() == 0
    value(scopes, scope)
    assert scopes.sweep() == 0
