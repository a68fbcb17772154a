"""Owns what the log's verbs need of the console that runs them. It must not know what they do."""

from __future__ import annotations

from typing import Protocol

from vault.audit.auditing import Auditing
from vault.model import Actor, Role


class Sessions(Protocol):
    """Who the console is (vault.people.sessions)."""

    def console_actor(self, role: Role = ...) -> Actor: ...


class People(Protocol):
    """What these verbs need of the people room."""

    @property
    def sessions(self) -> Sessions: ...


class Vault(Protocol):
    """What these verbs need of an open vault."""

    @property
    def auditing(self) -> Auditing: ...
    @property
    def people(self) -> People: ...


class Console(Protocol):
    """What these verbs need of the console that runs them."""

    @property
    def vault(self) -> Vault: ...


def auditor(console: Console) -> Actor:
    """The console as who reads the log."""
    return console.vault.people.sessions.console_actor(Role.AUDITOR)
