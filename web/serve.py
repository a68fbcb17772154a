"""Owns the server process: which WSGI server runs the application, and how. It must not know routes."""

from __future__ import annotations

import logging
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.http import wsgi

from kms.process import harden
from vault.errors import VaultError
from vault.opening import open_vault
from web import create_app
from web.settings import WebSettings

THREADS = 640
"""Enough that 400 slow clients leave room for others (web/patience.py ends them); a waiting thread costs a few dozen KiB."""
CONNECTIONS = 2000
"""Open at once, kept-alive ones included."""
GRACE_S = 30
"""How long a stopping server lets requests under way finish."""


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no type hints
    """One worker with many threads; the vault is opened in the worker, after the fork, as PKCS#11 demands."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Everything that differs from gunicorn's defaults, with its reason above."""
        web = self._settings.web
        choices: dict[str, Any] = {
            "bind": web.bind,
            "workers": 1,
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
            "worker_exit": lambda _server, worker: _close(worker),
        }
        for name, value in choices.items():
            if value is not None:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Called in the worker."""
        harden()
        vault = open_vault(self._settings.vault, names=self._settings.web.names)
        vault.auditing.serve("web", _report)
        vault.people.serve(self._settings.vault.mail, _report)
        vault.patrol.start(_report)
        return create_app(self._settings, vault)


def _report(error: VaultError) -> None:
    """Trouble in the background, for whoever reads the service's journal."""
    logging.getLogger("coffre").error("%s: %s", error.code, error)


def _close(worker: Any) -> None:
    application = getattr(worker, "wsgi", None)
    if application is not None:
        application.extensions["coffre"].close()


def serve(settings: WebSettings) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way finish."""
    wsgi.SERVER = "Coffre"  # what the Server header says; there is no setting for it
    Server(settings).run()
