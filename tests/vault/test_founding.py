"""The settings file of a new vault: where its data go, and what is never taken over."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from kms.settings import KmsSettings
from vault import founding
from vault.errors import BadSettings

TOKEN = KmsSettings(module=Path("/usr/lib/hsm.so"), token_label="coffre", pin_file=Path("/etc/coffre/pin"))


@pytest.mark.parametrize(
    ("config", "data"),
    [
        ("/etc/coffre/coffre.toml", "/var/lib/coffre"),
        ("/etc/coffre.toml", "/var/lib/coffre"),
        ("/var/lib/coffre/coffre.toml", "/var/lib/coffre"),
        ("/opt/practice/coffre.toml", "/opt/practice"),
    ],
)
def test_data_never_live_in_etc(config: str, data: str) -> None:
    assert founding.data_place(Path(config)) == Path(data)


def test_data_live_where_they_are_sent_to(tmp_path: Path) -> None:
    config, data = tmp_path / "settings" / "coffre.toml", tmp_path / "data"
    config.parent.mkdir()
    config.parent.chmod(0o755)
    founding.write_settings(config, TOKEN, practice="Cabinet", bind="127.0.0.1:1", data=data)
    written = tomllib.loads(config.read_text(encoding="utf-8"))
    assert written["database"]["url"] == f"sqlite:///{data}/coffre.db"
    assert written["database"]["keyring_url"] == f"sqlite:///{data}/keyring.db"
    assert written["blobs"]["url"] == f"file://{data}/blobs"
    assert (data.stat().st_mode & 0o777, config.stat().st_mode & 0o777) == (0o700, 0o600)
    assert config.parent.stat().st_mode & 0o777 == 0o755, "a directory that was there is left as it was"


def test_a_place_that_everybody_uses_is_not_taken_over(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(BadSettings, match="--data"):
        founding.write_settings(shared / "coffre.toml", TOKEN, practice="Cabinet", bind="127.0.0.1:1")
    assert shared.stat().st_mode & 0o7777 == 0o1777
    assert list(shared.iterdir()) == []


def test_a_place_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadSettings, match="install -d"):
        founding.write_settings(tmp_path / "coffre.toml", TOKEN, practice="Cabinet", bind="127.0.0.1:1", data=tmp_path / "file")
