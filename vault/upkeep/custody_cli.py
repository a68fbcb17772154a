"""Owns the operator's verbs that change keys: they join ``coffre keys``. It must not know HTTP nor the token.

Retiring and destroying want two people of the practice, each with password and second factor; the rest is the console's.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import click

from kms import hosting
from kms.cli import described, line
from kms.keys import KeyUse
from kms.terminal import Exit, answer, confirm, json_option, progress, yes_option
from vault.errors import BadSettings
from vault.model import Actor, Client, Role
from vault.people.opening import People
from vault.upkeep.custody import Custody
from vault.upkeep.reconcile import Reconciliation
from vault.upkeep.reindex import Reindexed
from vault.upkeep.rotation import Rewrapped

CONSOLE = Client(agent="console")


class _Vault(Protocol):
    @property
    def people(self) -> People: ...


class Console(Protocol):
    """What these verbs need of the console that runs them."""

    config: Path
    environment: Mapping[str, str]

    @property
    def vault(self) -> _Vault: ...
    @property
    def custody(self) -> Custody: ...
    @property
    def reconciliation(self) -> Reconciliation: ...


use_argument = click.argument("use", type=click.Choice([use.value for use in KeyUse]))
number_argument = click.argument("number", type=click.IntRange(min=1))
rate_option = click.option(
    "--rate", type=click.IntRange(min=1), help="Keys (for mac: rows) a second at most, to spare a slow HSM."
)
credentials_option = click.option(
    "--credentials",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file of mode 0600 with user name, password and code on three lines; asked for at the terminal without it.",
)


def _operator(console: Console) -> Actor:
    return console.vault.people.sessions.console_actor(Role.ADMIN)


def signed_person(console: Console, credentials: Path | None, *, as_json: bool) -> Actor:
    """Somebody of the practice, with both factors. Raises SignInRefused, LockedOut."""
    if hosting.is_host(console.config):
        raise BadSettings("this is a key process's host; people agree where the vault is (coffre keys retire, then release)")
    if credentials is not None:
        if credentials.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadSettings(f"others can read {credentials}; run: chmod 600 {credentials}")
        parts = credentials.read_text(encoding="utf-8").splitlines()
        if len(parts) != 3:
            raise BadSettings(f"{credentials} wants three lines: user name, password, code")
        username, password, code = parts
    elif as_json:
        raise click.UsageError("With --json nobody is asked: name a --credentials file.")
    else:
        username = click.prompt("User name", err=True)
        password = click.prompt("Password", hide_input=True, err=True)
        code = click.prompt("Code of the second factor", err=True)
    signed_in = console.vault.people.sign_in.at_once(username, password, code, CONSOLE)
    console.vault.people.sessions.end(signed_in.token)
    return signed_in.actor


def _re_indexed(result: Reindexed) -> tuple[dict[str, Any], list[str]]:
    data = {
        "ok": result.is_complete,
        "mac": result.mac,
        "patients": result.patients,
        "versions": result.versions,
        "left": {str(mac): count for mac, count in result.left.items()},
        "failed": [{"what": what, "code": code} for what, code in result.failed],
    }
    lines = [f"{result.patients} patients and {result.versions} documents were brought under MAC key {result.mac}."]
    lines += [f"{what}: {code}" for what, code in result.failed]
    lines += [f"{count} patients and documents still stand under MAC key {mac}." for mac, count in result.left.items()]
    lines += ["Counted in the tables: nothing stands under another MAC key."] if result.is_complete else []
    return data, lines


def _told(result: Rewrapped) -> tuple[dict[str, Any], list[str]]:
    data = {
        "ok": result.is_complete,
        "master": result.master,
        "rewrapped": result.done,
        "left": {str(master): count for master, count in result.left.items()},
        "failed": [{"scope": scope, "code": code} for scope, code in result.failed],
    }
    lines = [f"{result.done} scope keys were brought under master key {result.master}."]
    lines += [f"scope {scope}: {code}" for scope, code in result.failed]
    lines += [f"{count} scope keys still stand under master key {master}." for master, count in result.left.items()]
    lines += ["Counted in the keyring: nothing stands under another master key."] if result.is_complete else []
    return data, lines


@click.command()
@use_argument
@json_option
@click.pass_obj
def create(console: Console, use: str, as_json: bool) -> None:
    """Make a further key version in the token, not used yet; `coffre keys rotate` takes it into use.

    \b
    Example:
      coffre keys create kek
    """
    record = console.custody.create(_operator(console), KeyUse(use))
    answer(described(record), [line(record, "made; it does nothing until it is rotated in")], as_json=as_json)


@click.command()
@use_argument
@rate_option
@json_option
@click.pass_context
def rotate(context: click.Context, use: str, rate: int | None, as_json: bool) -> None:
    """Take a new key version into use while the practice works.

    For kek, rewrap every scope key; for mac, make search values and fingerprints anew; for audit, the old key signs for the
    new one. May be interrupted at any moment: running it again finishes what is left before it makes another key.

    \b
    Example:
      coffre keys rotate kek
    """
    console: Console = context.obj
    with progress("Rotating", _size(console, KeyUse(use)), quiet=as_json) as report:
        done = console.custody.rotate(_operator(console), KeyUse(use), report, per_second=rate)
    data: dict[str, Any] = {"ok": True, "resumed": done.is_resumed, "active": described(done.record)}
    lines = [line(done.record, "active" + (" (an earlier rotation was finished)" if done.is_resumed else ""))]
    for more, told in (
        *([_told(done.rewrapped)] if done.rewrapped else []),
        *([_re_indexed(done.reindexed)] if done.reindexed else []),
    ):
        data |= more
        lines += told
    answer(data, lines, as_json=as_json)
    if not data["ok"]:
        context.exit(Exit.NOT_WELL)


@click.command()
@rate_option
@json_option
@click.pass_context
def rewrap(context: click.Context, rate: int | None, as_json: bool) -> None:
    """Bring every scope key under the active master key; ends with a count, exit 1 if one could not be brought.

    \b
    Example:
      coffre keys rewrap --rate 2000
    """
    console: Console = context.obj
    with progress("Rewrapping", console.custody.rewrapping.remaining(), quiet=as_json) as report:
        result = console.custody.rewrap(_operator(console), report, per_second=rate)
    data, lines = _told(result)
    answer(data, lines, as_json=as_json)
    if not result.is_complete:
        context.exit(Exit.NOT_WELL)


def _size(console: Console, use: KeyUse) -> int:
    """How much a rotation goes through: what is left of an interrupted one, else everything."""
    if waiting := console.custody.waiting(use):
        return waiting
    match use:
        case KeyUse.MASTER:
            return sum(console.custody.scope_counts().values())
        case KeyUse.MAC:
            return sum(sum(counts.values()) for counts in console.custody.reindexing.standing().values())
        case KeyUse.AUDIT | KeyUse.AUDIT_ED:
            return 0


@click.command()
@rate_option
@json_option
@click.pass_context
def reindex(context: click.Context, rate: int | None, as_json: bool) -> None:
    """Bring search values and fingerprints under the active MAC key; ends with a count, exit 1 if one could not be brought.

    Everything is found meanwhile. Where a key process bounds how many keys may be opened, it waits and goes on.

    \b
    Example:
      coffre keys reindex --rate 200
    """
    console: Console = context.obj
    with progress("Re-indexing", console.custody.waiting(KeyUse.MAC), quiet=as_json) as report:
        result = console.custody.reindex(_operator(console), report, per_second=rate)
    data, lines = _re_indexed(result)
    answer(data, lines, as_json=as_json)
    if not result.is_complete:
        context.exit(Exit.NOT_WELL)


@click.command()
@use_argument
@number_argument
@click.option("--undo", is_flag=True, help="Take the request back.")
@credentials_option
@json_option
@click.pass_obj
def retire(  # noqa: PLR0917  # one parameter for each option, as click calls it
    console: Console, use: str, number: int, undo: bool, credentials: Path | None, as_json: bool
) -> None:
    """Ask for the destruction of a key under which nothing stands any more; an owner has to agree with `destroy`.

    \b
    Example:
      coffre keys retire kek 1
    """
    actor = signed_person(console, credentials, as_json=as_json)
    if undo:
        console.custody.restore(actor, KeyUse(use), number)
        answer({"ok": True}, [f"{use} {number} is kept."], as_json=as_json)
        return
    record = console.custody.retire(actor, KeyUse(use), number)
    answer(described(record), [line(record, f"retired; an owner agrees: coffre keys {_ending(console)}")], as_json=as_json)


def _ending(console: Console) -> str:
    return "destroy" if console.custody.holds_token else "release"


@click.command()
@use_argument
@number_argument
@click.option(
    "--release",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="On a key process's host: the note that `coffre keys release` wrote.",
)
@credentials_option
@yes_option
@json_option
@click.pass_obj
def destroy(  # noqa: PLR0917  # one parameter for each option, as click calls it
    console: Console, use: str, number: int, release: Path | None, credentials: Path | None, yes: bool, as_json: bool
) -> None:
    """Destroy a retired key in the token, for good. Keyring backups made before its rotation can't be restored afterwards.

    On a key process's host nobody signs in: the vault's signed release says that two people agreed and nothing needs the key.

    \b
    Example:
      coffre keys destroy kek 1 --yes
      coffre --config /etc/coffre-keys/keys.toml keys destroy kek 1 --release kek-1.release --yes
    """
    is_host = hosting.is_host(console.config)
    if release is not None and not is_host:
        raise click.UsageError("--release is for a key process's host.")
    confirm(f"Destroy {use} key {number} for good?", yes=yes, as_json=as_json)
    if is_host:
        settings = hosting.load(console.config, console.environment)
        ended = hosting.destroy_released(settings, KeyUse(use), number, release)
        answer(described(ended), [line(ended, "gone")], as_json=as_json)
        return
    record = console.custody.destroy(signed_person(console, credentials, as_json=as_json), KeyUse(use), number)
    answer(described(record), [line(record, "gone")], as_json=as_json)


@click.command()
@use_argument
@number_argument
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The note; a new file.")
@credentials_option
@json_option
@click.pass_obj
def release(  # noqa: PLR0917  # one parameter for each option, as click calls it
    console: Console, use: str, number: int, output: Path, credentials: Path | None, as_json: bool
) -> None:
    """Beside a key process: agree, as an owner, to the end of a retired key, and write the note by which its host destroys it.

    Nothing is destroyed yet. The note is valid for seven days and for this key alone; anybody who holds it may bring it.

    \b
    Example:
      coffre keys release kek 1 -o kek-1.release
    """
    if output.exists():
        raise click.UsageError(f"{output} is there already: name a new file.")
    actor = signed_person(console, credentials, as_json=as_json)
    note = console.custody.release(actor, KeyUse(use), number)
    try:
        output.write_text(note, encoding="utf-8")
    except OSError as error:
        raise BadSettings(f"{output} can't be written ({error.strerror}); nothing was destroyed, release it again") from error
    told = f"on the key process's host: coffre keys destroy {use} {number} --release {output.name}"
    answer({"ok": True, "release": str(output)}, [f"{use} {number} is released for seven days; {told}"], as_json=as_json)


@click.command()
@click.option(
    "--journal",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The key process's log, or a copy of it.",
)
@json_option
@click.pass_context
def reconcile(context: click.Context, journal: Path, as_json: bool) -> None:
    """Compare the key process's log with the access log: was any key opened of which the access log does not tell?

    \b
    Example:
      coffre keys reconcile --journal /var/lib/coffre-keys/journal
    """
    console: Console = context.obj
    found = console.reconciliation.compare(journal)
    data = {
        "ok": found.ok,
        "unwraps": found.unwraps,
        "explained": found.explained,
        "system": found.system,
        "refused": found.refused,
        "unexplained": [{"at": entry.at, "caller": entry.caller, "scope": scope} for entry, scope in found.unexplained],
    }
    lines = [
        f"{found.unwraps} keys were opened: {found.explained} with an entry of the access log, {found.system} by the system.",
        *(f"{count} refused: {code}" for code, count in sorted(found.refused.items())),
        *(f"UNEXPLAINED at {entry.at} for {entry.caller}, scope {scope or 'unknown'}" for entry, scope in found.unexplained),
    ]
    answer(data, lines, as_json=as_json)
    if not found.ok:
        context.exit(Exit.NOT_WELL)


@click.command("hand-over")
@use_argument
@number_argument
@click.argument("voucher")
@json_option
@click.pass_obj
def hand_over(console: Console, use: str, number: int, voucher: str, as_json: bool) -> None:
    """Beside a key process: put into the log by what the old audit key signed for a new one.

    `coffre keys renew audit`, on the key process's host, prints the whole line.

    \b
    Example:
      coffre keys hand-over audit 2 q0mP...==
    """
    console.custody.hand_over(_operator(console), KeyUse(use), number, voucher)
    answer({"ok": True}, [f"The log now says who vouched for {use} {number}."], as_json=as_json)


verbs = (create, rotate, rewrap, reindex, hand_over, retire, release, destroy, reconcile)
