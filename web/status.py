"""Owns what the installation says about itself: alive, ready, numbers for monitoring, and a page in plain words.

It must not know how a part is checked; nothing here names a person or a patient.
"""

from __future__ import annotations

import ipaddress
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, jsonify, render_template, request
from flask_babel import LazyString
from flask_babel import lazy_gettext as _

from vault.audit.events import Action
from vault.errors import Forbidden, VaultError
from vault.people.policy import Act, decide_role
from vault.upkeep.availability import ALLOWED_MINUTES, measured
from vault.upkeep.patrol import Watch
from vault.upkeep.rehearsed import Rehearsals, rehearsals
from web.routes import audited, not_audited, public
from web.session import actor, vault

status = Blueprint("status", __name__)
DISK_FLOOR_BYTES = 512 * 1024 * 1024
"""Below this the vault says that it is not ready: a document could fail half-way."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Check:
    """One part and whether it answers."""

    id: str
    label: LazyString
    ok: bool
    detail: str
    ms: int


def _token() -> str:
    health = vault().keys.health()
    if not health.ok:
        raise VaultError(health.detail)
    return health.detail


def _database() -> str:
    vault().auditing.last_at()
    return ""


def _log() -> str:
    return str(vault().auditing.size())


def _disk() -> str:
    url = vault().settings.blobs.url
    if not url.startswith("file://"):
        return ""
    free = shutil.disk_usage(url.removeprefix("file://")).free
    if free < DISK_FLOOR_BYTES:
        raise VaultError(f"{free} bytes free")
    return str(free)


def _store() -> str:
    vault().blobs.probe()
    return ""


CHECKS: tuple[tuple[str, LazyString, Callable[[], str]], ...] = (
    ("token", _("Key module"), _token),
    ("database", _("Database"), _database),
    ("store", _("Document store"), _store),
    ("log", _("Access log"), _log),
    ("disk", _("Disk space"), _disk),
)


def look() -> list[Check]:
    """Ask every part once."""
    found = []
    for name, label, ask in CHECKS:
        began = time.monotonic()
        try:
            detail, ok = ask(), True
        except (VaultError, OSError) as error:
            detail, ok = getattr(error, "code", type(error).__name__), False
        found.append(Check(name, label, ok, detail, round(1000 * (time.monotonic() - began))))
    return found


@status.get("/healthz")
@not_audited("a monitor asks whether the process lives; says nothing else")
@public("monitors have no account")
def alive() -> Response:
    """This process answers."""
    return jsonify(status="alive")


@status.get("/readyz")
@not_audited("a monitor asks whether the vault can work; says nothing else")
@public("monitors have no account")
def ready() -> tuple[Response, int]:
    """Whether a document could be filed and opened now; otherwise 503 with the names of what is missing."""
    checks = look()
    missing = [check.id for check in checks if not check.ok]
    answer = jsonify(
        status="not ready" if missing else "ready", missing=missing, checks={check.id: check.ok for check in checks}
    )
    return answer, 503 if missing else 200


@status.get("/metrics")
@not_audited("numbers without names, to this machine only")
@public("monitors have no account; only this machine is answered")
def metrics() -> Response:
    """Counts and times in Prometheus text format 0.0.4, to the loopback address only."""
    address = ipaddress.ip_address(
        request.remote_addr or "192.0.2.1"
    )  # none given: documentation's own address, never loopback
    if not address.is_loopback or request.environ.get("coffre.forwarded"):
        raise Forbidden
    return Response(current_app.extensions["coffre.meter"].text(), mimetype="text/plain; version=0.0.4")


@status.get("/status")
@audited(Action.AUDIT_VERIFY)
def show() -> str:
    """The state of every part, in plain words."""
    decide_role(actor().role, Act.AUDIT_VERIFY)
    now = vault().clock()
    facts: dict[str, Any] = {"availability": measured(vault().db, now), "allowed": ALLOWED_MINUTES}
    facts |= {"stored": _stored(), "backups": _backups(), "apart": _apart()}
    return render_template("status/show.html", checks=look(), counted_at=now, **facts)


def _apart() -> int | None:
    """How many files are in quarantine; None where the database can't say."""
    try:
        return vault().quarantine.total()
    except VaultError:
        return None


def _backups() -> Rehearsals | None:
    """What the log says of backups and restore drills; None where the database can't say."""
    try:
        return rehearsals(vault().db, vault().clock())
    except VaultError:
        return None


def _stored() -> Watch | None:
    """What the patrol says of the stored documents; None where the database can't say."""
    try:
        return vault().patrol.watch()
    except VaultError:
        return None


class Meter:
    """Counts and times of requests, by endpoint and status. Thread-safe; no address, no id, no name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], int] = {}
        self._buckets: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self._began = time.time()

    def note(self, endpoint: str, code: int, seconds: float) -> None:
        """Count one answer."""
        with self._lock:
            self._counts[endpoint, code] = self._counts.get((endpoint, code), 0) + 1
            buckets = self._buckets.setdefault(endpoint, [0] * (len(BUCKETS) + 1))
            buckets[next((at for at, edge in enumerate(BUCKETS) if seconds <= edge), len(BUCKETS))] += 1
            self._sums[endpoint] = self._sums.get(endpoint, 0.0) + seconds

    def text(self) -> str:
        """Prometheus text format 0.0.4."""
        lines = ["# TYPE coffre_start_time_seconds gauge", f"coffre_start_time_seconds {self._began:.0f}"]
        lines.append("# TYPE coffre_requests_total counter")
        with self._lock:
            for (endpoint, code), count in sorted(self._counts.items()):
                lines.append(f'coffre_requests_total{{endpoint="{endpoint}",status="{code}"}} {count}')
            lines.append("# TYPE coffre_request_seconds histogram")
            for endpoint, buckets in sorted(self._buckets.items()):
                total = 0
                for edge, count in zip((*BUCKETS, "+Inf"), buckets, strict=True):
                    total += count
                    lines.append(f'coffre_request_seconds_bucket{{endpoint="{endpoint}",le="{edge}"}} {total}')
                lines.append(f'coffre_request_seconds_sum{{endpoint="{endpoint}"}} {self._sums[endpoint]:.6f}')
                lines.append(f'coffre_request_seconds_count{{endpoint="{endpoint}"}} {total}')
        return "\n".join(lines) + "\n"


def install(app: Flask) -> None:
    """Measure every answer of ``app``."""
    meter = app.extensions["coffre.meter"] = Meter()

    @app.before_request
    def begin() -> None:
        g.began = time.monotonic()

    @app.after_request
    def finish(response: Response) -> Response:
        meter.note(request.endpoint or "none", response.status_code, time.monotonic() - g.get("began", time.monotonic()))
        return response
