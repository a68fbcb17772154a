"""Owns the statements over the keyring database: key records, wrapped scope keys (vault/audit/references.py has the log salts).

It must not know how keys are wrapped or what they open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Executable, bindparam, delete, func, insert, select, update

from kms.errors import KeysUnavailable
from kms.keys import KeyRecord, KeyState, KeyUse, WrappedKey
from vault.errors import NotFound, StorageFull, StorageUnavailable
from vault.model import Micros, ScopeId, ScopeKind
from vault.storage.db import Database
from vault.storage.schema import key_records, recovery_copies, recovery_slots, scopes


def _execute(connection: Connection, statement: Executable) -> None:
    connection.execute(statement)


@contextmanager
def _registry_faults() -> Iterator[None]:
    """What the key room is told where the keyring database does not answer: it knows KmsError only."""
    try:
        yield
    except (StorageUnavailable, StorageFull) as error:
        raise KeysUnavailable(f"the registry of keys can't be reached ({error})") from error


class SqlRegistry:
    """``kms.keys.Registry`` over the ``key_records`` table."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def records(self) -> list[KeyRecord]:
        """Every key version ever made, oldest first."""
        columns = key_records.c
        with _registry_faults(), self._db.read() as connection:
            rows = connection.execute(select(key_records).order_by(columns.use, columns.number)).mappings()
            return [KeyRecord(**{**row, "use": KeyUse(row["use"]), "state": KeyState(row["state"])}) for row in rows]

    def save(self, record: KeyRecord) -> None:
        """Insert or replace the row of (use, number); the count of wraps is left as it is."""
        same = (key_records.c.use == record.use) & (key_records.c.number == record.number)
        values = {"state": record.state, "key_id": record.key_id, "canary": record.canary, "created_at": record.created_at}

        def work(connection: Connection) -> None:
            if connection.execute(update(key_records).where(same).values(**values)).rowcount == 0:
                connection.execute(
                    insert(key_records).values(use=record.use, number=record.number, wraps=record.wraps, **values)
                )

        with _registry_faults():
            self._db.write(work)

    def count_wraps(self, number: int, wraps: int) -> None:
        """Add ``wraps`` to the master key's counter."""
        same = (key_records.c.use == KeyUse.MASTER) & (key_records.c.number == number)
        statement = update(key_records).where(same).values(wraps=key_records.c.wraps + wraps)
        with _registry_faults():
            self._db.write(lambda connection: _execute(connection, statement))


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """A wrapped scope key as it stands in the keyring."""

    id: ScopeId
    kind: ScopeKind
    wrapped: WrappedKey
    master: int


@dataclass(frozen=True, slots=True)
class RecoveryCopy:
    """One scope key under a recovery slot's public key."""

    scope: ScopeId
    slot: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class RecoverySlot:
    """An offline public key under which every scope key has a copy."""

    id: str
    public_key: bytes
    needed: int
    shares: int
    created_at: int
    rehearsed_at: int | None = None


class Keyring:
    """Wrapped scope keys."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add_scope(self, scope: ScopeRow, created_at: Micros, copy: RecoveryCopy | None = None) -> None:
        """Store a new scope, durably, with its recovery copy where there is a slot."""
        values = {
            "id": scope.id,
            "kind": scope.kind,
            "wrapped": scope.wrapped,
            "master": scope.master,
            "created_at": created_at,
        }

        def work(connection: Connection) -> None:
            connection.execute(insert(scopes).values(**values))
            if copy is not None:
                connection.execute(insert(recovery_copies).values(scope=copy.scope, slot=copy.slot, sealed=copy.sealed))

        self._db.write(work)

    def scope(self, scope_id: ScopeId) -> ScopeRow:
        """Raises NotFound where the scope was erased or never was."""
        with self._db.read() as connection:
            row = connection.execute(
                select(scopes.c.kind, scopes.c.wrapped, scopes.c.master).where(scopes.c.id == scope_id)
            ).one_or_none()
        if row is None:
            raise NotFound(f"scope {scope_id}")
        return ScopeRow(scope_id, ScopeKind(row.kind), WrappedKey(row.wrapped), row.master)

    def some_scopes(self, wanted: Sequence[ScopeId]) -> list[ScopeRow]:
        """Those of ``wanted`` that are there, in no order."""
        columns = scopes.c
        statement = select(columns.id, columns.kind, columns.wrapped, columns.master).where(columns.id.in_(wanted))
        with self._db.read() as connection:
            return [
                ScopeRow(ScopeId(row.id), ScopeKind(row.kind), WrappedKey(row.wrapped), row.master)
                for row in connection.execute(statement)
            ]

    def delete_scope(self, scope_id: ScopeId) -> None:
        """Erase a scope key: everything sealed under it becomes unreadable."""

        def work(connection: Connection) -> None:
            connection.execute(delete(recovery_copies).where(recovery_copies.c.scope == scope_id))
            connection.execute(delete(scopes).where(scopes.c.id == scope_id))

        self._db.write(work)

    def slot(self) -> RecoverySlot | None:
        """The recovery slot, where one was made."""
        statement = select(recovery_slots).order_by(recovery_slots.c.created_at.desc()).limit(1)
        with self._db.read() as connection:
            row = connection.execute(statement).mappings().first()
        return None if row is None else RecoverySlot(**row)

    def scopes_not_under(self, master: int, after: ScopeId, limit: int) -> list[ScopeRow]:
        """The next scopes, by id, that a rotation to ``master`` has still to rewrap."""
        columns = scopes.c
        with self._db.read() as connection:
            rows = connection.execute(
                select(columns.id, columns.kind, columns.wrapped, columns.master)
                .where((columns.master != master) & (columns.id > after))
                .order_by(columns.id)
                .limit(limit)
            ).all()
        return [ScopeRow(ScopeId(row.id), ScopeKind(row.kind), WrappedKey(row.wrapped), row.master) for row in rows]

    def replace_wrapped(self, changes: Sequence[tuple[ScopeRow, WrappedKey]], master: int) -> None:
        """Put each scope's key, wrapped anew under ``master``, in the place of the one that was read; all at once.

        A scope that was erased or rewrapped by somebody else meanwhile is left as it is.
        """
        if not changes:
            return
        statement = (
            update(scopes)
            .where((scopes.c.id == bindparam("scope")) & (scopes.c.master == bindparam("was")))
            .values(wrapped=bindparam("fresh"), master=master)
        )
        values = [{"scope": row.id, "was": row.master, "fresh": fresh} for row, fresh in changes]

        def work(connection: Connection) -> None:
            connection.execute(statement, values)

        self._db.write(work)

    def scopes_by_master(self) -> dict[int, int]:
        """How many scope keys stand under each master key version."""
        statement = select(scopes.c.master, func.count().label("scopes")).group_by(scopes.c.master)
        with self._db.read() as connection:
            return {row.master: row.scopes for row in connection.execute(statement)}

    def scope_ids(self) -> Iterator[ScopeId]:
        """Every scope, for verification."""
        with self._db.read() as connection:
            yield from (ScopeId(row.id) for row in connection.execute(select(scopes.c.id).order_by(scopes.c.id)))
