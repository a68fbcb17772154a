"""Restores on a real token: everything comes back, erasures stay, and nothing that is wrong harms what lives."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from kms.settings import KmsSettings
from tests.conftest import make_token
from tests.vault.upkeep.practice import FAMILY, Practice, contents, found
from tests.vault.upkeep.test_backup import cut, flip
from vault.audit.events import Action
from vault.errors import Conflict, KeysUnavailable, NotFound, Tampered
from vault.model import PatientId, Role, ScopeId
from vault.opening import Vault, open_vault
from vault.settings import VaultSettings
from vault.storage.schema import audit_entries, patients, sessions

pytestmark = pytest.mark.hsm


@dataclass
class Scene:
    """A vault with two patients, three documents and two backups; nothing here is changed by a test but the token's mark."""

    practice: Practice
    token: KmsSettings
    kept: PatientId
    gone: PatientId
    first: str
    second: str


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    room = tmp_path_factory.mktemp("restores")
    token = make_token(room / "softhsm")
    practice = found(room / "vault" / "coffre.toml", token)
    with practice.vault() as vault:
        kept, gone = practice.patient(vault), practice.patient(vault, "Léa")
        practice.file(vault, kept, 2)
        practice.file(vault, gone)
    first, second = practice.create(), practice.create()
    with practice.vault() as vault:  # work that no backup has, and that the token knows of
        practice.patient(vault, "Ève")
        vault.auditing.checkpoint(vault.people.sessions.console_actor(Role.AUDITOR))
    return Scene(practice, token, kept, gone, first, second)


@pytest.fixture
def place(scene: Scene, tmp_path: Path) -> Path:
    shutil.copytree(scene.practice.place, tmp_path / "place")
    return tmp_path / "place"


@pytest.fixture
def blank(scene: Scene, tmp_path: Path) -> VaultSettings:
    """A machine with settings, the token, and nothing else."""
    return scene.practice.elsewhere(tmp_path / "blank")


def actions(vault: Vault) -> list[str]:
    with vault.db.read() as connection:
        return [row.action for row in connection.execute(select(audit_entries.c.action).order_by(audit_entries.c.position))]


def test_a_blank_machine_with_the_token_has_everything_again(scene: Scene, blank: VaultSettings) -> None:
    said = scene.practice.run("restore", str(scene.practice.place), settings=blank)
    assert said.status == 0, said
    assert (said.data["backup"], said.data["copied"], said.data["erased_again"], said.data["finished"]) == (
        scene.second, 3, 0, True,
    )  # fmt: skip
    assert said.data["log_remembered"] > said.data["log_size"]
    with closing(open_vault(blank)) as vault:
        anne = scene.practice.anne(vault)
        assert contents(vault, list(scene.practice.filed), anne) == scene.practice.filed
        assert vault.auditing.verify(vault.people.sessions.console_actor(Role.AUDITOR)).is_whole
        told = actions(vault)
        # The log went back behind the token's mark, and says so for ever.
        assert told.index("system.restore") < told.index("log.rollback_detected") < told.index("log.epoch_opened")
    assert not (blank.path.parent / ".restoring").exists()


def test_restoring_anew_goes_on_where_it_was_cut(scene: Scene, blank: VaultSettings) -> None:
    blobs = blank.path.parent / "blobs"
    shutil.copytree(scene.practice.place / "blobs", blobs)
    one = min(path for path in blobs.glob("??/*"))
    one.rename(one.with_suffix(".part"))
    (blank.path.parent / ".restoring").mkdir()
    said = scene.practice.run("restore", str(scene.practice.place), settings=blank)
    assert (said.status, said.data["copied"]) == (0, 1)


@pytest.mark.parametrize("harm", ["database", "body", "cut body", "manifest", "keyrings", "foreign"])
def test_what_is_not_well_changes_nothing(scene: Scene, place: Path, blank: VaultSettings, tmp_path: Path, harm: str) -> None:
    newest = place / "backups" / scene.second
    body = min(path for path in (place / "blobs").glob("??/*"))
    match harm:
        case "database":
            flip(newest / "coffre.db")
        case "body":
            flip(body)
        case "cut body":
            cut(body)
        case "manifest":
            (newest / "manifest").write_text((newest / "manifest").read_text().replace('"documents": 3', '"documents": 2'))
        case "keyrings":
            shutil.rmtree(place / "keyrings")
        case "foreign":
            (tmp_path / "trust.txt").write_text("")
    extra = ("--trust", str(tmp_path / "trust.txt")) if harm == "foreign" else ()
    refused = scene.practice.run("restore", str(place), *extra, settings=blank)
    assert isinstance(refused.error, Tampered), refused
    assert "nothing was changed" in str(refused.error)
    assert sorted(path.name for path in blank.path.parent.iterdir()) == ["coffre.toml"]


def test_a_wrong_token_is_told_and_changes_nothing(
    scene: Scene, tmp_path: Path, new_token: Callable[[str], KmsSettings]
) -> None:
    other = new_token("other")
    found(tmp_path / "owner" / "coffre.toml", other)  # a token with keys of another vault
    for kms in (other, new_token("empty")):
        machine = scene.practice.elsewhere(tmp_path / kms.token_label, kms)
        refused = scene.practice.run("restore", str(scene.practice.place), settings=machine)
        assert isinstance(refused.error, KeysUnavailable), refused
        assert "nothing was changed" in str(refused.error)
        assert sorted(path.name for path in machine.path.parent.iterdir()) == ["coffre.toml"]


def test_a_forged_backup_does_not_pass_on_the_words_of_its_own_keyring(
    scene: Scene, tmp_path: Path, blank: VaultSettings, new_token: Callable[[str], KmsSettings]
) -> None:
    """Everything in it agrees with itself; but another token signed it."""
    forger = found(tmp_path / "forger" / "coffre.toml", new_token("forger"))
    forger.create()
    refused = forger.run("restore", str(forger.place), settings=blank)
    assert isinstance(refused.error, KeysUnavailable)
    assert sorted(path.name for path in blank.path.parent.iterdir()) == ["coffre.toml"]


def test_a_vault_that_stands_is_not_touched_without_being_told_to(scene: Scene, tmp_path: Path, blank: VaultSettings) -> None:
    place = str(scene.practice.place)
    assert scene.practice.run("restore", place, settings=blank).status == 0
    before = (blank.path.parent / "coffre.db").read_bytes()
    assert isinstance(scene.practice.run("restore", place, settings=blank).error, Conflict)
    assert scene.practice.run("restore", place, "--replace", settings=blank).status == 2, "programs say --yes"
    assert (blank.path.parent / "coffre.db").read_bytes() == before
    older = scene.practice.run("restore", place, "--replace", "--yes", "--backup", scene.first, settings=blank)
    assert isinstance(older.error, Conflict)
    assert "--older" in str(older.error)
    done = scene.practice.run("restore", place, "--replace", "--yes", "--older", "--backup", scene.first, settings=blank)
    assert (done.status, done.data["put_aside"]) == (
        0, [f"keyring.db.before-{scene.first}", f"coffre.db.before-{scene.first}"],
    )  # fmt: skip
    with closing(sqlite3.connect(blank.path.parent / f"coffre.db.before-{scene.first}")) as aside:
        assert aside.execute("PRAGMA quick_check").fetchone() == ("ok",)


def test_a_vault_at_work_is_not_put_aside(scene: Scene, blank: VaultSettings) -> None:
    assert scene.practice.run("restore", str(scene.practice.place), settings=blank).status == 0
    with closing(open_vault(blank)) as vault:
        vault.auditing.serve("test", lambda error: None)
        refused = scene.practice.run("restore", str(scene.practice.place), "--replace", "--yes", settings=blank)
    assert isinstance(refused.error, Conflict)
    assert "stop the service" in str(refused.error)


def test_what_was_erased_after_the_backup_stays_erased(scene: Scene, place: Path, blank: VaultSettings) -> None:
    """The rescued keyring is newer than the backup: one patient's key and log salt are not in it any more."""
    keyring = blank.path.parent / "rescued.db"
    home = scene.practice.settings.path.parent
    with closing(sqlite3.connect(home / "keyring.db")) as live, closing(sqlite3.connect(keyring)) as copy:
        live.backup(copy)
    with closing(sqlite3.connect(home / "coffre.db")) as live:
        [scope] = live.execute("SELECT scope FROM patients WHERE id = ?", (scene.gone,)).fetchone()
    with closing(sqlite3.connect(keyring)) as copy, copy:
        copy.execute("DELETE FROM scopes WHERE id = ?", (scope,))
        copy.execute("DELETE FROM log_salts WHERE patient = ?", (scene.gone,))
    said = scene.practice.run("restore", str(place), "--keyring", str(keyring), settings=blank)
    assert (said.status, said.data["erased_again"]) == (0, 1), said
    with closing(open_vault(blank)) as vault:
        anne = scene.practice.anne(vault)
        [lost] = [document for document, data in scene.practice.filed.items() if data.endswith(last(scene))]
        left = [document for document in scene.practice.filed if document != lost]
        assert set(contents(vault, left, anne)) == set(left)
        with pytest.raises(NotFound):
            contents(vault, [lost], anne)
        with pytest.raises(NotFound), vault.scopes.open(ScopeId(scope)):
            pass
        assert [each.id for each in vault.patients.search(anne, FAMILY.lower()).items] == [scene.kept]
        with vault.db.read() as connection:
            state = connection.execute(select(patients.c.state).where(patients.c.id == scene.gone)).scalar_one()
            assert connection.execute(select(sessions)).all() == []
        assert state == "erased"
        assert "audit.subject_erased" in actions(vault)
        assert vault.auditing.verify(vault.people.sessions.console_actor(Role.AUDITOR)).is_whole


def last(scene: Scene) -> bytes:
    """The end of the only document of the patient who goes."""
    return list(scene.practice.filed.values())[2]


def test_an_older_or_foreign_keyring_is_refused(scene: Scene, place: Path, blank: VaultSettings, tmp_path: Path) -> None:
    with closing(sqlite3.connect(place / "keyrings" / f"{scene.first}.db")) as old:
        assert old.execute("SELECT size FROM log_marks").fetchone()
    refused = scene.practice.run(
        "restore", str(place), "--keyring", str(place / "keyrings" / f"{scene.first}.db"), settings=blank
    )
    assert isinstance(refused.error, Conflict), refused
    assert sorted(path.name for path in blank.path.parent.iterdir()) == ["coffre.toml"]


def test_without_a_token_it_is_laid_down_and_finished_later(scene: Scene, blank: VaultSettings, tmp_path: Path) -> None:
    place = str(scene.practice.place)
    assert isinstance(scene.practice.run("restore", place, "--without-token", settings=blank).error, Conflict)
    with scene.practice.vault() as vault:
        (tmp_path / "trust.txt").write_text(vault.auditing.trust())
    laid = scene.practice.run("restore", place, "--without-token", "--trust", str(tmp_path / "trust.txt"), settings=blank)
    assert (laid.status, laid.data["finished"]) == (0, False)
    assert json.loads((blank.path.parent / "restored.json").read_text())["backup"] == scene.second
    done = scene.practice.run("restore", place, settings=blank)
    assert (done.status, done.data["finished"]) == (0, True)
    assert not (blank.path.parent / "restored.json").exists()
    with closing(open_vault(blank)) as vault:
        assert actions(vault).count(Action.SYSTEM_RESTORE.value) == 1
        assert contents(vault, list(scene.practice.filed), scene.practice.anne(vault)) == scene.practice.filed
