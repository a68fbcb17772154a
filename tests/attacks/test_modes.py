"""Files are for their owner alone, whatever the umask: every verb that leaves a file is run under 000."""

from __future__ import annotations

import os
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.attacks.instance import COFFRE, Instance
from tests.journeys.papers import scan
from tests.parts import MissingPart, free_port, softhsm_module
from vault.demo import stage
from vault.upkeep.ceremony import SENTENCE

pytestmark = [pytest.mark.hsm, pytest.mark.xdist_group("attacks"), pytest.mark.timeout(170)]

WIDE_OPEN = ["sh", "-c", 'umask 000; exec "$@"', "sh"]


def too_wide(*places: Path) -> list[str]:
    """What others may touch below ``places``, the places themselves included: mode and path."""
    found = [Path(top, name) for place in places for top, folders, files in os.walk(place) for name in ("", *folders, *files)]
    wide = []
    for path in found:
        with suppress(FileNotFoundError):  # it went while a server worked: nobody can touch it
            mode = path.lstat().st_mode
            wide += [f"{stat.S_IMODE(mode):04o} {path}"] if mode & 0o077 and not stat.S_ISLNK(mode) else []
    return sorted(set(wide))


def run(*command: str | Path, environment: dict[str, str] | None = None, fails: bool = False) -> str:
    done = subprocess.run(
        [*WIDE_OPEN, *map(str, command)], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert fails or done.returncode == 0, (command, done.stderr)
    return done.stdout


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A private directory under which everything is left."""
    try:
        softhsm_module()
    except MissingPart as missing:
        pytest.skip(str(missing))
    room = tmp_path / "room"
    room.mkdir(mode=0o700)
    return room


def leave_papers(own: Instance, room: Path) -> None:
    """Every verb that writes a file or a directory."""
    folder, out = room / "scans", room / "out"
    for each in (folder, out):
        each.mkdir(mode=0o700)
    (folder / "good.pdf").touch(mode=0o600)
    (folder / "good.pdf").write_bytes(scan("modes", pages=1))
    (folder / "bad.pdf").touch(mode=0o600)
    (folder / "bad.pdf").write_bytes(b"<html>")
    for verb in (
        ("audit", "export", "--format", "csv", "-o", str(out / "log.csv")),
        ("audit", "export", "--format", "bundle", "-o", str(out / "log.zip")),
        ("audit", "checkpoint", "-o", str(out / "head")),
        ("audit", "sheet", "-o", str(out / "sheet.html")),
        ("audit", "verify"),
        ("documents", "verify"),
        ("doctor",),
    ):
        run(*COFFRE, *verb, environment=own.environment, fails=verb[0] == "doctor")
    run(*COFFRE, "documents", "ingest", str(folder), "--as", "sophie.garnier", environment=own.environment, fails=True)
    assert (folder / "refused" / "bad.pdf").exists()
    assert (out / "log.csv").exists()
    assert (out / "sheet.html").exists()


def test_a_vault_and_all_it_leaves(room: Path) -> None:
    """The demonstration, its server, a morning's work and an operator's papers."""
    run(*COFFRE, "demo", "--directory", room / "demo", "--prepare-only", "--port", str(free_port()))
    own = Instance(room, stage.find(room / "demo"), preparation=WIDE_OPEN)
    for name in ("tmp", "home"):
        (room / name).mkdir(mode=0o700)
    own.start()
    claire = own.sign_in("claire.martin")
    patient = claire.new_patient("Umask")
    document = claire.upload(patient, scan("umask", pages=1)).json["id"]
    assert claire.get(f"/api/v1/documents/{document}/pages/1").status == 200
    while_serving = too_wide(room / "demo", room / "tmp", room / "home")
    leave_papers(own, room)
    assert own.stop() == 0
    log = str(room / "server.log")  # the test's own
    assert [line for line in while_serving + too_wide(room) if not line.endswith(log)] == []


def test_a_founding_by_hand_and_a_key_process(room: Path) -> None:
    """``new-token.sh``, ``coffre keys renew``, ``coffre keys serve``, ``coffre init``; the socket alone is for a group too."""
    token, other, keys = room / "token", room / "other-token", room / "keys"
    keys.mkdir(mode=0o700)
    for each in (token, other):
        run("sh", stage.SOFTHSM / "new-token.sh", each, "modes", environment={**os.environ})
    configuration = keys / "keys.toml"
    configuration.touch(mode=0o600)
    configuration.write_text(
        f'[kms]\nmodule = "{softhsm_module()}"\ntoken_label = "modes"\npin_file = "{token / "pin"}"\n'
        f'softhsm_conf = "{token / "softhsm2.conf"}"\n[key_process]\nsocket = "{keys / "keys.sock"}"\n'
        f'journal = "{keys / "journal"}"\nregistry = "{keys / "registry.json"}"\n'
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COFFRE_")}
    run(*COFFRE, "--config", configuration, "keys", "renew", environment=clean)
    serving = subprocess.Popen(
        [*WIDE_OPEN, *COFFRE, "--config", str(configuration), "keys", "serve"],
        env=clean, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        while not (keys / "keys.sock").exists():
            assert serving.poll() is None
        init = ("init", "--module", softhsm_module(), "--token-label", "modes", "--pin-file", other / "pin")
        rest = ("--softhsm-conf", other / "softhsm2.conf", "--without-recovery", SENTENCE)
        run(*COFFRE, "--config", room / "vault" / "coffre.toml", *init, *rest, environment=clean)
        found = too_wide(room)
    finally:
        serving.terminate()
        serving.communicate(timeout=30)
    assert [line for line in found if not (line.startswith("0660 ") and line.endswith("/keys.sock"))] == []
    assert too_wide(token, other, room / "vault") == []
