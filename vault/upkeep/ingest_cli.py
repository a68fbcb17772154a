"""Owns ``coffre documents ingest``: a folder of scans into the inbox, once or for ever. It must not know HTTP."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Protocol

import click

from kms.terminal import Exit, answer, json_option, progress
from vault.opening import Vault
from vault.upkeep.scan_folder import REFUSED, SETTLED_SECONDS, ScanFolder, Taken


class Console(Protocol):
    """What this verb needs of the console that runs it."""

    @property
    def vault(self) -> Vault: ...


SENTENCES = {
    "sealed": "sealed in the inbox",
    "known": "already waiting in the inbox",
    "quarantined": "infected: set apart in quarantine, tell the owner",
    "refused": f"refused, moved to {REFUSED}/",
    "later": "not now, tried again later",
}


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--as", "username", required=True, metavar="USER", help="In whose name the documents are deposited.")
@click.option("--watch", is_flag=True, help="Go on until stopped: for the folder into which the scanner writes.")
@json_option
@click.pass_obj
def ingest(console: Console, *, folder: Path, username: str, watch: bool, as_json: bool) -> None:
    """Take every scan of a folder into the inbox. A file leaves the folder only once it is sealed and durable.

    \b
    Example:
      coffre documents ingest /srv/scans --as sophie.garnier
      coffre documents ingest /srv/scans --as sophie.garnier --watch
    """
    vault = console.vault
    scans = ScanFolder(
        vault.inbox, vault.people.sessions.console_as(username), folder, settled_seconds=SETTLED_SECONDS if watch else 0
    )
    if watch:
        _watch(scans, as_json=as_json)
        return
    taken: list[Taken] = []
    with progress("scans", len(scans.waiting()), quiet=as_json) as advance:
        for one in scans.take():
            taken.append(one)
            advance(1)
    counts = Counter(one.outcome for one in taken)
    files = [{"name": one.name, "outcome": one.outcome, "code": one.code or None, "draft": one.draft or None} for one in taken]
    lines = [f"{one.name}: {SENTENCES[one.outcome]}{f' ({one.code})' if one.code else ''}" for one in taken]
    answer(
        {"ok": not (counts["refused"] or counts["later"] or counts["quarantined"]), "counts": counts, "files": files},
        lines or ["nothing to take"],
        as_json=as_json,
    )
    if counts["later"]:
        raise SystemExit(Exit.UNAVAILABLE)
    if counts["refused"] or counts["quarantined"]:
        raise SystemExit(Exit.NOT_WELL)


def _watch(scans: ScanFolder, *, as_json: bool) -> None:
    stop = threading.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: stop.set())

    def tell(one: Taken) -> None:
        # A service's journal keeps this: never the file's name, which is a patient's as often as not.
        answer({"outcome": one.outcome, "code": one.code or None, "draft": one.draft or None},
               [f"{one.draft or '-'} {one.outcome} {one.code}".strip()], as_json=as_json)  # fmt: skip

    scans.watch(stop, tell)
