"""Owns how a command of any room answers: exit codes, ``--json``, progress. It must not know what the commands do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Exit(IntEnum):
    """What every command's exit status means."""

    DONE = 0
    NOT_WELL = 1
    """The thing asked about is not well: an altered document, a failed check."""
    WRONG_USE = 2
    UNAVAILABLE = 3
    """A needed part does not answer: token, database, store."""


class NotWell(click.ClickException):
    """The command worked, and what it looked at is not well."""

    exit_code = Exit.NOT_WELL


class Unavailable(click.ClickException):
    """A needed part does not answer."""

    exit_code = Exit.UNAVAILABLE


def json_option(command: F) -> F:
    """``--json``: one JSON object on standard output, and never a question."""
    return click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs; never asks a question.")(command)


def yes_option(command: F) -> F:
    """``--yes``: the answer to a destructive command's question."""
    return click.option("--yes", is_flag=True, help="Do it without asking.")(command)


def answer(data: Mapping[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Print ``data`` as JSON, or ``lines`` for people."""
    if as_json:
        click.echo(json.dumps(data, ensure_ascii=False, indent=2, default=str))
        return
    for line in lines:
        click.echo(line)


def confirm(question: str, *, yes: bool, as_json: bool) -> None:
    """Ask before something that can't be undone; without a terminal, or with --json, only ``--yes`` is an answer."""
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise click.UsageError("This cannot be undone: add --yes to do it.")
    click.confirm(question, abort=True)


@contextmanager
def progress(label: str, length: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a line every tenth elsewhere, nothing when ``quiet``; call what is yielded with each advance."""
    if quiet or length <= 0:
        yield lambda _count: None
        return
    if sys.stderr.isatty():
        with click.progressbar(length=length, label=label, file=sys.stderr, show_pos=True, show_eta=True) as bar:
            yield bar.update
        return
    done = 0
    told = 0

    def advance(count: int) -> None:
        nonlocal done, told
        done += count
        if (tenth := done * 10 // length) > told:
            told = tenth
            click.echo(f"{label}: {done} of {length}", err=True)

    yield advance
