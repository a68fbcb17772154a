"""Owns what this package stands on: the rows of people, their sealed fields, failures counted under the token's hash.

It must not know passwords, codes or rules.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Executable, bindparam, func, insert, select, update

from vault.audit.append import AuditLog
from vault.audit.events import Action, Anonymous, Event, Note, Outcome, Subject
from vault.errors import LockedOut, NotFound, VaultError
from vault.model import Actor, Client, Micros, PersonId, Role, ScopeId, TenantId
from vault.people.lockout import NONE, Failures
from vault.people.names import fold
from vault.people.policy import NOBODY, Act, Relation, authorise
from vault.people.relations import running_window
from vault.sealing.binding import bind, field_context
from vault.sealing.fields import open_field, seal_field
from vault.sealing.scopes import ScopeKeys
from vault.storage.db import Database
from vault.storage.plain import Row, Statement
from vault.storage.schema import failures, familiar, locum_windows, people

T = TypeVar("T")


RECOVERY = "coffre/recovery/v1"
"""Domain of the keyed hashes of recovery codes."""
FAMILIAR_S = 90 * 86_400
"""An address from which somebody has signed in stays familiar this long."""


_DISPLAY_NAMES = Statement(select(people.c.id, people.c.display_name_sealed))
_ACCOUNTS = Statement(select(func.count().label("count")).select_from(people))
_BY_ID = select(people).where(people.c.id == bindparam("person"))


class Founded(Protocol):
    """What the roster needs to know of the installation."""

    @property
    def tenant(self) -> TenantId: ...
    @property
    def system_scope(self) -> ScopeId: ...


class State(StrEnum):
    """Life of an account."""

    PENDING = "pending"
    """Made by the technical admin: waits for an owner's word."""
    ACTIVE = "active"
    DISABLED = "disabled"
    REMOVED = "removed"
    """Only the id and the sealed display name are left."""


@dataclass(frozen=True, slots=True)
class Person:
    """One account as it stands in the database; sealed fields still sealed."""

    id: PersonId
    username: str
    role: Role
    state: State
    password_hash: str | None
    totp_sealed: bytes | None
    is_enrolled: bool
    totp_step: int
    display_name_sealed: bytes
    has_signed_in: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """A name as it was typed: whose it is (if anybody's), and the keyed hashes that count its failures."""

    person: Person | None
    account: bytes
    """Counts this name's failures; apart for each address from which it has signed in before, so that a stranger's guesses
    lock the stranger's door and not the doctor's."""
    here: bytes
    """What ``account`` is from now on, if this sign-in succeeds."""
    source: bytes
    """Counts the address's failures over all names."""
    is_familiar: bool
    by: Anonymous
    """How the log calls whoever is typing."""


class Roster:
    """Rows of people, with what it takes to read their sealed fields."""

    def __init__(
        self,
        *,
        db: Database,
        scopes: ScopeKeys,
        log: AuditLog,
        installation: Founded,
        clock: Callable[[], Micros],
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.db = db
        self.scopes = scopes
        self.log = log
        self.tenant = installation.tenant
        self._scope = installation.system_scope
        self.clock = clock
        self.random = random
        self._names: dict[PersonId, tuple[bytes, str]] = {}
        """Each display name that was opened, beside what it was sealed as."""

    def authorise(
        self, actor: Actor, act: Act, action: Action, subject: Subject | None = None, relation: Relation = NOBODY
    ) -> None:
        """Ask the policy, and log a refusal as ``action``. Raises Forbidden, NotFound, StepUpRequired."""
        try:
            authorise(actor, act, Micros(self.clock()), relation)
        except VaultError as refusal:
            note = Note(code=refusal.code)
            self.log.record(Event(action, Outcome.DENIED, actor, subject or Subject(), note))
            raise

    # --- sealed fields

    def seal(self, table: str, column: str, row: str, plaintext: bytes) -> bytes:
        """A value for a ``_sealed`` column. Raises KeysUnavailable."""
        with self.scopes.open(self._scope) as key:
            return seal_field(key, field_context(self.tenant, table, column, row), plaintext)

    def open(self, table: str, column: str, row: str, sealed: bytes) -> bytes:
        """The value again. Raises Tampered, KeysUnavailable."""
        with self.scopes.open(self._scope) as key:
            return open_field(key, field_context(self.tenant, table, column, row), sealed)

    def display_name(self, person: Person) -> str:
        """The name that screens show. Opened when it changes, like all of these."""
        return self._name(person.id, person.display_name_sealed)

    def display_names(self) -> dict[PersonId, str]:
        """Everybody's name, for screens that show authors and care teams; past colleagues included."""
        with self.db.read() as connection:
            return self.names_in(connection)

    def names_in(self, connection: Connection) -> dict[PersonId, str]:
        """``display_names`` within a transaction.

        A name is given with its account and stays, also when that is removed: all are known while as many are.
        """
        accounts = _ACCOUNTS.row(connection)
        if accounts is None or accounts["count"] != len(self._names):
            for row in _DISPLAY_NAMES.rows(connection):
                self._name(PersonId(row["id"]), row["display_name_sealed"])
        return {person: name for person, (_, name) in self._names.copy().items()}

    def _name(self, person: PersonId, sealed: bytes) -> str:
        known = self._names.get(person)
        if known is None or known[0] != sealed:
            known = self._names[person] = sealed, self.open("people", "display_name", person, sealed).decode()
        return known[1]

    def keyed_hash(self, label: str, *parts: str) -> bytes:
        """HMAC-SHA-256 (RFC 2104) of ``parts``, 32 bytes, under a key that only this vault derives and no rotation changes.

        One-way marks (codes, counters, places) stand under it and not under the token's MAC key: nobody could make them anew.
        """
        with self.scopes.open(self._scope) as key:
            own = hmac.digest(key.view, b"coffre/people-hash-key/v1\x01", "sha256")  # HKDF-Expand (RFC 5869), one block
            return hmac.digest(own, bind(label, self.tenant, *parts), "sha256")

    def carers(self) -> tuple[PersonId, ...]:
        """Doctors who work here now: those whom a care team may hold."""
        doctors = people.c.role.in_((Role.CLINICIAN, Role.OWNER)) & (people.c.state == State.ACTIVE)
        with self.db.read() as connection:
            return tuple(PersonId(each) for each in connection.execute(select(people.c.id).where(doctors)).scalars())

    # --- rows

    def has_departed(self, connection: Connection, person: Person) -> bool:
        """Whether a locum's last window is over; one without any window may set up a telephone ahead of time."""
        if person.role is not Role.LOCUM:
            return False
        ends = select(func.max(locum_windows.c.until)).where(locum_windows.c.locum == person.id)
        last: int | None = connection.execute(ends).scalar()
        return last is not None and last <= self.clock()

    def window_end(self, connection: Connection, person: Person) -> int | None:
        """When the present window of a locum closes; None outside any, and for everybody else."""
        if person.role is not Role.LOCUM:
            return None
        ends = select(func.max(locum_windows.c.until)).where(running_window(person.id, self.clock()))
        return connection.execute(ends).scalar()

    def by_id(self, connection: Connection, person: PersonId) -> Person:
        """Raises NotFound."""
        row = connection.execute(_BY_ID, {"person": person}).mappings().one_or_none()
        if row is None:
            raise NotFound(f"person {person}")
        return person_of(row)

    def by_name(self, connection: Connection, username: str) -> Person | None:
        """Whoever bears any spelling of ``username``."""
        row = connection.execute(select(people).where(people.c.username_key == fold(username)[:256])).mappings().one_or_none()
        return None if row is None else person_of(row)

    def mark(self, username: str, client: Client) -> Mark:
        """Look a typed name up; the same work for known and unknown names. Raises KeysUnavailable."""
        network = _network(client.ip)
        account, source = self.account_mark(username), self._hash("source", network)
        here = self._hash("account-here", fold(username), network)
        since = self.clock() - FAMILIAR_S * 1_000_000
        seen = select(familiar.c.mark).where((familiar.c.mark == here) & (familiar.c.seen_at > since))
        with self.db.read() as connection:
            person = self.by_name(connection, username)
            is_familiar = connection.execute(seen).first() is not None
        by = Anonymous(account.hex()[:32], person is not None, client)
        return Mark(person, here if is_familiar else account, here, source, is_familiar, by)

    def account_mark(self, username: str) -> bytes:
        """The keyed hash under which an account's failures are counted, whether it exists or not."""
        return self._hash("account", fold(username))

    def _hash(self, label: str, *parts: str) -> bytes:
        return self.keyed_hash(f"coffre/{label}/v1", *parts)

    @staticmethod
    def owners(connection: Connection) -> list[PersonId]:
        """Owners who work here now."""
        owners = (people.c.role == Role.OWNER) & (people.c.state == State.ACTIVE)
        return [PersonId(each) for each in connection.execute(select(people.c.id).where(owners)).scalars()]

    @staticmethod
    def wardens(connection: Connection) -> list[PersonId]:
        """Owners and technical administrators who work here now: those told of what was set apart."""
        those = people.c.role.in_((Role.OWNER, Role.ADMIN)) & (people.c.state == State.ACTIVE)
        return [PersonId(each) for each in connection.execute(select(people.c.id).where(those)).scalars()]

    def run(self, statement: Executable) -> int:
        """One statement in a transaction of its own; how many rows it changed."""

        def work(connection: Connection) -> int:
            return connection.execute(statement).rowcount

        return self.db.write(work)

    # --- failures, always in a transaction of their own

    def counters(self, connection: Connection, person: Person) -> list[bytes]:
        """Every counter of a person's failures: the strangers' one, and one for each familiar address."""
        marks = connection.execute(select(familiar.c.mark).where(familiar.c.person == person.id)).scalars().all()
        return [self.account_mark(person.username), *marks]

    def count_attempt(self, subject: bytes, step: Callable[[Failures, int], Failures]) -> Failures:
        """Count one attempt before the secret is looked at; durable when this returns. Raises LockedOut."""

        def work(connection: Connection) -> Failures | LockedOut:
            before = read_failures(connection, subject)
            try:
                after = step(before, self.clock())
            except LockedOut as locked:
                return locked
            write_failures(connection, subject, after)
            return after

        result = self.db.write(work)
        if isinstance(result, LockedOut):
            raise result
        return result


def read_failures(connection: Connection, subject: bytes) -> Failures:
    """The counter of ``subject``; zeros where there is none."""
    row = connection.execute(select(failures).where(failures.c.subject == subject)).mappings().one_or_none()
    if row is None:
        return NONE
    return Failures(row["count"], row["first_at"], row["last_at"], row["locked_until"], row["locks"])


def write_failures(connection: Connection, subject: bytes, state: Failures) -> None:
    """Replace the counter of ``subject``."""
    values = {
        "count": state.count,
        "first_at": state.first_at,
        "last_at": state.last_at,
        "locked_until": state.locked_until,
        "locks": state.locks,
    }
    if connection.execute(update(failures).where(failures.c.subject == subject).values(**values)).rowcount == 0:
        connection.execute(insert(failures).values(subject=subject, **values))


def _network(ip: str) -> str:
    """IPv4 whole; IPv6 by its /64, which is what one household or attacker has."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def person_of(row: Row) -> Person:
    """The record of a row of ``people``."""
    return Person(
        id=PersonId(row["id"]),
        username=row["username"],
        role=Role(row["role"]),
        state=State(row["state"]),
        password_hash=row["password_hash"],
        totp_sealed=row["totp_sealed"],
        is_enrolled=row["totp_confirmed_at"] is not None,
        totp_step=row["totp_step"],
        display_name_sealed=row["display_name_sealed"],
        has_signed_in=row["signed_in_at"] is not None,
    )
