"""A private PostgreSQL server for tests: its own cluster on a free loopback port, gone afterwards. Knows no table.

Runs as an ordinary user; started by root, it runs as ``postgres`` (PostgreSQL refuses root).
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from tests.parts import free_port, postgresql_programs

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "64MB",
}
"""Durability is PostgreSQL's own affair; tests only need its semantics, fast."""
DURABLE = SETTINGS | {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
"""As it is in production: what a benchmark may be measured on."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running server; ``stop`` removes it with all its data."""

    directory: Path
    port: int
    password: str
    programs: Path
    user: str | None
    """The account it runs under when the tests run as root."""

    @classmethod
    def start(cls, settings: Mapping[str, str] = MappingProxyType(SETTINGS)) -> Self:
        """Make and start one. Raises MissingPart where PostgreSQL isn't installed."""
        user = "postgres" if os.geteuid() == 0 else None
        directory = Path(tempfile.mkdtemp(prefix="coffre-postgresql-"))
        if user:
            shutil.chown(directory, user, user)
        cluster = cls(directory, free_port(), secrets.token_hex(16), postgresql_programs(), user)
        word = directory / "word"
        word.touch(mode=0o600)
        word.write_text(cluster.password)
        if user:
            shutil.chown(word, user, user)
        cluster.run("initdb", "-A", "scram-sha-256", "-U", "coffre", f"--pwfile={word}", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        sockets = f"-p {cluster.port} -c unix_socket_directories={directory}"
        cluster.run("pg_ctl", "-w", "-s", "-l", str(directory / "log"), "-o", f"{options} {sockets}", "start")
        return cluster

    def run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.directory / "data"), *arguments]
        if self.user:
            command = ["runuser", "-u", self.user, "--", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=self.directory)

    def url(self, database: str = "postgres") -> str:
        """Without the password, as ``[database] url`` wants it."""
        return f"postgresql+psycopg://coffre@127.0.0.1:{self.port}/{database}"

    def dsn(self, database: str = "postgres") -> str:
        """With the password, for a test's own connections through psycopg."""
        return f"postgresql://coffre:{self.password}@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        self.run("pg_ctl", "-m", "immediate", "-w", "-s", "stop")
        shutil.rmtree(self.directory)
