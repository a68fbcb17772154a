"""Backups beside a key process: it signs them, its public keys verify them, and without it a trust file does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vault.upkeep.host import Host, run, said
from tests.vault.upkeep.practice import Practice

pytestmark = pytest.mark.hsm


@pytest.fixture
def practice(host: Host, tmp_path: Path) -> Practice:
    """Two documents filed beside the key process."""
    made = Practice(host.settings, tmp_path / "place")
    with made.vault() as vault:
        made.file(vault, made.patient(vault), 2)
    return made


def test_the_key_process_signs_them_and_says_whose_signature_counts(practice: Practice) -> None:
    made, place = practice.create(), str(practice.place)
    checked = practice.run("verify", place)
    assert (checked.status, checked.data["ok"], checked.data["checked"]) == (0, True, 2)
    opened = practice.run("verify", place, "--with-keys", "0")
    assert (opened.status, opened.data["ok"]) == (0, True), opened
    rehearsed = practice.run("drill", place)
    assert (rehearsed.status, rehearsed.data["ok"], rehearsed.data["backup"]) == (0, True, made), rehearsed


def test_one_made_before_the_audit_key_was_renewed_verifies_afterwards(practice: Practice, host: Host) -> None:
    older = practice.create()
    renewed = host.renew("audit")
    handed = run(host.settings.path, "keys", "hand-over", "audit", str(renewed["number"]), renewed["voucher"], "--json")
    assert said(handed)["ok"]
    newer = practice.create()
    for name in (older, newer):
        checked = practice.run("verify", str(practice.place), "--backup", name)
        assert (checked.status, checked.data["ok"], checked.data["checked"]) == (0, True, 2), name
