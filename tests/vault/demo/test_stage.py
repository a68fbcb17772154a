"""The demonstration is whole, found again, never made on top of something else, and as sealed as a real practice."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from tests.demonstration import copy
from tests.journeys.disk import search
from vault.demo import cast, stage
from vault.demo.stage import Demo
from vault.errors import Conflict, NotFound, NotInitialised
from vault.model import Role
from vault.opening import open_vault
from vault.settings import load

pytestmark = [pytest.mark.hsm, pytest.mark.xdist_group("demo")]

BIND = "127.0.0.1:8000"


def silent(_line: str) -> None:
    """Progress is for people."""


@pytest.fixture(scope="module")
def made(pristine: Demo, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return copy(pristine, tmp_path_factory.mktemp("demo"))


def test_has_somebody_in_each_role_whose_secrets_stand_in_a_closed_file(made: Demo) -> None:
    file = made.directory / stage.ACCOUNTS
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert {row["role"] for row in rows} == set(Role)
    assert list(rows[0]) == ["username", "password", "totp_secret", "recovery_codes", "role"]
    assert len({row["password"] for row in rows}) == len(rows)


def test_everybody_signs_in_with_the_code_shown_now(made: Demo) -> None:
    vault = open_vault(load(made.config, {}))
    try:
        for account in made.accounts:
            signed_in = vault.people.sign_in.at_once(account.username, account.password, account.code(time.time()), stage.DESK)
            assert signed_in.actor.role is account.role
    finally:
        vault.close()


def test_names_no_patient_and_no_secret_on_the_disk(made: Demo) -> None:
    words = [part.identity.birth_name for part in cast.PATIENTS if len(part.identity.birth_name) > 6]
    words += [paper.file_name for part in cast.PATIENTS for paper in part.papers]
    words += [account.password for account in made.accounts] + [account.totp_secret for account in made.accounts]
    assert len(words) > 30
    assert search(made.directory, words, skip=[made.directory / stage.ACCOUNTS]) == []


def test_is_found_again_unchanged(made: Demo) -> None:
    before = {path: path.stat().st_mtime_ns for path in (made.config, made.directory / stage.ACCOUNTS)}
    again = stage.prepare(made.directory, bind="127.0.0.1:9999", tell=silent)
    assert again == made
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_names_whom_it_knows_when_asked_for_a_stranger(made: Demo) -> None:
    with pytest.raises(NotFound, match=cast.AUDITOR.username):
        made.account("nobody")


def test_is_never_made_over_somebody_elses_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(Conflict, match="DEMO_DIR"):
        stage.prepare(tmp_path, bind=BIND, tell=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_half_of_one_is_not_found(tmp_path: Path) -> None:
    (tmp_path / stage.MARK).touch()
    (tmp_path / "coffre.db").write_bytes(os.urandom(10))
    with pytest.raises(NotInitialised, match="make demo"):
        stage.find(tmp_path)


def test_half_of_one_is_thrown_away_before_making_a_whole_one(tmp_path: Path) -> None:
    half = tmp_path / "demo"
    half.mkdir()
    (half / stage.MARK).touch()
    (half / "coffre.db").write_bytes(os.urandom(10))
    stage._clear(half)
    assert not half.exists()
