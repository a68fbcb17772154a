"""Owns the copy of a software token: made, opened in the token's place and tried with every key. It knows no command line.

For SoftHSM2, whose token is a directory. A hardware token is cloned by its maker's tools; recovery cards work for every kind.
Nothing else of this process may hold the token meanwhile: a PKCS#11 module has one configuration.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from sqlalchemy import select

from kms import softhsm
from kms.errors import KmsError
from kms.keys import KeyRecord, KeyState
from kms.lifecycle import Lifecycle
from kms.settings import KmsSettings
from kms.token import TokenKeys
from vault.errors import BadSettings, Conflict
from vault.model import Micros, ScopeId, TenantId
from vault.sealing.binding import scope_context
from vault.settings import VaultSettings
from vault.storage.db import open_databases
from vault.storage.keyring import Keyring, SqlRegistry
from vault.storage.schema import installation
from vault.storage.slots import TokenCopies, TokenCopy

BATCH = 256
CONFIGURATION = "directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"


@dataclass(frozen=True, slots=True)
class Tried:
    """A copy that opens everything."""

    copy: TokenCopy
    scopes: int
    """How many scope keys it opened: all of them."""


def token_directory(kms: KmsSettings) -> Path:
    """Where a SoftHSM2 token lies. Raises BadSettings for every other kind."""
    if kms.socket is None and (directory := softhsm.token_directory(kms)) is not None:
        return directory
    raise BadSettings(
        "this token is no directory of SoftHSM2 that could be copied: clone it by its maker's tools, "
        "and make recovery cards (coffre keys recovery-create)"
    )


def living(records: list[KeyRecord]) -> list[KeyRecord]:
    """The keys that a way back has to bring back."""
    return [record for record in records if record.state in {KeyState.ACTIVE, KeyState.DECRYPT_ONLY}]


def covered(records: list[KeyRecord]) -> str:
    """What a copy holds, as ``token_copies.covers`` says it."""
    return " ".join(sorted(f"{record.use}/{record.number}" for record in living(records)))


def copy_token(kms: KmsSettings, target: Path) -> KmsSettings:
    """The token's files in ``target``, and the settings that open the copy with the same PIN.

    The PIN is not copied: it belongs elsewhere. Raises BadSettings, Conflict where ``target`` holds something already.
    """
    source = token_directory(kms)
    if target.exists() and any(target.iterdir()):
        raise Conflict(f"{target} holds something already: name an empty place for the copy, best on another disk")
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(source, target / "tokens")
        for each in (target, *target.rglob("*")):
            each.chmod(0o700 if each.is_dir() else 0o600)
        configuration = target / "softhsm2.conf"
        configuration.write_text(CONFIGURATION.format(tokens=target / "tokens"), encoding="utf-8")
        os.sync()
    except OSError as error:
        raise BadSettings(f"the token can't be copied to {target} ({error.strerror})") from error
    return replace(kms, softhsm_conf=configuration)


def try_copy(settings: VaultSettings, copied: KmsSettings, place: Path, clock: Callable[[], Micros]) -> Tried:
    """Open the copy in the token's place, prove every key and open every scope key with it; then remember that.

    Raises Conflict with the first thing that is wrong.
    """
    db, keyring_db = open_databases(settings.database)
    with closing(db), closing(keyring_db):
        registry = SqlRegistry(keyring_db)
        with db.read() as connection:
            tenant = TenantId(connection.execute(select(installation.c.tenant)).scalar_one())
        try:
            with closing(TokenKeys(copied, registry)) as keys:
                life = Lifecycle(keys, registry)
                for record in living(life.records()):
                    for fault in life.check(record):
                        raise Conflict(f"the copy is not good: {record.use} key {record.number}: {fault}")
                opened = _open_all(Keyring(keyring_db), keys, tenant)
                covers = covered(life.records())
        except KmsError as error:
            raise Conflict(f"the copy is not good: {error}") from error
        copy = TokenCopy(uuid4().hex, str(place), covers, clock())
        TokenCopies(keyring_db).keep(copy)
    return Tried(copy, opened)


def _open_all(keyring: Keyring, keys: TokenKeys, tenant: TenantId) -> int:
    opened, after = 0, ScopeId("")
    while rows := keyring.scopes_not_under(0, after, BATCH):
        for row in rows:
            keys.unwrap(row.wrapped, context=scope_context(tenant, row.id)).wipe()
        opened, after = opened + len(rows), rows[-1].id
    return opened
