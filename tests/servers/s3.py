"""A private S3 server for tests: OpenStack Swift with its S3 API, real software on loopback, gone afterwards. Knows no blob.

It honours create-once (``If-None-Match: *``), ranges and multipart uploads; it has no object lock and ignores SSE-C.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.parts import free_ports

RINGS = ("object", "container", "account")
ACCESS_KEY, SECRET_KEY = "vault:vault", "testing"

PROXY = """\
[pipeline:main]
pipeline = {before} s3api tempauth {after} versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = false
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
force_swift_request_proxy_log = false
[filter:tempauth]
use = egg:swift#tempauth
user_vault_vault = testing .admin
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
allow_object_versioning = true
"""
BEFORE = ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk")
AFTER = ("copy", "slo", "dlo")


@dataclass(slots=True)
class Store:
    """A running S3 server; ``stop`` removes it with all it holds."""

    directory: Path
    port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def start(cls) -> Self:
        """Make and start one; ready in about three seconds. Raises RuntimeError where it stays silent."""
        directory = Path(tempfile.mkdtemp(prefix="coffre-s3-"))
        ports = free_ports(4)
        store = cls(directory, ports[0])
        _configure(directory, ports)
        programs = Path(sys.executable).parent
        for kind in (*RINGS, "proxy"):
            with (directory / f"{kind}.log").open("wb") as log:
                store.processes.append(
                    subprocess.Popen(
                        [sys.executable, programs / f"swift-{kind}-server", directory / "etc" / f"{kind}-server.conf"],
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        stdin=subprocess.DEVNULL,
                        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONWARNINGS": "ignore"},
                    )
                )
        store._await()
        return store

    def _await(self) -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.endpoint}/healthcheck", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.1)
        words = (self.directory / "proxy.log").read_text(errors="replace")[-2000:]
        self.stop()
        raise RuntimeError(f"the S3 test server did not start:\n{words}")

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def _configure(directory: Path, ports: list[int]) -> None:
    etc = directory / "etc"
    etc.mkdir()
    (directory / "dev" / "d1").mkdir(parents=True)
    everywhere = (
        f"bind_ip = 127.0.0.1\nworkers = 1\nuser = {getpass.getuser()}\nswift_dir = {etc}\ndevices = {directory / 'dev'}\n"
        "mount_check = false\ndisable_fallocate = true\nlog_level = WARNING\n"
    )
    (etc / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = s\nswift_hash_path_prefix = p\n"
        "[storage-policy:0]\nname = Policy-0\ndefault = yes\n[swift-constraints]\nmax_header_size = 32768\n"
    )
    for kind, port in zip(RINGS, ports[1:], strict=True):
        (etc / f"{kind}-server.conf").write_text(
            f"[DEFAULT]\nbind_port = {port}\n{everywhere}[pipeline:main]\npipeline = {kind}-server\n"
            f"[app:{kind}-server]\nuse = egg:swift#{kind}\n"
            f"[{kind}-replicator]\n[container-updater]\n[container-sharder]\n[object-updater]\n"
        )
        ring = [sys.executable, str(Path(sys.executable).parent / "swift-ring-builder"), str(etc / f"{kind}.builder")]
        for step in (("create", "4", "1", "1"), ("add", f"r1z1-127.0.0.1:{port}/d1", "1"), ("rebalance",)):
            subprocess.run(
                [*ring, *step], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
            )
    filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in (*BEFORE, *AFTER, "symlink"))
    pipeline = PROXY.format(before=" ".join(BEFORE), after=" ".join(AFTER))
    (etc / "proxy-server.conf").write_text(f"[DEFAULT]\nbind_port = {ports[0]}\n{everywhere}{pipeline}{filters}")
