"""Owns the two servers that benchmarks compare: a served vault and its plain twin, on the same disk. It measures nothing."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.wire import Wire
from tests.journeys.site import Site
from tests.parts import free_port
from vault.model import Role
from web.processes import by_default
from web.serve import THREADS

MIB = 1024 * 1024
_SERIAL = itertools.count(int.from_bytes(os.urandom(6)))


@dataclass(frozen=True, slots=True)
class Stage:
    """Both servers, and somebody signed in at the vault."""

    site: Site
    twin: subprocess.Popen[bytes] = field(repr=False)
    twin_port: int
    token: str = field(repr=False)
    patient: str

    def vault_wire(self, place: int = 0) -> Wire:
        return Wire(self.site.port, self.token, place)

    def twin_wire(self, place: int = 0) -> Wire:
        return Wire(self.twin_port, place=place)

    @property
    def vault_path(self) -> str:
        """Where a document is filed."""
        return f"/api/v1/documents?patient={self.patient}&type=11502-2"


class Paper:
    """A document of ``size`` bytes that no one has seen yet each time it is asked for; its bulk is made once."""

    def __init__(self, size: int) -> None:
        self._bulk = memoryview(hashlib.shake_256(b"bench").digest(min(size, MIB)) * (size // MIB + 1))[: size - 59]
        self.size = size

    def pieces(self) -> tuple[bytes, memoryview, bytes]:
        """Head with a number of its own, bulk, end."""
        head = f"%PDF-1.7\n%{next(_SERIAL):040d}\n".encode()
        return head, self._bulk, b"%%EOF\n\n\n"[: self.size - len(head) - len(self._bulk)]


@contextmanager
def staged() -> Iterator[Stage]:
    """Start everything below the temporary directory, stop and remove it afterwards."""
    place = Path(tempfile.mkdtemp(prefix="coffre-bench-", dir=os.environ.get("COFFRE_BENCH_DIR")))
    site = Site.start(place / "site")
    port = free_port()
    (place / "twin").mkdir()
    shape = (str(place / "twin"), str(port), str(THREADS), str(by_default()))
    twin = subprocess.Popen([sys.executable, "-m", "tests.bench.twin", *shape])
    try:
        account = next(account for account in site.demo.accounts if account.role is Role.CLINICIAN)
        wire = Wire(site.port)
        proof = {"username": account.username, "password": account.password, "code": account.code(time.time())}
        token = str(_asked(wire, "/api/v1/sessions", proof)["token"])
        wire = Wire(site.port, token)
        identity = {"birth_name": "BANC", "given_names": ["Essai"], "birth_date": "1980-03-12", "sex": "F"}
        patient = str(_asked(wire, "/api/v1/patients", identity)["id"])
        _await(port)
        yield Stage(site, twin, port, token, patient)
    finally:
        twin.terminate()
        twin.wait()
        site.stop()
        shutil.rmtree(place, ignore_errors=True)


def _asked(wire: Wire, path: str, body: Mapping[str, object]) -> dict[str, object]:
    import json

    status, answer = wire.post(path, json.dumps(dict(body)).encode(), kind="application/json")
    if status != 201:
        raise RuntimeError(f"{path}: {status} {answer}")
    return answer


def _await(port: int) -> None:
    for _ in range(200):
        try:
            Wire(port).get("/documents/none")
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the twin did not start")


def resident_mib(pid: int) -> float:
    """Resident memory of a process and its children, MiB."""
    pids = [pid, *(int(child) for child in _children(pid))]
    kib = 0
    for each in pids:
        try:
            status = Path(f"/proc/{each}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        kib += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return kib / 1024


def _children(pid: int) -> list[str]:
    found: list[str] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text(encoding="ascii").split():
            found += [child, *_children(int(child))]
    return found
