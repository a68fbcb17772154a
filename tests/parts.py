"""Where the real parts that tests use stand on this machine. Knows no test and starts nothing."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from random import SystemRandom

LAUNCH = [
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--use-fake-device-for-media-stream",
]  # fmt: skip
"""How the tests start Chromium: it asks nobody outside for anything, and its camera shows a test picture."""

PATIENCE_MS = 30_000
"""How long a page may take to show what is expected of it: only a test that fails waits so long."""


class MissingPart(Exception):
    """A real part is not installed; the message names it."""


def softhsm_module() -> Path:
    """The SoftHSM2 PKCS#11 module."""
    places = [
        os.environ.get("COFFRE_PKCS11_MODULE", ""),
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
        "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    ]
    for place in places:
        if place and Path(place).is_file():
            return Path(place)
    raise MissingPart("SoftHSM2 is not installed")


def chromium_path() -> Path:
    """The browser: ``COFFRE_TEST_BROWSER``, or the first Chromium on the path."""
    for name in (os.environ.get("COFFRE_TEST_BROWSER", ""), "chromium", "chromium-browser", "google-chrome-stable"):
        if name and (found := shutil.which(name)):
            return Path(found)
    raise MissingPart("Chromium is not installed")


def postgresql_programs() -> Path:
    """The directory that holds ``initdb`` and ``pg_ctl``, newest version first; PostgreSQL 15 or later."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: float(place.parent.name), reverse=True)
    for place in versions:
        if (place / "initdb").exists() and float(place.parent.name) >= 15:
            return place
    if (found := shutil.which("initdb")) and shutil.which("pg_ctl"):
        return Path(found).parent
    raise MissingPart("PostgreSQL 15 or later is not installed")


def clamd_program() -> Path:
    """ClamAV's daemon: the system's, or the one that ``.ci/clamd`` unpacks beside the Python environment."""
    places = (shutil.which("clamd"), "/usr/sbin/clamd", "/usr/local/sbin/clamd", Path(sys.prefix) / "clamav/usr/sbin/clamd")
    for place in places:
        if place and Path(place).is_file():
            return Path(place)
    raise MissingPart("ClamAV's clamd is not there (.ci/clamd DIRECTORY unpacks it)")


def _given_away_from() -> int:
    """From which port on the system gives ports away by itself, to whoever connects or binds to none in particular."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    return 32_768


def _is_ours_alone(port: int) -> bool:
    """Whether no process of any tests on this machine was given the port; from now on, and until it ends, this one has been.

    The mark is a name without a file, which the system takes back by itself. Only Linux has such names.
    """
    if sys.platform != "linux":
        return True
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0coffre-tests-port-{port}")
    except OSError:
        mark.close()
        return False
    mark.detach()
    return True


def free_ports(count: int) -> list[int]:
    """Loopback TCP ports that nobody uses, and that nobody is given before a server of ours takes them, or takes them again."""
    dice, end = SystemRandom(), max(_given_away_from(), 22_000)  # workers of one run are seeded alike
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            one, port = stack.enter_context(socket.socket()), dice.randrange(20_000, end)
            with suppress(OSError):
                one.bind(("127.0.0.1", port))
                if _is_ours_alone(port):
                    ports.append(port)
        return ports


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
