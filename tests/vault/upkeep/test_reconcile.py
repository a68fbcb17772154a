"""The key process's log beside the access log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kms.caller import SYSTEM
from kms.journal import Journal
from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.vault.audit.conftest import Rig, created, open_rig, person
from tests.vault.upkeep.test_rotation import fill
from vault.errors import Tampered
from vault.storage.keyring import Keyring
from vault.upkeep.reconcile import Reconciled, Reconciliation


def compare(rig: Rig, tmp_path: Path, lines: list[tuple[str, str]], after_s: float = 0.0) -> Reconciled:
    """What reconciling says of these (caller, digest) openings, made ``after_s`` after the last event."""
    with closing(Journal(tmp_path / "journal", lambda: rig.clock.now + int(after_s * 1_000_000))) as journal:
        for caller, what in lines:
            journal.record("unwrap", caller, 1000, what, "done")
    return Reconciliation(Keyring(rig.keyring), rig.log).compare(tmp_path / "journal")


@pytest.fixture
def rig(tmp_path: Path, clock: Clock) -> Iterator[Rig]:
    with closing(open_rig(tmp_path, clock, FakeKeyService())) as made:
        yield made


def digests(rig: Rig) -> list[str]:
    keyring = Keyring(rig.keyring)
    return [hashlib.sha256(keyring.scope(scope).wrapped).hexdigest() for scope in fill(keyring, FakeKeyService(), 2)]


def test_an_opening_after_its_entry_is_explained(rig: Rig, tmp_path: Path) -> None:
    what = digests(rig)[0]
    rig.log.record(created(1, person(1)))
    found = compare(rig, tmp_path, [(person(1).person, what)], after_s=3)
    assert (found.ok, found.unwraps, found.explained) == (True, 1, 1)


@pytest.mark.parametrize("after_s", [400.0, -60.0])
def test_an_opening_without_an_entry_around_it_is_not(rig: Rig, tmp_path: Path, after_s: float) -> None:
    what = digests(rig)[0]
    rig.log.record(created(1, person(1)))
    found = compare(rig, tmp_path, [(person(1).person, what)], after_s)
    assert not found.ok
    assert found.unexplained[0][1] == f"{0:032x}"


def test_somebody_else_s_entry_does_not_explain_it(rig: Rig, tmp_path: Path) -> None:
    what = digests(rig)[0]
    rig.log.record(created(1, person(1)))
    assert not compare(rig, tmp_path, [(person(2).person, what)]).ok


def test_a_patient_s_key_is_never_the_system_s(rig: Rig, tmp_path: Path) -> None:
    what = digests(rig)[0]
    assert not compare(rig, tmp_path, [(SYSTEM, what)]).ok


def test_the_system_s_own_scopes_are_counted(rig: Rig, tmp_path: Path) -> None:
    found = compare(rig, tmp_path, [(SYSTEM, "ab" * 32)])
    assert (found.ok, found.system) == (True, 1)


def test_an_altered_journal_is_not_compared(rig: Rig, tmp_path: Path) -> None:
    compare(rig, tmp_path, [(SYSTEM, "ab" * 32), (SYSTEM, "cd" * 32)])
    journal = tmp_path / "journal"
    journal.write_bytes(journal.read_bytes().replace(b"abab", b"acac"))
    with pytest.raises(Tampered):
        Reconciliation(Keyring(rig.keyring), rig.log).compare(journal)
