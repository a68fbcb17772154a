"""Trap 12: AES-GCM with random IVs has a limit for each key. Wraps are counted before they happen, durably, never too few."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kms.errors import KeyDestroyed, KeyMissing, KeyWornOut
from kms.keys import KeyState, KeyUse
from kms.ledger import RESERVED_WRAPS, WRAP_ALARM, WRAP_LIMIT, Ledger
from kms.token import TokenKeys
from tests.kms.fake import MemoryRegistry, first_record


def counted(registry: MemoryRegistry) -> int:
    return sum(record.wraps for record in registry.records())


def with_wraps(wraps: int) -> MemoryRegistry:
    registry = MemoryRegistry()
    registry.save(replace(first_record(), wraps=wraps))
    return registry


def test_wraps_are_counted_in_advance_and_rarely_written() -> None:
    registry = with_wraps(0)
    ledger = Ledger(registry)
    for wraps in range(1, 3 * RESERVED_WRAPS):
        ledger.count_wraps(ledger.active(KeyUse.MASTER))
        assert counted(registry) >= wraps
    assert counted(registry) == 3 * RESERVED_WRAPS
    ledger.count_wraps(ledger.active(KeyUse.MASTER), 1000)
    assert counted(registry) >= 3 * RESERVED_WRAPS + 999


def test_wraps_in_bulk_are_written_more_rarely_still() -> None:
    registry = with_wraps(0)
    ledger, written = Ledger(registry), set[int]()
    for calls in range(1, 65):
        ledger.count_wraps(ledger.active(KeyUse.MASTER), 64)
        assert counted(registry) >= 64 * calls
        written.add(counted(registry))
    assert len(written) == 4


def test_a_crash_counts_too_many_and_never_too_few() -> None:
    registry = with_wraps(0)
    for crashes in range(1, 4):
        Ledger(registry).count_wraps(registry.records()[0], 3)  # a process that dies after three wraps
        assert counted(registry) == crashes * RESERVED_WRAPS


def test_at_the_limit_nothing_is_wrapped_any_more() -> None:
    registry = with_wraps(WRAP_LIMIT - RESERVED_WRAPS - 1)
    ledger = Ledger(registry)
    ledger.count_wraps(ledger.active(KeyUse.MASTER))
    worn = Ledger(registry)
    with pytest.raises(KeyWornOut, match="coffre keys rotate"):
        worn.count_wraps(worn.active(KeyUse.MASTER))
    assert counted(registry) <= WRAP_LIMIT


@pytest.mark.hsm
def test_health_says_long_before_that_a_key_wears_out(token_keys: TokenKeys, registry: MemoryRegistry) -> None:
    assert "coffre keys rotate" not in token_keys.health().detail
    registry.count_wraps(1, WRAP_ALARM)
    token_keys.ledger.forget()
    health = token_keys.health()
    assert health.ok
    assert "coffre keys rotate" in health.detail


def test_versions_that_may_be_asked_are_the_active_one_and_older_ones_still_open() -> None:
    registry = MemoryRegistry()
    states = (KeyState.DESTROYED, KeyState.DECRYPT_ONLY, KeyState.DECRYPT_ONLY, KeyState.ACTIVE, KeyState.PENDING)
    for number, state in enumerate(states, 1):
        registry.save(replace(first_record(KeyUse.MAC), number=number, state=state))
    ledger = Ledger(registry)
    assert ledger.versions(KeyUse.MAC) == (4, 3, 2)
    with pytest.raises(KeyDestroyed):
        ledger.record(KeyUse.MAC, 1)
    with pytest.raises(KeyMissing):
        ledger.versions(KeyUse.MASTER)
