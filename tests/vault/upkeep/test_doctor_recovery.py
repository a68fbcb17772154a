"""What doctor says of the ways back from a lost token: cards, or a copy of the token, tried within the year."""

from __future__ import annotations

import pytest

from vault.model import Micros
from vault.storage.keyring import RecoverySlot
from vault.storage.slots import TokenCopy
from vault.upkeep.doctor import DAY_US, check_recovery

NOW = 1_790_000_000_000_000
KEYS = "audit/1 kek/1 mac/1"


def slot(days_ago: int | None) -> RecoverySlot:
    tried = None if days_ago is None else Micros(NOW - days_ago * DAY_US)
    return RecoverySlot("a" * 32, bytes(32), 2, 3, Micros(0), tried)


def copied(days_ago: int, covers: str = KEYS) -> TokenCopy:
    return TokenCopy("c" * 32, "/media/usb", covers, NOW - days_ago * DAY_US)


@pytest.mark.parametrize(
    ("cards", "copy", "ok", "word"),
    [
        (None, None, False, "recovery-create"),
        (slot(None), None, False, "recovery-rehearse"),
        (slot(3), None, True, "2 of 3"),
        (slot(399), None, True, "2 of 3"),
        (slot(401), None, False, "recovery-rehearse"),
        (None, copied(3), True, "/media/usb"),
        (None, copied(401), False, "token-copy"),
        (None, copied(3, "audit/1 kek/0 mac/1"), False, "lacks kek/1"),
        (slot(None), copied(3), True, "/media/usb"),
        (slot(3), copied(3, ""), True, "2 of 3"),
    ],
)
def test_one_way_back_must_exist_and_have_been_tried(
    cards: RecoverySlot | None, copy: TokenCopy | None, ok: bool, word: str
) -> None:
    check = check_recovery(cards, copy, KEYS, NOW)
    assert check.ok is ok
    assert word in check.detail
