"""What doctor says of recovery cards."""

from __future__ import annotations

import pytest

from vault.model import Micros
from vault.storage.keyring import RecoverySlot
from vault.upkeep.doctor import DAY_US, check_recovery

NOW = 1_790_000_000_000_000


def slot(days_ago: int | None) -> RecoverySlot:
    tried = None if days_ago is None else Micros(NOW - days_ago * DAY_US)
    return RecoverySlot("a" * 32, bytes(32), 2, 3, Micros(0), tried)


@pytest.mark.parametrize(
    ("found", "is_demo", "ok"),
    [
        (None, True, True),
        (None, False, False),
        (slot(None), False, False),
        (slot(3), False, True),
        (slot(399), False, True),
        (slot(401), False, False),
    ],
)
def test_cards_must_exist_and_have_been_tried(found: RecoverySlot | None, is_demo: bool, ok: bool) -> None:
    assert check_recovery(found, NOW, is_demo=is_demo).ok is ok
