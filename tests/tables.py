"""Databases with every table and no row: SQLite's are copies of two that were upgraded once, as an upgrade takes its time.

Knows no test.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import make_url

from vault.settings import DatabaseSettings
from vault.storage import migrate
from vault.storage.db import open_databases


@cache
def _upgraded() -> tuple[bytes, bytes]:
    """The files of the main database and of the keyring, as an upgrade from nothing leaves them."""
    with TemporaryDirectory() as place:
        files = Path(place) / "main.db", Path(place) / "keyring.db"
        databases = open_databases(DatabaseSettings(url=f"sqlite:///{files[0]}", keyring_url=f"sqlite:///{files[1]}"))
        migrate.upgrade(*databases)
        for database in databases:
            database.close()
        return files[0].read_bytes(), files[1].read_bytes()


def lay_out(settings: DatabaseSettings) -> None:
    """Both databases, where they are SQLite's and not there yet; PostgreSQL's wait for their upgrade."""
    for address, content in zip((settings.url, settings.keyring_url), _upgraded(), strict=True):
        url = make_url(address)
        if url.get_backend_name() == "sqlite" and not (path := Path(str(url.database))).exists():
            path.touch(mode=0o600)
            path.write_bytes(content)
