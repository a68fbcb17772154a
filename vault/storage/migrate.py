"""Owns the way from any earlier database to this program's tables: two forward-only histories. It must not know the tables.

Alembic without its command line: each upgrade is one transaction, on SQLite too, so that a crash leaves the old database. It
is loaded where something is to be upgraded only: a tenth of what a start costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, MetaData, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from vault.errors import BadSettings, StorageUnavailable
from vault.storage.db import Database
from vault.storage.schema import keyring_metadata, metadata

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

_DIRECTORY = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class History:
    """One database's line of revisions."""

    name: str
    metadata: MetaData

    @property
    def head(self) -> str:
        """The newest revision, from the names of the files: their numbers only grow."""
        return max(path.name[:4] for path in (_DIRECTORY / self.name).glob("[0-9]*.py"))

    def scripts(self) -> ScriptDirectory:
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(_DIRECTORY))
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", str(_DIRECTORY / self.name))
        return ScriptDirectory.from_config(config)


MAIN = History("main", metadata)
KEYRING = History("keyring", keyring_metadata)


def upgrade(db: Database, keyring_db: Database) -> None:
    """Bring both databases to this program's tables; nothing happens where they are already.

    Raises BadSettings where a newer program wrote them, StorageUnavailable.
    """
    for database, history in ((keyring_db, KEYRING), (db, MAIN)):
        try:
            if current(database) != history.head:
                _upgrade(database, history)
        except SQLAlchemyError as error:
            raise StorageUnavailable(f"database: {history.name}: upgrade: {type(error).__name__}") from error


def current(database: Database) -> str | None:
    """The revision at which a database stands; None for an empty one. Raises StorageUnavailable."""
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        return found


def is_current(db: Database, keyring_db: Database) -> bool:
    """Whether both databases have this program's tables."""
    pairs = ((db, MAIN), (keyring_db, KEYRING))
    return all(current(database) == history.head for database, history in pairs)


def differences(connection: Connection, history: History) -> list[Any]:
    """What the tables of a database lack against the program's; empty where the history is true."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    return list(compare_metadata(MigrationContext.configure(connection), history.metadata))


def initial_script(history: History) -> str:
    """The operations that make every table of a history from nothing, as Alembic writes them."""
    from alembic.autogenerate import produce_migrations, render_python_code
    from alembic.runtime.migration import MigrationContext

    with create_engine("sqlite://").connect() as connection:
        operations = produce_migrations(MigrationContext.configure(connection), history.metadata).upgrade_ops
        if operations is None:
            raise RuntimeError("nothing to make")
        return str(render_python_code(operations))


def _upgrade(database: Database, history: History, target: str = "head") -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.util import CommandError

    scripts = history.scripts()

    def steps(revision: Any, _context: MigrationContext) -> Any:
        try:
            return scripts._upgrade_revs(target, revision)  # noqa: SLF001  # what alembic.command.upgrade itself calls
        except CommandError as error:
            raise BadSettings(
                f"the {history.name} database is at revision {revision}, which this program does not know: "
                "it was written by a newer Coffre; install that one again, or restore a backup"
            ) from error

    environment = EnvironmentContext(Config(), scripts, fn=steps)
    with database.writing() as connection:
        environment.configure(connection=connection, target_metadata=history.metadata, transactional_ddl=True)
        environment.run_migrations()
