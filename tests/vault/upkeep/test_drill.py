"""The rehearsal of a disaster: restored to scratch, opened, measured, signed, wiped; and loud when it fails."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from kms.settings import KmsSettings
from tests.conftest import make_token
from tests.vault.upkeep.practice import FAMILY, FILE, WORD, Practice, coffre, found
from tests.vault.upkeep.test_backup import flip
from vault.model import Micros
from vault.settings import load
from vault.storage.schema import audit_entries, document_versions
from vault.upkeep import manifest
from vault.upkeep.rehearsed import DAY_US, rehearsals

pytestmark = pytest.mark.hsm


@dataclass
class Scene:
    practice: Practice
    token: KmsSettings
    backup: str


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    room = tmp_path_factory.mktemp("drills")
    token = make_token(room / "softhsm")
    practice = found(room / "vault" / "coffre.toml", token)
    with practice.vault() as vault:
        patient = practice.patient(vault)
        practice.file(vault, patient, 4)
    return Scene(practice, token, practice.create())


@pytest.fixture
def place(scene: Scene, tmp_path: Path) -> Path:
    shutil.copytree(scene.practice.place, tmp_path / "place")
    return tmp_path / "place"


def test_a_drill_opens_real_documents_measures_and_signs(scene: Scene, place: Path) -> None:
    with scene.practice.vault() as vault:  # the log goes on after the backup; its copy is no less whole for it
        scene.practice.patient(vault, "Ève")
    said = scene.practice.run("drill", str(place), "--sample", "0")
    assert (said.status, said.data["ok"], said.data["documents_opened"], said.data["log_fault"]) == (0, True, 4, None), said
    assert said.data["rpo_minutes"] >= 1 <= said.data["rto_minutes"]
    note, paper = (Path(each) for each in said.data["reports"])
    assert "Résultat                 RÉUSSI" in paper.read_text()
    with scene.practice.vault() as vault:
        found_ = manifest.opened(note.read_text(), manifest.DRILL, vault.auditing.checkpoints.verifiers())
        assert (found_["ok"], found_["documents_opened"]) == (True, 4)
        with vault.db.read() as connection:
            columns = audit_entries.c
            rows = connection.execute(
                select(columns.outcome).where(columns.action == "system.restore_drill").order_by(columns.position)
            ).all()
        assert rows[-1].outcome == "success"
        marked = vault.auditing.checkpoints.marks.in_token()
        assert marked is not None
        assert marked.generation == 0, "a drill puts no mark of its own into the token"
        standing = rehearsals(vault.db, vault.clock())
        assert (standing.is_late, standing.is_untried, standing.drill_days) == (False, False, 0)
        later = rehearsals(vault.db, Micros(vault.clock() + 200 * DAY_US))
        assert (later.is_late, later.is_untried) == (True, True)
    assert not list(scene.practice.settings.path.parent.glob(".drill-*"))
    for path in (note, paper):
        assert not [word for word in (FAMILY.encode(), FILE.encode(), WORD) if word in path.read_bytes()]


def test_a_drill_that_fails_is_loud_and_wipes_its_scratch_too(scene: Scene, place: Path) -> None:
    flip(min(path for path in (place / "blobs").glob("??/*")))
    done = coffre(scene.practice.settings.path, "backup", "drill", str(place), token=scene.token)
    assert done.returncode == 1, done.stderr
    assert "THE DRILL FAILED" in done.stdout
    assert not list(scene.practice.settings.path.parent.glob(".drill-*"))
    [paper] = (place / "drills").glob("*.txt")
    assert "ÉCHEC" in paper.read_text()
    with scene.practice.vault() as vault:
        assert rehearsals(vault.db, vault.clock()).is_untried


def test_documents_that_do_not_open_fail_it_even_where_every_digest_is_right(scene: Scene, tmp_path: Path) -> None:
    """Somebody altered a sealed data key in the vault before the backup: digests agree, only opening shows it."""
    home = scene.practice.settings.path.parent
    shutil.copytree(home, tmp_path / "vault")
    config = tmp_path / "vault" / "coffre.toml"
    config.write_text(config.read_text().replace(str(home), str(config.parent)))
    spoilt = Practice(load(config, {}), tmp_path / "place")
    with spoilt.vault() as vault, vault.db.writing() as connection:
        rows = connection.execute(select(document_versions.c.document, document_versions.c.data_key_sealed)).all()
        bad = rows[0].data_key_sealed[:-1] + bytes([rows[0].data_key_sealed[-1] ^ 1])
        change = document_versions.update().where(document_versions.c.document == rows[0].document)
        connection.execute(change.values(data_key_sealed=bad))
    spoilt.create()
    assert spoilt.run("verify", str(spoilt.place)).status == 0
    checked = spoilt.run("verify", str(spoilt.place), "--with-keys", "0")
    assert (checked.status, checked.data["opened"], len(checked.data["not_opened"])) == (1, 4, 1)
    drilled = spoilt.run("drill", str(spoilt.place), "--sample", "0")
    assert (drilled.status, len(drilled.data["not_opened"])) == (1, 1)
    assert drilled.data["not_opened"][0].endswith(": key")
