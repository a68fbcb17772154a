"""softhsm/new-token.sh: random PINs in closed files, never on a command line; a second run changes nothing."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.parts import MissingPart, softhsm_module

pytestmark = pytest.mark.hsm
SCRIPT = Path(__file__).parents[2] / "softhsm" / "new-token.sh"


def make(directory: Path, label: str = "coffre") -> subprocess.CompletedProcess[str]:
    try:
        module = softhsm_module()
    except MissingPart as missing:
        pytest.skip(str(missing))
    environment = {**os.environ, "COFFRE_PKCS11_MODULE": str(module)}
    return subprocess.run(
        ["sh", str(SCRIPT), str(directory), label], env=environment, capture_output=True, text=True, check=False
    )


def test_files_are_closed_and_pins_are_random(tmp_path: Path) -> None:
    assert make(tmp_path / "one").returncode == 0
    assert make(tmp_path / "two").returncode == 0
    values = set()
    for place in ("one", "two"):
        for name in ("pin", "so-pin"):
            path = tmp_path / place / name
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert len(bytes.fromhex(path.read_text())) == 16
            values.add(path.read_text())
        assert stat.S_IMODE((tmp_path / place / "tokens").stat().st_mode) == 0o700
    assert len(values) == 4


def test_a_second_run_keeps_everything(tmp_path: Path) -> None:
    first = make(tmp_path)
    pin = (tmp_path / "pin").read_text()
    second = make(tmp_path)
    assert "made" in first.stdout
    assert (second.returncode, (tmp_path / "pin").read_text()) == (0, pin)
    assert "kept" in second.stdout
    assert pin not in first.stdout + first.stderr


@pytest.mark.parametrize("lost", ["pin", "tokens"])
def test_half_a_token_is_not_overwritten(tmp_path: Path, lost: str) -> None:
    make(tmp_path)
    (tmp_path / lost).rename(tmp_path / "elsewhere")
    refused = make(tmp_path)
    assert refused.returncode == 1
    assert "move it away" in refused.stderr
    assert (tmp_path / "elsewhere").exists()


def test_a_label_that_no_token_can_carry_is_wrong_use(tmp_path: Path) -> None:
    assert make(tmp_path, "x" * 33).returncode == 2


def test_no_pin_stands_on_a_command_line() -> None:
    for name in ("new-token.sh", "new_token.py", "install.sh"):
        text = (SCRIPT.parent / name).read_text(encoding="utf-8")
        assert "--pin" not in text
        assert "softhsm2-util --" not in text
