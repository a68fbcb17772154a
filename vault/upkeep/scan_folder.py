"""Owns a folder into which a scanner writes: every file goes, sealed, into the inbox and only then leaves the folder.

It must not know HTTP nor who is at the console. Files still being written are waited for; what is refused is moved aside, in
sight of whoever scans; what failed for the moment (token away, disk full) stays and is tried again.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vault.errors import AlreadyPresent, Invalid, Quarantined, VaultError
from vault.model import Actor
from vault.records.inbox.inbox import Inbox

SETTLED_SECONDS = 2.0
"""A file that has not changed for so long is whole: network scanners write in bursts."""
ROUND_SECONDS = 2.0
REFUSED = "refused"
"""Where refused files are moved, inside the watched folder."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one file."""

    name: str = field(repr=False)
    outcome: str
    """``sealed``, ``known`` (its bytes wait in the inbox already), ``quarantined``, ``refused`` or ``later``."""
    code: str = ""
    """The error code behind ``quarantined``, ``refused`` and ``later``."""
    draft: str = ""
    """Its id: of the draft, or in the quarantine."""


class ScanFolder:
    """One watched folder. Not thread-safe: one watcher a folder."""

    def __init__(
        self,
        inbox: Inbox,
        actor: Actor,
        folder: Path,
        *,
        settled_seconds: float = SETTLED_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises Invalid where ``folder`` is no directory."""
        if not folder.is_dir():
            raise Invalid(f"{folder} is not a folder", field="folder", reason="not_a_folder")
        self._inbox = inbox
        self._actor = actor
        self._folder = folder
        self._settled_seconds = settled_seconds
        self._clock = clock

    def waiting(self) -> list[Path]:
        """The files to take now, oldest first: regular, not hidden, whole."""
        now, found = self._clock(), []
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode) and path.name[0] != "." and now - facts.st_mtime >= self._settled_seconds:
                    found.append((facts.st_mtime, path))
        return [path for _, path in sorted(found)]

    def take(self) -> Iterator[Taken]:
        """Seal every waiting file into the inbox; each leaves the folder once that is durable."""
        for path in self.waiting():
            yield self._take(path)

    def watch(self, stop: threading.Event, report: Callable[[Taken], None]) -> None:
        """Take what comes until ``stop`` is set."""
        while not stop.is_set():
            for taken in self.take():
                report(taken)
            stop.wait(ROUND_SECONDS)

    def _take(self, path: Path) -> Taken:
        try:
            # O_NOFOLLOW: a link put there meanwhile must not lead elsewhere.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as body:
                before = os.fstat(body.fileno())
                draft = self._inbox.deposit(
                    self._actor, file_name=path.name, body=body, declared_size=before.st_size, channel="folder"
                )
        except AlreadyPresent as error:
            path.unlink()
            return Taken(path.name, "known", draft=str(error.details.get("document", "")))
        except Quarantined as error:  # sealed and durable, and set apart: it leaves the folder like any other
            path.unlink()
            return Taken(path.name, "quarantined", error.code, draft=str(error.details.get("document", "")))
        except VaultError as error:
            if error.retryable:
                return Taken(path.name, "later", error.code)
            return self._set_aside(path, error.code)
        except OSError:
            return Taken(path.name, "later", "unreadable")
        path.unlink()
        return Taken(path.name, "sealed", draft=draft.id)

    def _set_aside(self, path: Path, code: str) -> Taken:
        """Move a refused file out of the way, never over another one."""
        aside = self._folder / REFUSED
        aside.mkdir(mode=0o700, exist_ok=True)
        target, number = aside / path.name, 1
        while target.exists():
            number += 1
            target = aside / f"{path.stem} ({number}){path.suffix}"
        path.rename(target)
        return Taken(path.name, "refused", code)
