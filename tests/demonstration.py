"""One demonstration for a whole run of the tests, never served, and the copies that are: founding one takes seconds.

Knows no page and no attack.
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

from vault.demo import stage
from vault.demo.stage import Demo


def founded(shared: Path) -> Demo:
    """The demonstration below ``shared``, made by the first process of the run that asks; the others wait for it."""
    with (shared / "founding").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return stage.prepare(shared / "founded", bind="127.0.0.1:8000", tell=lambda _line: None, environment={})


def copy(demo: Demo, room: Path) -> Demo:
    """The same installation elsewhere, as an attacker or a disaster would find it."""
    target = room / "demo"
    shutil.copytree(demo.directory, target)
    for settings in (target / "coffre.toml", target / "token" / "softhsm2.conf"):
        settings.write_text(settings.read_text().replace(str(demo.directory), str(target)))
    return Demo(target, demo.accounts)
