"""Owns the container's health check: ask the server of this machine whether it is alive. It must not open the vault.

``python -m web.probe`` ends with 0 where ``/healthz`` answers 200 within four seconds, else with 1 and a sentence.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

from vault.cli import default_config
from vault.errors import VaultError
from vault.settings import read_file
from web.settings import WebTable, take

TIMEOUT_S = 4
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # recognised, never bound here


def _connect(settings: WebTable) -> http.client.HTTPConnection:
    host, port = settings.address
    host = EVERYWHERE.get(host, host)
    if not settings.is_tls:
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    # Alive or not is asked over loopback, by a name that the certificate does not bear; nothing secret is sent or believed.
    context = ssl._create_unverified_context()  # noqa: S323, SLF001  # see above
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def main() -> int:
    """The exit status."""
    try:
        path = default_config()
        settings = take(read_file(path), path, os.environ)
        connection = _connect(settings)
        connection.request("GET", "/healthz", headers={"Host": settings.hosts[0]} if settings.hosts else {})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, VaultError) as error:
        print(f"not alive: {error}", file=sys.stderr)  # noqa: T201  # a health check speaks on its terminal
        return 1
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
