"""Backups of a vault on PostgreSQL, and on an S3 store: the same format, and back to where they came from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import func, select

from kms.settings import KmsSettings
from tests.conftest import fresh_databases
from tests.servers.postgresql import Cluster
from tests.vault.upkeep.practice import Practice, contents
from vault import founding
from vault.errors import Conflict
from vault.model import Micros, Role
from vault.opening import open_vault
from vault.settings import BlobSettings, DatabaseSettings, VaultSettings, load
from vault.storage.db import open_databases
from vault.storage.schema import keyring_metadata, metadata


def settings_at(
    directory: Path, kms: KmsSettings, database: DatabaseSettings | None = None, blobs: BlobSettings | None = None
) -> VaultSettings:
    """Settings of a vault whose database or bodies are on a server."""
    config = directory / "coffre.toml"
    founding.write_settings(config, kms, practice="Cabinet", bind="127.0.0.1:1")
    text = config.read_text()
    if database is not None:
        table = f'url = "{database.url}"\nkeyring_url = "{database.keyring_url}"\npassword_file = "{database.password_file}"\n'
        text = re.sub(r"(?<=\[database\]\n)(?:.+\n)+", table, text)
    if blobs is not None:
        table = f'url = "{blobs.url}"\nendpoint = "{blobs.endpoint}"\nregion = "{blobs.region}"\n'
        table += f'access_key_file = "{blobs.access_key_file}"\nsecret_key_file = "{blobs.secret_key_file}"\n'
        text = re.sub(r"(?<=\[blobs\]\n)(?:.+\n)+", table, text)
    config.write_text(text)
    return load(config, {})


def filled(settings: VaultSettings, place: Path) -> Practice:
    founding.found(settings, Micros(1_790_000_000_000_000))
    practice = Practice(settings, place)
    with practice.vault() as vault:
        practice.file(vault, practice.patient(vault), 3)
    return practice


def rows(settings: DatabaseSettings) -> dict[str, int]:
    db, keyring_db = open_databases(settings)
    counted = {}
    for database, tables in ((db, metadata), (keyring_db, keyring_metadata)):
        with database.read() as connection:
            for table in tables.sorted_tables:
                counted[table.name] = int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        database.close()
    return counted


@pytest.mark.hsm
@pytest.mark.postgresql
def test_a_vault_on_postgresql_goes_to_a_file_and_back(
    tmp_path: Path, softhsm: KmsSettings, postgresql_cluster: Cluster
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    database = fresh_databases(postgresql_cluster, tmp_path / "one")
    practice = filled(settings_at(tmp_path / "one", softhsm, database), tmp_path / "place")
    name = practice.create()
    before = rows(database)
    assert practice.run("verify", str(practice.place), "--with-keys", "0").data["opened"] == 3
    again = fresh_databases(postgresql_cluster, tmp_path / "two")
    blank = settings_at(tmp_path / "two", softhsm, again)
    said = practice.run("restore", str(practice.place), settings=blank)
    assert (said.status, said.data["backup"]) == (0, name), said
    after = rows(again)
    grown = {"audit_entries", "audit_checkpoints", "audit_counters", "audit_tiles", "log_marks"}
    assert {table: count for table, count in after.items() if table not in grown} == {
        table: count for table, count in before.items() if table not in grown
    }
    vault = open_vault(blank)
    try:
        assert contents(vault, list(practice.filed), practice.anne(vault)) == practice.filed
        assert vault.auditing.verify(vault.people.sessions.console_actor(Role.AUDITOR)).is_whole
    finally:
        vault.close()
    assert isinstance(practice.run("restore", str(practice.place), settings=blank).error, Conflict)
    refused = practice.run("restore", str(practice.place), "--replace", "--yes", settings=blank)
    assert "empty one" in str(refused.error)


@pytest.mark.hsm
@pytest.mark.s3
def test_bodies_may_come_from_a_bucket_and_go_to_one(tmp_path: Path, softhsm: KmsSettings, s3: BlobSettings) -> None:
    practice = filled(settings_at(tmp_path / "one", softhsm, blobs=s3), tmp_path / "place")
    pool = s3.url.rpartition("/")[0] + "/pool"
    made = practice.run("create", str(practice.place), "--blobs", pool)
    assert (made.status, made.data["copied"]) == (0, 3)
    assert practice.run("create", str(practice.place), "--blobs", pool).data["copied"] == 0
    assert not (practice.place / "blobs").exists()
    assert practice.run("verify", str(practice.place), "--blobs", pool).status == 0
    blank = practice.elsewhere(tmp_path / "blank")
    text = blank.path.read_text().replace("[blobs]\n", f"[blobs]\n{_reach(s3)}")
    blank.path.write_text(text)
    said = practice.run("restore", str(practice.place), "--blobs", pool, settings=load(blank.path, {}))
    assert (said.status, said.data["copied"]) == (0, 3), said
    vault = open_vault(load(blank.path, {}))
    try:
        assert contents(vault, list(practice.filed), practice.anne(vault)) == practice.filed
    finally:
        vault.close()


def _reach(s3: BlobSettings) -> str:
    return (
        f'endpoint = "{s3.endpoint}"\nregion = "{s3.region}"\n'
        f'access_key_file = "{s3.access_key_file}"\nsecret_key_file = "{s3.secret_key_file}"\n'
    )
