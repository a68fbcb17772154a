from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from kms.keys import Secret
from tests.vault.sealing.memory import Bytes
from vault.errors import Tampered
from vault.model import BlobId, DocumentId, ScopeId, TenantId
from vault.sealing.binding import data_key_context, field_context
from vault.sealing.documents import Body
from vault.sealing.fields import open_field
from vault.sealing.reading import Opener

FROZEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "sealing.json").read_text(encoding="utf-8"))
BODY = Body(TenantId(FROZEN["tenant"]), BlobId(FROZEN["blob"]), DocumentId(FROZEN["document"]), FROZEN["version"])
SCOPE_KEY = bytes.fromhex(FROZEN["scope_key"])
DATA_KEY = bytes.fromhex(FROZEN["data_key"])


def opened(blob: str) -> bytes:
    opener = Opener(Secret(DATA_KEY), BODY, Bytes(bytes.fromhex(blob)))
    opener.authenticate()
    return b"".join(opener.whole())


def test_contexts_stay_as_they_were() -> None:
    field = FROZEN["field"]
    assert field_context(BODY.tenant, field["table"], field["column"], field["row"]).hex() == field["context"]
    context = data_key_context(BODY.tenant, ScopeId(FROZEN["scope"]), BODY.blob)
    assert context.hex() == FROZEN["data_key_sealed"]["context"]
    assert BODY.context().hex() == FROZEN["body_context"]


def test_fields_sealed_long_ago_still_open() -> None:
    field, key = FROZEN["field"], FROZEN["data_key_sealed"]
    found = open_field(Secret(SCOPE_KEY), bytes.fromhex(field["context"]), bytes.fromhex(field["sealed"]))
    assert found.decode() == field["plaintext"]
    assert open_field(Secret(SCOPE_KEY), bytes.fromhex(key["context"]), bytes.fromhex(key["sealed"])) == DATA_KEY


@pytest.mark.parametrize("vector", FROZEN["bodies"], ids=lambda vector: vector["name"])
def test_bodies_sealed_long_ago_still_open(vector: dict[str, Any]) -> None:
    plaintext = opened(vector["blob"])
    assert plaintext == (b"Coffre " * 4000)[: vector["size"]]
    assert hashlib.sha256(plaintext).hexdigest() == vector["sha256"]
    assert hashlib.sha256(bytes.fromhex(vector["blob"])).hexdigest() == vector["sealed_sha256"]


@pytest.mark.parametrize("vector", FROZEN["refused"], ids=lambda vector: vector["name"])
def test_forged_bodies_are_refused_for_the_expected_reason(vector: dict[str, Any]) -> None:
    with pytest.raises(Tampered, match=vector["expect"]):
        opened(vector["blob"])
