"""Owns how a key process is put together from its settings file. It must not know the vault: this host has none of its data."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kms import open_token
from kms.errors import BadSettings
from kms.journal import BrokenJournal, Journal
from kms.keys import KeyRecord, KeyUse
from kms.lifecycle import Lifecycle
from kms.release import destroy
from kms.serving import KeyServer, ServiceSettings
from kms.settings import KmsSettings, read_table
from kms.shelf import FileRegistry


@dataclass(frozen=True, slots=True)
class HostSettings:
    """A key process's settings file: its token, and its socket."""

    kms: KmsSettings
    service: ServiceSettings


def is_host(path: Path) -> bool:
    """Whether a settings file is a key process's."""
    try:
        return "key_process" in tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False


def load(path: Path, environment: Mapping[str, str]) -> HostSettings:
    """Raises BadSettings."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSettings(f"{path} can't be read ({error.strerror}); name the key process's settings with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: {error}") from error
    if "key_process" not in tables:
        raise BadSettings(f"{path} has no [key_process] table: it is not the settings file of a key process")
    base = path.parent.resolve()
    return HostSettings(
        read_table(KmsSettings, "kms", tables.get("kms", {}), environment, base),
        read_table(ServiceSettings, "key_process", tables["key_process"], environment, base),
    )


def open_lifecycle(settings: HostSettings) -> Lifecycle:
    """The life of the keys on this host; close its ``keys`` afterwards."""
    registry = FileRegistry(settings.service.registry)
    return Lifecycle(open_token(settings.kms, registry), registry)


def destroy_released(settings: HostSettings, use: KeyUse, number: int, release: Path | None) -> KeyRecord:
    """End a key version on this host by the vault's release; the key process may go on serving meanwhile.

    Raises ReleaseRefused, KeyMissing, BadSettings where its log was tampered with.
    """
    with closing(_journal(settings.service.journal)) as journal:
        life = open_lifecycle(settings)
        with closing(life.keys):
            return destroy(life, journal, life.record(use, number), release, time.time_ns() // 1000)


def _journal(path: Path) -> Journal:
    try:
        return Journal(path)
    except BrokenJournal as error:
        raise BadSettings(f"the log {path} was altered ({error}); move it to a safe place, then look") from error


def open_server(settings: HostSettings) -> KeyServer:
    """The server, bound and ready to ``serve``. Raises BadSettings, also where its log was tampered with."""
    keys = open_token(settings.kms, FileRegistry(settings.service.registry))
    try:
        return KeyServer(settings.service, keys, _journal(settings.service.journal))
    except BaseException:
        keys.close()
        raise


def serve(server: KeyServer) -> None:
    """Serve until ``server.close()``."""
    with closing(server):
        server.serve()
