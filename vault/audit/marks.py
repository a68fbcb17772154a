"""Owns what is remembered of the log's head outside of its own database: in the keyring database, and in the token.

It must not know how heads are signed. An older main database put back shows against the keyring's mark; both databases put back
show against the token's. What is found is an event; the log then goes on in a new *generation*, and says so for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sqlalchemy import Connection, insert, select, update

from kms.keys import KeyService, Mark
from vault.audit import tiles
from vault.audit.append import AuditLog
from vault.audit.events import Action, Event, Note, Outcome, System
from vault.audit.note import Checkpoint, NoteRejected, parse_checkpoint, split
from vault.audit.reading import Reader
from vault.audit.search import Filters, Search
from vault.errors import KeysUnavailable, Tampered
from vault.sealing.faults import key_faults
from vault.storage.schema import log_marks

TOKEN_S: Final = 60.0
"""Between two routine writes into the token: the memory of a small one wears out, some after 100,000 writes.

Heads that are given out, and the last one at shutdown, are always written.
"""
OLDER_DATABASE: Final = "older_database"
BEHIND_MARK: Final = "behind_mark"
_LOG: Final = System("log")


class Marks:
    """The two marks of one log. Not thread-safe: ``Checkpoints`` asks one thing at a time."""

    def __init__(self, log: AuditLog, keys: KeyService, origin: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._keys = keys
        self._origin = origin
        self._monotonic = monotonic
        self._written_at = float("-inf")
        self._is_compared = False

    def in_keyring(self) -> tuple[Checkpoint, str] | None:
        """The newest head as the keyring remembers it, and its note; unverified. Raises Tampered where it can't be read."""
        with self._log.keyring.read() as connection:
            text = connection.execute(select(log_marks.c.note).where(log_marks.c.log == self._log.tenant)).scalar_one_or_none()
        try:
            return None if text is None else (parse_checkpoint(split(text)[0]), text)
        except NoteRejected as error:
            raise Tampered("the keyring's mark can't be read") from error

    def in_token(self) -> Mark | None:
        """The mark that the token keeps; None where it keeps none. Raises KeysUnavailable."""
        with key_faults():
            return self._keys.mark()

    def generation(self) -> int:
        """How often this log was found to have gone back behind the token's mark, as it says itself."""
        rows, _ = Search(self._log).newest(Filters(actions=(Action.LOG_EPOCH_OPENED,)), before=None, limit=1)
        for record in Reader(self._log).open(rows):
            return int((record.note or {}).get("count", 0))
        return 0

    def head(self) -> Checkpoint | None:
        """The head below which the log can't have gone by the token's word; None where the token says nothing.

        A mark of a later generation than the log's own is above every log: size and root that nothing extends.
        Raises KeysUnavailable.
        """
        mark = self.in_token()
        if mark is None or mark.generation < self.generation():
            return None
        return Checkpoint(self._origin, mark.size, mark.value if mark.generation == self.generation() else b"")

    def compare(self, extended: Checkpoint | None = None, *, thoroughly: bool) -> None:
        """Look at both marks; where the log does not extend one, an event says so.

        ``extended``: a head that the log was just found to extend. Without ``thoroughly`` the token is asked at the first time,
        then once in TOKEN_S. Raises KeysUnavailable, LogUnavailable, Tampered.
        """
        known = self.in_keyring()
        if known is not None and known[0] != extended and not self._extends(known[0]):
            note = Note(count=known[0].size - self._size(), code=OLDER_DATABASE)
            self._log.record(Event(Action.LOG_ROLLBACK_DETECTED, Outcome.SUCCESS, _LOG, note=note))
        if thoroughly or not self._is_compared or self._is_due():
            self._compare_token()
            self._is_compared = True

    def _compare_token(self) -> None:
        mark, own = self.in_token(), self.generation()
        if mark is None or mark.generation < own:
            return
        if mark.generation == own and self._extends(Checkpoint(self._origin, mark.size, mark.value)):
            return
        lost = Note(count=mark.size - self._size(), code=BEHIND_MARK)
        opened = Note(count=mark.generation + 1)
        self._log.record_all([
            Event(Action.LOG_ROLLBACK_DETECTED, Outcome.SUCCESS, _LOG, note=lost),
            Event(Action.LOG_EPOCH_OPENED, Outcome.SUCCESS, _LOG, note=opened),
        ])  # fmt: skip
        self._written_at = float("-inf")

    def put(self, head: Checkpoint, note: str, *, thoroughly: bool) -> None:
        """Remember a signed head in both places; the token's turn comes once in TOKEN_S, or with ``thoroughly``.

        A token that is away, or keeps no marks, is no reason to stop: the next head is put there.
        """
        self._remember(head, note)
        if thoroughly or self._is_due():
            with suppress(KeysUnavailable), key_faults():
                self._keys.raise_mark(Mark(self.generation(), head.size, head.root))
            self._written_at = self._monotonic()

    def _is_due(self) -> bool:
        return self._monotonic() - self._written_at >= TOKEN_S

    def _remember(self, head: Checkpoint, note: str) -> None:
        same = log_marks.c.log == self._log.tenant
        values = {"size": head.size, "note": note}

        def work(connection: Connection) -> None:
            if connection.execute(update(log_marks).where(same).values(**values)).rowcount == 0:
                connection.execute(insert(log_marks).values(log=self._log.tenant, **values))

        self._log.keyring.write(work)

    def _size(self) -> int:
        with self._log.db.read() as connection:
            return tiles.size_of(connection)

    def _extends(self, earlier: Checkpoint) -> bool:
        with self._log.db.read() as connection:
            return tiles.extends(connection, tiles.size_of(connection), earlier.size, earlier.root)
