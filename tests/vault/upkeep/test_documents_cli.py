"""What ``coffre documents verify`` says of a vault that has files in its inbox and in quarantine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

from click.testing import CliRunner, Result

from kms.terminal import Exit
from tests.conftest import Clock
from tests.servers.scanner import OddScanner
from tests.vault.records.desk import scan
from tests.vault.records.tray import renderer as renderer  # noqa: PLC0414  # the fixture, by its own name
from tests.vault.records.ward import HIT, Ward, document_of, open_ward
from vault.rendering.renderer import Renderer
from vault.settings import BlobSettings, ScanSettings
from vault.upkeep.documents_cli import documents


def verified(ward: Ward, *options: str) -> Result:
    """The verb at the console of this vault."""
    people = SimpleNamespace(sessions=SimpleNamespace(console_actor=lambda _role: ward.admin))
    vault = SimpleNamespace(
        settings=SimpleNamespace(blobs=BlobSettings("file:///nowhere")),
        documents=ward.desk.documents,
        blobs=ward.desk.blobs,
        quarantine=ward.quarantine,
        people=people,
    )
    return CliRunner().invoke(documents, ("verify", *options), obj=SimpleNamespace(vault=vault))


def test_what_is_not_well_is_said_with_its_place(tmp_path: Path, clock: Clock, renderer: Renderer) -> None:
    with (
        OddScanner(tmp_path / "s") as scanner,
        open_ward(tmp_path, clock, renderer, ScanSettings(scanner.path)) as ward,
    ):
        filed, draft = ward.desk.deposit().id, ward.tray.put(scan(seed=2)).id
        assert "2 documents, " in verified(ward).stdout
        scanner.reply = HIT
        apart, freed = document_of(ward.send(scan(seed=3))), document_of(ward.send(scan(seed=4)))
        assert "4 documents (2 in quarantine), " in verified(ward).stdout
        scanner.reply = b"stream: OK\0"
        assert ward.quarantine.rescan(ward.owner, freed)
        well = verified(ward)
        assert "4 documents (1 in quarantine), " in well.stdout
        assert well.stdout.endswith("All are well.\n")
        assert "belong to no document" not in well.stdout
        body = ward.desk.blob_path(filed)
        orphan = body.with_name(body.name[:2] + "0" * 30)
        orphan.write_bytes(b"left")
        os.utime(orphan, (0, 0))
        left = verified(ward).stdout
        assert "1 bodies belong to no document" in left
        assert "coffre documents sweep removes them after 400 days" in left
        orphan.unlink()
        for document in (filed, draft, apart, freed):
            ward.desk.blob_path(document).unlink()
        said = verified(ward)
        assert said.exit_code == Exit.NOT_WELL
        gone = "its sealed body is missing (missing)."
        places = ((filed, ""), (draft, ", in the inbox"), (apart, ", in quarantine"), (freed, ", in the inbox"))
        for document, place in places:
            assert f"{document} version 1{place}: {gone}" in said.stdout
        assert "never gets out" in said.stdout
        found = json.loads(verified(ward, "--keyless", "--json").stdout)["findings"]
        states = {filed: "filed", draft: "draft", apart: "quarantined", freed: "draft"}
        assert {each["document"]: each["state"] for each in found} == states
