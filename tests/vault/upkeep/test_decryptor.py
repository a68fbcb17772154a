"""The independent decryptor of docs/ opens a document of a copied vault, and refuses what it should."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kms.settings import KmsSettings
from vault import founding
from vault.model import DocumentId, Identity, Micros, Role, Sex
from vault.opening import open_vault
from vault.settings import load

ROOT = Path(__file__).parents[3]
TEXT = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
    + b"%" * 40_000
    + b"\n%%EOF\n"
)


@pytest.fixture
def copied(tmp_path: Path, softhsm: KmsSettings) -> tuple[Path, KmsSettings, DocumentId]:
    """A vault with one document, copied away as a backup would."""
    config = tmp_path / "vault" / "coffre.toml"
    founding.write_settings(config, softhsm, practice="Cabinet", bind="127.0.0.1:1")
    settings = load(config, {})
    founding.found(settings, Micros(1_790_000_000_000_000))
    with closing(open_vault(settings)) as vault:
        console = vault.people.sessions.console_actor(Role.OWNER)
        person = vault.people.accounts.create(console, username="anne", display_name="Anne", role=Role.RECEPTION)
        anne = replace(console, person=person, role=Role.RECEPTION)
        identity = Identity("Durand", ("Zoé",), "1980-03-12", Sex.FEMALE)
        patient = vault.patients.create(anne, identity)
        stored = vault.documents.store(
            anne,
            patient.id,
            type="11502-2",
            act_date=None,
            file_name="analyse.pdf",
            body=io.BytesIO(TEXT),
            expected_sha256=None,
            declared_size=len(TEXT),
            channel="api",
        )
    shutil.copytree(config.parent, tmp_path / "copy")
    return tmp_path / "copy", softhsm, stored.id


def decrypt(place: Path, token: KmsSettings, document: str) -> subprocess.CompletedProcess[bytes]:
    """docs/decrypt.py, in its own process."""
    command = [sys.executable, "-I", str(ROOT / "docs/decrypt.py"), str(place / "coffre.db"), str(place / "keyring.db")]
    command += [str(place / "blobs"), document, "--module", str(token.module), "--token", token.token_label]
    command += ["--pin-file", str(token.pin_file)]
    return subprocess.run(
        command, capture_output=True, env={**os.environ, "SOFTHSM2_CONF": str(token.softhsm_conf)}, check=False
    )


@pytest.mark.hsm
def test_it_opens_a_document_of_a_copy(copied: tuple[Path, KmsSettings, DocumentId]) -> None:
    place, token, document = copied
    opened = decrypt(place, token, document)
    assert (opened.returncode, opened.stdout) == (0, TEXT), opened.stderr
    assert b"analyse.pdf" in opened.stderr


@pytest.mark.hsm
def test_it_refuses_a_flipped_bit(copied: tuple[Path, KmsSettings, DocumentId]) -> None:
    place, token, document = copied
    [blob] = [path for path in (place / "blobs").glob("??/*") if path.is_file()]
    for position in (20, 60, 90, 5000, 30_000):
        data = bytearray(blob.read_bytes())
        data[position] ^= 1
        blob.write_bytes(data)
        refused = decrypt(place, token, document)
        assert refused.returncode != 0
        assert refused.stdout == b""
        data[position] ^= 1
        blob.write_bytes(data)


def test_it_needs_nothing_of_coffre() -> None:
    text = (ROOT / "docs/decrypt.py").read_text(encoding="utf-8")
    assert not {"import kms", "from kms", "import vault", "from vault"} & {line[:10] for line in text.splitlines()}
    assert len([line for line in text.splitlines() if line.strip()]) < 90
