"""Owns the ``coffre`` command: it joins the rooms' verbs and is the last door for their errors.

It must not know what verbs do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kms.cli import keys
from kms.errors import BudgetExceeded, KeysBusy, KmsError, PinRefused, WrongToken
from kms.errors import KeysUnavailable as TokenUnavailable
from kms.process import harden
from kms.terminal import Exit
from vault.audit.cli import audit
from vault.cli import Console, default_config, doctor, init
from vault.errors import KeysUnavailable, LogUnavailable, StorageFull, StorageUnavailable, Tampered, VaultError
from vault.people.cli import user
from vault.upkeep import custody_cli, recovery_cli
from vault.upkeep.backup_cli import backup
from vault.upkeep.documents_cli import documents
from vault.upkeep.retention_cli import retention
from web.demo import demo
from web.serve import serve as run_server
from web.settings import load

NOT_WELL = (Tampered,)
UNAVAILABLE = (
    KeysUnavailable, StorageUnavailable, StorageFull, LogUnavailable,
    TokenUnavailable, KeysBusy, PinRefused, WrongToken, BudgetExceeded,
)  # fmt: skip


def exit_code(error: VaultError | KmsError) -> Exit:
    """Which of the four answers an error is."""
    if isinstance(error, NOT_WELL):
        return Exit.NOT_WELL
    return Exit.UNAVAILABLE if isinstance(error, UNAVAILABLE) else Exit.WRONG_USE


class _Verbs(click.Group):
    """The verbs; one that is left at its question says so, and never with the exit status of a failed check."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.Abort:
            click.echo(err=True)  # the question stands on an open line
            raise click.UsageError("Stopped at this question. Without a terminal, options answer it: see --help.") from None


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The settings file (default: $COFFRE_CONFIG, ./coffre.toml, /etc/coffre/coffre.toml).",
)
@click.version_option(package_name="coffre")
@click.pass_context
def coffre(context: click.Context, config: Path | None) -> None:
    """Coffre, the document vault of a medical practice.

    \b
    Example:
      coffre doctor
      coffre audit verify --json
    """
    harden()
    place = config.resolve() if config else default_config()
    context.obj = Console(place, os.environ, names=lambda: load(place, os.environ).web.names)
    context.call_on_close(context.obj.close)


@coffre.command()
@click.pass_obj
def serve(console: Console) -> None:
    """Serve the vault's pages and its API.

    \b
    Example:
      COFFRE_CONFIG=/etc/coffre/coffre.toml coffre serve
    """
    run_server(load(console.config, console.environment))


for custody_verb in (*custody_cli.verbs, *recovery_cli.verbs):
    keys.add_command(custody_verb)
for verb in (init, doctor, user, keys, documents, retention, audit, backup, demo):
    coffre.add_command(verb)


def main() -> None:
    """The console script."""
    last_door(coffre)


def last_door(work: Callable[[], object]) -> None:
    """Do it; errors are one or two plain sentences on standard error, never a traceback; the exit status says which kind."""
    try:
        work()
    except (VaultError, KmsError) as error:
        click.echo(f"coffre: {error}", err=True)
        sys.exit(exit_code(error))
