"""Owns the opening of a vault that was restored to scratch, in a process of its own: from the files alone, as a blank machine.

``python -m vault.upkeep.rehearsal SETTINGS MANIFEST SAMPLE`` prints one JSON object. It must not know the vault that lives:
what it writes stays in the scratch's own log, and no mark is put into the token.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kms.process import harden
from vault.audit.events import Action, Event, Outcome, System
from vault.errors import VaultError
from vault.model import DocumentId
from vault.opening import open_vault
from vault.records.documents import catalogue
from vault.records.documents.catalogue import StoredVersion
from vault.settings import load
from vault.upkeep import manifest, staging
from vault.upkeep.inspection import Inspection

if TYPE_CHECKING:
    from vault.opening import Vault
    from vault.upkeep.manifest import Manifest

_DRILL = System("drill")


def rehearse(vault: Vault, made: Manifest, sample: int) -> dict[str, Any]:
    """Bring the scratch up to date, verify its log, open documents and compare their bytes. Raises VaultError."""
    staging.must_hold_keys(vault)
    settled = staging.settle(vault, made, _DRILL)
    verdict = staging.verdict_on(vault, made)
    opened, size, failed = _open(vault, sample)
    bad = verdict.first_bad
    return {
        "opened": opened,
        "bytes": size,
        "failed": failed,
        "erased": settled.patients,
        "log": {"size": verdict.size, "first_bad": None if bad is None else f"{bad.kind.value}@{bad.index}"},
    }


def _open(vault: Vault, sample: int) -> tuple[int, int, list[str]]:
    """Open ``sample`` versions (0: all), every byte, digest compared; (opened, bytes, what was not well)."""
    rooms = vault.documents.rooms
    receipt = rooms.log.record(Event(Action.DOCUMENT_INTEGRITY_CHECK, Outcome.GRANTED, _DRILL))
    inspection = Inspection(rooms, vault.blobs, receipt=receipt)
    opened, size, failed = 0, 0, list[str]()
    for stored in _chosen(vault, sample):
        finding = inspection.look_at(stored)
        if finding is not None:
            failed.append(f"{stored.document} version {stored.version}: {finding.kind.value}")
        opened += 1
        size += stored.size
    return opened, size, failed


def _chosen(vault: Vault, sample: int) -> Iterator[StoredVersion]:
    """Versions at random places of the order of ids, which are random themselves; all of them where there are not more."""
    seen: set[tuple[DocumentId, int]] = set()
    with vault.db.read() as connection:
        count = catalogue.count_versions(connection)[0]
    everything = sample == 0 or sample >= count
    place = (DocumentId(""), 0)
    while everything or len(seen) < sample:
        start = place if everything else (DocumentId(secrets.token_hex(16)), 0)
        with vault.db.read() as connection:
            page = catalogue.every_version(connection, start, 100 if everything else 1)
        if everything and not page:
            return
        for stored in page:
            place = (stored.document, stored.version)
            if place not in seen:
                if not everything:
                    seen.add(place)
                yield stored


def main() -> int:
    """Rehearse; one JSON object on standard output, whatever happened."""
    harden()
    settings, text, sample = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    try:
        made = manifest.manifest_of(manifest.said_by(text.read_text(encoding="utf-8"), manifest.BACKUP))
        with closing(open_vault(load(settings, {}))) as vault:
            said = rehearse(vault, made, sample)
    except VaultError as error:
        said = {"error": error.code, "detail": str(error)}
    sys.stdout.write(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
