"""Owns the pages that were drawn a moment ago: sealed, in memory only, for whoever opened them. It must not know policy.

A page is asked for more than once: to count, to show, again after going back. It is kept under a random key that exists in
this process alone, by session and by the opening that granted it, so that policy and log come first at every request. Idleness
and the end of the session let it go; where nothing is left the key is wiped, and with it what the allocator still holds.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from kms.keys import Secret
from vault.model import Actor, Micros
from vault.rendering.renderer import RenderedPage
from vault.sealing.binding import bind
from vault.sealing.fields import open_field, seal_field

MOST_BYTES = 32 * 1024 * 1024
"""Some sixty scanned pages: what a busy practice has on its screens."""
IDLE_SECONDS = 45
"""A page that nobody asks for again is let go after this, so that none is left in memory 60 s into a pause."""
SWEEP_SECONDS = 10

_Key = tuple[str, ...]


@dataclass(slots=True)
class _Kept:
    sealed: bytes
    page: RenderedPage
    """Its facts, without the pixels."""
    used_at: int


class DrawnPages:
    """Thread-safe. ``close`` wipes everything."""

    def __init__(self, clock: Callable[[], Micros], *, most_bytes: int = MOST_BYTES) -> None:
        self._clock = clock
        self._most_bytes = most_bytes
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._bytes = 0
        self._key: Secret | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._sweeper: threading.Thread | None = None

    def find(self, actor: Actor, *what: str | int) -> RenderedPage | None:
        """The page that this very session was shown for ``what`` (opening, number, width, turn, watermark) a moment ago."""
        key = _key(actor, what)
        with self._lock:
            self._let_go(lambda _, kept: self._is_idle(kept))
            kept = self._kept.get(key)
            if kept is None or self._key is None:
                return None
            kept.used_at = self._clock()
            self._kept.move_to_end(key)
            return replace(kept.page, content=open_field(self._key, _context(key), kept.sealed))

    def keep(self, actor: Actor, page: RenderedPage, *what: str | int) -> None:
        """Seal a page for this session; the longest unused go where there is no room."""
        key = _key(actor, what)
        if len(page.content) > self._most_bytes // 4:
            return
        with self._lock:
            if self._stopping.is_set():
                return
            self._let_go(lambda known, _: known == key)
            if self._key is None:
                self._key = Secret(os.urandom(32))
            sealed = seal_field(self._key, _context(key), page.content)
            self._kept[key] = _Kept(sealed, replace(page, content=b""), self._clock())
            self._bytes += len(sealed)
            while self._bytes > self._most_bytes:
                self._bytes -= len(self._kept.popitem(last=False)[1].sealed)
            if self._sweeper is None:
                self._sweeper = threading.Thread(target=self._sweep_until_closed, name="page-sweeper", daemon=True)
                self._sweeper.start()

    def forget(self, session: str) -> None:
        """The session has ended: nothing that it was shown stays."""
        with self._lock:
            self._let_go(lambda key, _: key[0] == session)

    def sweep(self) -> int:
        """Let go of what nobody has asked for lately; the bytes that are still kept."""
        with self._lock:
            self._let_go(lambda _, kept: self._is_idle(kept))
            return self._bytes

    def close(self) -> None:
        """Wipe everything and stop the sweeping thread; idempotent."""
        self._stopping.set()
        with self._lock:
            sweeper, self._sweeper = self._sweeper, None
            self._let_go(lambda _key, _kept: True)
        if sweeper is not None and sweeper is not threading.current_thread():
            sweeper.join()

    def _is_idle(self, kept: _Kept) -> bool:
        # A clock that was set back makes every page idle rather than immortal.
        return not 0 <= self._clock() - kept.used_at < IDLE_SECONDS * 1_000_000

    def _let_go(self, which: Callable[[_Key, _Kept], bool]) -> None:
        for key in [key for key, kept in self._kept.items() if which(key, kept)]:
            self._bytes -= len(self._kept.pop(key).sealed)
        if not self._kept and self._key is not None:
            self._key.wipe()
            self._key = None

    def _sweep_until_closed(self) -> None:
        while not self._stopping.wait(SWEEP_SECONDS):
            self.sweep()


def _key(actor: Actor, what: tuple[str | int, ...]) -> _Key:
    return (actor.session, actor.person, *map(str, what))


def _context(key: _Key) -> bytes:
    return bind("coffre/page/v1", *key)
