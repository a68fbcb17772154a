"""Owns the statements over the ways back: recovery slots with their copies, and copies of the token; in the keyring database.

It must not know how copies are sealed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from kms.keys import WrappedKey
from vault.model import Micros, ScopeId, ScopeKind
from vault.storage.db import Database
from vault.storage.keyring import RecoveryCopy, RecoverySlot, ScopeRow
from vault.storage.schema import recovery_copies, recovery_slots, scopes, token_copies


@dataclass(frozen=True, slots=True)
class TokenCopy:
    """A copy of a software token that was opened and tried."""

    id: str
    place: str
    covers: str
    """The keys in it, ``use/number`` separated by spaces."""
    tried_at: int


class TokenCopies:
    """What is known of copies of the token: the newest one."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def newest(self) -> TokenCopy | None:
        """The copy that was tried last."""
        with self._db.read() as connection:
            row = connection.execute(select(token_copies)).mappings().first()
        return None if row is None else TokenCopy(**row)

    def keep(self, copy: TokenCopy) -> None:
        """Remember a copy in the place of the one before."""

        def work(connection: Connection) -> None:
            connection.execute(delete(token_copies))
            connection.execute(insert(token_copies).values(**dataclasses.asdict(copy)))

        self._db.write(work)


class Slots:
    """The recovery slot and its copies."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, slot: RecoverySlot) -> None:
        """A new slot takes the place of the one before; its copies are made anew."""

        def work(connection: Connection) -> None:
            connection.execute(delete(recovery_copies))
            connection.execute(delete(recovery_slots))
            connection.execute(insert(recovery_slots).values(**dataclasses.asdict(slot)))

        self._db.write(work)

    def mark_rehearsed(self, slot: str, at: Micros) -> None:
        """Remember when the cards were last tried."""
        statement = update(recovery_slots).where(recovery_slots.c.id == slot).values(rehearsed_at=at)
        self._db.write(lambda connection: connection.execute(statement).rowcount)

    def without_copy(self, slot: str, limit: int) -> list[ScopeRow]:
        """Scopes that the slot could not recover yet."""
        copied = select(recovery_copies.c.scope).where(recovery_copies.c.slot == slot)
        columns = scopes.c
        statement = (
            select(columns.id, columns.kind, columns.wrapped, columns.master).where(columns.id.not_in(copied)).limit(limit)
        )
        with self._db.read() as connection:
            rows = connection.execute(statement).all()
        return [ScopeRow(ScopeId(row.id), ScopeKind(row.kind), WrappedKey(row.wrapped), row.master) for row in rows]

    def add_copies(self, copies: Sequence[RecoveryCopy]) -> None:
        """Store recovery copies; one that is there already is replaced."""
        rows = [dataclasses.asdict(copy) for copy in copies]

        def work(connection: Connection) -> None:
            connection.execute(delete(recovery_copies).where(recovery_copies.c.scope.in_([row["scope"] for row in rows])))
            connection.execute(insert(recovery_copies), rows)

        if rows:
            self._db.write(work)

    def copies(self, wanted: Sequence[ScopeId]) -> dict[ScopeId, bytes]:
        """The recovery copies of some scopes."""
        columns = recovery_copies.c
        with self._db.read() as connection:
            rows = connection.execute(select(columns.scope, columns.sealed).where(columns.scope.in_(wanted))).all()
        return {ScopeId(row.scope): row.sealed for row in rows}
