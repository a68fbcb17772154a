"""Owns for whom the current thread asks for keys, so that budgets and the key process's log can name somebody.

It must not know who these people are: a caller is an opaque reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SYSTEM = "system"
"""Nobody in particular: start, stop, heartbeats, scheduled work."""

_caller: ContextVar[str] = ContextVar("coffre_keys_caller", default=SYSTEM)


@contextmanager
def acting_for(reference: str) -> Iterator[None]:
    """Inside, this thread asks for keys on behalf of ``reference`` (an id, at most 64 ASCII characters)."""
    token = _caller.set(reference)
    try:
        yield
    finally:
        _caller.reset(token)


def act_for(reference: str) -> None:
    """The same until the next call, for callers that have no block to put it around (a web server's request hooks)."""
    _caller.set(reference)


def current_caller() -> str:
    """For whom this thread asks."""
    return _caller.get()
