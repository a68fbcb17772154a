"""Processes that write to a log until they are killed: each says what was acknowledged in a file of its own.

The parent imports everything once and forks a writer for each line that it reads, so that a thousand kills take minutes. It
answers with the writer's process id, and with ``gone`` when that one is dead.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from pathlib import Path

from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.vault.audit.conftest import Rig, open_rig, person, viewed
from vault.settings import DatabaseSettings

CLIENTS = 4


def write(rig: Rig, who: int, said: int) -> None:
    """One client: an event, then its acknowledgement in one write, for ever."""
    for number in itertools.count():
        receipt = rig.log.record(viewed(number, of=number % 3, by=person(who)))
        os.write(said, f"{receipt.position} {receipt.event}\n".encode())


def work(place: Path, settings: DatabaseSettings, said: int) -> None:
    """Until killed."""
    opened = open_rig(place, Clock(), FakeKeyService(), settings)
    for client in range(CLIENTS):
        threading.Thread(target=write, args=(opened, client, said), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    directory, secret = Path(sys.argv[1]), Path(sys.argv[4]) if sys.argv[4] else None
    databases = DatabaseSettings(sys.argv[2], sys.argv[3], secret)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            work(directory, databases, os.open(directory / f"said-{line.strip()}", flags, 0o600))
        os.write(1, b"%d\n" % process)
        os.waitpid(process, 0)
        os.write(1, b"gone\n")
