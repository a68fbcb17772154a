"""A process that writes to a log until it is killed; it says each acknowledged event on standard output."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from pathlib import Path

from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.vault.audit.conftest import Rig, open_rig, person, viewed


def write(rig: Rig, who: int) -> None:
    """One client: an event, then its acknowledgement in one write, for ever."""
    for number in itertools.count():
        receipt = rig.log.record(viewed(number, of=number % 3, by=person(who)))
        os.write(1, f"{receipt.position} {receipt.event}\n".encode())


if __name__ == "__main__":
    opened = open_rig(Path(sys.argv[1]), Clock(), FakeKeyService())
    for client in range(4):
        threading.Thread(target=write, args=(opened, client), daemon=True).start()
    threading.Event().wait()
