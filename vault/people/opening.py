"""Owns how the people room is put together. It must not know what its parts do."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from vault.audit.append import AuditLog
from vault.errors import VaultError
from vault.model import Micros
from vault.people.accounts import Accounts
from vault.people.breakglass import BreakGlass
from vault.people.guard import Guard
from vault.people.mail import by_smtp
from vault.people.notices import Notices
from vault.people.own import OwnAccount
from vault.people.passkeys import Passkeys
from vault.people.passwords import Hasher
from vault.people.relations import Relations
from vault.people.removal import Removal
from vault.people.resets import Resets
from vault.people.roster import Founded, Roster
from vault.people.rounds import Rounds
from vault.people.sessions import Sessions
from vault.people.sign_in import SignIn
from vault.people.ties import Ties
from vault.sealing.scopes import ScopeKeys
from vault.settings import MailSettings
from vault.storage.db import Database


@dataclass(frozen=True, slots=True)
class People:
    """Everything about those who work here."""

    sign_in: SignIn
    sessions: Sessions
    accounts: Accounts
    own: OwnAccount
    passkeys: Passkeys
    resets: Resets
    relations: Relations
    ties: Ties
    breakglass: BreakGlass
    notices: Notices
    rounds: Rounds
    roster: Roster
    context: tuple[str, ...]
    """The practice's names, of which no password may be made."""

    def serve(self, mail: MailSettings, report: Callable[[VaultError], None]) -> None:
        """Do the rounds in this serving process: mails, ended sessions, late reviews, unused accounts."""
        self.rounds.start(by_smtp(mail) if mail.smtp else None, mail.sender, report)

    def close(self) -> None:
        """Stop the rounds where this process does them; idempotent."""
        self.rounds.stop()


def open_people(
    *,
    db: Database,
    scopes: ScopeKeys,
    log: AuditLog,
    installation: Founded,
    clock: Callable[[], Micros],
    random: Callable[[int], bytes] = secrets.token_bytes,
    hasher: Hasher | None = None,
    context: tuple[str, ...] = (),
) -> People:
    """The room, ready. ``context``: the practice's names, of which no password may be made."""
    roster = Roster(db=db, scopes=scopes, log=log, installation=installation, clock=clock, random=random)
    hashing = hasher or Hasher()
    sessions = Sessions(roster)
    relations = Relations(db)
    guard = Guard(roster, hashing)
    breakglass, notices = BreakGlass(roster, relations), Notices(db)
    sign_in, removal = SignIn(roster, sessions, guard), Removal(roster, sessions)
    return People(
        sign_in=sign_in,
        sessions=sessions,
        accounts=Accounts(roster, sessions, hashing, removal, context),
        own=OwnAccount(roster, sessions, guard, hashing, context),
        passkeys=Passkeys(roster, sessions, guard, sign_in),
        resets=Resets(roster, sessions, guard, hashing, context),
        relations=relations,
        ties=Ties(roster, sessions, relations),
        breakglass=breakglass,
        rounds=Rounds(roster, sessions, breakglass, notices, removal),
        notices=notices,
        roster=roster,
        context=context,
    )
