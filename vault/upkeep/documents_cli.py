"""Owns the operator's verbs on stored documents, ``coffre documents``. It must not know HTTP, nor show what a document says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import click

from kms.terminal import Exit, answer, confirm, json_option, progress, yes_option
from vault.model import Role
from vault.opening import Vault
from vault.storage.schema import DRAFT, FILED, QUARANTINED
from vault.storage.stores import open_blobs
from vault.upkeep.ingest_cli import ingest
from vault.upkeep.inspection import Finding
from vault.upkeep.scrub import Report, Scrub
from vault.upkeep.sweep import GRACE_DAYS, Sweep
from vault.upkeep.whereabouts import Place, whereabouts

SENTENCES = {
    "missing": "its sealed body is missing",
    "not_a_file": "something else stands where its sealed body should be",
    "unreadable": "the disk can't give its sealed body back",
    "cut": "its sealed body was cut",
    "extended": "its sealed body has grown",
    "flipped": "its sealed body was altered",
    "swapped": "another document's body stands in its place",
    "foreign": "a body that is none of this vault's stands in its place",
    "key": "its key does not open",
    "description": "what is said of it was altered",
    "body": "its body does not open",
    "digest": "its body is not what was received",
    "version": "a newer version exists than the one called current",
}
"""What each kind of finding means."""
WHERE = {FILED: "", DRAFT: ", in the inbox", QUARANTINED: ", in quarantine", "": ", gone meanwhile"}
"""Where a version stands, said behind its name."""


class Console(Protocol):
    """What these verbs need of the console that runs them."""

    @property
    def vault(self) -> Vault: ...


@click.group()
def documents() -> None:
    """Take in, check and tidy the stored documents.

    \b
    Example:
      coffre documents verify
    """


documents.add_command(ingest)


@documents.command()
@click.option("--keyless", is_flag=True, help="Use no key: compare sizes, headers and digests of the sealed bytes only.")
@click.option("--restart", is_flag=True, help="Start anew even where an interrupted check could go on.")
@click.option("--rate-mib", type=click.FloatRange(min=0.1), help="Read at most so many MiB a second.")
@click.option(
    "--repair-from", metavar="URL",
    help="A copy of the blob store (file:///… or s3://…) to take good bodies from; by default [blobs] replica_url.",
)  # fmt: skip
@json_option
@click.pass_obj
def verify(
    console: Console, *, keyless: bool, restart: bool, rate_mib: float | None, repair_from: str | None, as_json: bool
) -> None:
    """Check every stored document: sealed bytes, keys, descriptions, contents. Exit status 1 names what is not well.

    Goes on where an interrupted check of the last 24 hours stopped.

    \b
    Example:
      coffre documents verify
      coffre documents verify --keyless --rate-mib 50 --json
    """
    vault = console.vault
    settings = vault.settings.blobs
    copy = replace(settings, replica_url=repair_from or settings.replica_url).replica()
    scrub = Scrub(
        vault.documents.rooms,
        vault.blobs,
        by=vault.people.sessions.console_actor(Role.ADMIN),
        replica=open_blobs(copy) if copy else None,
    )
    with progress("documents", scrub.size(), quiet=as_json) as advance:
        report = scrub.run(is_keyless=keyless, is_anew=restart, rate_mib=rate_mib, advance=advance)
    with vault.documents.rooms.db.read() as connection:
        places = whereabouts(connection, (*report.findings, *report.repaired))
    answer(_as_json(report, places), _lines(report, places, vault.quarantine.total()), as_json=as_json)
    if report.findings:
        raise SystemExit(Exit.NOT_WELL)


def _as_json(report: Report, places: Mapping[Place, str]) -> dict[str, Any]:
    def told(findings: Iterable[Finding]) -> list[dict[str, Any]]:
        return [
            {"document": f.document, "version": f.version, "kind": f.kind.value, "state": places.get((f.document, f.version))}
            for f in findings
        ]

    return {
        "ok": not report.findings,
        "checked": report.checked,
        "findings": told(report.findings),
        "repaired": told(report.repaired),
        "bytes": report.bytes,
        "keyless": report.is_keyless,
        "resumed": report.is_resumed,
        "unreferenced": report.unreferenced,
    }


def _lines(report: Report, places: Mapping[Place, str], apart: int) -> list[str]:
    def named(finding: Finding) -> str:
        place = WHERE[places.get((finding.document, finding.version), "")]
        return f"{finding.document} version {finding.version}{place}"

    depth = "sealed bytes compared" if report.is_keyless else "opened and compared"
    among = f" ({apart} in quarantine)" if apart else ""
    lines = [f"{report.checked} documents{among}, {report.bytes / 1024 / 1024:.1f} MiB: {depth}."]
    lines += [f"{named(each)}: repaired ({SENTENCES[each.kind]})." for each in report.repaired]
    lines += [f"{named(each)}: {SENTENCES[each.kind]} ({each.kind})." for each in report.findings]
    if any(places.get((each.document, each.version)) == QUARANTINED for each in report.findings):
        lines.append("A damaged file in quarantine never gets out: destroy it there, and ask its sender for a new copy.")
    if report.unreferenced:
        lines.append(
            f"{report.unreferenced} bodies belong to no document (interrupted deposits): coffre documents sweep removes them "
            f"after {GRACE_DAYS} days, as an older backup may name them (--grace-days)."
        )
    lines.append(f"{len(report.findings)} are not well." if report.findings else "All are well.")
    return lines


@documents.command()
@click.option(
    "--grace-days", type=click.FloatRange(min=0), default=GRACE_DAYS, show_default=True,
    help="Keep younger ones: longer than your oldest database backup.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Count, remove nothing.")
@yes_option
@json_option
@click.pass_obj
def sweep(console: Console, *, grace_days: float, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove sealed bodies that no document names: what interrupted deposits left.

    \b
    Example:
      coffre documents sweep --dry-run
      coffre documents sweep --grace-days 90 --yes --json
    """
    vault = console.vault
    sweeping = Sweep(vault.documents.rooms, vault.blobs, by=vault.people.sessions.console_actor(Role.ADMIN))
    found = sweeping.run(grace_days=grace_days, is_rehearsal=True)
    if not dry_run and found.orphans + found.leftovers:
        confirm(f"Remove {found.orphans + found.leftovers} bodies, {found.bytes} bytes?", yes=yes, as_json=as_json)
        found = sweeping.run(grace_days=grace_days)
    verb = "would be removed" if dry_run else "removed"
    data = {"ok": True, "removed": not dry_run, "orphans": found.orphans, "leftovers": found.leftovers, "bytes": found.bytes}
    answer(
        data,
        [f"{found.orphans} bodies and {found.leftovers} interrupted uploads {verb}, {found.bytes} bytes."],
        as_json=as_json,
    )
