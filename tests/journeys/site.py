"""A really served vault for the journeys: the demonstration in its own directory, ``coffre serve`` in its own process.

Everything that the server may write goes below ``room``, so that the disk can be searched afterwards. Knows no page.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.parts import free_port
from vault.demo import stage
from vault.demo.stage import Demo

START_S = 90
GRACE_S = 40


@dataclass(slots=True)
class Site:
    """A served vault. ``room`` holds the demonstration, the server's temporary files, its home and its output."""

    room: Path
    demo: Demo
    port: int
    process: subprocess.Popen[bytes] = field(repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    """``COFFRE_…`` overrides."""

    @property
    def url(self) -> str:
        """``localhost``: passkeys want a name, and browsers treat it as a secure place."""
        return f"http://localhost:{self.port}"

    @classmethod
    def start(cls, room: Path, demo: Demo | None = None, settings: Mapping[str, str] | None = None) -> Self:
        """Prepare the demonstration below ``room`` (unless given one) and serve it. RuntimeError holds the server's words.

        ``settings``: ``COFFRE_…`` overrides, of the preparation too.
        """
        port, settings = free_port(), settings or {}
        demo = demo or stage.prepare(
            room / "demo", bind=f"127.0.0.1:{port}", tell=lambda _line: None, environment={**os.environ, **settings}
        )
        for name in ("tmp", "home"):
            (room / name).mkdir(exist_ok=True)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("COFFRE_")},
            "COFFRE_CONFIG": str(demo.config),
            "COFFRE_WEB_BIND": f"127.0.0.1:{port}",
            "TMPDIR": str(room / "tmp"),
            "HOME": str(room / "home"),
            **settings,
        }
        with (room / "server.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", "from web.cli import main; main()", "serve"],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        site = cls(room, demo, port, process, settings)
        site._await_ready()
        return site

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except urllib.error.HTTPError as error:
                error.close()
                time.sleep(0.1)
            except OSError:
                time.sleep(0.1)
        words = self.words()
        self.stop()
        raise RuntimeError(f"the vault did not become ready:\n{words[-4000:]}")

    def words(self) -> str:
        """What the server wrote."""
        return (self.room / "server.log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> int:
        """Stop it as an operator would; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        return self.process.returncode
