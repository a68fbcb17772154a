"""The end of a key beside a key process: asked for and agreed to where the vault is, made on the key process's host."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kms.errors import KeyDestroyed, ReleaseRefused
from kms.journal import read
from kms.keys import KeyState, KeyUse
from kms.release import FORMAT, VALID_US, Release, opened
from tests.kms.fake import FakeKeyService
from tests.vault.upkeep.host import Host, run, said
from tests.vault.upkeep.test_recovery import anne_of
from tests.vault.upkeep.test_reindex import admit, lost
from vault.audit import note
from vault.audit.checkpoint import origin_of
from vault.cli import Console
from vault.demo import phone
from vault.errors import BadSettings, Conflict, Forbidden, NotFound
from vault.model import Actor, Client, PersonId, Role
from vault.opening import now_micros, open_vault
from vault.upkeep.custody import Custody
from vault.upkeep.manifest import signed
from vault.upkeep.reindex import Reindexing
from vault.upkeep.rotation import Rewrapping

pytestmark = pytest.mark.hsm
KEK = KeyUse.MASTER
PASSWORD = "marmite-verglas-ocarina-71"


def destroy(host: Host, *words: str, number: int = 1, use: str = "kek") -> Any:
    """Its destruction, on the host."""
    return said(run(host.keys, "keys", "destroy", use, str(number), *words, "--yes", "--json"))


def journal(host: Host) -> list[tuple[str, str]]:
    """What the host's journal says of destructions."""
    entries = [entry for _, entry in read(host.keys.parent / "journal")]
    return [(entry.what, entry.outcome) for entry in entries if entry.operation == "destroy"]


@pytest.fixture
def console(host: Host) -> Iterator[Console]:
    """The vault's console, its master key renewed and nothing brought under the new one yet."""
    with closing(Console(host.settings.path, {})) as made:
        host.renew("kek")
        vault, custody = made.vault, made.custody
        tenant = vault.installation.tenant
        custody.rewrapping = Rewrapping(vault.keyring, vault.keys, tenant, sleep=lambda _seconds: None)
        custody.reindexing = Reindexing(vault.db, vault.scopes, vault.keys, tenant, sleep=lambda _seconds: None)
        yield made


def by(console: Console, role: Role, number: int) -> Actor:
    return replace(console.vault.people.sessions.console_actor(role), person=PersonId(f"{number:032x}"))


def released(console: Console, path: Path) -> Path:
    """Both people's part, the keyring brought under the new key before."""
    custody: Custody = console.custody
    custody.rewrap(by(console, Role.ADMIN, 1), lambda _count: None)
    if custody.retired_by(KEK, 1) is None:
        custody.retire(by(console, Role.ADMIN, 1), KEK, 1)
    path.write_text(custody.release(by(console, Role.OWNER, 2), KEK, 1))
    return path


def hired(console: Console, username: str, role: Role, path: Path) -> Callable[[], Path]:
    """Somebody who went through a first sign-in; gives what writes their credentials file."""
    people, desk = console.vault.people, Client(agent="test")
    owner = people.sessions.console_actor()
    people.accounts.create(owner, username=username, display_name=username, role=role, password=PASSWORD)
    halfway = people.sign_in.password(username, PASSWORD, desk)
    secret = people.sign_in.enrolment(halfway.token).secret
    people.sign_in.confirm_enrolment(halfway.token, phone.code(secret, phone.present() - phone.STEP_S), desk)

    def write() -> Path:
        path.write_text(f"{username}\n{PASSWORD}\n{phone.code(secret, time.time())}\n")
        path.chmod(0o600)
        return path

    return write


@pytest.mark.timeout(120)
def test_a_rotation_beside_a_key_process_ends_the_old_key(host: Host, tmp_path: Path) -> None:
    config = str(host.settings.path)
    with closing(Console(host.settings.path, {})) as console:
        anne = anne_of(console.vault)
        admitted = admit(console.vault, anne, 2)
        admin = hired(console, "adele", Role.ADMIN, tmp_path / "admin")
        owner = hired(console, "odile", Role.OWNER, tmp_path / "owner")
        old = console.vault.keys.wrap(bytes(32), context=b"c")
    host.renew("kek")
    assert said(run(Path(config), "keys", "rewrap", "--json"))["left"] == {}
    retired = said(run(Path(config), "keys", "retire", "kek", "1", "--credentials", str(admin()), "--json"))
    assert (retired["number"], retired["state"]) == (1, "decrypt_only")
    file = tmp_path / "kek-1.release"
    words = ("keys", "release", "kek", "1", "-o", str(file), "--credentials", str(owner()))
    assert "--release kek-1.release" in run(Path(config), *words).output
    assert host.state() is KeyState.DECRYPT_ONLY
    assert destroy(host, "--release", str(file))["state"] == "destroyed"
    host.held.ledger.forget()
    with closing(open_vault(host.settings)) as vault:
        assert vault.keys.versions(KEK) == (2,)
        assert lost(vault, anne, admitted) == []
        with pytest.raises(KeyDestroyed):
            vault.keys.unwrap(old, context=b"c")
    assert said(run(host.keys, "keys", "check", "--json"))["ok"]
    assert destroy(host, "--release", str(file))["state"] == "destroyed"  # as after a crash: safe to repeat
    assert said(run(Path(config), "audit", "verify", "--json"))["ok"]
    event = json.loads(file.read_text().split("\n\n", maxsplit=1)[0].split("\n", 1)[1])["event"]
    assert journal(host) == [(f"kek/1/{event}", "granted"), (f"kek/1/{event}", "done")] * 2
    with closing(Console(host.settings.path, {})) as console:
        found = console.reconciliation.compare(host.keys.parent / "journal")
        assert [scope for _, scope in found.unexplained if scope.startswith("key ")] == []


def test_nothing_is_released_that_is_needed_or_to_which_one_person_agreed(host: Host, console: Console) -> None:
    custody, admin, owner = console.custody, by(console, Role.ADMIN, 1), by(console, Role.OWNER, 2)
    for act in (custody.retire, custody.release):
        with pytest.raises((Conflict, Forbidden)):
            act(admin, KEK, 1)
    with pytest.raises(Conflict, match="scope keys still stand under master key 1"):
        custody.retire(admin, KEK, 1)
    custody.rewrap(admin, lambda _count: None)
    with pytest.raises(Conflict, match="was not retired"):
        custody.release(owner, KEK, 1)
    custody.retire(admin, KEK, 1)
    with pytest.raises(Forbidden, match="two people"):
        custody.release(by(console, Role.OWNER, 1), KEK, 1)
    with pytest.raises(Conflict, match="active"):
        custody.retire(admin, KEK, 2)
    with pytest.raises(NotFound):
        custody.retire(admin, KEK, 9)
    with pytest.raises(BadSettings, match="keys retire and release here"):
        custody.destroy(owner, KEK, 1)
    assert host.state() is KeyState.DECRYPT_ONLY


def test_a_release_is_refused_once_something_stands_under_the_key_again(console: Console) -> None:
    """A keyring put back from before the rotation, after the administrator asked."""
    custody, admin = console.custody, by(console, Role.ADMIN, 1)
    keyring = console.vault.keyring_db
    with keyring.read() as connection:
        before = connection.exec_driver_sql("SELECT id, wrapped, master FROM scopes").all()
    custody.rewrap(admin, lambda _count: None)
    custody.retire(admin, KEK, 1)
    sql = "UPDATE scopes SET wrapped = ?, master = ? WHERE id = ?"
    rows = [(row.wrapped, row.master, row.id) for row in before]
    keyring.write(lambda connection: connection.exec_driver_sql(sql, rows).rowcount)
    with pytest.raises(Conflict, match="still stand under master key 1"):
        custody.release(by(console, Role.OWNER, 2), KEK, 1)


def signed_elsewhere(text: str, name: str) -> str:
    """By another vault's audit key."""
    keys = FakeKeyService()
    return note.sign(text, note.verifier(name, keys.public_key()), lambda digest: keys.sign(digest).raw)


def test_without_a_valid_release_the_host_changes_nothing(host: Host, console: Console, tmp_path: Path) -> None:
    file = released(console, tmp_path / "good")
    good = file.read_text()
    vault = console.vault
    tenant = vault.installation.tenant
    told = json.loads(good.split("\n\n")[0].split("\n", 1)[1])

    def by_our_key(form: str = FORMAT, **changes: object) -> str:
        return signed(form, {**told, **changes}, tenant, vault.keys)

    foreign = signed_elsewhere(good.split("\n\n")[0] + "\n", origin_of(tenant))
    checkpoint = vault.auditing.checkpoints.make().note
    for text, match in (
        (good.replace('"number": 1', '"number": 2'), "did not sign"),
        (good.replace(told["event"], told["event"][::-1]), "did not sign"),
        (foreign, "did not sign"),
        (checkpoint, "not a release"),
        (by_our_key("coffre-drill/1"), "not a release"),
        (good[: len(good) // 2], "not a release|cut or altered"),
        ("", "not a release"),
        (by_our_key(number=2), "another key"),
        (by_our_key(use="mac"), "another key"),
        (by_our_key(key="00" * 16), "another key"),
        (by_our_key(at=now_micros() - VALID_US - 1_000_000), "older than seven days"),
        (by_our_key(at=now_micros() + 3_600_000_000), "time to come"),
        (by_our_key(more=1), "cut or altered"),
        (by_our_key(at="now"), "cut or altered"),
        (good + "x" * 9_000, "too long"),
    ):
        bad = tmp_path / "bad"
        bad.write_text(text)
        with pytest.raises(ReleaseRefused, match=match):
            destroy(host, "--release", str(bad))
    with pytest.raises(ReleaseRefused, match="coffre keys release kek 1"):
        destroy(host)
    with pytest.raises(ReleaseRefused, match="active"):
        destroy(host, "--release", str(file), number=2)
    for words in (("retire", "kek", "1"), ("release", "kek", "1", "-o", str(tmp_path / "none"))):
        with pytest.raises(BadSettings, match="where the vault is"):
            run(host.keys, "keys", *words)
    assert {outcome for _, outcome in journal(host)} == {"release_refused"}
    assert host.state() is KeyState.DECRYPT_ONLY
    assert said(run(host.keys, "keys", "check", "--json"))["ok"]
    with pytest.raises(note.NoteRejected):
        note.parse_checkpoint(good.split("\n\n")[0] + "\n")
    assert run(host.settings.path, "keys", "destroy", "kek", "1", "--release", str(file), "--yes").exit_code == 2


def test_a_release_that_a_thief_of_the_socket_signed_is_found_afterwards(host: Host, console: Console, tmp_path: Path) -> None:
    console.custody.rewrap(by(console, Role.ADMIN, 1), lambda _count: None)
    keys, tenant = console.vault.keys, console.vault.installation.tenant
    forged = Release("kek", 1, keys.record(KEK, 1).key_id.hex(), tenant, "a", 0, "b", "0" * 32, now_micros())
    note_of = signed(FORMAT, forged.said(), tenant, keys)
    assert opened(note_of, keys.public_key()) == forged
    (tmp_path / "forged").write_text(note_of)
    destroy(host, "--release", str(tmp_path / "forged"))
    found = console.reconciliation.compare(host.keys.parent / "journal")
    assert [scope for _, scope in found.unexplained] == [f"key kek/1/{'0' * 32}"]


def test_audit_and_mac_keys_end_the_same_way(host: Host, console: Console, tmp_path: Path) -> None:
    custody, admin, owner = console.custody, by(console, Role.ADMIN, 1), by(console, Role.OWNER, 2)
    host.renew("mac")
    host.renew("audit")
    custody.reindex(admin, lambda _count: None)
    for use in (KeyUse.MAC, KeyUse.AUDIT):
        custody.retire(admin, use, 1)
        file = tmp_path / use.value
        file.write_text(custody.release(owner, use, 1))
        destroy(host, "--release", str(file), use=use.value)
        assert host.state(1, use) is KeyState.DESTROYED
    assert sha256(console.vault.keys.public_key(1)).digest() != sha256(console.vault.keys.public_key(2)).digest()
