"""Owns the vault's settings tables and the reading of ``coffre.toml``. It must not know the web's tables.

No setting can switch off encryption, the second factor or the access log.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from kms import errors as kms_errors
from kms.settings import KmsSettings, read_table
from vault.errors import BadSettings, NotInitialised

MIB = 1024 * 1024
MOST_SCRUB_DAYS = 366
MOST_QUARANTINE_DAYS = 366


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """The ``[database]`` table."""

    url: str
    """``sqlite:////path/coffre.db`` or ``postgresql+psycopg://…``."""
    keyring_url: str
    """The keyring's own database: small, with short-lived backups."""
    password_file: Path | None = None
    """PostgreSQL's password, in a file of mode 0600; a URL with a password in it is refused."""


class VerifyWrites(StrEnum):
    """Which sealed bodies are read back from the store and compared before their upload is acknowledged."""

    NEVER = "never"
    SAMPLE = "sample"
    """One in sixteen: a store that loses or spoils what it takes is found within a morning."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class BlobSettings:
    """The ``[blobs]`` table."""

    url: str
    """``file:///path`` or ``s3://bucket/prefix``."""
    endpoint: str | None = None
    region: str | None = None
    access_key_file: Path | None = None
    secret_key_file: Path | None = None
    replica_url: str | None = None
    """A copy of the store, with the same credentials, from which lost and damaged bodies are put back."""
    verify_writes: str = VerifyWrites.SAMPLE
    """``never``, ``sample`` or ``always``: which bodies are read back before their upload is acknowledged."""
    scrub_days: int = 30
    """Within how many days the serving process compares every stored body; 0: not at all."""

    def judged(self) -> BlobSettings:
        """These settings, if they make sense. Raises BadSettings."""
        if self.verify_writes not in list(VerifyWrites):
            raise BadSettings('[blobs] verify_writes: write "never", "sample" or "always"')
        if not 0 <= self.scrub_days <= MOST_SCRUB_DAYS:
            raise BadSettings(f"[blobs] scrub_days: 1 to {MOST_SCRUB_DAYS}, or 0 for not at all")
        return self

    def replica(self) -> BlobSettings | None:
        """How to reach the copy; None where there is none."""
        return None if self.replica_url is None else replace(self, url=self.replica_url)


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """The ``[limits]`` table: what one request may cost."""

    document_mib: int = 2048
    """The largest document accepted."""
    uploads: int = 16
    """Uploads under way at once in one process."""
    renderings: int = 2
    """Pages drawn at once in one process."""


class ScanPolicy(StrEnum):
    """What happens to a document that the virus scanner could not look at."""

    REFUSE = "refuse"
    MARK = "mark"
    """Filed, and shown as not scanned."""


class InfectedPolicy(StrEnum):
    """What happens to a document in which the virus scanner recognised something."""

    QUARANTINE = "quarantine"
    """Kept sealed and set apart: nobody opens it, an owner or administrator has it scanned again or destroys it."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """The ``[scan]`` table: where documents are scanned for viruses on their way in; without a socket they are not."""

    socket: Path | None = None
    """clamd's Unix socket."""
    policy: str = ScanPolicy.REFUSE
    """``refuse`` or ``mark``: what happens to a document that could not be scanned."""
    timeout_s: int = 60
    """How long the scanner may stay silent."""
    infected: str = InfectedPolicy.QUARANTINE
    """``quarantine`` or ``refuse``: what happens to a document in which the scanner recognised something."""
    quarantine_days: int = 30
    """After how many days what is in quarantine is destroyed by itself."""

    def judged(self) -> ScanSettings:
        """These settings, if they make sense. Raises BadSettings."""
        if self.policy not in list(ScanPolicy):
            raise BadSettings('[scan] policy: write "refuse" or "mark"')
        if self.timeout_s < 1:
            raise BadSettings("[scan] timeout_s: at least 1")
        if self.infected not in list(InfectedPolicy):
            raise BadSettings('[scan] infected: write "quarantine" or "refuse"')
        if not 1 <= self.quarantine_days <= MOST_QUARANTINE_DAYS:
            raise BadSettings(f"[scan] quarantine_days: 1 to {MOST_QUARANTINE_DAYS}")
        return self


@dataclass(frozen=True, slots=True)
class MailSettings:
    """The ``[mail]`` table: how security notices leave; without it they stay in the pages."""

    smtp: str = ""
    """``host:port`` of the server that takes mails; TLS (STARTTLS) is asked of any but this machine."""
    sender: str = ""
    """The address that mails come from."""
    username: str | None = None
    password_file: Path | None = None
    """The server's password, in a file of mode 0600."""

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, which plain SMTP does not leave."""
        return self.smtp.rpartition(":")[0].strip("[]") in {"localhost", "127.0.0.1", "::1"}

    def judged(self) -> MailSettings:
        """These settings, if they make sense. Raises BadSettings."""
        host, _, port = self.smtp.rpartition(":")
        if self.smtp and not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise BadSettings('[mail] smtp: expected host:port, for example "smtp.example.org:587"')
        if bool(self.smtp) is not bool(self.sender):
            raise BadSettings("[mail] smtp and sender go together: give both or neither")
        if self.sender and ("@" not in self.sender or not self.sender.isprintable()):
            raise BadSettings("[mail] sender: expected an address, for example coffre@example.org")
        if bool(self.username) is not (self.password_file is not None):
            raise BadSettings("[mail] username and password_file go together: give both or neither")
        if self.password_file is not None and self.password_file.exists() and self.password_file.stat().st_mode & 0o077:
            raise BadSettings(f"[mail] password_file: others may read {self.password_file}; run `chmod 600` on it")
        return self


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Everything that the vault needs to open."""

    kms: KmsSettings
    database: DatabaseSettings
    blobs: BlobSettings
    limits: LimitSettings
    path: Path
    """The settings file itself, for ``coffre doctor``."""
    mail: MailSettings = MailSettings()
    scan: ScanSettings = ScanSettings()


Tables = dict[str, Mapping[str, Any]]


def read_file(path: Path) -> Tables:
    """The tables of ``coffre.toml``. Raises NotInitialised where there is none, BadSettings where it isn't TOML."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotInitialised(f"There is no vault at {path}. Make one with `coffre init`, or set COFFRE_CONFIG.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: {error}") from error
    loose = sorted(name for name, table in tables.items() if not isinstance(table, dict))
    if loose:
        raise BadSettings(f"{path}: {', '.join(loose)} stands outside any table")
    return tables


def take(tables: Tables, path: Path, environment: Mapping[str, str]) -> VaultSettings:
    """Pop this room's tables from ``tables`` and read them; whoever called judges what is left. Raises BadSettings."""
    base = path.parent

    def table(kind: Any, name: str) -> Any:
        return read_table(kind, name, tables.pop(name, {}), environment, base)

    try:
        return VaultSettings(
            kms=table(KmsSettings, "kms"),
            database=table(DatabaseSettings, "database"),
            blobs=table(BlobSettings, "blobs").judged(),
            limits=table(LimitSettings, "limits"),
            path=path,
            mail=table(MailSettings, "mail").judged(),
            scan=table(ScanSettings, "scan").judged(),
        )
    except kms_errors.BadSettings as error:
        raise BadSettings(f"{path}: {error}") from error


def load(path: Path, environment: Mapping[str, str]) -> VaultSettings:
    """Read the vault's settings; tables that belong to the rooms above are left alone."""
    return take(read_file(path), path, environment)
