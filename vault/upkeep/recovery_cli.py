"""Owns the verbs of the recovery slot: they join ``coffre keys``. It must not know how copies are sealed.

Words are shown once and typed in at a terminal or on standard input, one card a line: never on a command line, never in a file
of ours.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol

import click

from kms.lifecycle import Lifecycle
from kms.terminal import Exit, answer, confirm, json_option, progress, yes_option
from vault.audit.append import AuditLog
from vault.model import Role
from vault.opening import now_micros
from vault.people.opening import People
from vault.settings import VaultSettings
from vault.upkeep import cloning
from vault.upkeep.recovery import Cards, Recovery
from vault.upkeep.reindex import Reindexing


class _Vault(Protocol):
    @property
    def people(self) -> People: ...
    @property
    def log(self) -> AuditLog: ...


class Console(Protocol):
    """What these verbs need of the console that runs them."""

    @property
    def settings(self) -> VaultSettings: ...
    @property
    def vault(self) -> _Vault: ...
    @property
    def lifecycle_here(self) -> Lifecycle | None: ...
    @property
    def recovery(self) -> Recovery: ...
    @property
    def reindexing(self) -> Reindexing: ...


def typed_words() -> list[str]:
    """One card a line, until an empty line or the end."""
    if not sys.stdin.isatty():
        return [line.strip() for line in sys.stdin if line.strip()]
    lines = list[str]()
    click.echo("Type the words of one card after another, each on one line; an empty line ends.", err=True)
    while line := click.prompt(f"Card {len(lines) + 1}", default="", show_default=False, err=True).strip():
        lines.append(line)
    return lines


def card_pages(cards: Cards) -> list[str]:
    """One card a page: form feeds between them, so that a printer cuts them apart."""
    slot, pages = cards.slot, list[str]()
    for number, words in enumerate(cards.lines, 1):
        each = words.split()
        lines = ["\f" if number > 1 else "", f"COFFRE · recovery card {number} of {slot.shares} · slot {slot.id[:8]}"]
        lines += [
            f"Any {slot.needed} of {slot.shares} cards open the vault without its token. Keep them apart, and from the vault."
        ]
        lines += ["", *("   ".join(f"{at + 1:>2} {each[at]:<9}" for at in range(row, len(each), 11)) for row in range(11))]
        pages.append("\n".join(lines))
    return pages


@click.command("recovery-create")
@click.option("--shares", type=click.IntRange(1, 16), default=3, show_default=True, help="How many cards.")
@click.option("--needed", type=click.IntRange(1, 16), default=2, show_default=True, help="How many of them open the vault.")
@yes_option
@json_option
@click.pass_obj
def create(console: Console, shares: int, needed: int, yes: bool, as_json: bool) -> None:
    """Make a recovery slot: every key also sealed to cards of words, for the day when the token is gone.

    The words are shown once. Older cards become worthless. Pipe to a printer, not to a file.

    \b
    Example:
      coffre keys recovery-create --shares 3 --needed 2 | lp
    """
    confirm("Make new recovery cards? Older ones become worthless.", yes=yes, as_json=as_json)
    with progress("Sealing copies", console.recovery.scope_count(), quiet=as_json) as report:
        cards = console.recovery.create(needed, shares, report)
    data = {"slot": cards.slot.id, "needed": needed, "shares": shares, "cards": list(cards.lines)}
    answer(data, [*card_pages(cards), "", "Try them now: coffre keys recovery-rehearse"], as_json=as_json)


@click.command("recovery-rehearse")
@json_option
@click.pass_obj
def rehearse(console: Console, as_json: bool) -> None:
    """Try a quorum of cards on every copy, beside the token; nothing changes but the date that `coffre doctor` shows.

    \b
    Example:
      coffre keys recovery-rehearse
    """
    words = typed_words()
    with progress("Comparing", console.recovery.scope_count(), quiet=as_json) as report:
        right = console.recovery.rehearse(words, report)
    answer({"ok": True, "copies": right}, [f"These cards open all {right} keys of the vault."], as_json=as_json)


@click.command()
@yes_option
@json_option
@click.pass_context
def migrate(context: click.Context, yes: bool, as_json: bool) -> None:
    """Move to the empty token that the settings name now, with a quorum of recovery cards; the old token is not needed.

    Stop the server first. Beside a key process: give that one the empty token and run there coffre keys renew for kek, mac and
    audit, then this here. Separator sheets printed before have to be printed again.

    \b
    Example:
      coffre keys migrate --yes
    """
    console: Console = context.obj
    confirm("Move every key to the token that the settings name now?", yes=yes, as_json=as_json)
    words, actor = typed_words(), console.vault.people.sessions.console_actor(Role.ADMIN)
    with progress("Moving keys", console.recovery.scope_count(), quiet=as_json) as report:
        moved = console.recovery.migrate(console.lifecycle_here, words, report)
    found = console.reindexing.run() if not moved.lost else None
    console.recovery.tell(console.vault.log, actor, moved)
    data = {
        "ok": not moved.lost and found is not None and found.is_complete,
        "master": moved.master,
        "moved": moved.moved,
        "lost": list(moved.lost),
        "patients": found.patients if found else 0,
        "documents": found.versions if found else 0,
    }
    lines = [f"{moved.moved} keys were brought under master key {moved.master} of this token."]
    lines += [f"{found.patients} patients and {found.versions} documents can be found again."] if found else []
    lines += [f"scope {scope} has no readable copy" for scope in moved.lost]
    lines += [f"{what}: {code}" for what, code in found.failed] if found else []
    answer(data, lines, as_json=as_json)
    if not data["ok"]:
        context.exit(Exit.NOT_WELL)


@click.command("token-copy")
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
@click.pass_obj
def token_copy(console: Console, directory: Path, as_json: bool) -> None:
    """Copy a SoftHSM2 token to an empty directory, and open every key of the vault with the copy. The PIN is not copied.

    \b
    Example:
      coffre keys token-copy /media/usb/coffre-token
    """
    target = directory.resolve()
    tried = cloning.try_copy(console.settings, cloning.copy_token(console.settings.kms, target), target, now_micros)
    lines = [f"The copy in {target} opened all {tried.scopes} keys of the vault.", "Bring it to another place than this disk."]
    answer({"ok": True, "place": str(target), "copies": tried.scopes}, lines, as_json=as_json)


verbs = (create, rehearse, migrate, token_copy)
