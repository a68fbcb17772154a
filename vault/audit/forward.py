"""Owns sending the log to a syslog collector: RFC 5424 messages over TLS (RFC 5425), each at least once.

It must not know who asks. Where it stands is kept in a small file; a run that was cut goes on after the last message that was
handed to the network.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vault.audit import tiles
from vault.audit.append import AuditLog
from vault.audit.formats.syslog import framed, message
from vault.audit.lines import line_of
from vault.audit.reading import Reader
from vault.errors import Invalid, StorageUnavailable

CONNECT_S: Final = 10
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def connect(host: str, port: int, authorities: Path | None) -> socket.socket:
    """A connection to the collector: TLS, but for a collector on this very machine. Raises StorageUnavailable, Invalid."""
    try:
        plain = socket.create_connection((host, port), CONNECT_S)
        if host in LOOPBACK and authorities is None:
            return plain
        context = ssl.create_default_context(cafile=str(authorities) if authorities else None)
        return context.wrap_socket(plain, server_hostname=host)
    except ssl.SSLError as error:
        raise Invalid("the collector's certificate is not trusted", field="ca", reason="untrusted") from error
    except OSError as error:
        raise StorageUnavailable("the collector does not answer") from error


class Forwarder:
    """Sends what is new since the last run."""

    def __init__(self, log: AuditLog, state: Path, host: str = "coffre") -> None:
        self._log = log
        self._state = state
        self._host = host
        self._reader = Reader(log)

    def position(self) -> int:
        """The first entry that was not sent. Raises Invalid where the state file is not one."""
        try:
            return int(self._state.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0
        except ValueError as error:
            raise Invalid(f"{self._state} is not a forwarder's state", field="state", reason="malformed") from error

    def run(self, connection: socket.socket) -> int:
        """Send everything up to now; gives how many messages. Raises StorageUnavailable, LogUnavailable."""
        sent = 0
        for data, count, following in self._pages():
            try:
                connection.sendall(data)
            except OSError as error:
                raise StorageUnavailable("the collector hung up") from error
            self._remember(following)
            sent += count
        return sent

    def _pages(self) -> Iterator[tuple[bytes, int, int]]:
        with self._log.db.read() as connection:
            end = tiles.size_of(connection)
        for page in self._reader.scan(self.position(), end):
            lines = [line_of(record, {}, {}) for record in self._reader.open(page)]
            yield b"".join([framed(message(line, self._host)) for line in lines]), len(lines), page[-1].position + 1

    def _remember(self, position: int) -> None:
        partial = self._state.with_name(self._state.name + ".new")
        with partial.open("w", encoding="ascii") as file:
            file.write(str(position))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._state)
