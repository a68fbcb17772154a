"""Owns what the verbs on backups say, to people and to programs. Pure; it names ids and files, never anybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vault.upkeep.backup import Made
from vault.upkeep.backup_check import Checked, Kind
from vault.upkeep.drill_report import Drilled, Rehearsed, said
from vault.upkeep.manifest import moment
from vault.upkeep.restore import Restored

SENTENCES = {
    Kind.MANIFEST: "the manifest was altered, or can't be read",
    Kind.FOREIGN: "it is another vault's backup, or nobody whom this vault knows signed it",
    Kind.FORMAT: "a newer program wrote it",
    Kind.MISSING: "it is not there",
    Kind.TRUNCATED: "it was cut",
    Kind.DAMAGED: "its bytes are not those that were signed",
    Kind.LOG: "the access log in it is not the one that was signed",
    Kind.KEYRING: "no good copy of the keyring is as new as the backup",
    Kind.LACKING: "the vault itself had lost it when the backup was made",
}
"""What each kind of finding means."""
MOST = 20
"""Findings that are spelt out; JSON has them all."""


def _size(count: int) -> str:
    return f"{count / 1024 / 1024:.1f} MiB"


def is_whole(made: Made) -> bool:
    """Whether the vault lacked nothing when the backup was made."""
    return not made.lacking and made.manifest.is_log_whole


def made_data(made: Made) -> dict[str, Any]:
    """``coffre backup create --json``."""
    return {
        "ok": is_whole(made),
        "backup": made.manifest.id,
        "documents": made.manifest.documents,
        "bytes": made.manifest.sealed_bytes,
        "copied": made.copied,
        "copied_bytes": made.copied_bytes,
        "log_size": made.manifest.log_size,
        "log_is_whole": made.manifest.is_log_whole,
        "lacking": [{"document": each.document, "version": each.version, "kind": each.kind} for each in made.lacking],
        "keyring_gone_on": made.gone_on,
        "keyrings_removed": list(made.pruned),
        "keyrings_kept_too_long": list(made.kept_too_long),
    }


def made_lines(made: Made) -> Iterator[str]:
    """The same for people."""
    whole = made.manifest
    yield f"Backup {whole.id}: {whole.documents} bodies, {_size(whole.sealed_bytes)}; {made.copied} were new."
    yield f"Its copy of the keyring is kept until {made.gone_on}: whoever is erased today is gone from every backup then."
    if made.pruned:
        yield f"{len(made.pruned)} older copies of the keyring were removed."
    for name in made.kept_too_long:
        yield f"The copy of the keyring {name} is over its time and can't be removed from here: remove it there."
    for each in made.lacking[:MOST]:
        yield f"{each.document} version {each.version}: its body is {each.kind} in the vault itself; coffre documents verify"
    if not whole.is_log_whole:
        yield "The access log does not extend its last checkpoint: coffre audit verify"


def checked_data(checked: Checked, rehearsed: Rehearsed | None) -> dict[str, Any]:
    """``coffre backup verify --json``."""
    made = checked.manifest
    return {
        "ok": checked.ok and (rehearsed is None or rehearsed.ok),
        "backup": checked.id,
        "taken_at": None if made is None else made.taken_at,
        "keyring": None if checked.keyring is None else checked.keyring.word.id,
        "checked": checked.bodies,
        "bytes": checked.bytes,
        "findings": [{"part": each.part, "kind": each.kind.value} for each in checked.findings],
        "newer": list(checked.newer),
        "opened": None if rehearsed is None else rehearsed.opened,
        "not_opened": [] if rehearsed is None else [*rehearsed.failed, *filter(None, (rehearsed.log_fault, rehearsed.error))],
    }


def checked_lines(checked: Checked, rehearsed: Rehearsed | None) -> Iterator[str]:
    """The same for people."""
    made = checked.manifest
    if made is not None:
        when = f"{moment(made.taken_at):%Y-%m-%d %H:%M} UTC"
        yield f"Backup {checked.id} of {when}: {checked.bodies} bodies, {_size(checked.bytes)}."
    if checked.newer:
        yield f"It is older than {len(checked.newer)} others in the same place; the newest is {checked.newer[0]}."
    if made is not None and checked.keyring is not None and checked.keyring.word.id != made.id:
        yield f"A restore takes the newer keyring of {checked.keyring.word.id}: what was erased since stays erased."
    for each in checked.findings[:MOST]:
        yield f"{each.part}: {SENTENCES[each.kind]} ({each.kind})."
    if rehearsed is not None:
        yield from _opened_lines(rehearsed)
    yield f"{len(checked.findings)} parts are not well." if checked.findings else "Everything in it is well."


def _opened_lines(rehearsed: Rehearsed) -> Iterator[str]:
    if rehearsed.error:
        yield f"It could not be opened: {rehearsed.error}"
        return
    yield f"{rehearsed.opened} documents opened, {_size(rehearsed.bytes)}, digests compared."
    for each in rehearsed.failed[:MOST]:
        yield f"{each}: does not open as it was received."
    log = f"not whole ({rehearsed.log_fault})" if rehearsed.log_fault else "whole"
    yield f"The log's copy is {log}: {rehearsed.log_size} entries."


def restored_data(done: Restored) -> dict[str, Any]:
    """``coffre backup restore --json``."""
    return {
        "ok": True,
        "backup": done.checked.id,
        "copied": done.copied,
        "erased_again": done.erased,
        "log_size": done.log_size,
        "log_remembered": done.remembered,
        "put_aside": list(done.aside),
        "finished": done.is_finished,
    }


def restored_lines(done: Restored) -> Iterator[str]:
    """The same for people."""
    yield f"Backup {done.checked.id} stands in its place; {done.copied} bodies were copied."
    for each in done.aside:
        yield f"What stood there is now {each}."
    if done.erased:
        yield f"{done.erased} patients who were erased after the backup are erased again."
    if done.remembered is not None and done.remembered > done.log_size:
        yield (
            f"The access log is back at {done.log_size} entries; the token remembers {done.remembered}. "
            "The entries between are lost with the work since the backup: the log now says so (log.rollback_detected)."
        )
    if done.is_finished:
        yield "Everybody signs in anew; accounts and rights are those of then. Next: coffre doctor, coffre documents verify"
    else:
        yield "Next, with a token in [kms]: coffre keys migrate, then this command again, without --without-token."


def drilled_data(done: Drilled) -> dict[str, Any]:
    """``coffre backup drill --json``."""
    return {**said(done), "reports": list(done.reports)}


def _minutes(count: int) -> str:
    return "1 minute" if count == 1 else f"{count} minutes"


def drilled_lines(done: Drilled) -> Iterator[str]:
    """The same for people."""
    yield from checked_lines(done.checked, done.rehearsed)
    yield f"A disaster now would lose {_minutes(done.rpo_minutes)} of work (RPO)."
    yield f"Restoring took {_minutes(done.rto_minutes)}, verification included (RTO)."
    yield f"Report: {done.reports[1]}" if done.reports else "The report could not be written there: name a place by --report."
    yield "The drill succeeded." if done.ok else "THE DRILL FAILED: this backup would not do today."
