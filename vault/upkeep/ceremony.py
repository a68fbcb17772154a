"""Owns the end of ``coffre init``: a vault is not made before a way back from the loss of its token was made and tried.

It walks a person through it at a terminal, and asks a program nothing. It must not know how cards or copies are made.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

from kms.settings import KmsSettings
from vault.errors import BadSettings, Conflict, Invalid
from vault.model import Micros
from vault.settings import VaultSettings
from vault.storage.keyring import RecoverySlot
from vault.storage.slots import TokenCopy
from vault.upkeep import cloning
from vault.upkeep.recovery import Cards, Recovery
from vault.upkeep.recovery_cli import card_pages, typed_words

SENTENCE = "losing this token loses every document"
"""What somebody who wants no way back has to write out."""
MISSING = "Not finished: no way back was tried. Run it again with --recovery-cards 2/3 or --token-copy DIR."
TRIES = 3
Clock = Callable[[], Micros]
_QUORUM = re.compile(r"([0-9]{1,2})/([0-9]{1,2})")


class Console(Protocol):
    """What the ceremony needs of the console that runs it."""

    @property
    def settings(self) -> VaultSettings: ...
    @property
    def recovery(self) -> Recovery: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """The way back that somebody chose."""

    cards: tuple[int, int] | None = None
    """Needed, shares."""
    copy: Path | None = None
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How the ceremony ended."""

    ok: bool
    data: dict[str, Any]
    lines: tuple[str, ...]


def quorum(text: str) -> tuple[int, int]:
    """``2/3`` as (needed, shares). Raises BadSettings."""
    found = _QUORUM.fullmatch(text.strip())
    if found is None:
        raise BadSettings(f"{text!r} is no number of cards: write 2/3 for any two of three")
    return int(found[1]), int(found[2])


def chosen(cards: str | None, copy: Path | None, refusal: str | None) -> Choice | None:
    """What the command line says; None where it says nothing. Raises BadSettings where it says too much or too little."""
    given = [each for each in (cards, copy, refusal) if each is not None]
    if len(given) > 1:
        raise BadSettings("choose one of --recovery-cards, --token-copy and --without-recovery")
    if refusal is not None and refusal.strip().rstrip(".").lower() != SENTENCE:
        raise BadSettings(f'to go without any way back, write it out: --without-recovery "{SENTENCE}"')
    if not given:
        return None
    return Choice(quorum(cards) if cards else None, copy.resolve() if copy else None, refusal is not None)


def may_ask(*, as_json: bool, yes: bool) -> bool:
    """Whether somebody is there who could be asked."""
    return not as_json and not yes and sys.stdin.isatty()


def ask(kms: KmsSettings) -> Choice:
    """Ask which way back is wanted. Aborts (exit 1) where nobody answers."""
    click.echo("\nWhoever loses the token loses every document, for good. How will this vault come back?")
    click.echo("  1  Recovery cards: words on paper, some of which open the vault without its token.")
    click.echo("  2  A copy of the token, on another disk, tried now (SoftHSM2 only).")
    click.echo("  3  No way back.")
    match click.prompt("Choose", type=click.Choice(["1", "2", "3"]), default="1", show_choices=False):
        case "1":
            shares = click.prompt("How many cards", type=click.IntRange(2, 16), default=3)
            needed = click.prompt("How many of them open the vault", type=click.IntRange(2, shares), default=2)
            return Choice(cards=(needed, shares))
        case "2":
            cloning.token_directory(kms)
            return Choice(copy=click.prompt("An empty directory for the copy", type=click.Path(path_type=Path)).resolve())
        case _:
            typed = click.prompt(f'Type "{SENTENCE}"')
            return chosen(None, None, typed) or Choice(is_refused=True)


def perform(console: Console, choice: Choice, *, asking: bool, clock: Clock) -> Ended:
    """Make the way back and try it. Raises what making it raises; a terminal's cards are tried until they are right."""
    if choice.copy is not None:
        return _copy(console, choice.copy, clock)
    if choice.cards is not None:
        return _cards(console, choice.cards, asking=asking)
    lines = ("No way back was made: `coffre doctor` stays red until one was tried.",)
    return Ended(ok=True, data={"recovery": "none"}, lines=lines)


def _copy(console: Console, target: Path, clock: Clock) -> Ended:
    console.close()  # the copy is opened in the token's place
    tried = cloning.try_copy(console.settings, cloning.copy_token(console.settings.kms, target), target, clock)
    pin = console.settings.kms.pin_file
    lines = (
        f"The token was copied to {target}; the copy opened all {tried.scopes} keys of the vault.",
        f"Bring it to another place than this disk. It opens with the PIN in {pin}, which was not copied:",
        "keep a copy of that file in a third place.",
    )
    return Ended(ok=True, data={"recovery": "token_copy", "place": str(target), "copies": tried.scopes}, lines=lines)


def _cards(console: Console, wanted: tuple[int, int], *, asking: bool) -> Ended:
    cards = console.recovery.create(*wanted)
    data = {"recovery": "cards", "slot": cards.slot.id, "needed": wanted[0], "shares": wanted[1]}
    if not asking:
        lines = ("\n".join(card_pages(cards)), "Not finished: try them now (coffre keys recovery-rehearse).")
        return Ended(ok=False, data=data | {"cards": list(cards.lines), "copies": 0}, lines=lines)
    _show(cards)
    right = _rehearse(console.recovery, cards)
    return Ended(ok=True, data=data | {"copies": right}, lines=(f"These cards open all {right} keys of the vault.",))


def _show(cards: Cards) -> None:
    """One card after another, so that whoever gets one sees no other."""
    for page in card_pages(cards):
        click.clear()
        click.echo(page.removeprefix("\f\n"))
        click.prompt(
            "\nWrite it down, or print this page; photograph nothing. Then press Enter", default="", show_default=False
        )
    click.clear()


def _rehearse(recovery: Recovery, cards: Cards) -> int:
    click.echo(f"Now try them: type {cards.slot.needed} of the {cards.slot.shares} cards from the paper.")
    for _ in range(TRIES - 1):
        try:
            return recovery.rehearse(typed_words())
        except (Invalid, Conflict) as wrong:
            click.echo(f"{wrong}. Try again.")
    return recovery.rehearse(typed_words())


def is_over(slot: RecoverySlot | None, copy: TokenCopy | None) -> bool:
    """Whether a way back was tried already: then an interrupted `coffre init` has nothing left to ask."""
    return copy is not None or (slot is not None and slot.rehearsed_at is not None)
