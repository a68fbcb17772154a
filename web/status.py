"""Owns what the installation says about itself: alive, ready, numbers for monitoring, and a page in plain words.

It must not know how a part is checked; nothing here names a person or a patient.
"""

from __future__ import annotations

import ipaddress
import shutil
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from itertools import accumulate
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
from web.processes import Processes
from web.routes import audited, not_audited, public
from web.session import actor, vault

status = Blueprint("status", __name__)
DISK_FLOOR_BYTES = 512 * 1024 * 1024
"""Below this the vault says that it is not ready: a document could fail half-way."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds."""
STATUSES = {int(code): at for at, code in enumerate((0, *sorted(HTTPStatus)))}
"""What is counted apart; 0 for any other."""
FIRST_STATUS = 2 + len(BUCKETS)
ROW = FIRST_STATUS + len(STATUSES)
"""Numbers kept for an endpoint: microseconds in all, how many took how long, how many ended with which status."""


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
    """Counts and times of requests, by endpoint and status, of all processes that serve. No address, no id, no name.

    Each process counts on its own board and reads those of the others. Thread-safe.
    """

    def __init__(self, app: Flask, processes: Processes) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._boards = [processes.board(number).cast("Q") for number in range(processes.count)]
        self._own = self._boards[processes.number]
        self._began = time.time()

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Endpoint → where its row begins; the same in each process, as each has the same routes."""
        return {endpoint: at * ROW for at, endpoint in enumerate(sorted({"none", *self._app.view_functions}))}

    def note(self, endpoint: str, code: int, seconds: float) -> None:
        """Count one answer."""
        row = self._rows[endpoint]
        bucket = bisect_left(BUCKETS, seconds)
        with self._lock:
            self._own[row] += int(seconds * 1_000_000)
            self._own[row + 1 + bucket] += 1
            self._own[row + FIRST_STATUS + STATUSES.get(code, 0)] += 1

    def text(self) -> str:
        """Prometheus text format 0.0.4."""
        lines = ["# TYPE coffre_start_time_seconds gauge", f"coffre_start_time_seconds {self._began:.0f}"]
        lines.append("# TYPE coffre_requests_total counter")
        sums = {
            endpoint: [sum(board[row + at] for board in self._boards) for at in range(ROW)]
            for endpoint, row in self._rows.items()
        }
        for endpoint, counts in sums.items():
            for code, at in STATUSES.items():
                if count := counts[FIRST_STATUS + at]:
                    lines.append(f'coffre_requests_total{{endpoint="{endpoint}",status="{code}"}} {count}')
        lines.append("# TYPE coffre_request_seconds histogram")
        for endpoint, (spent, *counts) in sums.items():
            buckets = list(accumulate(counts[: FIRST_STATUS - 1]))
            if not buckets[-1]:
                continue
            for edge, total in zip((*BUCKETS, "+Inf"), buckets, strict=True):
                lines.append(f'coffre_request_seconds_bucket{{endpoint="{endpoint}",le="{edge}"}} {total}')
            lines.append(f'coffre_request_seconds_sum{{endpoint="{endpoint}"}} {spent / 1_000_000:.6f}')
            lines.append(f'coffre_request_seconds_count{{endpoint="{endpoint}"}} {buckets[-1]}')
        return "\n".join(lines) + "\n"


def install(app: Flask, processes: Processes | None = None) -> None:
    """Measure every answer of ``app``."""
    meter = app.extensions["coffre.meter"] = Meter(app, processes or Processes())

    @app.before_request
    def begin() -> None:
        g.began = time.monotonic()

    @app.after_request
    def finish(response: Response) -> Response:
        now = time.monotonic()
        meter.note(request.endpoint or "none", response.status_code, now - g.get("began", now))
        return response
