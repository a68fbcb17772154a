from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from tests.vault.storage.sql import run
from vault.errors import BadSettings, StorageUnavailable
from vault.settings import DatabaseSettings
from vault.storage import migrate
from vault.storage.db import Database, open_databases
from vault.storage.schema import keyring_metadata, metadata

Pair = tuple[Database, Database]


@pytest.fixture
def pair(databases: DatabaseSettings) -> Iterator[Pair]:
    db, keyring_db = open_databases(databases)
    yield db, keyring_db
    db.close()
    keyring_db.close()


def test_the_histories_end_at_the_tables_of_the_program(pair: Pair) -> None:
    assert not migrate.is_current(*pair)
    migrate.upgrade(*pair)
    assert migrate.is_current(*pair)
    for database, history in zip(pair, (migrate.MAIN, migrate.KEYRING), strict=True):
        with database.read() as connection:
            assert migrate.differences(connection, history) == []


@pytest.mark.parametrize("history", [migrate.MAIN, migrate.KEYRING], ids=lambda history: history.name)
def test_the_names_of_the_files_tell_the_newest_revision(history: migrate.History) -> None:
    assert history.head == history.scripts().get_current_head()


def test_a_start_without_an_upgrade_loads_no_alembic() -> None:
    """A tenth of what a start costs."""
    program = "import sys, web.cli, web.serve; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_keyring_stands_apart(pair: Pair) -> None:
    migrate.upgrade(*pair)
    names = [set(inspect(database.engine).get_table_names()) - {"alembic_version"} for database in pair]
    assert names == [set(metadata.tables), set(keyring_metadata.tables)]


def test_upgrading_again_changes_nothing(pair: Pair) -> None:
    migrate.upgrade(*pair)
    pair[0].write(run("DELETE FROM installation"))
    migrate.upgrade(*pair)
    assert migrate.current(pair[0]) == migrate.MAIN.scripts().get_current_head()


def test_a_log_of_the_first_release_keeps_its_rows_and_is_found_by_index(pair: Pair) -> None:
    db, _ = pair
    migrate._upgrade(db, migrate.MAIN, "0001")  # as an earlier program left it
    entry = "INSERT INTO audit_entries (position, leaf, at, action, outcome, flags) VALUES ({0}, {2}, {0}, '{1}', 'denied', 4)"
    leaf = "x'6c656166'" if db.is_sqlite else r"'\x6c656166'"
    for position, action in enumerate(("log.genesis", "audit.alert_raised", "document.view")):
        db.write(run(entry.format(position, action, leaf)))
    migrate.upgrade(*pair)
    with db.read() as connection:
        rows = connection.execute(text("SELECT position, leaf, detector_index FROM audit_entries ORDER BY position")).all()
        assert migrate.differences(connection, migrate.MAIN) == []
    assert [row.position for row in rows] == [0, 1, 2]
    assert {bytes(row.leaf) for row in rows} == {b"leaf"}
    assert [row.detector_index for row in rows] == [None, b"", None], "an alert waits to be named by who has the key"
    names = {index["name"] for index in inspect(db.engine).get_indexes("audit_entries")}
    assert names == {index.name for index in metadata.tables["audit_entries"].indexes}


def test_a_vault_before_retention_keeps_its_patients(pair: Pair) -> None:
    db, _ = pair
    migrate._upgrade(db, migrate.MAIN, "0002")  # as an earlier program left it
    nothing = "x''" if db.is_sqlite else r"'\x'"
    db.write(run(
        "INSERT INTO people (id, username, username_key, display_name_sealed, role, state, created_at) "
        f"VALUES ('1', 'anne', 'anne', {nothing}, 'owner', 'active', 0)"
    ))  # fmt: skip
    db.write(run(
        "INSERT INTO patients (id, scope, identity_sealed, state, created_at, created_by, mac) "
        f"VALUES ('2', '3', {nothing}, 'active', 0, '1', 1)"
    ))  # fmt: skip
    migrate.upgrade(*pair)
    with db.read() as connection:
        assert connection.execute(text("SELECT id, scope FROM patients")).all() == [("2", "3")]
        assert migrate.differences(connection, migrate.MAIN) == []
    db.write(run(f"INSERT INTO legal_holds (id, patient, hold_sealed, set_at, set_by) VALUES ('4', '2', {nothing}, 0, '1')"))
    with pytest.raises(StorageUnavailable):  # nothing can be said of a patient who is not there
        db.write(run(f"INSERT INTO retention_facts (patient, facts_sealed, set_at, set_by) VALUES ('5', {nothing}, 0, '1')"))


def test_a_database_of_a_newer_program_is_refused(pair: Pair) -> None:
    migrate.upgrade(*pair)
    pair[0].write(run("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(BadSettings, match="newer"):
        migrate.upgrade(*pair)
    assert migrate.current(pair[0]) == "9999"


def test_a_failed_upgrade_leaves_the_old_database(pair: Pair) -> None:
    pair[0].write(run("CREATE TABLE precious (x INTEGER)"))
    pair[0].write(run("CREATE INDEX ix_documents_patient_deposited_at ON precious (x)"))
    with pytest.raises(StorageUnavailable):
        migrate.upgrade(*pair)
    assert set(inspect(pair[0].engine).get_table_names()) == {"precious"}


def test_a_new_sqlite_database_is_private(sqlite: DatabaseSettings, tmp_path: Path) -> None:
    db, keyring_db = open_databases(sqlite)
    migrate.upgrade(db, keyring_db)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.db*")} == {0o600}
    db.close()
    keyring_db.close()
