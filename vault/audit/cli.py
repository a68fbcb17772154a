"""Owns the operator's verbs on the access log: ``coffre audit …``. It must not know HTTP.

Whoever runs them holds the machine's console; each act is in the log as such.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import click

from kms.terminal import NotWell, answer, json_option, progress
from vault.audit import note, offline, papers_cli
from vault.audit import witness as witnessing
from vault.audit.auditing import Format
from vault.audit.console import Console, auditor
from vault.audit.detect import Detector
from vault.audit.events import Action, Outcome, action_of
from vault.audit.formats.csv import Dialect, Look
from vault.audit.lines import Line
from vault.audit.period import parse_period
from vault.audit.questions import QUESTIONS, narrowed_by
from vault.audit.search import Filters
from vault.audit.words import WORDS
from vault.errors import Invalid
from vault.model import DocumentId, PatientId, PersonId


@click.group()
def audit() -> None:
    """The access log: read it, export it, prove that it is whole.

    \b
    Example:
      coffre audit verify
    """


for _command in papers_cli.COMMANDS:
    audit.add_command(_command)


def _filter_options(command: Any) -> Any:
    for option in reversed(
        (
            click.option("--since", help="From this day on (YYYY-MM-DD, Paris time)."),
            click.option("--until", help="Up to this day, included."),
            click.option("--action", "actions", multiple=True, help="An action such as document.view; may be repeated."),
            click.option("--outcome", "outcomes", multiple=True, type=click.Choice([each.value for each in Outcome])),
            click.option("--actor", help="The id of a person."),
            click.option("--patient", help="The id of a patient."),
            click.option("--document", help="The id of a document."),
            click.option("--reference", help="A patient's log reference, instead of the id."),
            click.option("--detector", type=click.Choice([each.value for each in Detector]), help="Alerts that it raised."),
            click.option("--question", type=click.Choice(list(QUESTIONS)), help="What auditors often ask, by its short name."),
        )
    ):
        command = option(command)
    return command


def _filters(
    *,
    since: str | None,
    until: str | None,
    actions: tuple[str, ...],
    outcomes: tuple[str, ...],
    actor: str | None,
    patient: str | None,
    document: str | None,
    reference: str | None = None,
    detector: str | None = None,
    question: str | None = None,
) -> Filters:
    start, end = parse_period(since, until)
    chosen = Filters(
        since=start,
        until=end,
        actions=tuple(_action(slug) for slug in actions),
        outcomes=tuple(Outcome(outcome) for outcome in outcomes),
        actor=PersonId(actor) if actor else None,
        patient=PatientId(patient) if patient else None,
        document=DocumentId(document) if document else None,
        reference=reference,
        detector=Detector(detector) if detector else None,
    )
    return narrowed_by(question or "", chosen.well_formed())


def _action(slug: str) -> Action:
    try:
        return action_of(slug)
    except ValueError as error:
        raise Invalid(f"{slug} is not an action; docs/format.md lists them", field="action", reason="unknown") from error


@audit.command()
@click.option("--format", "form", type=click.Choice([each.value for each in Format]), default="csv", show_default=True)
@click.option(
    "--dialect", type=click.Choice([each.value for each in Dialect]), default="fr", show_default=True, help="Of the CSV."
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to write (default: standard output).")
@click.option("--reveal", "revealing", default="", help="Name patients, for this reason; it is written down.")
@_filter_options
@click.pass_obj
def export(console: Console, /, form: str, dialect: str, output: Path | None, revealing: str, **asked: Any) -> None:
    """Export the log, or the part of it that the filters let through. The export is itself an entry.

    \b
    Example:
      coffre audit export --since 2026-01-01 --format csv -o journal.csv
    """
    made = console.vault.auditing.export(
        auditor(console), _filters(**asked), Format(form), Look(Dialect(dialect)), revealing=revealing
    )
    if output is None:
        _write(made.chunks, sys.stdout.buffer)
        return
    partial = output.with_name(output.name + ".part")
    try:
        with partial.open("xb") as file:
            partial.chmod(0o600)
            _write(made.chunks, file)
        partial.replace(output)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    click.echo(f"{output} ({output.stat().st_size} bytes)", err=True)


def _write(chunks: Iterator[bytes], file: BinaryIO) -> None:
    file.writelines(chunks)
    file.flush()


@audit.command()
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to write (default: standard output).")
@json_option
@click.pass_obj
def checkpoint(console: Console, output: Path | None, as_json: bool) -> None:
    """Sign the head of the log, to be kept where nobody of the practice can change it.

    \b
    Example:
      coffre audit checkpoint -o /media/usb/journal.checkpoint
    """
    signed = console.vault.auditing.checkpoint(auditor(console))
    if output is not None:
        output.write_text(signed.note, encoding="utf-8")
    data = {"size": signed.checkpoint.size, "root": signed.checkpoint.root.hex(), "note": signed.note}
    answer(data, [] if output is not None else [signed.note.rstrip("\n")], as_json=as_json)


@audit.command()
@click.option(
    "--since", type=click.Path(path_type=Path, exists=True), help="A checkpoint that you kept: the log must extend it."
)
@json_option
@click.pass_obj
def verify(console: Console, since: Path | None, as_json: bool) -> None:
    """Verify every entry of the log against the tree and the signed checkpoints.

    \b
    Example:
      coffre audit verify --json
      coffre audit verify --since /media/usb/journal.checkpoint
    """
    auditing = console.vault.auditing
    if since is not None:
        auditing.extends(auditor(console), since.read_text(encoding="utf-8"))
    with progress("Verifying", auditing.size(), quiet=as_json) as advance:
        verdict = auditing.verify(auditor(console), advance)
    bad = verdict.first_bad
    data = {
        "ok": verdict.is_whole,
        "size": verdict.size,
        "root": verdict.root.hex(),
        "signed_size": verdict.signed_size,
        "marked_size": verdict.marked_size,
        "first_bad": None if bad is None else {"index": bad.index, "kind": bad.kind.value},
    }
    period = f"{_moment(verdict.first_at)} – {_moment(verdict.last_at)}"
    marked = verdict.marked_size
    word = "The token keeps no mark of it, or is away." if marked is None else f"The token vouches for {marked} of them."
    answer(data, [f"The log is whole: {verdict.size} entries, {period}. {word}"] if bad is None else [], as_json=as_json)
    if bad is not None:
        raise NotWell(f"The log is not whole: entry {bad.index}, {bad.kind}.")


@audit.command()
@click.argument("position", type=int)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to write (default: standard output).")
@click.pass_obj
def proof(console: Console, position: int, output: Path | None) -> None:
    """One entry with the proof that it stands in the signed log, for somebody who may see that entry only.

    \b
    Example:
      coffre audit proof 1234 -o entry-1234.tlog-proof
    """
    made = console.vault.auditing.proof(auditor(console), position)
    if output is None:
        click.echo(made, nl=False)
    else:
        output.write_text(made, encoding="utf-8")


@audit.command()
@click.pass_obj
def trust(console: Console) -> None:
    """Print the log's public keys: hand them to auditors by another way than the exports.

    \b
    Example:
      coffre audit trust > trust.txt
    """
    click.echo(console.vault.auditing.trust(), nl=False)


@audit.command()
def verifier() -> None:
    """Print the offline verifier: one Python file that needs nothing else.

    \b
    Example:
      coffre audit verifier > coffre_verify.py
      python3 coffre_verify.py journal-1234.zip --trust trust.txt
    """
    click.echo(Path(offline.__file__).read_text(encoding="utf-8"), nl=False)


@audit.command()
@click.option(
    "--state", type=click.Path(path_type=Path), required=True, help="A directory of the witness's own: its key, what it saw."
)
@click.option("--trust", "trusted", type=click.Path(path_type=Path, exists=True), required=True, help="The log's trust file.")
@click.option("--name", default="temoin.invalid/journal", show_default=True, help="The witness's name in its signatures.")
@click.option("--bind", default="127.0.0.1:8177", show_default=True, help="Where to listen.")
def witness(state: Path, trusted: Path, name: str, bind: str) -> None:
    """Be a witness of somebody else's log: run this on another machine. Needs no vault.

    \b
    Example:
      coffre audit witness --state /var/lib/witness --trust trust.txt --bind 192.0.2.10:8177
    """
    lines = trusted.read_text(encoding="utf-8").splitlines()
    try:
        known = [note.parse_verifier(line) for line in lines if line.strip() and not line.startswith("#")]
    except note.NoteRejected as error:
        raise Invalid(str(error), field="trust", reason="malformed") from error
    host, _, port = bind.rpartition(":")
    if not port.isdigit():
        raise Invalid("--bind is host:port", field="bind", reason="malformed")
    made = witnessing.Witness(state, name, known, lambda: int(time.time()))
    click.echo(f"{made.cosigner}\nListening on {bind}; stop with Ctrl-C.", err=True)
    with witnessing.server(made, (host, int(port))) as listening, suppress(KeyboardInterrupt):
        listening.serve_forever()


@audit.command()
@click.argument("url")
@click.option("--key", required=True, help="The witness's key, as it prints it when it starts.")
@click.pass_obj
def cosign(console: Console, url: str, key: str) -> None:
    """Have the head of the log signed by a witness; run it from a timer.

    \b
    Example:
      coffre audit cosign http://192.0.2.10:8177 --key temoin.invalid/journal+1a2b3c4d+BA…
    """
    click.echo(console.vault.auditing.cosign(auditor(console), url, key), nl=False)


@audit.command()
@click.argument("collector")
@click.option("--state", type=click.Path(path_type=Path), required=True, help="A file that remembers what was sent.")
@click.option(
    "--ca", "authorities", type=click.Path(path_type=Path, exists=True), help="Certificates that sign the collector's."
)
@json_option
@click.pass_obj
def forward(console: Console, collector: str, state: Path, authorities: Path | None, as_json: bool) -> None:
    """Send what is new to a syslog collector (RFC 5424 over TLS); run it from a timer.

    \b
    Example:
      coffre audit forward syslog.example.org:6514 --state /var/lib/coffre/forwarded
    """
    host, _, port = collector.rpartition(":")
    if not host or not port.isdigit():
        raise Invalid("the collector is host:port", field="collector", reason="malformed")
    sent = console.vault.auditing.forward(auditor(console), (host.strip("[]"), int(port)), state, authorities)
    answer({"sent": sent}, [f"{sent} messages sent."], as_json=as_json)


@audit.command("list")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="The newest so many.")
@_filter_options
@json_option
@click.pass_obj
def list_(console: Console, /, limit: int, as_json: bool, **asked: Any) -> None:
    """List the entries that the filters let through, newest first. Looking is itself an entry.

    \b
    Example:
      coffre audit list --question outside --since 2026-01-01
      coffre audit list --actor 5f0c… --action document.view
    """
    lines = list(islice(_all(console, _filters(**asked)), limit))
    answer({"entries": [_as_dict(line) for line in lines]}, [_as_text(line) for line in lines] or ["None."], as_json=as_json)


@audit.command()
@_filter_options
@json_option
@click.pass_obj
def extent(console: Console, /, as_json: bool, **asked: Any) -> None:
    """Count the patients, documents and accounts behind the entries that the filters let through: how far a breach goes.

    \b
    Example:
      coffre audit extent --actor 5f0c… --since 2026-03-01 --until 2026-03-02
    """
    found = console.vault.auditing.extent(auditor(console), _filters(**asked))
    data = {"entries": found.entries, "patients": found.patients, "documents": found.documents, "people": found.people}
    answer(data, [f"{name:<10}{count:>8}" for name, count in data.items()], as_json=as_json)


@audit.command("who-saw")
@click.argument("patient")
@click.option("--since", help="From this day on (YYYY-MM-DD, Paris time).")
@click.option("--until", help="Up to this day, included.")
@json_option
@click.pass_obj
def who_saw(console: Console, patient: str, since: str | None, until: str | None, as_json: bool) -> None:
    """List everybody who touched a patient's file, newest first.

    \b
    Example:
      coffre audit who-saw 5f0c… --since 2026-01-01
    """
    start, end = parse_period(since, until)
    filters = Filters(since=start, until=end, patient=PatientId(patient))
    lines = list(_all(console, filters.well_formed()))
    data = {"patient": patient, "entries": [_as_dict(line) for line in lines]}
    answer(data, [_as_text(line) for line in lines] or ["Nobody, in this period."], as_json=as_json)


def _all(console: Console, filters: Filters) -> Iterator[Line]:
    auditing, actor = console.vault.auditing, auditor(console)
    before: int | None = None
    while True:
        timeline = auditing.timeline(actor, filters, before=before, limit=500)
        yield from timeline.page.items
        before = timeline.next_before
        if before is None:
            return


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _as_dict(line: Line) -> dict[str, Any]:
    return {
        "position": line.position,
        "at": line.at,
        "action": line.action.value,
        "outcome": line.outcome.value,
        "actor": line.actor_ref,
        "actor_name": line.actor_name,
        "role": line.actor_role,
        "document": line.document,
        "ip": line.ip,
    }


def _as_text(line: Line) -> str:
    who = line.actor_name or line.actor_ref or line.actor_kind
    return f"{_moment(line.at)}  {who} ({line.actor_role or '-'})  {WORDS['en'][line.action]}, {line.outcome}  {line.document}"
