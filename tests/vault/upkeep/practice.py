"""A small vault on a real token, and the verbs on backups run against it as an operator would. Knows no test."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from kms.settings import KmsSettings
from tests.conftest import Clock
from vault import founding
from vault.audit.events import Action
from vault.cli import Console
from vault.errors import VaultError
from vault.model import Actor, DocumentId, Identity, Micros, PatientId, Role, Sex
from vault.opening import Vault, open_vault
from vault.settings import VaultSettings, load
from vault.upkeep.backup_cli import backup

ROOT = Path(__file__).parents[3]
COFFRE = [sys.executable, "-P", "-s", "-c", "from web.cli import main; main()"]
FAMILY, FILE, WORD = "Quatrepoint", "compte-rendu-zeta", b"diagnosticreserve"
"""What may stand nowhere in clear."""


def paper(number: int, size: int = 3_000) -> bytes:
    """A document that is the same each time."""
    head = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%"
    return head + str(number).encode() + WORD * (size // len(WORD)) + b"\n%%EOF\n"


@dataclass(frozen=True)
class Said:
    """What a verb answered."""

    status: int
    data: dict[str, Any]
    error: VaultError | None = None


@dataclass
class Practice:
    """A vault's settings, the place of its backups, and what was filed."""

    settings: VaultSettings
    place: Path
    filed: dict[DocumentId, bytes] = field(default_factory=dict)

    @contextmanager
    def vault(self) -> Iterator[Vault]:
        with closing(open_vault(self.settings)) as opened:
            yield opened

    def anne(self, vault: Vault) -> Actor:
        console = vault.people.sessions.console_actor(Role.OWNER)
        known = next((each for each in vault.people.accounts.all(console) if each.username == "anne"), None)
        made = known.id if known else vault.people.accounts.create(
            console, username="anne", display_name="Anne", role=Role.CLINICIAN
        )  # fmt: skip
        return replace(console, person=made, role=Role.CLINICIAN)

    def patient(self, vault: Vault, given: str = "Zoé") -> PatientId:
        return vault.patients.create(self.anne(vault), Identity(FAMILY, (given,), "1980-03-12", Sex.FEMALE)).id

    def file(self, vault: Vault, patient: PatientId, count: int = 1) -> list[DocumentId]:
        made = []
        for _ in range(count):
            data = paper(len(self.filed) + 1)
            stored = vault.documents.store(
                self.anne(vault), patient, type="11502-2", act_date=None, file_name=f"{FILE}.pdf", body=io.BytesIO(data),
                channel="api",
            )  # fmt: skip
            self.filed[stored.id] = data
            made.append(stored.id)
        return made

    def run(self, *words: str, settings: VaultSettings | None = None) -> Said:
        """``coffre backup …`` with --json, in this process; errors come back as themselves."""
        console = Console((settings or self.settings).path, {})
        try:
            result = CliRunner().invoke(backup, [*words, "--json"], obj=console)
        finally:
            console.close()
        if isinstance(result.exception, VaultError):
            return Said(-1, {}, result.exception)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, json.loads(result.stdout) if result.stdout.startswith("{") else {"said": result.output})

    def create(self) -> str:
        said = self.run("create", str(self.place))
        assert said.status == 0, said
        return str(said.data["backup"])

    def elsewhere(self, directory: Path, kms: KmsSettings | None = None, database: str | None = None) -> VaultSettings:
        """Settings of a blank machine: same token unless told otherwise, nothing there yet."""
        config = directory / "coffre.toml"
        founding.write_settings(config, kms or self.settings.kms, practice="Cabinet", bind="127.0.0.1:1")
        if database:
            config.write_text(config.read_text().replace(f'url = "sqlite:///{directory / "coffre.db"}"', database))
        return load(config, {})


def found(config: Path, kms: KmsSettings, clock: Clock | None = None) -> Practice:
    """A founded vault whose backups lie beside it."""
    founding.write_settings(config, kms, practice="Cabinet", bind="127.0.0.1:1")
    settings = load(config, {})
    founding.found(settings, Micros(clock() if clock else 1_790_000_000_000_000))
    return Practice(settings, config.parent.parent / "place")


def contents(vault: Vault, documents: Sequence[DocumentId], actor: Actor) -> dict[DocumentId, bytes]:
    """What documents open to."""
    opened = {}
    for document in documents:
        with closing(vault.documents.open(actor, document, Action.DOCUMENT_VIEW)) as body:
            opened[document] = b"".join(body.read())
    return opened


def coffre(config: Path, *words: str, token: KmsSettings, prepare: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """The console script in its own process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COFFRE_")}
    environment |= {"COFFRE_CONFIG": str(config), "PYTHONPATH": str(ROOT), "SOFTHSM2_CONF": str(token.softhsm_conf)}
    return subprocess.run([*prepare, *COFFRE, *words], env=environment, capture_output=True, text=True, check=False)
