"""Owns the server's processes: which WSGI server runs the application, and how. It must not know routes."""

from __future__ import annotations

import errno
import gc
import logging
import pkgutil
import socket
import sys
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import AppImportError
from gunicorn.http import wsgi

import web
from kms.errors import KmsError
from kms.process import harden
from kms.terminal import Exit
from vault.errors import BadSettings, VaultError
from vault.opening import Vault, open_vault
from web import create_app
from web.processes import Processes, by_default
from web.settings import WebSettings

THREADS = 640
"""Enough that 400 slow clients leave room for others (web/patience.py ends them); a waiting thread costs a few dozen KiB."""
CONNECTIONS = 2000
"""Open at once, kept-alive ones included."""
GRACE_S = 30
"""How long a stopping server lets requests under way finish."""


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no type hints
    """Processes with many threads each; the vault is opened in each process, after the fork, as PKCS#11 demands."""

    def __init__(self, settings: WebSettings, processes: Processes, ready: Callable[[], None]) -> None:
        """``ready`` is called in the first process, once it takes requests."""
        self._settings = settings
        self._ready = ready
        self.processes = processes
        self._worker: Any = None
        super().__init__()

    def load_config(self) -> None:
        """Everything that differs from gunicorn's defaults, with its reason above."""
        web = self._settings.web
        choices: dict[str, Any] = {
            "bind": web.bind,
            "workers": self.processes.count,
            "worker_class": "web.patience.Worker",
            "threads": THREADS,
            "worker_connections": CONNECTIONS,
            "graceful_timeout": GRACE_S,
            "keepalive": 15,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "proc_name": "coffre",
            "worker_tmp_dir": None,
            # web.safety alone judges forwarded headers, by the declared proxies; gunicorn would believe any local process.
            "forwarded_allow_ips": "",
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            "certfile": str(web.tls_certificate_file) if web.tls_certificate_file else None,
            "keyfile": str(web.tls_key_file) if web.tls_key_file else None,
            "pre_fork": self._number,
            "post_fork": self._become,
            "post_worker_init": lambda _worker: self._start(),
            "worker_exit": lambda _server, worker: _close(worker),
        }
        for name, value in choices.items():
            if value is not None:
                self.cfg.set(name, value)

    def _number(self, arbiter: Any, worker: Any) -> None:
        """Before a fork: a number that no living process has, or one shared for a while: SIGHUP replaces them all at once."""
        taken = [each.number for each in arbiter.WORKERS.values()]
        worker.number = min(range(self.processes.count), key=taken.count)

    def _become(self, _arbiter: Any, worker: Any) -> None:
        """After the fork: this process knows which one it is."""
        self._worker = worker
        self.processes.number = worker.number

    def load(self) -> Any:
        """Called in each process: open the vault, after the first one did."""
        harden()
        if not self.processes.await_first(self._is_wanted):
            sys.exit(0)
        vault = opened(self._settings)
        if self.processes.is_first:
            vault.auditing.serve("web", _report, hourly=lambda: _hourly(vault))
            vault.people.serve(self._settings.vault.mail, _report)
            vault.patrol.start(_report)
        else:
            vault.auditing.serve("web", _report, is_first=False)
        return create_app(self._settings, vault, self.processes)

    def _is_wanted(self) -> bool:
        self._worker.notify()  # waiting is no hanging
        return bool(self._worker.alive)

    def _start(self) -> None:
        """Everything is made that lives as long as the process: the collector need never look at it again."""
        gc.collect()
        gc.freeze()
        if self.processes.is_first and self.processes.tell_first_is_up():
            self._ready()


def opened(settings: WebSettings) -> Vault:
    """The vault to serve. Why it can't be is one sentence: gunicorn prints an AppImportError, and ends."""
    try:
        return open_vault(settings.vault, names=settings.web.names)
    except (VaultError, KmsError) as error:
        reason = f"coffre: the server can't start: {error} (code {error.code}: docs/operations.md, Errors)"
        raise AppImportError(reason) from None


def _hourly(vault: Vault) -> None:
    """What waits for nobody: the rest of decided disposals, and the end of what is in quarantine, whatever becomes of those."""
    try:
        vault.disposals.finish()
    finally:
        vault.quarantine.expire()


def _report(error: VaultError) -> None:
    """Trouble in the background, for whoever reads the service's journal."""
    logging.getLogger("coffre").error("%s: %s", error.code, error)


def _close(worker: Any) -> None:
    application = getattr(worker, "wsgi", None)
    if application is not None:
        application.extensions["coffre"].close()


def serve(settings: WebSettings, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way finish. Raises BadSettings, StorageUnavailable.

    ``ready`` is called once requests are taken.
    """
    wsgi.SERVER = "Coffre"  # what the Server header says; there is no setting for it
    must_be_free(settings.web.bind)
    read_once()
    try:
        with closing(Processes(settings.web.processes or by_default())) as processes:
            Server(settings, processes, ready).run()
    except SystemExit as end:
        # What could not be opened has said why on standard error.
        sys.exit(Exit.UNAVAILABLE if end.code == Arbiter.APP_LOAD_ERROR else end.code)


def read_once() -> None:
    """Import what each process needs, before the forks: they share it. The translations' are a program of their own."""
    for module in pkgutil.walk_packages(web.__path__, "web."):
        if not module.name.startswith("web.translations"):
            import_module(module.name)
    gc.freeze()


def must_be_free(bind: str) -> None:
    """Say at once that somebody else listens there, instead of after five tries. Raises BadSettings."""
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    try:
        with socket.create_server(
            (host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET, reuse_port=False
        ):
            pass
    except OSError as error:
        taken = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise BadSettings(f"can't listen on {bind}: {taken}; choose another [web] bind") from error
