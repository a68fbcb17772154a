"""Owns the making of a new vault: settings file, databases, first keys, first scopes, first owner.

It must not know the command line.

Every step may be repeated: an interrupted founding is finished by running it again, and nothing is ever made twice.
"""

from __future__ import annotations

import os
import uuid
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


def _quoted(value: object) -> str:
    text = str(value)
    if any(ord(character) < 0x20 or character in '"\\' for character in text):
        raise BadSettings(f"{text!r} can't stand in the settings file: quotes, backslashes and control characters are refused")
    return f'"{text}"'


def write_settings(path: Path, kms: KmsSettings, *, practice: str, bind: str) -> None:
    """Write a first ``coffre.toml`` (mode 0600) beside which the data will live. Raises Conflict where one stands."""
    directory = path.parent.resolve()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
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
