"""A server that can't start says why in a sentence."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.errors import AppImportError

from kms.settings import KmsSettings
from vault.errors import BadSettings, StorageUnavailable
from vault.settings import BlobSettings, DatabaseSettings, LimitSettings, VaultSettings
from web.serve import _hourly, must_be_free, opened
from web.settings import WebSettings, WebTable


def test_an_address_that_is_taken_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(BadSettings, match="another program listens there"):
            must_be_free(place)
    must_be_free(place)
    with pytest.raises(BadSettings, match=r"can't listen on 192\.0\.2\.1:1"):
        must_be_free("192.0.2.1:1")


def test_a_vault_that_can_not_be_opened_is_one_sentence(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nowhere/coffre.db"
    settings = VaultSettings(
        kms=KmsSettings(module=tmp_path / "none.so", token_label="none", pin_file=tmp_path / "none"),
        database=DatabaseSettings(url=url, keyring_url=url),
        blobs=BlobSettings(url=f"file://{tmp_path}/blobs"),
        limits=LimitSettings(),
        path=tmp_path / "coffre.toml",
    )
    with pytest.raises(AppImportError, match=r"^coffre: the server can't start: .+ \(code storage_unavailable: ") as end:
        opened(WebSettings(WebTable(), settings))
    assert "\n" not in str(end.value)


def test_a_disposal_that_can_not_end_keeps_no_expired_file() -> None:
    done = list[str]()

    def fail() -> None:
        raise StorageUnavailable("the disk is away")

    disposals, quarantine = SimpleNamespace(finish=fail), SimpleNamespace(expire=lambda: done.append("expired"))
    with pytest.raises(StorageUnavailable):  # the log's keeper hears of it
        _hourly(SimpleNamespace(disposals=disposals, quarantine=quarantine))  # type: ignore[arg-type]  # the two rooms it calls
    assert done == ["expired"]
