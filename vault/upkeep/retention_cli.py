"""Owns the verbs on how long files are kept and how they go, ``coffre retention``. It must not know HTTP, nor show a name.

Every verb but ``finish`` is somebody's of the practice, with password and second factor; a disposal wants two of them.
Reasons and dates are never words of the command line, which other users of the machine can read.
"""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import click

from kms.terminal import answer, confirm, json_option, yes_option
from vault.errors import Busy, Invalid
from vault.model import PatientId
from vault.opening import Vault
from vault.records.disposal.facts import Facts
from vault.records.disposal.keeping import Kept, Past
from vault.records.disposal.rows import Disposal, State
from vault.upkeep.custody_cli import Console as Custodian
from vault.upkeep.custody_cli import credentials_option, signed_person
from vault.upkeep.reindex import BUDGET_SECONDS

_patient = click.argument("patient")
_disposal = click.argument("disposal")
_reason = click.option(
    "--reason-file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with the reason, at most 200 characters; asked for at the terminal without it.",
)  # fmt: skip


class Console(Custodian, Protocol):
    """What these verbs need of the console that runs them."""

    @property
    def vault(self) -> Vault: ...


@click.group()
def retention() -> None:
    """How long patients' files are kept, legal holds, and the disposal of what is past its end.

    \b
    Example:
      coffre retention due
    """


@retention.command()
@credentials_option
@json_option
@click.pass_obj
def due(console: Console, credentials: Path | None, as_json: bool) -> None:
    """List the files whose end has come, by id, with the day and the rule.

    \b
    Example:
      coffre retention due --credentials owner.txt --json
    """
    actor = signed_person(console, credentials, as_json=as_json)
    found, after, unreadable = list[Past](), None, 0
    while True:
        try:
            stretch = console.vault.keeping.due(actor, after)
        except Busy:  # a key process gives one caller so many keys in a minute
            time.sleep(BUDGET_SECONDS)
            continue
        found += stretch.files
        unreadable += stretch.unreadable
        after = stretch.after
        if after is None:
            break
    files = [{"patient": each.patient, "kept_until": each.end.on.isoformat(), "rule": each.end.rule.value} for each in found]
    lines = [f"{each['patient']}  kept until {each['kept_until']} ({each['rule']})" for each in files]
    lines += [f"{unreadable} files do not open, and are kept: coffre documents verify."] if unreadable else []
    answer({"ok": not unreadable, "files": files, "unreadable": unreadable}, [*lines, f"{len(files)} files."], as_json=as_json)


@retention.command("of")
@_patient
@credentials_option
@json_option
@click.pass_obj
def of_patient(console: Console, patient: str, credentials: Path | None, as_json: bool) -> None:
    """Say until when a file is kept, and which holds lie on it.

    \b
    Example:
      coffre retention of 5f0c7d2e9b1a4c3d8e7f6a5b4c3d2e1f
    """
    actor = signed_person(console, credentials, as_json=as_json)
    data, lines = _kept(console.vault.keeping.of(actor, PatientId(patient)))
    answer(data, lines, as_json=as_json)


def _kept(kept: Kept) -> tuple[dict[str, Any], list[str]]:
    until = kept.end.on.isoformat() if kept.end else None
    holds = [
        {"hold": each.id, "since": each.since.isoformat(), "is_open": each.cleared_at is None, "reason": each.reason}
        for each in kept.holds
    ]
    rule = kept.end.rule.value if kept.end else None
    data = {"ok": True, "patient": kept.patient, "kept_until": until, "rule": rule, "on_hold": kept.is_held, "holds": holds}
    lines = [f"Kept until {until} ({rule})." if until else "No end: a date is not known, or a hold is open."]
    lines += [f"{each['hold']}  since {each['since']}{', open' if each['is_open'] else ''}: {each['reason']}" for each in holds]
    return data, lines


@retention.command()
@_patient
@click.option(
    "--facts", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with two lines, last care and death (YYYY-MM-DD, empty: not known); asked for without it.",
)  # fmt: skip
@credentials_option
@json_option
@click.pass_obj
def say(console: Console, patient: str, facts: Path | None, credentials: Path | None, as_json: bool) -> None:
    """Say when the last care was that no document tells of, and when the patient died; replaces what was said before.

    \b
    Example:
      coffre retention say 5f0c7d2e9b1a4c3d8e7f6a5b4c3d2e1f
    """
    lines = [*facts.read_text(encoding="utf-8").splitlines(), "", ""] if facts else _asked_facts(as_json=as_json)
    told = Facts(_day("last_care_on", lines[0]), _day("died_on", lines[1]))
    actor = signed_person(console, credentials, as_json=as_json)
    console.vault.keeping.say(actor, PatientId(patient), told)
    answer({"ok": True}, ["Noted."], as_json=as_json)


def _asked_facts(*, as_json: bool) -> list[str]:
    if as_json:
        raise click.UsageError("With --json nobody is asked: name a --facts file.")
    words = ("Last care (YYYY-MM-DD, empty: not known)", "Death (YYYY-MM-DD, empty: not known)")
    return [click.prompt(word, default="", show_default=False, err=True) for word in words]


def _day(field: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip()) if text.strip() else None
    except ValueError as error:
        raise Invalid("a day is written YYYY-MM-DD", field=field, reason="not_a_date") from error


def _read(reason_file: Path | None, *, as_json: bool) -> str:
    if reason_file is not None:
        return reason_file.read_text(encoding="utf-8")
    if as_json:
        raise click.UsageError("With --json nobody is asked: name a --reason-file.")
    return str(click.prompt("Reason", err=True))


@retention.command()
@_patient
@_reason
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="The first day; today without it.")
@credentials_option
@json_option
@click.pass_obj
def hold(  # noqa: PLR0917  # one parameter for each option, as click calls it
    console: Console, patient: str, reason_file: Path | None, since: Any, credentials: Path | None, as_json: bool
) -> None:
    """Set a legal hold: nothing of the file goes, and the clock stands still, until it is cleared.

    \b
    Example:
      coffre retention hold 5f0c7d2e9b1a4c3d8e7f6a5b4c3d2e1f
    """
    reason = _read(reason_file, as_json=as_json)
    actor = signed_person(console, credentials, as_json=as_json)
    made = console.vault.keeping.hold(actor, PatientId(patient), reason, since.date() if since else None)
    answer({"ok": True, "hold": made}, [f"{made}: held."], as_json=as_json)


@retention.command()
@click.argument("hold")
@_reason
@credentials_option
@json_option
@click.pass_obj
def clear(console: Console, hold: str, reason_file: Path | None, credentials: Path | None, as_json: bool) -> None:
    """Clear a legal hold; its days are added to the end.

    \b
    Example:
      coffre retention clear 0b9a8c7d6e5f4a3b2c1d0e9f8a7b6c5d
    """
    reason = _read(reason_file, as_json=as_json)
    console.vault.keeping.clear(signed_person(console, credentials, as_json=as_json), hold, reason)
    answer({"ok": True}, ["Cleared."], as_json=as_json)


# --- disposals


def _line(disposal: Disposal) -> str:
    return f"{disposal.id}  {disposal.state}  file {disposal.patient}  proposed by {disposal.proposed_by}"


def _data(disposal: Disposal) -> dict[str, Any]:
    return {"disposal": disposal.id, "state": disposal.state.value, "patient": disposal.patient}


@retention.command()
@_patient
@credentials_option
@json_option
@click.pass_obj
def propose(console: Console, patient: str, credentials: Path | None, as_json: bool) -> None:
    """Propose the disposal of a file whose end has come.

    \b
    Example:
      coffre retention propose 5f0c7d2e9b1a4c3d8e7f6a5b4c3d2e1f
    """
    made = console.vault.disposals.propose(signed_person(console, credentials, as_json=as_json), PatientId(patient))
    answer({"ok": True, **_data(made)}, [_line(made), f"Somebody else: coffre retention approve {made.id}"], as_json=as_json)


@retention.command()
@credentials_option
@json_option
@click.pass_obj
def waiting(console: Console, credentials: Path | None, as_json: bool) -> None:
    """List the proposals that wait for a second person, and what is not finished.

    \b
    Example:
      coffre retention waiting --json --credentials dpo.txt
    """
    found = console.vault.disposals.waiting(signed_person(console, credentials, as_json=as_json))
    answer({"ok": True, "disposals": [_data(each) for each in found]}, [_line(each) for each in found], as_json=as_json)


@retention.command()
@_disposal
@credentials_option
@yes_option
@json_option
@click.pass_obj
def approve(console: Console, disposal: str, credentials: Path | None, yes: bool, as_json: bool) -> None:
    """Be the second person: the file is destroyed for good, with its key.

    In a practice of one, the same person may after seven days.

    \b
    Example:
      coffre retention approve 77aa6c5d4e3f4b2a91807f6e5d4c3b2a
    """
    confirm("Destroy this file for good?", yes=yes, as_json=as_json)
    done = console.vault.disposals.approve(signed_person(console, credentials, as_json=as_json), disposal)
    is_done = done.state is State.DONE
    rest = f"coffre retention certificate {done.id} -o FILE" if is_done else "a part has still to go: coffre retention finish"
    answer({"ok": is_done, **_data(done)}, [_line(done), rest], as_json=as_json)


@retention.command("take-back")
@_disposal
@credentials_option
@json_option
@click.pass_obj
def take_back(console: Console, disposal: str, credentials: Path | None, as_json: bool) -> None:
    """Put a proposal aside: by whoever made it, or by whoever might approve it.

    \b
    Example:
      coffre retention take-back 77aa6c5d4e3f4b2a91807f6e5d4c3b2a
    """
    console.vault.disposals.take_back(signed_person(console, credentials, as_json=as_json), disposal)
    answer({"ok": True}, ["Taken back; the file stays."], as_json=as_json)


@retention.command()
@_disposal
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="A text file, to be printed and signed.")
@credentials_option
@json_option
@click.pass_obj
def certificate(console: Console, disposal: str, output: Path, credentials: Path | None, as_json: bool) -> None:
    """Write the certificate of destruction: ids, dates, rule, both people, entries of the log; no name.

    \b
    Example:
      coffre retention certificate 77aa6c5d4e3f4b2a91807f6e5d4c3b2a -o certificat.txt
    """
    found = console.vault.disposals.certificate(signed_person(console, credentials, as_json=as_json), disposal)
    output.touch(mode=0o600)
    output.write_text(found.text(), encoding="utf-8")
    gone = found.backups_until.isoformat()
    answer({"ok": True, "backups_until": gone}, [f"{output}: the last backup of its key is gone on {gone}."], as_json=as_json)


@retention.command()
@json_option
@click.pass_obj
def finish(console: Console, as_json: bool) -> None:
    """Do what a crash or an outage left of decided disposals; the server does the same every hour.

    \b
    Example:
      coffre retention finish
    """
    done = console.vault.disposals.finish()
    answer({"ok": True, "finished": done}, [f"{done} disposals finished."], as_json=as_json)
