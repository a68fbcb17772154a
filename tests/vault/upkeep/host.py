"""A key process on a thread, and a founded vault beside it: for tests of what an operator types on either side."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from kms import hosting
from kms.keys import KeyState, KeyUse
from kms.settings import KmsSettings
from kms.token import TokenKeys
from vault import founding
from vault.opening import now_micros
from vault.settings import VaultSettings, load
from web.cli import coffre


def run(config: Path, *words: str, typed: str = "") -> Result:
    """``coffre --config …`` in this process. It closes the process's files to others (umask): nobody else shall notice."""
    before = os.umask(0o077)
    try:
        return CliRunner().invoke(coffre, ["--config", str(config), *words], input=typed, catch_exceptions=False)
    finally:
        os.umask(before)


def said(result: Result, exit_code: int = 0) -> Any:
    """What it answered with --json."""
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


@dataclass(frozen=True, slots=True)
class Host:
    """The key process's settings file, the vault's settings, and the keys that the process holds."""

    keys: Path
    settings: VaultSettings
    held: TokenKeys

    def renew(self, use: str) -> Any:
        """A new key, made on the host; the process notices it within two seconds: at once here."""
        [made] = said(run(self.keys, "keys", "renew", use, "--json"))["keys"]
        self.held.ledger.forget()
        return made

    def state(self, number: int = 1, use: KeyUse = KeyUse.MASTER) -> KeyState:
        found = said(run(self.keys, "keys", "list", "--json"))["keys"]
        return KeyState(next(key["state"] for key in found if (key["use"], key["number"]) == (use.value, number)))


def _vault_beside(socket: Path, config: Path) -> VaultSettings:
    text = founding.TEMPLATE.format(
        module='""', token_label='""', pin_file='""', softhsm=f'socket = "{socket}"',
        url=f'"sqlite:///{config.parent}/coffre.db"', keyring_url=f'"sqlite:///{config.parent}/keyring.db"',
        blobs=f'"file://{config.parent}/blobs"', practice='"Cabinet"', bind='"127.0.0.1:1"',
    )  # fmt: skip
    config.write_text(text.replace('module = ""\ntoken_label = ""\npin_file = ""\n', ""))
    settings = load(config, {})
    founding.found(settings, now_micros())
    return settings


@contextmanager
def hosting_beside(softhsm: KmsSettings, room: Path) -> Iterator[Host]:
    """Serve keys below ``room`` and found a vault there; the host's own commands run while it serves."""
    keys, config = room / "keys" / "keys.toml", room / "vault" / "coffre.toml"
    for path in (keys, config):
        path.parent.mkdir(mode=0o700)
    keys.write_text(
        f'[kms]\nmodule = "{softhsm.module}"\ntoken_label = "{softhsm.token_label}"\npin_file = "{softhsm.pin_file}"\n'
        f'softhsm_conf = "{softhsm.softhsm_conf}"\n'
        '[key_process]\nsocket = "keys.sock"\njournal = "journal"\nregistry = "registry.json"\n'
    )
    run(keys, "keys", "renew")
    server = hosting.open_server(hosting.load(keys, {}))
    thread = threading.Thread(target=hosting.serve, args=(server,), daemon=True)
    thread.start()
    held = server._keys
    assert isinstance(held, TokenKeys)
    try:
        yield Host(keys, _vault_beside(keys.parent / "keys.sock", config), held)
    finally:
        server.close()
        thread.join()
        held.close()
