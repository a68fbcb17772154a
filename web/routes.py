"""Owns what every route declares about itself: its audit event, or why it has none, and whether it is open to all.

It must not know what the routes do. A test walks the URL map and refuses a view that declares nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from vault.audit.events import Action

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a view says about itself."""

    actions: tuple[Action, ...] = ()
    reason: str = ""
    """Why nothing is logged, where nothing is."""
    public: str = ""
    """Why nobody needs to be signed in; empty where somebody must."""


def declaration(view: Callable[..., Any]) -> Declaration:
    """What ``view`` declared; an empty declaration where it said nothing."""
    return getattr(view, "declaration", None) or Declaration()


def _declare(view: View, **facts: Any) -> View:
    known = declaration(view)
    values = {name: facts.get(name, getattr(known, name)) for name in ("actions", "reason", "public")}
    view.declaration = Declaration(**values)  # type: ignore[attr-defined]  # functions carry attributes
    return view


def audited(*actions: Action) -> Callable[[View], View]:
    """Declare that the vault logs one of ``actions`` before this view answers."""
    return lambda view: _declare(view, actions=actions)


def not_audited(reason: str) -> Callable[[View], View]:
    """Declare that nothing is logged, and why."""
    return lambda view: _declare(view, reason=reason)


def public(reason: str) -> Callable[[View], View]:
    """Declare that nobody needs to be signed in, and why."""
    return lambda view: _declare(view, public=reason)
