"""Owns the ``[web]`` table and who may bind where. It must not know what the other rooms' settings mean."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kms import errors as kms_errors
from kms.settings import read_table
from vault import settings as vault_settings
from vault.errors import BadSettings

LANGUAGES = ("fr", "en")
MOST_PROCESSES = 64
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class WebTable:
    """The ``[web]`` table: where the pages are served and to whom."""

    bind: str = "127.0.0.1:8000"
    """``address:port``; an IPv6 address stands in brackets."""
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    """The certificate's private key, in a file of mode 0600."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of the reverse proxies whose forwarded headers count; everybody else's are dropped."""
    hosts: tuple[str, ...] = ()
    """Names under which browsers may ask for the vault, beside the loopback ones; another Host header is answered 400."""
    practice: str = "Cabinet médical"
    """The practice's name, on every page."""
    city: str = ""
    specialty: str = ""
    """Where and what the practice is; with its name, words of which no password may be made."""
    languages: tuple[str, ...] = LANGUAGES
    """Offered languages; the first one is the default."""
    time_zone: str = "Europe/Paris"
    processes: int = 0
    """How many processes serve, each with an interpreter of its own; 0: one for each processor, at most four."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of ``bind``. Raises BadSettings."""
        host, colon, port = self.bind.rpartition(":")
        if not (colon and host and port.isdecimal() and 0 <= int(port) <= 65535):
            raise BadSettings(f'[web] bind: expected address:port, for example "127.0.0.1:8000", found {self.bind!r}')
        return host.strip("[]"), int(port)

    @property
    def names(self) -> tuple[str, ...]:
        """What anybody knows of the practice, and would try in a password."""
        return tuple(name for name in (self.practice, self.city, self.specialty) if name)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address that is bound."""
        host, _ = self.address
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def is_tls(self) -> bool:
        """Whether this process itself speaks TLS."""
        return self.tls_certificate_file is not None


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Everything that the web room needs, with what it hands on to the next room."""

    web: WebTable
    vault: vault_settings.VaultSettings


def judge(settings: WebTable) -> WebTable:
    """The settings again, or BadSettings with the sentence that says what to do: nothing but loopback goes without TLS."""
    if (settings.tls_certificate_file is None) != (settings.tls_key_file is None):
        raise BadSettings("[web] tls_certificate_file and tls_key_file go together: give both or neither")
    if settings.tls_key_file is not None and not settings.tls_key_file.exists():
        raise BadSettings(f"[web] tls_key_file: there is no file at {settings.tls_key_file}")
    if settings.tls_key_file is not None and settings.tls_key_file.stat().st_mode & 0o077:
        raise BadSettings(f"[web] tls_key_file: others may read {settings.tls_key_file}; run `chmod 600` on it")
    if not settings.is_loopback and not settings.is_tls and not settings.trusted_proxies:
        raise BadSettings(
            f"[web] bind = {settings.bind!r} would send passwords and documents in clear over the network. Give "
            "tls_certificate_file and tls_key_file, or name the proxy that does TLS in trusted_proxies, or bind 127.0.0.1"
        )
    if not settings.is_loopback and not settings.hosts:
        raise BadSettings("[web] hosts: name the host under which browsers reach this vault, for example ['coffre.example.fr']")
    for proxy in settings.trusted_proxies:
        _network(proxy)
    if not 0 <= settings.processes <= MOST_PROCESSES:
        raise BadSettings(f"[web] processes: choose 1 to {MOST_PROCESSES}, or 0 for one for each processor")
    unknown = sorted(set(settings.languages) - set(LANGUAGES))
    if unknown or not settings.languages:
        raise BadSettings(f"[web] languages: choose among {', '.join(LANGUAGES)}")
    return settings


def _network(proxy: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(proxy)
    except ValueError as error:
        raise BadSettings(f"[web] trusted_proxies: {proxy!r} is not an address or a network ({error})") from error
    if network.prefixlen == 0:
        raise BadSettings(f"[web] trusted_proxies: {proxy!r} would trust everybody; name the proxy's own address")
    return network


def proxies(settings: WebTable) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """The declared proxies as networks. Raises BadSettings."""
    return tuple(_network(proxy) for proxy in settings.trusted_proxies)


def take(tables: vault_settings.Tables, path: Path, environment: Mapping[str, str]) -> WebTable:
    """Pop ``[web]`` from ``tables``, read and judge it. Raises BadSettings."""
    try:
        return judge(read_table(WebTable, "web", tables.pop("web", {}), environment, path.parent))
    except kms_errors.BadSettings as error:
        raise BadSettings(f"{path}: {error}") from error


def load(path: Path, environment: Mapping[str, str]) -> WebSettings:
    """Read the whole ``coffre.toml``: this room's table, then the vault's; a table that nobody knows is refused by name."""
    tables = vault_settings.read_file(path)
    web = take(tables, path, environment)
    vault = vault_settings.take(tables, path, environment)
    if tables:
        raise BadSettings(f"{path}: unknown table [{'], ['.join(sorted(tables))}]")
    return WebSettings(web=web, vault=vault)
