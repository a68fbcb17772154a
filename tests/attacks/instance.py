"""An installation to attack: a real token, a real server process, the real command line; may be copied, killed, damaged.

Everything that it writes goes below ``room``. Knows no page and no table.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.attacks.caller import Caller
from tests.journeys.visitor import Telephones
from tests.parts import free_port
from vault.demo.stage import Account, Demo

COFFRE = [sys.executable, "-c", "from web.cli import main; main()"]
START_S = 90
GRACE_S = 40


@dataclass(slots=True)
class Instance:
    """One installation and, between ``start`` and ``stop``, its server."""

    room: Path
    demo: Demo
    settings: dict[str, str] = field(default_factory=dict)
    """``COFFRE_…`` overrides."""
    port: int = field(default_factory=free_port)
    preparation: list[str] = field(default_factory=list)
    """What is put before the command: ``prlimit``, for example."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    telephones: Telephones = field(default_factory=Telephones, repr=False)
    recovery: dict[str, list[str]] = field(default_factory=dict, repr=False)
    """Codes that are left, by username."""

    @property
    def environment(self) -> dict[str, str]:
        for name in ("tmp", "home"):
            (self.room / name).mkdir(exist_ok=True)
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("COFFRE_")},
            "COFFRE_CONFIG": str(self.demo.config),
            "COFFRE_WEB_BIND": f"127.0.0.1:{self.port}",
            "TMPDIR": str(self.room / "tmp"),
            "HOME": str(self.room / "home"),
            **self.settings,
        }

    def start(self, sign: str = "/readyz") -> float:
        """Serve; returns the seconds until it answered 200 at ``sign``. AssertionError holds the server's words."""
        began = time.monotonic()
        with (self.room / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.preparation, *COFFRE, "serve"],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        while not self.is_ready(sign):
            assert self.process.poll() is None, self.words()[-3000:]
            assert time.monotonic() - began < START_S, self.words()[-3000:]
            time.sleep(0.05)
        return time.monotonic() - began

    def is_ready(self, sign: str = "/readyz") -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{sign}", timeout=10) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        return False

    def words(self) -> str:
        """What the server wrote."""
        return (self.room / "server.log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> int:
        """Stop it as an operator would; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """Every process of the server at once, with no warning."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def pids(self) -> list[int]:
        """The server's processes: its own group and whatever descends from it."""
        assert self.process is not None
        found = [self.process.pid]
        for parent in found:
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                found += [int(word) for word in task.read_text().split()]
        return found

    # --- people

    def account(self, username: str) -> Account:
        return self.demo.account(username)

    def caller(self) -> Caller:
        """Nobody yet."""
        return Caller(self.port)

    def sign_in(self, username: str) -> Caller:
        """A program of ``username``, signed in with a recovery code: those need no waiting for the telephone."""
        account = self.account(username)
        codes = self.recovery.setdefault(username, list(account.recovery_codes))
        code = codes.pop() if codes else self.telephones.code(account)
        caller = self.caller()
        credentials = {"username": username, "password": account.password, "code": code}
        answer = caller.post_json("/api/v1/sessions", credentials)
        assert answer.status == 201, (answer.status, answer.body)
        caller.token = answer.json["token"]
        return caller

    def browse(self, username: str) -> Caller:
        """A browser of ``username``: cookies, signed in through the pages."""
        account, caller = self.account(username), self.caller()
        first = {"csrf_token": caller.csrf(), "username": username, "password": account.password}
        assert caller.post_form("/sign-in", first).status == 303
        second = {"csrf_token": caller.csrf("/sign-in/code"), "code": self.telephones.code(account)}
        assert caller.post_form("/sign-in/code", second).status == 303
        return caller

    # --- what an operator sees

    def coffre(self, *arguments: str, words: str = "") -> subprocess.CompletedProcess[str]:
        """The command line on this installation; never a traceback."""
        ran = subprocess.run(
            [*COFFRE, *arguments], env=self.environment, input=words, capture_output=True, text=True, timeout=120, check=False
        )
        assert "Traceback" not in ran.stderr, ran.stderr
        return ran

    def verified(self, room: str) -> dict[str, Any]:
        """``coffre audit verify --json`` or ``coffre documents verify --json``."""
        ran = self.coffre(room, "verify", "--json")
        assert ran.returncode in {0, 1}, (ran.returncode, ran.stderr)
        verdict: dict[str, Any] = json.loads(ran.stdout)
        assert verdict["ok"] is (ran.returncode == 0)
        return verdict

    @contextmanager
    def database(self, name: str = "coffre.db") -> Iterator[sqlite3.Connection]:
        """The database under the vault's feet, as somebody with the disk has it."""
        with closing(sqlite3.connect(self.demo.directory / name, timeout=10)) as connection, connection:
            yield connection

    def count(self, table: str) -> int:
        with self.database() as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def blobs(self) -> dict[str, Path]:
        """Every file of the blob store by its name, temporary ones included."""
        return {path.name: path for path in (self.demo.directory / "blobs").rglob("*") if path.is_file()}

    def kept(self) -> Mapping[str, object]:
        """What a refused request must leave as it was: rows, blobs, temporary files."""
        rows = {table: self.count(table) for table in ("documents", "document_versions", "patients")}
        return {**rows, "blobs": set(self.blobs()), "tmp": sorted(path.name for path in (self.room / "tmp").rglob("*"))}


@contextmanager
def served(room: Path, demo: Demo, settings: dict[str, str]) -> Iterator[Instance]:
    """An installation that serves for the length of the block, and must then end well, without a traceback in its words."""
    instance = Instance(room, demo, settings)
    instance.start()
    yield instance
    status = instance.stop()
    assert "Traceback" not in instance.words(), instance.words()[-3000:]
    assert status == 0, instance.words()[-3000:]


def events(auditor: Caller, *actions: str) -> list[dict[str, Any]]:
    """The newest events of these actions, as the auditor sees them."""
    answer = auditor.post_json("/api/v1/audit/search", {"actions": list(actions), "limit": 100})
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["events"]
    return found
