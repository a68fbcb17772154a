"""Virus scanners for tests: Debian's clamd with signatures of its own, and one that misbehaves. Knows no vault."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from tests.parts import clamd_program

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""The file that every scanner calls a virus by agreement (eicar.org); in two halves, so that none calls this one so."""
SIGNATURE = "Coffre.Test.Eicar"
CONFIGURATION = """Foreground yes
LocalSocket {directory}/clamd.ctl
DatabaseDirectory {directory}/signatures
TemporaryDirectory {directory}/memory
LogFile {directory}/clamd.log
StreamMaxLength 1M
"""


@dataclass
class Clamd:
    """A running clamd; signatures need no download: EICAR's bytes anywhere in any file."""

    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.directory / "clamd.ctl"

    @classmethod
    def start(cls) -> Clamd:
        program = clamd_program()
        directory = Path(tempfile.mkdtemp(prefix="coffre-clamd-"))
        for name in ("signatures", "memory"):
            (directory / name).mkdir()
        (directory / "signatures" / "local.ndb").write_text(f"{SIGNATURE}:0:*:{EICAR.hex()}\n")
        (directory / "clamd.conf").write_text(CONFIGURATION.format(directory=directory))
        clamd = cls(directory, cls._run(program, directory))
        clamd._await_answer()
        return clamd

    @staticmethod
    def _run(program: Path, directory: Path) -> subprocess.Popen[bytes]:
        command = [str(program), f"--config-file={directory / 'clamd.conf'}"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + 60
        while not self.answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                log = self.directory / "clamd.log"
                words = log.read_text(errors="replace") if log.exists() else ""
                self.stop()
                raise RuntimeError(f"clamd did not start:\n{words}")
            time.sleep(0.05)

    def restart(self) -> None:
        """Begin again after its end."""
        self.process = self._run(clamd_program(), self.directory)
        self._await_answer()

    def knows(self, *, eicar: bool) -> None:
        """Begin again with EICAR's signature, or with one of something else."""
        self.process.terminate()
        self.process.wait(30)
        words = EICAR.hex() if eicar else b"no document holds this".hex()
        (self.directory / "signatures" / "local.ndb").write_text(f"{SIGNATURE}:0:*:{words}\n")
        self.restart()

    def answers(self) -> bool:
        """Whether it takes commands."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"zPING\0")
                return connection.recv(10) == b"PONG\0"
            except OSError:
                return False

    def left_behind(self) -> list[Path]:
        """What it goes on keeping of the streams it was given: it says its word first and deletes after that."""
        deadline = time.monotonic() + 20
        while kept := [Path(place, name) for place, _, names in os.walk(self.directory / "memory") for name in names]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        return kept

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass
class OddScanner:
    """Speaks clamd's protocol and misbehaves as told: ``dies_after`` bytes, ``reply``, ``is_silent``."""

    path: Path
    reply: bytes = b"stream: OK\0"
    dies_after: int | None = None
    is_silent: bool = False
    received: bytearray = field(default_factory=bytearray)
    was_ended: bool = False

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen(4)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                self._talk(connection, stream)

    def _talk(self, connection: socket.socket, stream: BinaryIO) -> None:
        read = stream.read
        assert read(10) == b"zINSTREAM\0"
        while len(head := read(4)) == 4:
            length = int.from_bytes(head, "big")
            if not length:
                self.was_ended = True
                break
            self.received += read(length)
            if self.dies_after is not None and len(self.received) >= self.dies_after:
                if self.reply != b"stream: OK\0":
                    connection.sendall(self.reply)
                return
        if self.is_silent:
            self._over.wait(10)
        elif self.was_ended:
            connection.sendall(self.reply)
