"""Owns the operator's verbs on accounts: ``coffre user …``. It must not know HTTP.

Whoever runs them holds the machine's console; each act is in the access log as such. Passwords are read from the terminal, from
standard input or made up, never from the command line.
"""

from __future__ import annotations

import secrets
import sys
from datetime import UTC, datetime
from typing import Any, Protocol

import click

from kms.terminal import answer, confirm, json_option, yes_option
from vault.model import Actor, Role
from vault.people.accounts import Account
from vault.people.opening import People
from vault.people.phrases import phrase
from vault.people.roster import State


class _Vault(Protocol):
    @property
    def people(self) -> People: ...


class Console(Protocol):
    """What these verbs need of the console that runs them."""

    @property
    def vault(self) -> _Vault: ...


ROLES = [role.value for role in Role]
NOBODY_YET = "Nobody yet. Make the first owner: coffre user add --role owner NAME"


@click.group()
def user() -> None:
    """Accounts of those who work here.

    \b
    Example:
      coffre user list
    """


@user.command()
@click.argument("username")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the person is in the practice.")
@click.option("--name", "display_name", help="The name that screens show; the username by default.")
@click.option("--password-stdin", is_flag=True, help="Read the first password from standard input, one line.")
@json_option
@click.pass_obj
def add(  # noqa: PLR0917  # one parameter for each option, as click calls it
    console: Console, username: str, role: str, display_name: str | None, password_stdin: bool, as_json: bool
) -> None:
    """Make an account. Without --password-stdin a first pass-phrase is made up and printed once.

    \b
    Example:
      coffre user add --role clinician --name "Dr Léa Martin" lmartin
    """
    people = console.vault.people
    made_up = not password_stdin
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else phrase(secrets.token_bytes)
    actor = people.sessions.console_actor()
    person = people.accounts.create(
        actor, username=username, display_name=display_name or username, role=Role(role), password=password
    )
    answer(
        {"ok": True, "id": person, "username": username, "role": role} | ({"password": password} if made_up else {}),
        [
            f"{username} ({role}) can sign in; the second factor is set up at the first sign-in.",
            *([f"First password, shown this once: {password}"] if made_up else []),
        ],
        as_json=as_json,
    )


@user.command("list")
@json_option
@click.pass_obj
def list_(console: Console, as_json: bool) -> None:
    """List every account.

    \b
    Example:
      coffre user list --json
    """
    people = console.vault.people
    accounts = people.accounts.all(people.sessions.console_actor())
    answer(
        {"users": [_as_json(account) for account in accounts]},
        [_line(account) for account in accounts] or [NOBODY_YET],
        as_json=as_json,
    )


@user.command()
@click.argument("username")
@click.option("--left", "has_left", is_flag=True, help="A departure: password, second factors and grants die too.")
@yes_option
@json_option
@click.pass_obj
def disable(console: Console, username: str, has_left: bool, yes: bool, as_json: bool) -> None:
    """Close an account at once: its sessions end, its name stays in the log.

    \b
    Example:
      coffre user disable lmartin
      coffre user disable --left lmartin
    """
    people, actor, account = _named(console, username)
    confirm(f"Close the account of {account.username}?", yes=yes, as_json=as_json)
    people.accounts.disable(actor, account.id, has_left=has_left)
    closed = people.accounts.get(actor, account.id)
    answer(
        {"ok": True, "id": account.id, "removes_at": _moment(closed.removes_at)},
        [
            f"{account.username} can no longer sign in.",
            f"From {_day(closed.removes_at)} on the account is removed, unless it is opened again.",
        ],
        as_json=as_json,
    )


@user.command()
@click.argument("username")
@click.option("--anyway", is_flag=True, help="Although the person still holds something.")
@yes_option
@json_option
@click.pass_obj
def remove(console: Console, username: str, anyway: bool, yes: bool, as_json: bool) -> None:
    """Erase a closed account for good: only its number and the name in the log stay.

    Closed accounts that nobody has used for three years are removed by themselves.

    \b
    Example:
      coffre user remove lmartin
    """
    people, actor, account = _named(console, username)
    if account.duties and not anyway:
        raise click.UsageError(
            f"{account.username} still holds something: {', '.join(account.duties)}. Add --anyway to remove."
        )
    confirm(f"Erase the account of {account.username}, without a way back?", yes=yes, as_json=as_json)
    people.accounts.remove(actor, account.id, anyway=anyway)
    answer({"ok": True, "id": account.id}, [f"{account.username} is removed; the name stays in the log."], as_json=as_json)


@user.command()
@click.argument("username")
@json_option
@click.pass_obj
def enable(console: Console, username: str, as_json: bool) -> None:
    """Open a closed account again, or approve one that waits for an owner.

    Whoever had left has no password any more: a code is shown, to hand over, with which they choose one.

    \b
    Example:
      coffre user enable lmartin
    """
    people, actor, account = _named(console, username)
    people.accounts.enable(actor, account.id)
    if account.has_password or not account.signed_in_at:
        answer({"ok": True, "id": account.id}, [f"{account.username} can sign in."], as_json=as_json)
        return
    code = people.resets.invite(actor, account.id).code
    answer(
        {"ok": True, "id": account.id, "code": code},
        [f"{account.username} chooses a password at /invitation with this code, within three days:", f"  {code}"],
        as_json=as_json,
    )


@user.command()
@click.argument("username")
@json_option
@click.pass_obj
def unlock(console: Console, username: str, as_json: bool) -> None:
    """Forget the failures of an account, so that its holder may try again at once.

    \b
    Example:
      coffre user unlock lmartin
    """
    people, actor, account = _named(console, username)
    people.accounts.unlock(actor, account.id)
    answer({"ok": True, "id": account.id}, [f"{account.username} may try again."], as_json=as_json)


@user.command()
@click.argument("username")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the person is in the practice.")
@click.option("--name", "display_name", help="The name that screens show; the username by default.")
@json_option
@click.pass_obj
def invite(console: Console, username: str, role: str, display_name: str | None, as_json: bool) -> None:
    """Make an account without a password, and a code to hand over: its holder chooses the password at /invitation.

    \b
    Example:
      coffre user invite --role reception --name "Sophie Garnier" sgarnier
    """
    people = console.vault.people
    actor = people.sessions.console_actor()
    person = people.accounts.create(actor, username=username, display_name=display_name or username, role=Role(role))
    invitation = people.resets.invite(actor, person)
    answer(
        {"ok": True, "id": person, "username": username, "role": role, "code": invitation.code},
        [
            f"{username} ({role}) is invited for three days; hand over this code, in person or by telephone:",
            f"  {invitation.code}",
        ],
        as_json=as_json,
    )


@user.command("reset-totp")
@click.argument("username")
@yes_option
@json_option
@click.pass_obj
def reset_totp(console: Console, username: str, yes: bool, as_json: bool) -> None:
    """Forget a lost telephone: another one is set up at the next sign-in.

    \b
    Example:
      coffre user reset-totp lmartin
    """
    people, actor, account = _named(console, username)
    confirm(f"Forget the telephone and the recovery codes of {account.username}?", yes=yes, as_json=as_json)
    people.accounts.reset_totp(actor, account.id)
    answer({"ok": True, "id": account.id}, [f"{account.username} sets up a telephone at the next sign-in."], as_json=as_json)


def _named(console: Console, username: str) -> tuple[People, Actor, Account]:
    people = console.vault.people
    actor = people.sessions.console_actor()
    return people, actor, people.accounts.named(actor, username)


def _as_json(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "username": account.username,
        "name": account.display_name,
        "role": account.role,
        "state": account.state,
        "is_enrolled": account.is_enrolled,
        "is_locked": account.is_locked,
        "signed_in_at": _moment(account.signed_in_at),
        "warned_at": _moment(account.warned_at),
        "closed_at": _moment(account.closed_at),
        "closes_at": _moment(account.closes_at),
        "removes_at": _moment(account.removes_at),
        "removed_at": _moment(account.removed_at),
        "duties": list(account.duties),
    }


def _moment(at: int | None) -> str | None:
    """RFC 3339, UTC, to the second."""
    return None if at is None else f"{datetime.fromtimestamp(at // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _day(at: int | None) -> str:
    return (_moment(at) or "never")[:10]


def _line(account: Account) -> str:
    facts = [account.state.value]
    if not account.is_enrolled and account.state in {State.ACTIVE, State.PENDING}:
        facts.append("no telephone yet")
    if account.is_locked:
        facts.append("locked")
    if account.closes_at:
        facts.append(f"unused, closes {_day(account.closes_at)}")
    if account.removes_at:
        facts.append(f"removed from {_day(account.removes_at)} on")
    if account.removed_at:
        facts = [f"removed {_day(account.removed_at)}"]
    return f"{account.username or '-':<24} {account.role:<10} {', '.join(facts):<28} {account.display_name}"
