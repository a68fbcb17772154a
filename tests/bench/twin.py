"""The plain twin: the smallest honest Flask program that keeps documents without a vault. It knows nothing of Coffre.

Same server, same disk, same fsyncs, same kind of database commit; no account, no encryption, no log, no limits.
Run: ``python -m tests.bench.twin DIRECTORY PORT THREADS PROCESSES``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, request, send_file
from gunicorn.app.base import BaseApplication
from werkzeug.wsgi import FileWrapper

BLOCK = 1 << 20


class Turn:
    """One writer at a time. SQLite lets writers wait for each other by sleeping, which would make this program look slow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._file = self._path.open("wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.release()


def create_app(directory: Path) -> Flask:
    """POST /documents keeps a raw body, durable when answered; GET /documents/<id> gives it back."""
    app = Flask(__name__)
    files = directory / "files"
    files.mkdir(parents=True, exist_ok=True)
    local = threading.local()
    turn = Turn(directory / "turn")

    def database() -> sqlite3.Connection:
        if not hasattr(local, "connection"):
            local.connection = sqlite3.connect(directory / "twin.db", isolation_level=None, timeout=30)
            local.connection.execute("PRAGMA journal_mode=WAL")
            local.connection.execute("PRAGMA synchronous=FULL")
            local.connection.execute("CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY, sha256 TEXT, size INTEGER)")
            local.connection.execute("CREATE TABLE IF NOT EXISTS openings (at TEXT, document TEXT)")
        found: sqlite3.Connection = local.connection
        return found

    @app.post("/documents")
    def keep() -> tuple[dict[str, Any], int]:
        name, digest, size = uuid.uuid4().hex, hashlib.sha256(), 0
        with (files / f".{name}").open("xb", buffering=0) as file:
            while block := request.stream.read(BLOCK):
                digest.update(block)
                file.write(block)
                size += len(block)
            os.fsync(file.fileno())
        (files / f".{name}").rename(files / name)
        descriptor = os.open(files, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        with turn:
            database().execute("INSERT INTO documents VALUES (?, ?, ?)", (name, digest.hexdigest(), size))
        return {"id": name, "sha256": digest.hexdigest()}, 201

    @app.get("/documents/<name>")
    def give(name: str) -> Response:
        if database().execute("SELECT sha256 FROM documents WHERE id = ?", (name,)).fetchone() is None:
            abort(404)
        if request.args.get("noted"):
            with turn:
                database().execute("INSERT INTO openings VALUES (datetime(), ?)", (name,))
        if request.range:
            request.environ["wsgi.file_wrapper"] = FileWrapper  # gunicorn's own can't seek: it reads all that stands before
        return send_file(files / name, mimetype="application/pdf", conditional=True, etag=False)

    return app


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no type hints
    """The same server, in the same shape as the vault's."""

    def __init__(self, directory: Path, port: int, threads: int, processes: int) -> None:
        self._directory, self._port, self._threads, self._processes = directory, port, threads, processes
        super().__init__()

    def load_config(self) -> None:
        choices = {"bind": f"127.0.0.1:{self._port}", "workers": self._processes, "worker_class": "gthread",
                   "threads": self._threads, "keepalive": 15, "loglevel": "warning"}  # fmt: skip
        for name, value in choices.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return create_app(self._directory)


if __name__ == "__main__":
    Server(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])).run()
