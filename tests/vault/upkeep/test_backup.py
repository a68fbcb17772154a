"""Backups on a real token: everything acknowledged is in them, nothing in clear, and whatever is wrong with one is named."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from kms.settings import KmsSettings
from tests.conftest import make_token
from tests.vault.upkeep.practice import FAMILY, FILE, ROOT, WORD, Practice, coffre, found, paper
from tests.vault.upkeep.test_decryptor import decrypt
from vault.audit.events import Action
from vault.errors import Conflict, Invalid, NotFound
from vault.model import BlobId, DocumentId, Role
from vault.settings import load
from vault.storage.schema import audit_entries, document_versions
from vault.upkeep.backup import Backup
from vault.upkeep.depot import Depot

pytestmark = pytest.mark.hsm


@dataclass
class Scene:
    """A vault with five documents and two backups; nothing here is changed by a test."""

    practice: Practice
    token: KmsSettings
    first: str
    second: str


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    room = tmp_path_factory.mktemp("backups")
    token = make_token(room / "softhsm")
    practice = found(room / "vault" / "coffre.toml", token)
    with practice.vault() as vault:
        practice.file(vault, practice.patient(vault), 3)
    first = practice.create()
    with practice.vault() as vault:
        practice.file(vault, practice.patient(vault, "Léa"), 2)
    return Scene(practice, token, first, practice.create())


@pytest.fixture
def place(scene: Scene, tmp_path: Path) -> Path:
    """The place of its backups, to be damaged."""
    shutil.copytree(scene.practice.place, tmp_path / "place")
    return tmp_path / "place"


def test_a_second_backup_copies_only_what_is_new_and_both_are_in_the_log(scene: Scene) -> None:
    said = scene.practice.run("verify", str(scene.practice.place))
    assert (said.status, said.data["ok"], said.data["checked"], said.data["newer"]) == (0, True, 5, [])
    older = scene.practice.run("verify", str(scene.practice.place), "--backup", scene.first)
    assert (older.status, older.data["checked"], older.data["newer"]) == (0, 3, [scene.second])
    assert older.data["keyring"] == scene.second, "the newest keyring counts: what was erased since stays erased"
    assert len([each for each in (scene.practice.place / "blobs").glob("??/*") if each.is_file()]) == 5
    with scene.practice.vault() as vault, vault.db.read() as connection:
        columns = audit_entries.c
        rows = connection.execute(select(columns.outcome).where(columns.action == Action.SYSTEM_BACKUP.value))
        assert [row.outcome for row in rows] == ["granted", "success"] * 2


def pruning(place: Path, keep: int) -> str:
    """The operator's script as docs/operations.md prints it."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    [script] = [block for block in blocks if "keep=14" in block]
    return script.replace("keep=14", f"keep={keep}").replace("/srv/backup", str(place))


def test_the_documented_pruning_leaves_the_newest_whole(scene: Scene, place: Path) -> None:
    long_ago = time.time() - 40 * 86_400
    for path in place.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    stray, fresh = (place / "blobs" / name[:2] / name for name in ("0" * 32, "1" * 32))
    for path in (stray, fresh):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"nobody names it")
    os.utime(stray, (long_ago, long_ago))
    for keep in (2, 1, 1):
        subprocess.run(["sh", "-c", pruning(place, keep)], check=True, stdin=subprocess.DEVNULL)
        assert sorted(path.name for path in (place / "backups").iterdir()) == [scene.first, scene.second][-keep:]
    assert (stray.exists(), fresh.exists()) == (False, True)
    assert {path.stem for path in (place / "keyrings").iterdir()} == {scene.second}
    said = scene.practice.run("verify", str(place))
    assert (said.status, said.data["ok"], said.data["checked"]) == (0, True, 5)


def test_files_are_for_their_owner_and_nothing_is_left_under_way(scene: Scene) -> None:
    for path in scene.practice.place.rglob("*"):
        allowed = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) & ~allowed == 0, path
    assert list((scene.practice.place / "tmp").iterdir()) == []


def test_nothing_is_in_clear(scene: Scene) -> None:
    pin = scene.token.pin_file.read_bytes().strip()
    for path in scene.practice.place.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not [word for word in (FAMILY.encode(), FILE.encode(), WORD, b"1980-03-12", pin) if word in data], path


def test_the_independent_decryptor_opens_a_document_of_a_backup(scene: Scene, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    place = scene.practice.place
    shutil.copy(place / "backups" / scene.first / "coffre.db", copy / "coffre.db")
    shutil.copy(place / "keyrings" / f"{scene.first}.db", copy / "keyring.db")
    (copy / "blobs").symlink_to(place / "blobs")
    document, data = next(iter(scene.practice.filed.items()))
    opened = decrypt(copy, scene.token, document)
    assert (opened.returncode, opened.stdout) == (0, data), opened.stderr


def newest(place: Path, scene: Scene) -> Path:
    return place / "backups" / scene.second


def blob(place: Path) -> Path:
    return min(each for each in (place / "blobs").glob("??/*") if each.is_file())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


DAMAGE: dict[str, tuple[Callable[[Path, Scene], object], str]] = {
    "database flipped": (lambda place, scene: flip(newest(place, scene) / "coffre.db"), "damaged"),
    "database cut": (lambda place, scene: cut(newest(place, scene) / "coffre.db"), "truncated"),
    "database gone": (lambda place, scene: (newest(place, scene) / "coffre.db").unlink(), "missing"),
    "database older": (
        lambda place, scene: shutil.copy(place / "backups" / scene.first / "coffre.db", newest(place, scene) / "coffre.db"),
        "truncated damaged",
    ),
    "list flipped": (lambda place, scene: flip(newest(place, scene) / "blobs.list"), "damaged"),
    "settings cut": (lambda place, scene: cut(newest(place, scene) / "coffre.toml"), "truncated"),
    "manifest gone": (lambda place, scene: (newest(place, scene) / "manifest").unlink(), "truncated"),
    "manifest cut": (lambda place, scene: cut(newest(place, scene) / "manifest"), "manifest"),
    "manifest flipped": (lambda place, scene: flip(newest(place, scene) / "manifest"), "manifest"),
    "manifest older": (
        lambda place, scene: shutil.copy(place / "backups" / scene.first / "manifest", newest(place, scene) / "manifest"),
        "manifest",
    ),
    "body flipped": (lambda place, _: flip(blob(place)), "damaged"),
    "body cut": (lambda place, _: cut(blob(place)), "truncated"),
    "body gone": (lambda place, _: blob(place).unlink(), "missing"),
    "keyring flipped": (lambda place, scene: flip(place / "keyrings" / f"{scene.second}.db"), "keyring"),
    "keyrings gone": (lambda place, _: shutil.rmtree(place / "keyrings"), "keyring"),
}


@pytest.mark.parametrize("what", sorted(DAMAGE))
def test_damage_is_named(scene: Scene, place: Path, what: str) -> None:
    harm, kinds = DAMAGE[what]
    harm(place, scene)
    said = scene.practice.run("verify", str(place))
    assert said.status == 1, said
    assert {each["kind"] for each in said.data["findings"]} <= set(kinds.split()), said.data
    assert said.data["findings"]


def test_a_newer_format_is_named(scene: Scene, place: Path) -> None:
    manifest = newest(place, scene) / "manifest"
    manifest.write_text(manifest.read_text().replace("coffre-backup/1", "coffre-backup/2", 1))
    assert scene.practice.run("verify", str(place)).data["findings"] == [{"part": "manifest", "kind": "format"}]


def test_a_trust_file_verifies_where_no_vault_is_and_another_vaults_does_not(
    scene: Scene, tmp_path: Path, new_token: Callable[[str], KmsSettings]
) -> None:
    with scene.practice.vault() as vault:
        (tmp_path / "trust.txt").write_text(vault.auditing.trust())
    blank = scene.practice.elsewhere(tmp_path / "blank")
    words = ("verify", str(scene.practice.place))
    assert scene.practice.run(*words, "--trust", str(tmp_path / "trust.txt"), settings=blank).status == 0
    refused = scene.practice.run(*words, settings=blank)
    assert isinstance(refused.error, Invalid), "an empty place knows nobody who signs"
    assert not list(blank.path.parent.glob("*.db")), "and looking makes nothing"
    other = found(tmp_path / "other" / "coffre.toml", new_token("other"))
    said = other.run(*words)
    assert (said.status, said.data["findings"]) == (1, [{"part": "manifest", "kind": "foreign"}])


def test_the_real_command_line(scene: Scene) -> None:
    done = coffre(scene.practice.settings.path, "backup", "verify", str(scene.practice.place), token=scene.token)
    assert done.returncode == 0, done.stderr
    assert "Everything in it is well." in done.stdout
    lost = coffre(scene.practice.settings.path, "backup", "verify", "/nonexistent", token=scene.token)
    assert (lost.returncode, lost.stdout) == (2, "")
    assert "no backup stands in /nonexistent" in lost.stderr


# --- what changes the vault: each its own -------------------------------------------------------------------------------------


@pytest.fixture
def practice(scene: Scene, tmp_path: Path) -> Practice:
    """A copy of the vault, its token shared, with a place of its own."""
    home = scene.practice.settings.path.parent
    shutil.copytree(home, tmp_path / "vault")
    config = tmp_path / "vault" / "coffre.toml"
    config.write_text(config.read_text().replace(str(home), str(config.parent)))
    return Practice(load(config, {}), tmp_path / "own", dict(scene.practice.filed))


def bodies_of(practice: Practice) -> list[Path]:
    return sorted(path for path in (practice.settings.path.parent / "blobs").glob("??/*") if path.is_file())


def test_what_the_vault_itself_has_lost_is_named_and_does_not_stop_the_backup(practice: Practice) -> None:
    lost, harmed = bodies_of(practice)[:2]
    lost.unlink()
    flip(harmed)
    said = practice.run("create", str(practice.place))
    assert said.status == 1
    assert sorted(each["kind"] for each in said.data["lacking"]) == ["damaged", "missing"]
    checked = practice.run("verify", str(practice.place))
    assert (checked.status, {each["kind"] for each in checked.data["findings"]}) == (1, {"lacking"})


def test_a_body_damaged_in_the_place_to_another_size_is_copied_anew(practice: Practice) -> None:
    practice.create()
    cut(blob(practice.place))
    assert practice.run("create", str(practice.place)).data["copied"] == 1
    assert practice.run("verify", str(practice.place)).status == 0


def test_a_draft_destroyed_while_bodies_are_copied_costs_a_second_snapshot_and_nothing_else(practice: Practice) -> None:
    """Its row is in the snapshot, its body is gone: the backup must neither fail nor name what was never lost."""
    with practice.vault() as vault:
        clerk = practice.anne(vault)
        draft = vault.inbox.deposit(clerk, file_name="a.pdf", body=io.BytesIO(paper(99))).id
        with vault.db.read() as connection:
            body = connection.execute(
                select(document_versions.c.blob).where(document_versions.c.document == draft)
            ).scalar_one()
        turns: list[int] = []

        def begin(count: int) -> Callable[[int], None]:
            turns.append(count)
            if len(turns) == 1:
                vault.inbox.discard(clerk, draft)
            return lambda _more: None

        operator = vault.people.sessions.console_actor(Role.ADMIN)
        made = Backup(vault, Depot(practice.place)).create(operator, begin)
        with pytest.raises(NotFound):
            vault.blobs.open(BlobId(body))
    assert (turns, made.manifest.documents, made.lacking) == ([6, 5], 5, ())


def test_copies_of_the_keyring_go_after_their_time_and_no_other(practice: Practice) -> None:
    practice.create()
    keyrings = practice.place / "keyrings"
    [now] = [path.stem for path in keyrings.glob("*.db")]
    for name in ("20200101T000000Z-00000000", "20210101T000000Z-00000001"):
        for suffix in ("db", "note"):
            shutil.copy(keyrings / f"{now}.{suffix}", keyrings / f"{name}.{suffix}")
    said = practice.run("create", str(practice.place), "--keep", "30")
    assert len(said.data["keyrings_removed"]) == 2
    assert {path.stem for path in keyrings.iterdir()} == {now, said.data["backup"]}
    assert practice.run("create", str(practice.place), "--keep", "36").status == 2, "longer than was promised"


def test_one_backup_at_a_time(practice: Practice) -> None:
    depot = Depot(practice.place)
    depot.prepare()
    with depot.alone():
        assert isinstance(practice.run("create", str(practice.place)).error, Conflict)


def test_the_copy_is_one_file_that_needs_no_neighbour(scene: Scene) -> None:
    path = newest(scene.practice.place, scene) / "coffre.db"
    assert [each.name for each in sorted(path.parent.iterdir())] == ["blobs.list", "coffre.db", "coffre.toml", "manifest"]
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*) FROM document_versions").fetchone() == (5,)
    said = json.loads((path.parent / "manifest").read_text().split("\n", 1)[1].partition("\n\n")[0])
    assert (said["documents"], said["backend"]) == (5, "sqlite")
    assert all(DocumentId(each) not in json.dumps(said) for each in scene.practice.filed)
