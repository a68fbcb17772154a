"""The recovery slot: a blank token, a quorum of cards, and everything opens again; nothing less than a quorum does."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kms.keys import Secret
from kms.lifecycle import Lifecycle
from kms.settings import KmsSettings
from kms.token import TokenKeys
from vault import founding
from vault.audit.events import Action
from vault.errors import Conflict, Invalid, NotFound, Tampered
from vault.model import Actor, Identity, Micros, Role, ScopeKind, Sex
from vault.opening import Vault, open_vault
from vault.sealing.recovery import combine, split
from vault.settings import VaultSettings, load
from vault.storage.keyring import RecoveryCopy, SqlRegistry
from vault.storage.slots import Slots
from vault.upkeep.recovery import Recovery
from vault.upkeep.reindex import Reindexing

TEXT = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"


def recovery_of(vault: Vault) -> Recovery:
    slots, tenant = Slots(vault.keyring_db), vault.installation.tenant
    return Recovery(keyring=vault.keyring, slots=slots, keys=vault.keys, tenant=tenant, clock=vault.clock)


def anne_of(vault: Vault) -> Actor:
    console = vault.people.sessions.console_actor(Role.OWNER)
    known = next((each for each in vault.people.accounts.all(console) if each.username == "anne"), None)
    person = (
        known.id if known else vault.people.accounts.create(console, username="anne", display_name="Anne", role=Role.CLINICIAN)
    )
    return replace(console, person=person, role=Role.CLINICIAN)


@pytest.fixture
def settings(tmp_path: Path, softhsm: KmsSettings) -> VaultSettings:
    """A founded vault with one patient and one document."""
    config = tmp_path / "vault" / "coffre.toml"
    founding.write_settings(config, softhsm, practice="Cabinet", bind="127.0.0.1:1")
    found = load(config, {})
    founding.found(found, Micros(1_790_000_000_000_000))
    return found


@pytest.fixture
def vault(settings: VaultSettings) -> Iterator[Vault]:
    with closing(open_vault(settings)) as opened:
        anne = anne_of(opened)
        patient = opened.patients.create(anne, Identity("Durand", ("Zoé",), "1980-03-12", Sex.FEMALE))
        opened.documents.store(
            anne, patient.id, type="11502-2", act_date=None, file_name="a.pdf", body=io.BytesIO(TEXT), channel="api"
        )
        yield opened


@pytest.mark.hsm
def test_a_blank_token_and_a_quorum_bring_everything_back(
    vault: Vault, settings: VaultSettings, new_token: Callable[[str], KmsSettings]
) -> None:
    cards = recovery_of(vault).create(2, 3)
    assert recovery_of(vault).rehearse(cards.lines[1:]) == 4
    slot = vault.keyring.slot()
    assert slot is not None
    assert slot.rehearsed_at is not None
    scopes = list(vault.keyring.scope_ids())
    vault.close()  # the token burns down here
    moved_settings = replace(settings, kms=new_token("blank"))
    with closing(open_vault(moved_settings)) as moved:
        assert isinstance(moved.keys, TokenKeys)
        life = Lifecycle(moved.keys, SqlRegistry(moved.keyring_db))
        result = recovery_of(moved).migrate(life, (cards.lines[2], cards.lines[0]))
        assert (result.moved, result.lost, result.master) == (len(scopes), (), 2)
        again = recovery_of(moved).migrate(life, (cards.lines[2], cards.lines[0]))
        assert (again.moved, again.master) == (0, 2)
        found = Reindexing(moved.db, moved.scopes, moved.keys, moved.installation.tenant).run()
        assert (found.patients, found.versions) == (1, 1)
        anne = anne_of(moved)
        [patient] = moved.patients.search(anne, "durand").items
        [document] = moved.documents.list(anne, patient.id).items
        with closing(moved.documents.open(anne, document.id, Action.DOCUMENT_VIEW)) as opened:
            assert b"".join(opened.read()) == TEXT
        assert moved.keyring.scopes_by_master() == {2: len(scopes)}


@pytest.mark.hsm
def test_new_scopes_are_copied_at_once_and_erased_ones_are_gone(vault: Vault) -> None:
    recovery = recovery_of(vault)
    cards = recovery.create(2, 2)
    fresh = vault.scopes.create(ScopeKind.PATIENT)
    slots = Slots(vault.keyring_db)
    assert fresh in slots.copies([fresh])
    assert slots.without_copy(cards.slot.id, 10) == []
    vault.keyring.delete_scope(fresh)
    assert slots.copies([fresh]) == {}


@pytest.mark.hsm
def test_an_interrupted_copying_is_completed(vault: Vault) -> None:
    recovery = recovery_of(vault)
    with pytest.raises(NotFound):
        recovery.complete()
    cards = recovery.create(2, 3)
    Slots(vault.keyring_db).add(replace(cards.slot, created_at=1))  # as if it had stopped before the first copy
    assert recovery.complete() == 4
    assert recovery.rehearse(cards.lines[:2]) == 4


@pytest.mark.hsm
def test_wrong_cards_are_refused_and_change_nothing(vault: Vault) -> None:
    recovery = recovery_of(vault)
    old = recovery.create(2, 3)
    new = recovery.create(2, 3)
    for lines in ([], [new.lines[0]], [new.lines[0], new.lines[0]], [new.lines[0], old.lines[1]], ["nonsense"] * 2):
        with pytest.raises(Invalid):
            recovery.rehearse(lines)
    with pytest.raises(Conflict, match="another recovery slot"):
        recovery.rehearse(old.lines[:2])
    assert recovery.rehearse([line.upper() for line in new.lines[:2]]) == 4


@pytest.mark.hsm
def test_a_forged_copy_is_found_at_the_rehearsal(vault: Vault) -> None:
    recovery, slots = recovery_of(vault), Slots(vault.keyring_db)
    cards = recovery.create(2, 2)
    first, second = list(vault.keyring.scope_ids())[:2]
    copies = slots.copies([first, second])
    slots.add_copies([RecoveryCopy(first, cards.slot.id, copies[second])])
    with pytest.raises(Tampered):
        recovery.rehearse(cards.lines)
    slots.add_copies([RecoveryCopy(first, cards.slot.id, copies[first][:-1] + bytes([copies[first][-1] ^ 1]))])
    with pytest.raises(Tampered):
        recovery.rehearse(cards.lines)


@pytest.mark.parametrize(("needed", "shares"), [(1, 1), (2, 2), (2, 3), (3, 5)])
def test_any_quorum_gives_the_seed_and_less_gives_nothing(needed: int, shares: int) -> None:
    seed = bytes(range(32))
    lines = split(Secret(seed), needed, shares)
    assert len(lines) == shares
    for quorum in itertools.combinations(lines, needed):
        assert combine(quorum).view == seed
    if needed > 1:
        with pytest.raises(Invalid) as refused:
            combine(lines[: needed - 1])
        told = [f"{one} {other}" for one, other in itertools.pairwise(lines[0].split())]
        assert not [words for words in told if words in str(refused.value)], (
            "one word may be the sentence's own, two are the card's"
        )


@pytest.mark.parametrize(("needed", "shares"), [(0, 3), (4, 3), (1, 2), (2, 17)])
def test_a_senseless_quorum_is_refused(needed: int, shares: int) -> None:
    with pytest.raises(Invalid):
        split(Secret(bytes(32)), needed, shares)
