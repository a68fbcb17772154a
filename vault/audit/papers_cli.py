"""Owns the verbs about what leaves the log on paper, and about what leaves it for good: report, sheet, purge.

It must not know what the papers say, nor what expires when.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from kms.terminal import answer, json_option
from vault.audit.console import Console, auditor
from vault.audit.period import parse_period
from vault.audit.report import Paper
from vault.audit.retention import ACCESS_YEARS_FLOOR, Durations
from vault.audit.search import Filters
from vault.model import PatientId, Role

DEFAULTS: Final = Durations()
_practice = click.option("--practice", default="Cabinet médical", show_default=True, help="The practice's name, on the paper.")
_output = click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True, help="An HTML file, to be printed; nobody else reads it."
)


def _written(paper: Paper, output: Path) -> None:
    output.touch(mode=0o600)
    output.write_text(str(paper), encoding="utf-8")


@click.command()
@_practice
@_output
@click.pass_obj
def sheet(console: Console, practice: str, output: Path) -> None:
    """The weekly checkpoint sheet: the signed head of the log on paper, to be kept outside.

    \b
    Example:
      coffre audit sheet -o point-de-controle.html
    """
    _written(console.vault.auditing.sheet(auditor(console), practice), output)


@click.command()
@click.argument("patient")
@click.option("--reference", "is_reference", is_flag=True, help="PATIENT is a log reference, not a patient's id.")
@click.option("--since", help="From this day on (YYYY-MM-DD, Paris time).")
@click.option("--until", help="Up to this day, included.")
@_practice
@_output
@click.pass_obj
def report(
    console: Console, /, *, patient: str, since: str | None, until: str | None, practice: str, output: Path, is_reference: bool
) -> None:
    """Who accessed a patient's file, in plain French, for the patient who asks. Giving it is itself an entry.

    \b
    Example:
      coffre audit report 5f0c… --since 2026-01-01 -o rapport.html
    """
    start, end = parse_period(since, until)
    known = Filters(since=start, until=end, reference=patient)
    filters = known if is_reference else Filters(since=start, until=end, patient=PatientId(patient))
    _written(console.vault.auditing.patient_report(auditor(console), filters.well_formed(), practice), output)


@click.command()
@click.option("--client-months", default=DEFAULTS.client_months, show_default=True, help="Addresses and workstations.")
@click.option("--technical-months", default=DEFAULTS.technical_months, show_default=True, help="Technical events.")
@click.option(
    "--access-years", default=DEFAULTS.access_years, show_default=True, help=f"Who did what; {ACCESS_YEARS_FLOOR} at least."
)
@click.option("--yes", "is_agreed", is_flag=True, help="Do it; without this the verb only tells.")
@json_option
@click.pass_obj
def purge(
    console: Console, client_months: int, technical_months: int, access_years: int, *, is_agreed: bool, as_json: bool
) -> None:
    """Tell what of the log has expired, and empty it with --yes. Hashes stay, every proof still holds.

    The serving process does the same once a day with the default durations; give shorter ones here.

    \b
    Example:
      coffre audit purge
      coffre audit purge --access-years 10 --yes
    """
    durations = Durations(client_months, technical_months, access_years)
    expired = console.vault.auditing.expired(durations)
    receipt = None
    if is_agreed:
        receipt = console.vault.auditing.purge(console.vault.people.sessions.console_actor(Role.DPO), durations)
    data = {"expired": expired, "purged": receipt is not None, "event": receipt.position if receipt else None}
    lines = [f"{count} entries: {what}." for what, count in expired.items() if count] or ["Nothing has expired."]
    if any(expired.values()):
        lines.append(f"Emptied, see entry {receipt.position}." if receipt else "Nothing was changed; --yes empties them.")
    answer(data, lines, as_json=as_json)


COMMANDS: Final = (sheet, report, purge)
