"""Quarantine on both columns: SQLite with a disk, PostgreSQL with an S3-compatible store."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.servers.scanner import OddScanner
from tests.vault.records.desk import scan
from tests.vault.records.documents.test_columns import Column
from tests.vault.records.documents.test_columns import column as column  # noqa: PLC0414  # the fixture, by its own name
from tests.vault.records.ward import DAYS, HIT, document_of
from vault.errors import NotFound, Quarantined
from vault.model import Role
from vault.records.documents.bodies import Bodies
from vault.records.documents.scanning import Scanner
from vault.records.inbox.inbox import Inbox
from vault.records.inbox.proposals import Proposals
from vault.records.inbox.quarantine import Quarantine
from vault.records.tickets import Tickets
from vault.settings import LimitSettings, ScanSettings

__all__ = ["column"]


def test_the_whole_story(column: Column, tmp_path: Path, clock: Clock) -> None:
    vault, owner = column.vault, replace(column.clinician, role=Role.OWNER)
    with OddScanner(tmp_path / "s", reply=HIT) as scanner:
        tenant, word = vault.installation.tenant, Scanner(ScanSettings(scanner.path))
        bodies = Bodies(blobs=vault.blobs, keys=vault.keys, scopes=vault.scopes, tenant=tenant, scanner=word)
        rooms, scope = replace(vault.documents.rooms, bodies=bodies), vault.installation.inbox_scope
        inbox = Inbox(
            rooms=rooms,
            scope=scope,
            renderer=vault.renderer,
            limits=LimitSettings(document_mib=4),
            tickets=Tickets(rooms.clock),
            proposals=Proposals(vault.keys, tenant, vault.patients),
            drawn=vault.documents.drawn,
        )
        quarantine = Quarantine(rooms=rooms, scope=scope, days=DAYS)

        def send(seed: int) -> Quarantined:
            with pytest.raises(Quarantined) as told:
                inbox.deposit(column.clinician, file_name="a.pdf", body=io.BytesIO(scan(seed=seed)))
            return told.value

        first, again, second, third = (document_of(send(seed)) for seed in (1, 1, 2, 3))
        assert first == again
        assert {item.id for item in quarantine.list(owner).items} == {first, second, third}
        assert (quarantine.count(owner), quarantine.own(column.clinician), inbox.count(owner)) == (3, 3, 0)
        quarantine.discard(owner, second)
        with pytest.raises(NotFound):
            quarantine.discard(owner, second)
        scanner.reply = b"stream: OK\0"
        assert quarantine.rescan(owner, first)
        assert [draft.id for draft in inbox.list(owner).items] == [first]
        clock.advance(days=DAYS, seconds=1)
        assert quarantine.expire() == 1
        assert quarantine.list(owner).items == ()
        assert len(list(vault.blobs.list())) == 1
