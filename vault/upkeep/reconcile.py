"""Owns the comparison of the key process's log with the access log. It must not know how keys are opened.

"No receipt, no key" holds inside an honest web process; a stolen one could skip the log but not the key process, which writes
its own.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from kms.caller import SYSTEM
from kms.journal import DESTROY, BrokenJournal, Entry, read
from vault.audit.append import AuditLog
from vault.audit.events import Action, Outcome
from vault.audit.reading import COLUMNS, Reader
from vault.errors import Tampered
from vault.model import ScopeId, ScopeKind
from vault.sealing.scopes import CACHE_SECONDS
from vault.storage.keyring import Keyring
from vault.storage.schema import audit_entries

BEFORE_US = (CACHE_SECONDS + 60) * 1_000_000
"""An opening follows its entry; a key that the cache had dropped is opened again this much later at most."""
AFTER_US = 5 * 1_000_000
"""The two processes read one clock, but not at one moment."""
ALL_SCOPES = 10_000_000


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What the two logs say together."""

    unwraps: int
    explained: int
    system: int
    """Of the installation's own scopes, asked for by nobody in particular."""
    refused: dict[str, int]
    """Refusals by code; ``budget_exceeded`` deserves a look."""
    unexplained: tuple[tuple[Entry, str], ...]
    """Openings without an entry of their caller around them, or of a patient's key for nobody; ends of keys without a release.

    With the scope where it is known, or the key.
    """

    @property
    def ok(self) -> bool:
        return not self.unexplained


class Reconciliation:
    """Compares; reads only."""

    def __init__(self, keyring: Keyring, log: AuditLog) -> None:
        self._keyring = keyring
        self._log = log

    def compare(self, journal: Path) -> Reconciled:
        """Raises Tampered where the key process's log is itself altered."""
        try:
            lines = [entry for _, entry in read(journal)]
        except BrokenJournal as error:
            raise Tampered(f"the key process's log was altered: {error}", kind="key_journal") from error
        ended = [entry for entry in lines if entry.operation == DESTROY]
        entries = [entry for entry in lines if entry.operation != DESTROY]
        opened = [entry for entry in entries if entry.outcome == "done"]
        refused = Counter(entry.outcome for entry in entries if entry.outcome != "done")
        scopes = self._scopes()
        times = {caller: self._times(caller, opened) for caller in {entry.caller for entry in opened} - {SYSTEM}}
        explained, system, unexplained = 0, 0, self._unreleased(ended)
        for entry in opened:
            scope, kind = scopes.get(entry.what, ("", None))
            if entry.caller == SYSTEM and kind is not ScopeKind.PATIENT:
                system += 1
            elif entry.caller != SYSTEM and _is_near(times[entry.caller], entry.at):
                explained += 1
            else:
                unexplained.append((entry, scope))
        return Reconciled(len(opened), explained, system, dict(refused), tuple(unexplained))

    def _unreleased(self, ended: list[Entry]) -> list[tuple[Entry, str]]:
        """The ends of keys to which nobody agreed in the access log: whoever steals the socket can sign a release himself."""
        made = {entry.what: entry for entry in ended if entry.outcome in {"granted", "done"}}
        if not made:
            return []
        columns = audit_entries.c
        granted = (columns.action == Action.KEY_DESTROY.value) & (columns.outcome == Outcome.GRANTED.value)
        reader = Reader(self._log)
        agreed = {
            str((record.note or {}).get("code", "")).replace(":released", f"/{record.id}")
            for record in reader.open(reader.rows(select(*COLUMNS).where(granted)))
        }
        return [(entry, f"key {entry.what}") for entry in made.values() if entry.what not in agreed]

    def _scopes(self) -> dict[str, tuple[str, ScopeKind | None]]:
        """Digest of each wrapped key that stands in the keyring → its scope. Older wrappings are not known any more."""
        rows = self._keyring.scopes_not_under(0, ScopeId(""), ALL_SCOPES)
        return {hashlib.sha256(row.wrapped).hexdigest(): (row.id, row.kind) for row in rows}

    def _times(self, caller: str, opened: list[Entry]) -> list[int]:
        """When the access log tells of ``caller``, around the openings; ascending."""
        mine = [entry.at for entry in opened if entry.caller == caller]
        columns = audit_entries.c
        statement = (
            select(columns.at)
            .where(columns.actor_index == self._log.keys().blind("actor", f"person {caller}"))
            .where(columns.at.between(min(mine) - BEFORE_US, max(mine) + AFTER_US))
            .order_by(columns.at)
        )
        with self._log.db.read() as connection:
            return list(connection.execute(statement).scalars())


def _is_near(times: list[int], at: int) -> bool:
    place = bisect_left(times, at - BEFORE_US)
    return place < len(times) and times[place] <= at + AFTER_US
