"""Owns the meter beside a new password: how strong what is being typed is, in words, asked at a bounded pace.

It must not know how passwords are judged, and keeps nothing of what it is asked.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, current_app, request
from flask_babel import LazyString
from flask_babel import lazy_gettext as _

from vault.errors import Busy, Invalid
from vault.people.passwords import LONGEST, appraise
from web.account import REASONS
from web.routes import not_audited, public
from web.session import actor, is_signed_in, vault

meter = Blueprint("meter", __name__)
WORDS: tuple[LazyString, ...] = (_("Very weak"), _("Weak"), _("Fair"), _("Strong"), _("Very strong"))
BURST = 40
PER_SECOND = 2
SOURCES = 1024


class Pace:
    """A token bucket for each address: ``BURST`` questions at once, then ``PER_SECOND``; the oldest addresses are forgotten."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """``clock``: microseconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    @property
    def remembered(self) -> int:
        """How many addresses it knows."""
        return len(self._buckets)

    def take(self, source: str) -> None:
        """One question of ``source``. Raises Busy."""
        now = self._clock()
        with self._lock:
            left, seen_at = self._buckets.pop(source, (float(BURST), now))
            left = min(BURST, left + max(0, now - seen_at) / 1_000_000 * PER_SECOND)
            self._buckets[source] = (max(0.0, left - 1), now)
            if len(self._buckets) > SOURCES:
                self._buckets.popitem(last=False)
        if left < 1:
            raise Busy("too many questions to the password meter", retry_after_s=1)


@meter.post("/password/strength")
@not_audited("judges what is being typed and keeps nothing of it")
@public("somebody invited chooses a password before having an account to sign in to")
def judge() -> dict[str, Any]:
    """How strong a password is, and why it would be refused."""
    current_app.extensions["coffre.strength_pace"].take(request.remote_addr or "")
    asked = request.get_json(silent=True)
    password, username = (asked.get(name) or "" for name in ("password", "username")) if isinstance(asked, dict) else (None, "")
    if not isinstance(password, str) or not isinstance(username, str):
        raise Invalid("a password is text", field="password", reason="shape")
    own = (actor().username, actor().display_name) if is_signed_in() else (username[:128],)
    found = appraise(password[: LONGEST + 1], (*own, *vault().people.context))
    words = WORDS[found.mark]
    return {"mark": found.mark, "words": f"{words}. {REASONS[found.refusal]}" if found.refusal else str(words)}


def install(app: Flask) -> None:
    """The route and the pace of this application."""
    app.extensions["coffre.strength_pace"] = Pace(app.extensions["coffre"].clock)
    app.register_blueprint(meter)
