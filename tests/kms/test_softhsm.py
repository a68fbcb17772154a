"""SoftHSM2 writes a token's own file anew at each login: killed in between, it leaves an empty one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kms.errors import KeysUnavailable
from kms.keys import Purpose
from kms.lifecycle import create_first_keys
from kms.settings import KmsSettings
from kms.softhsm import KEPT, token_directory
from kms.token import TokenKeys
from tests.kms.fake import MemoryRegistry

pytestmark = pytest.mark.hsm
LOGIN = """
import sys
from pathlib import Path
from kms.settings import KmsSettings
from kms.token import TokenKeys
from tests.kms.fake import MemoryRegistry
module, label, pin, conf = sys.argv[1:]
settings = KmsSettings(Path(module), label, Path(pin), softhsm_conf=Path(conf))
TokenKeys(settings, MemoryRegistry()).pool.run(lambda _session: None)
"""


def own_file(settings: KmsSettings) -> Path:
    directory = token_directory(settings)
    assert directory is not None
    (path,) = directory.glob("*/token.object")
    return path


def answers(settings: KmsSettings, registry: MemoryRegistry) -> bytes:
    keys = TokenKeys(settings, registry)
    try:
        return keys.mac(Purpose.SEARCH, b"DUPONT")
    finally:
        keys.close()


def test_an_emptied_token_file_is_put_back(softhsm: KmsSettings, registry: MemoryRegistry) -> None:
    create_first_keys(softhsm, registry)
    expected = answers(softhsm, registry)
    path = own_file(softhsm)
    whole = path.read_bytes()
    assert path.with_name(KEPT).stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"")
    assert answers(softhsm, registry) == expected
    assert len(path.read_bytes()) == len(whole)
    assert not [
        each.name for each in path.parent.iterdir() if each.name.startswith(("token.object.", KEPT + ".")) and each.name != KEPT
    ]


def test_without_a_copy_an_emptied_token_file_is_no_token(softhsm: KmsSettings, registry: MemoryRegistry) -> None:
    create_first_keys(softhsm, registry)
    path = own_file(softhsm)
    path.with_name(KEPT).unlink()
    path.write_bytes(b"")
    with pytest.raises(KeysUnavailable, match="no token labelled"):
        answers(softhsm, registry)
    assert path.read_bytes() == b""


def test_killed_within_a_login_the_token_is_there_again(softhsm: KmsSettings, registry: MemoryRegistry) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    create_first_keys(softhsm, registry)
    expected = answers(softhsm, registry)
    kill = ["-f", "-qq", "-o", os.devnull, "-P", str(own_file(softhsm)), "-e", "trace=write", "-e", "inject=write:signal=KILL"]
    told = [str(softhsm.module), softhsm.token_label, str(softhsm.pin_file), str(softhsm.softhsm_conf)]
    subprocess.run([strace, *kill, sys.executable, "-c", LOGIN, *told], check=False, capture_output=True, timeout=60)
    assert own_file(softhsm).read_bytes() == b"", "the login was not killed where it hurts"
    assert answers(softhsm, registry) == expected
