"""Owns the judgement on parts of the log that can no longer be read: erased and expired ones are told by the log itself.

It must not know SQL or ciphers. An absence that no event tells of is a fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vault.audit.events import Action, Keeps, action_of
from vault.audit.groups import Fields, Group


@dataclass(frozen=True, slots=True)
class Horizon:
    """Positions below which a purge has emptied groups: every client group, technical events, access events."""

    client: int = 0
    technical: int = 0
    access: int = 0

    def word(self) -> str:
        """As it stands in the note of ``audit.purge``."""
        return f"client<{self.client} technical<{self.technical} access<{self.access}"


def parse_horizon(word: str) -> Horizon:
    """Read ``Horizon.word``. Raises ValueError."""
    parts = dict(part.split("<") for part in word.split())
    return Horizon(int(parts["client"]), int(parts["technical"]), int(parts["access"]))


@dataclass(slots=True)
class Absences:
    """Collects what is missing and what the log says about it, in one pass; ``unexplained`` judges at the end."""

    horizon: Horizon
    """What the last purge said."""
    _first: int | None = None
    """The first absence beyond the horizon."""
    _erased: set[bytes] = field(default_factory=set)
    """Index values of erased patients."""
    _unknown: dict[bytes, int] = field(default_factory=dict)
    """Index values without a salt → their first position."""

    def tell(self, action: str, note: Fields | None) -> None:
        """An event that explains absences."""
        if action == Action.AUDIT_SUBJECT_ERASED and note is not None:
            self._erased.add(bytes.fromhex(str(note.get("code", ""))))

    def missing(self, position: int, action: str, group: Group) -> None:
        """A group whose bytes are gone."""
        limit = self.horizon.access
        if group is Group.CLIENT:
            limit = max(limit, self.horizon.client)
        if action_of(action).keeps is Keeps.TECHNICAL:
            limit = max(limit, self.horizon.technical)
        if position >= limit and self._first is None:
            self._first = position

    def unknown(self, position: int, blind: bytes) -> None:
        """An entry about a patient whom the keyring does not know."""
        self._unknown.setdefault(blind, position)

    def unexplained(self) -> int | None:
        """The first position of an absence that no event tells of; None where all is explained."""
        found = [first for blind, first in self._unknown.items() if blind not in self._erased]
        return min([*found, *([] if self._first is None else [self._first])], default=None)
