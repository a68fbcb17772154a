"""Owns the verb ``coffre demo``: prepare the demonstration, say how to sign in, serve it. It must not know how it is made."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

import click

from kms.process import harden
from kms.terminal import answer, json_option
from vault.demo import phone, stage
from vault.demo.stage import Demo
from web.serve import serve as run_server
from web.settings import load

DEFAULT_DIRECTORY = Path("var/demo")
HOST = "127.0.0.1"

ROLE_WORDS = {
    "reception": "reception: files scans and patients, opens no medical document",
    "clinician": "clinician",
    "locum": "locum: stands in for a doctor between two dates",
    "auditor": "auditor: reads and exports the access log, never a document",
    "dpo": "data protection officer",
    "owner": "owner: accounts, roles, approvals",
    "admin": "technical admin: accounts and keys, never content",
}

NOTICE = (
    "This demo keeps its token (SoftHSM2) and its PIN on the same disk as the data: whoever copies the disk has everything.",
    "A real installation keeps the master key in a hardware module, and the PIN away from the data: docs/operations.md.",
)

directory_option = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Where the demo lives.",
)


@click.group(invoke_without_command=True)
@directory_option
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Where it listens, on 127.0.0.1.")
@click.option("--prepare-only", is_flag=True, help="Make the demo and stop before serving it.")
@click.pass_context
def demo(context: click.Context, directory: Path, port: int, prepare_only: bool) -> None:
    """Make a throw-away vault with people, patients and documents, and serve it. A second run finds it again.

    \b
    Example:
      coffre demo --port 8001
      coffre demo code claire.martin
    """
    context.obj = directory.resolve()
    if context.invoked_subcommand is not None:
        return
    if not prepare_only:
        _refuse_taken(port)
    bind = f"{HOST}:{port}"
    made = stage.prepare(context.obj, bind=bind, tell=lambda line: click.echo(f"{line} …"))
    if prepare_only:
        _explain(made, port, directory)
    else:
        click.echo("Starting the server …")
        _serve(made, port, directory)


@demo.command()
@click.argument("username")
@json_option
@click.pass_obj
def code(directory: Path, username: str, as_json: bool) -> None:
    """Show the one-time code that somebody's telephone shows now, as no telephone is needed to try the demo.

    \b
    Example:
      coffre demo code claire.martin
    """
    account = stage.find(directory).account(username)
    now = time.time()
    digits, left = account.code(now), phone.seconds_left(now)
    answer({"code": digits, "seconds_left": left}, [f"{digits}   ({left} s left; each code works once)"], as_json=as_json)


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise click.UsageError(f"Port {port} is taken; choose another one: make demo PORT={port + 1}") from error


def _explain(made: Demo, port: int, directory: Path) -> None:
    place = "" if directory == DEFAULT_DIRECTORY else f" --directory {directory}"
    wide = max(len(account.username) for account in made.accounts)
    lines = [
        "",
        *(click.style(line, fg="yellow") for line in NOTICE),
        "",
        f"Sign in at {click.style(f'http://{HOST}:{port}', bold=True)} as",
        "",
        *(
            f"  {account.username:<{wide}}  {account.password}  {account.display_name}, {ROLE_WORDS[account.role]}"
            for account in made.accounts
        ),
        "",
        f"The six-digit code: .venv/bin/coffre demo{place} code USERNAME",
        f"(or put the totp_secret of {_near(made.directory)}/{stage.ACCOUNTS} on a telephone). Ctrl-C stops.",
        "",
    ]
    for line in lines:
        click.echo(line)
    sys.stdout.flush()


def _near(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _serve(made: Demo, port: int, directory: Path) -> NoReturn:
    """Become a fresh process, which has never touched the token, to serve it."""
    sys.stdout.flush()
    environment = {**os.environ, "COFFRE_CONFIG": str(made.config), "COFFRE_WEB_BIND": f"{HOST}:{port}"}
    work = f"served({str(made.directory)!r}, {port}, {str(directory)!r})"
    program = f"from web.cli import last_door; from web.demo import served; last_door(lambda: {work})"
    os.execve(sys.executable, [sys.executable, "-c", program], environment)  # noqa: S606  # ourselves, no shell


def served(place: str, port: int, directory: str) -> None:
    """Serve the demo at ``place``, and say how to sign in once somebody can; ``directory`` as it was typed."""
    harden()
    made = stage.find(Path(place))
    run_server(load(made.config, os.environ), ready=lambda: _explain(made, port, Path(directory)))
