"""Owns the operator's verbs on backups, ``coffre backup``. It must not know HTTP, nor how a backup is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click
from sqlalchemy import Connection, select
from sqlalchemy.engine import make_url

from kms.terminal import Exit, answer, confirm, json_option, progress, yes_option
from vault.audit import note
from vault.audit.events import Action, Event, Note, Outcome
from vault.errors import Invalid, NotInitialised, VaultError
from vault.model import Actor, Role, TenantId
from vault.opening import Vault, open_vault
from vault.settings import VaultSettings
from vault.storage.db import Database
from vault.storage.schema import installation, log_marks
from vault.upkeep import backup_words as words
from vault.upkeep.backup import Backup
from vault.upkeep.backup_check import Begin, Check, Checked, keys_in, trust_file
from vault.upkeep.depot import Depot
from vault.upkeep.drill import Drill, Scope, rehearse, scratch
from vault.upkeep.drill_report import Rehearsed
from vault.upkeep.manifest import KEEP_DAYS
from vault.upkeep.restore import Request, Restore

F = TypeVar("F", bound=Callable[..., Any])


class Console(Protocol):
    """What these verbs need of the console that runs them."""

    @property
    def settings(self) -> VaultSettings: ...
    @property
    def vault(self) -> Vault: ...


@click.group()
def backup() -> None:
    """Make backups, check them, restore them, and rehearse it.

    \b
    Example:
      coffre backup --help
    """


_PATH = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def _place_options(command: F) -> F:
    for option in reversed((
        click.argument("place", type=_PATH),
        click.option("--keyrings", type=_PATH, help="Where copies of the keyring lie (default: PLACE/keyrings)."),
        click.option("--blobs", metavar="URL", help="Where sealed bodies lie (file:///… or s3://…; default: PLACE/blobs)."),
    )):  # fmt: skip
        command = option(command)
    return command


_which = click.option("--backup", "name", metavar="ID", help="Which one (default: the newest).")
_trust = click.option("--trust", type=_FILE, help="The log's trust file, where this vault is not there to ask.")


def _depot(console: Console, place: Path, keyrings: Path | None, blobs: str | None) -> Depot:
    return Depot(place, keyrings, replace(console.settings.blobs, url=blobs) if blobs else None)


def _operator(vault: Vault) -> Actor:
    return vault.people.sessions.console_actor(Role.ADMIN)


@contextmanager
def _bars(label: str, *, quiet: bool) -> Iterator[Begin]:
    """A progress bar whose length is known later; a second one takes the place of the first."""
    with ExitStack() as stack:

        def begin(count: int) -> Callable[[int], None]:
            stack.close()
            return stack.enter_context(progress(label, count, quiet=quiet))

        yield begin


# --- whose signature counts -------------------------------------------------------------------------------------------


@contextmanager
def _reading(settings: VaultSettings, url: str) -> Iterator[Connection]:
    """A database of this vault; one that is not there is not made. Raises NotInitialised, StorageUnavailable."""
    address = make_url(url)
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").exists():
        raise NotInitialised("no vault is here")
    with closing(Database(url, settings.database.password_file)) as db, db.read() as connection:
        yield connection


def _own_tenant(settings: VaultSettings) -> TenantId | None:
    """Which vault this is, from whichever of its databases can still say."""
    for url, column in ((settings.database.url, installation.c.tenant), (settings.database.keyring_url, log_marks.c.log)):
        with suppress(VaultError), _reading(settings, url) as connection:
            found = connection.execute(select(column)).scalars().first()
            if found is not None:
                return TenantId(found)
    return None


def _own_keys(console: Console, tenant: TenantId) -> list[note.Verifier]:
    """The log's public keys as this vault's keyring holds them: no token is needed, unless a key process keeps them."""
    with _reading(console.settings, console.settings.database.keyring_url) as connection:
        known = keys_in(connection, tenant)
    return known or console.vault.auditing.checkpoints.verifiers()


def _check(console: Console, depot: Depot, trust: Path | None) -> Check:
    if trust is not None:
        known = trust_file(trust)
        return Check(depot, lambda _tenant: known)
    tenant = _own_tenant(console.settings)
    if tenant is None:
        raise Invalid("no vault is here to say who signs: name its trust file with --trust", field="trust", reason="missing")
    own = _own_keys(console, tenant)
    return Check(depot, lambda _tenant: own, tenant)


# --- verbs ------------------------------------------------------------------------------------------------------------


@backup.command()
@_place_options
@click.option(
    "--keep", type=click.IntRange(1, KEEP_DAYS), default=KEEP_DAYS, show_default=True,
    help="For how many days a copy of the keyring is kept: so long an erased patient could be brought back.",
)  # fmt: skip
@json_option
@click.pass_obj
def create(console: Console, /, place: Path, keyrings: Path | None, blobs: str | None, *, keep: int, as_json: bool) -> None:
    """Make a backup: database, keyring, every sealed body that is new, signed. The vault goes on working.

    Exit status 1: it was made, and the vault itself lacks something, which is named.

    \b
    Example:
      coffre backup create /srv/backup
      coffre backup create /srv/backup --keyrings /srv/keyrings --json
    """
    vault, depot = console.vault, _depot(console, place, keyrings, blobs)
    with _bars("bodies", quiet=as_json) as begin:
        made = Backup(vault, depot, keep_days=keep).create(_operator(vault), begin)
    answer(words.made_data(made), words.made_lines(made), as_json=as_json)
    if not words.is_whole(made):
        raise SystemExit(Exit.NOT_WELL)


@backup.command()
@_place_options
@_which
@_trust
@click.option("--with-keys", "sample", type=click.IntRange(min=0), help="Open so many documents too (0: all); needs the token.")
@click.option("--scratch", type=_PATH, help="Where the databases may be laid out for --with-keys.")
@json_option
@click.pass_obj
def verify(  # noqa: PLR0917  # one parameter for each option, as click calls it
    console: Console,
    /,
    place: Path,
    keyrings: Path | None,
    blobs: str | None,
    name: str | None,
    trust: Path | None,
    sample: int | None,
    scratch: Path | None,
    as_json: bool,
) -> None:
    """Check a backup: signature, every digest, every body that its database names. Exit status 1 names what is not well.

    \b
    Example:
      coffre backup verify /srv/backup
      coffre backup verify /srv/backup --with-keys 20 --json
    """
    depot = _depot(console, place, keyrings, blobs)
    with _bars("bodies", quiet=as_json) as begin:
        checked = _check(console, depot, trust).run(name, begin)
    rehearsed = None
    if sample is not None and checked.can_restore:
        rehearsed = _opened(console, depot, checked, sample, scratch)
    answer(words.checked_data(checked, rehearsed), words.checked_lines(checked, rehearsed), as_json=as_json)
    if not checked.ok or (rehearsed is not None and not rehearsed.ok):
        raise SystemExit(Exit.NOT_WELL)


def _opened(console: Console, depot: Depot, checked: Checked, sample: int, beside: Path | None) -> Rehearsed:
    """Open real documents of the backup; the vault's log tells of it first."""
    vault = console.vault
    told = Note(count=sample, code=checked.id)
    vault.log.record(Event(Action.DOCUMENT_INTEGRITY_CHECK, Outcome.GRANTED, _operator(vault), note=told))
    with scratch(beside or console.settings.path.parent) as directory:
        return rehearse(console.settings, depot, checked, directory, bodies=depot.store, sample=sample)


@backup.command()
@_place_options
@_which
@_trust
@click.option("--keyring", type=_FILE, help="A newer keyring than every copy, one that was rescued: erasures since are in it.")
@click.option("--replace", "replaces", is_flag=True, help="A vault stands there: put it aside.")
@click.option("--older", is_flag=True, help="Newer backups stand beside this one, and this one is meant.")
@click.option("--without-token", is_flag=True, help="Lay it down for recovery cards; run it again when there is a token.")
@yes_option
@json_option
@click.pass_obj
def restore(  # noqa: PLR0917  # one parameter for each option, as click calls it
    console: Console,
    /,
    place: Path,
    keyrings: Path | None,
    blobs: str | None,
    name: str | None,
    trust: Path | None,
    keyring: Path | None,
    replaces: bool,
    older: bool,
    without_token: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Put a backup back where the settings say: checked whole and opened beside first, and only then in its place.

    What was erased since is erased again. With a wrong token, or a damaged, foreign or older backup, nothing is changed.

    \b
    Example:
      coffre --config /etc/coffre/coffre.toml backup restore /srv/backup
      coffre backup restore /srv/backup --replace --yes --json
    """
    if replaces:
        confirm("Put the vault that stands there aside?", yes=yes, as_json=as_json)
    depot = _depot(console, place, keyrings, blobs)
    trusted = trust_file(trust) if trust else None
    request = Request(name, keyring, replaces=replaces, is_older_meant=older, has_token=not without_token)
    with _bars("checking", quiet=as_json) as begin, _bars("copying", quiet=as_json) as copying:
        done = Restore(console.settings, depot, open_vault, trusted).run(request, _operator, begin, copying)
    answer(words.restored_data(done), words.restored_lines(done), as_json=as_json)


@backup.command()
@_place_options
@_which
@click.option("--sample", type=click.IntRange(min=0), default=50, show_default=True, help="Documents to open; 0 for all.")
@click.option("--scratch", type=_PATH, help="Where there is room for it all (default: beside the settings).")
@click.option("--report", "reports", type=_PATH, help="Where the signed report goes (default: PLACE/drills).")
@json_option
@click.pass_obj
def drill(  # noqa: PLR0917  # one parameter for each option, as click calls it
    console: Console,
    /,
    place: Path,
    keyrings: Path | None,
    blobs: str | None,
    name: str | None,
    sample: int,
    scratch: Path | None,
    reports: Path | None,
    as_json: bool,
) -> None:
    """Rehearse a disaster: restore to scratch, open documents, verify the log, measure, sign a report, wipe the scratch.

    \b
    Example:
      coffre backup drill /srv/backup
      coffre backup drill /srv/backup --sample 0 --scratch /srv/scratch --json
    """
    vault, depot = console.vault, _depot(console, place, keyrings, blobs)
    scope = Scope(name, sample, scratch, reports)
    with _bars("checking", quiet=as_json) as begin, _bars("copying", quiet=as_json) as copying:
        done = Drill(vault, depot, lambda tenant: _own_keys(console, tenant)).run(_operator(vault), scope, begin, copying)
    answer(words.drilled_data(done), words.drilled_lines(done), as_json=as_json)
    if not done.ok:
        raise SystemExit(Exit.NOT_WELL)
