"""Owns the making of a new vault: settings file, databases, first keys, first scopes, first owner.

It must not know the command line.

Every step may be repeated: an interrupted founding is finished by running it again, and nothing is ever made twice.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, insert, select

from kms import open_keys
from kms.keys import KeyUse
from kms.lifecycle import create_first_keys
from kms.settings import KmsSettings
from vault.errors import BadSettings, Conflict
from vault.model import Micros, ScopeKind, TenantId
from vault.sealing.scopes import ScopeKeys
from vault.settings import VaultSettings
from vault.storage import migrate
from vault.storage.db import Database, open_databases
from vault.storage.keyring import Keyring, SqlRegistry
from vault.storage.schema import installation

TEMPLATE = """\
# Coffre's settings. Each can be overridden by an environment variable: [web] bind is COFFRE_WEB_BIND.
# Relative paths count from this file's directory. Secrets are never written here, only the paths of their files.

[kms]
module = {module}
token_label = {token_label}
pin_file = {pin_file}
{softhsm}
[database]
url = {url}
keyring_url = {keyring_url}

[blobs]
url = {blobs}

[web]
practice = {practice}
bind = {bind}
"""


@contextmanager
def _made(place: Path) -> Iterator[None]:
    """The directory is there; what fails with it is told in a sentence. Raises BadSettings."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as error:
        make = f"install -d -m 0700 -o USER {place}"
        raise BadSettings(f"{place} can't be made or written to ({error.strerror}); as root: {make}") from error


def _closed(place: Path) -> None:
    """A directory of the vault's own user alone. Raises BadSettings: one that everybody uses is not taken over."""
    with _made(place):
        if place.stat().st_mode & stat.S_ISVTX or place.parent == place:
            raise BadSettings(f"{place} is not a place of the vault alone; name another with --data")
        place.chmod(0o700)


def _quoted(value: object) -> str:
    text = str(value)
    if any(ord(character) < 0x20 or character in '"\\' for character in text):
        raise BadSettings(f"{text!r} can't stand in the settings file: quotes, backslashes and control characters are refused")
    return f'"{text}"'


SYSTEM_SETTINGS, SYSTEM_DATA = Path("/etc"), Path("/var/lib/coffre")
"""Settings below the first are the system's; their data then live in the second (FHS 3.0, sections 3.7 and 5.8)."""


def data_place(config: Path) -> Path:
    """Where the data of these settings live if nobody says otherwise: beside them, but never in /etc."""
    directory = config.resolve().parent
    return SYSTEM_DATA if directory.is_relative_to(SYSTEM_SETTINGS) else directory


def write_settings(path: Path, kms: KmsSettings, *, practice: str, bind: str, data: Path | None = None) -> None:
    """Write a first ``coffre.toml`` (mode 0600) whose data live in ``data``, or in `data_place`.

    Raises Conflict where one stands, BadSettings where the place of the data can't be made or is everybody's.
    """
    directory = (data or data_place(path)).resolve()
    _closed(directory)
    text = TEMPLATE.format(
        module=_quoted(kms.module),
        token_label=_quoted(kms.token_label),
        pin_file=_quoted(kms.pin_file),
        softhsm=f"softhsm_conf = {_quoted(kms.softhsm_conf)}\n" if kms.softhsm_conf else "",
        url=_quoted(f"sqlite:///{directory / 'coffre.db'}"),
        keyring_url=_quoted(f"sqlite:///{directory / 'keyring.db'}"),
        blobs=_quoted(f"file://{directory / 'blobs'}"),
        practice=_quoted(practice),
        bind=_quoted(bind),
    )
    with _made(path.resolve().parent):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise Conflict(f"{path} exists already; this vault is set up, or choose another place with --config") from error
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


def found(settings: VaultSettings, now: Micros) -> TenantId:
    """Databases, keys in the token, scopes and the installation's row; whatever is there already is left as it is."""
    db, keyring_db = open_databases(settings.database)
    try:
        migrate.upgrade(db, keyring_db)
        with db.read() as connection:
            known = connection.execute(select(installation.c.tenant)).scalar_one_or_none()
        if known is not None:
            return TenantId(known)
        return _found_anew(settings, db, keyring_db, now)
    finally:
        db.close()
        keyring_db.close()


def _found_anew(settings: VaultSettings, db: Database, keyring_db: Database, now: Micros) -> TenantId:
    registry = SqlRegistry(keyring_db)
    if not {record.use for record in registry.records()} >= set(KeyUse):
        create_first_keys(settings.kms, registry)
    keys = open_keys(settings.kms, registry)
    try:
        tenant = TenantId(uuid.uuid4().hex)
        scopes = ScopeKeys(Keyring(keyring_db), keys, tenant)
        row = {
            "tenant": tenant,
            "system_scope": scopes.create(ScopeKind.SYSTEM),
            "log_scope": scopes.create(ScopeKind.LOG),
            "inbox_scope": scopes.create(ScopeKind.INBOX),
            "created_at": now,
        }

        def write(connection: Connection) -> None:
            connection.execute(insert(installation).values(**row))

        db.write(write)
        return tenant
    finally:
        keys.close()
