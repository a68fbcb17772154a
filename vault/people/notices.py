"""Owns what people are told about their account and their patients. It must not know how it reaches them (page, mail).

A notice is written in the transaction of the act that it tells of. It names kinds and ids, never a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import uuid4

from sqlalchemy import Connection, func, insert, select, update

from vault.model import Actor, Micros, PersonId
from vault.storage.db import Database
from vault.storage.schema import notices


class Notice(StrEnum):
    """What happened."""

    NEW_PLACE = "new_place"
    LOCKED = "locked"
    UNLOCKED = "unlocked"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  # the name of an event
    FACTOR_CHANGED = "factor_changed"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"
    RECOVERY_CODE_USED = "recovery_code_used"
    RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
    RESET_REQUESTED = "reset_requested"
    RESET_APPROVED = "reset_approved"
    RESET_REFUSED = "reset_refused"
    ACCOUNT_WAITING = "account_waiting"
    OWNER_ADDED = "owner_added"
    ROLE_CHANGED = "role_changed"
    BREAK_GLASS = "break_glass"
    BREAK_GLASS_REVIEW = "break_glass_review"
    QUARANTINED = "quarantined"
    ACCOUNT_DORMANT = "account_dormant"
    ACCOUNT_CLOSED = "account_closed"
    ACCOUNT_REMOVED = "account_removed"
    ACCOUNT_KEPT = "account_kept"
    """An unused account stays, because its holder still holds something."""


@dataclass(frozen=True, slots=True)
class Told:
    """One notice as its addressee reads it."""

    id: str
    kind: Notice
    about: str | None
    at: Micros
    is_read: bool


@dataclass(frozen=True, slots=True)
class ToMail:
    """One notice that no mail has carried yet."""

    id: str
    person: PersonId
    kind: Notice
    at: Micros


def tell(connection: Connection, person: PersonId, kind: Notice, now: int, about: str | None = None) -> None:
    """Leave a notice for ``person``, in the transaction of what it tells of."""
    connection.execute(insert(notices).values(id=uuid4().hex, person=person, kind=kind, about=about, at=now))


def tell_unless_waiting(connection: Connection, person: PersonId, kind: Notice, now: int, about: str | None = None) -> None:
    """``tell``, unless one of this kind waits unread: a morning of infected scans is one notice and one mail."""
    same = (notices.c.person == person) & (notices.c.kind == kind) & notices.c.read_at.is_(None)
    if connection.execute(select(notices.c.id).where(same).limit(1)).first() is None:
        tell(connection, person, kind, now, about)


class Notices:
    """What has been told, and what has been read."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def of(self, actor: Actor, limit: int = 50) -> tuple[Told, ...]:
        """One's own notices, newest first."""
        columns = notices.c
        with self._db.read() as connection:
            rows = connection.execute(
                select(columns.id, columns.kind, columns.about, columns.at, columns.read_at)
                .where(columns.person == actor.person)
                .order_by(columns.at.desc(), columns.id)
                .limit(limit)
            ).all()
        return tuple(Told(row.id, Notice(row.kind), row.about, Micros(row.at), row.read_at is not None) for row in rows)

    def unread(self, actor: Actor) -> int:
        """How many of one's own notices were not read yet."""
        mine = (notices.c.person == actor.person) & notices.c.read_at.is_(None)
        with self._db.read() as connection:
            return connection.execute(select(func.count()).select_from(notices).where(mine)).scalar_one()

    def read_all(self, actor: Actor, now: int) -> None:
        """Mark one's own notices as read."""
        mine = (notices.c.person == actor.person) & notices.c.read_at.is_(None)

        def work(connection: Connection) -> None:
            connection.execute(update(notices).where(mine).values(read_at=now))

        self._db.write(work)

    def to_mail(self, limit: int = 100) -> tuple[ToMail, ...]:
        """Notices that no mail has carried yet, oldest first."""
        columns = notices.c
        with self._db.read() as connection:
            rows = connection.execute(
                select(columns.id, columns.person, columns.kind, columns.at)
                .where(columns.mailed_at.is_(None))
                .order_by(columns.at, columns.id)
                .limit(limit)
            ).all()
        return tuple(ToMail(row.id, PersonId(row.person), Notice(row.kind), Micros(row.at)) for row in rows)

    def mailed(self, ids: list[str], now: int) -> None:
        """These were carried, or have nowhere to go."""

        def work(connection: Connection) -> None:
            connection.execute(update(notices).where(notices.c.id.in_(ids)).values(mailed_at=now))

        self._db.write(work)
