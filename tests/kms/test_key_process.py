"""The key process: the same contract over its socket, who may connect, budgets, its log, its death and return."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from kms import open_keys
from kms.budget import Budget
from kms.caller import acting_for
from kms.client import KeyClient
from kms.errors import BadSettings, BudgetExceeded, KeysUnavailable, UnwrapRejected
from kms.journal import BrokenJournal, Journal, read
from kms.keys import KeyRecord, KeyService, KeyState, KeyUse, Purpose
from kms.lifecycle import create_first_keys
from kms.serving import KeyServer, ServiceSettings
from kms.settings import KmsSettings
from kms.shelf import FileRegistry
from kms.token import TokenKeys
from kms.wire import Operation, receive, send
from tests.kms.fake import FakeKeyService, MemoryRegistry

SECRET = bytes(range(32))
ROOT = Path(__file__).parents[2]
PATIENT_MS = 30_000  # nothing here reaches it: each unwrap waits for the disk, behind those of seven other threads


def service(directory: Path, **changes: int) -> ServiceSettings:
    settings = ServiceSettings(directory / "keys.sock", directory / "journal", directory / "registry.json")
    return replace(settings, **changes) if changes else settings  # type: ignore[arg-type]  # numbers only


@contextmanager
def serving(
    settings: ServiceSettings, keys: KeyService, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[KeyClient]:
    """A server on a thread, and a client of it."""
    journal = Journal(settings.journal)
    server = KeyServer(settings, keys, journal, monotonic)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        with closing(KeyClient(settings.socket, PATIENT_MS)) as client:
            yield client
    finally:
        server.close()
        thread.join()
        journal.close()


def test_it_answers_like_the_key_service_behind_it(tmp_path: Path) -> None:
    with serving(service(tmp_path), FakeKeyService()) as keys:
        wrapped = keys.wrap(SECRET, context=b"c")
        with keys.unwrap(wrapped, context=b"c") as secret:
            assert secret.view == SECRET
        with pytest.raises(UnwrapRejected):
            keys.unwrap(wrapped, context=b"d")
        assert keys.rewrap(wrapped, context=b"c") is wrapped
        value = keys.mac(Purpose.SEARCH, b"m")
        assert keys.macs(Purpose.SEARCH, [b"m"] * 70, number=1) == [value] * 70
        assert keys.versions(KeyUse.MAC) == (1,)
        assert len(keys.sign(hashlib.sha256(b"x").digest()).raw) == 64
        assert keys.public_key() == keys.public_key(1)
        assert keys.active(KeyUse.MASTER) == keys.number_of(wrapped) == 1
        assert len(keys.random(32)) == 32
        assert keys.health().ok


def test_the_socket_offers_nothing_that_makes_or_ends_a_key() -> None:
    assert {operation.name for operation in Operation} == {
        "WRAP", "UNWRAP", "REWRAP", "MAC", "SIGN", "SIGN_TEXT", "PUBLIC_KEY", "ACTIVE", "VERSIONS", "MARK", "RAISE_MARK",
        "RANDOM", "HEALTH", "RECORD",
    }  # fmt: skip


def test_threads_share_it(tmp_path: Path) -> None:
    with serving(service(tmp_path), FakeKeyService()) as keys:
        wrong: list[int] = []

        def work(number: int) -> None:
            mine = bytes([number]) * 32
            for _ in range(30):
                with keys.unwrap(keys.wrap(mine, context=b"c"), context=b"c") as secret:
                    if secret.view != mine:
                        wrong.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_a_caller_s_budget_runs_out_and_refills(tmp_path: Path) -> None:
    now = [0.0]
    settings = service(tmp_path, caller_burst=5, caller_per_hour=3600)
    with serving(settings, FakeKeyService(), lambda: now[0]) as keys:
        wrapped = keys.wrap(SECRET, context=b"c")
        with acting_for("thief"):
            for _ in range(5):
                keys.unwrap(wrapped, context=b"c").wipe()
            with pytest.raises(BudgetExceeded):
                keys.unwrap(wrapped, context=b"c")
        with acting_for("clinician"):
            keys.unwrap(wrapped, context=b"c").wipe()
        now[0] += 2
        with acting_for("thief"):
            keys.unwrap(wrapped, context=b"c").wipe()


def test_naming_ever_new_callers_does_not_help(tmp_path: Path) -> None:
    settings = service(tmp_path, total_burst=20, total_per_hour=60)
    with serving(settings, FakeKeyService(), lambda: 0.0) as keys:
        wrapped, opened = keys.wrap(SECRET, context=b"c"), 0
        for number in range(100):
            with acting_for(f"nobody-{number}"):
                try:
                    keys.unwrap(wrapped, context=b"c").wipe()
                    opened += 1
                except BudgetExceeded:
                    continue
        assert opened == 20


def test_every_unwrap_is_in_its_log_and_so_is_every_refusal(tmp_path: Path) -> None:
    settings = service(tmp_path, caller_burst=2, caller_per_hour=1)
    with serving(settings, FakeKeyService(), lambda: 0.0) as keys:
        wrapped = keys.wrap(SECRET, context=b"c")
        with acting_for("a" * 32):
            keys.unwrap(wrapped, context=b"c").wipe()
            with pytest.raises(UnwrapRejected):
                keys.unwrap(wrapped, context=b"other")
            with pytest.raises(BudgetExceeded):
                keys.unwrap(wrapped, context=b"c")
    entries = [entry for _, entry in read(settings.journal)]
    assert [(entry.caller, entry.outcome) for entry in entries] == [
        ("a" * 32, "done"),
        ("a" * 32, "unwrap_rejected"),
        ("a" * 32, "budget_exceeded"),
    ]
    assert {entry.what for entry in entries} == {hashlib.sha256(wrapped).hexdigest()}
    assert {entry.peer for entry in entries} == {os.getuid()}
    assert settings.journal.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_means_no_log_and_no_key(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("optional: no /dev/full here")
    journal = Journal(tmp_path / "journal")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._file)
    os.close(full)
    with pytest.raises(KeysUnavailable):
        journal.record("unwrap", "x", 0, "y", "done")
    os.close(journal._file)


@pytest.mark.parametrize("damage", ["edit", "drop", "swap"])
def test_an_altered_log_is_noticed(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal"
    with closing(Journal(path, lambda: 1)) as journal:
        for number in range(4):
            journal.record("unwrap", f"caller-{number}", 0, "00", "done")
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "edit":
        lines[1] = lines[1].replace(b"caller-1", b"caller-9")
    elif damage == "drop":
        del lines[1]
    else:
        lines[1], lines[2] = lines[2], lines[1]
    path.write_bytes(b"".join(lines))
    with pytest.raises(BrokenJournal):
        list(read(path))
    with pytest.raises(BrokenJournal):
        Journal(path)


def test_a_line_that_a_power_cut_tore_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with closing(Journal(path)) as journal:
        journal.record("unwrap", "a", 0, "00", "done")
    with path.open("ab") as file:
        file.write(b'{"at":12')
    with closing(Journal(path)) as journal:
        journal.record("unwrap", "b", 0, "00", "done")
    assert [entry.caller for _, entry in read(path)] == ["a", "b"]


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x05\x02\x00\x00\xff\xff",
        b"\x00\x00\x00\x01\x63",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_nonsense_ends_one_connection_only(tmp_path: Path, raw: bytes) -> None:
    settings = service(tmp_path)
    with serving(settings, FakeKeyService()) as keys:
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(str(settings.socket))
            rude.sendall(raw)
            rude.settimeout(5)
            with suppress(ConnectionResetError):
                assert rude.recv(10) == b""
        assert keys.health().ok


def test_an_unknown_purpose_or_size_is_refused(tmp_path: Path) -> None:
    settings = service(tmp_path)
    with serving(settings, FakeKeyService()) as keys:
        for operation, fields in (
            (Operation.MAC, [b"x", b"no such purpose", b""]),
            (Operation.WRAP, [b"x", b"short", b""]),
            (Operation.UNWRAP, [b"x"]),
            (Operation.RANDOM, [b"x", b"many"]),
        ):
            with socket.socket(socket.AF_UNIX) as rude:
                rude.settimeout(5)
                rude.connect(str(settings.socket))
                send(rude, operation, fields)
                assert receive(rude) is None
        assert keys.health().ok


@pytest.mark.skipif(os.getuid() != 0, reason="optional: only root can become somebody else")
def test_another_user_of_the_machine_is_not_let_in(tmp_path: Path) -> None:
    settings = service(tmp_path)
    tmp_path.chmod(0o755)  # the child stands in it: the directories above stay closed
    with serving(settings, FakeKeyService()):
        settings.socket.chmod(0o777)
        child = os.fork()
        if child == 0:
            status = 2
            try:
                os.chdir(tmp_path)
                os.setuid(65534)
                with closing(KeyClient(Path(settings.socket.name), PATIENT_MS)) as keys:
                    keys.mac(Purpose.FINGERPRINT, b"m")
                status = 1
            except KeysUnavailable as error:
                status = 0 if "does not let this process in" in str(error) else 3
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(ended) == 0


def test_a_key_process_that_is_away_is_an_outage(tmp_path: Path) -> None:
    with closing(KeyClient(tmp_path / "nothing.sock", 500)) as keys:
        with pytest.raises(KeysUnavailable, match="coffre keys serve"):
            keys.mac(Purpose.FINGERPRINT, b"m")
        assert keys.health().code == "keys_unavailable"


def test_a_restarted_key_process_is_found_again(tmp_path: Path) -> None:
    settings, behind = service(tmp_path), FakeKeyService()
    with closing(KeyClient(settings.socket, PATIENT_MS)) as keys:
        with serving(settings, behind):
            wrapped = keys.wrap(SECRET, context=b"c")
        with pytest.raises(KeysUnavailable):
            keys.unwrap(wrapped, context=b"c")
        with serving(settings, behind), keys.unwrap(wrapped, context=b"c") as secret:
            assert secret.view == SECRET


def test_a_second_key_process_on_one_socket_is_refused(tmp_path: Path) -> None:
    settings = service(tmp_path)
    with (
        serving(settings, FakeKeyService()),
        closing(Journal(tmp_path / "other")) as journal,
        pytest.raises(BadSettings, match="another key process"),
    ):
        KeyServer(settings, FakeKeyService(), journal)


def test_an_unknown_user_is_named(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "j")) as journal, pytest.raises(BadSettings, match="no user 'nobody-here'"):
        KeyServer(replace(service(tmp_path), users=("nobody-here",)), FakeKeyService(), journal)


def test_the_file_registry_keeps_what_it_is_told(tmp_path: Path) -> None:
    registry = FileRegistry(tmp_path / "registry.json")
    assert registry.records() == []
    record = KeyRecord(KeyUse.MASTER, 1, KeyState.ACTIVE, b"i" * 16, b"canary", 5)
    registry.save(record)
    registry.count_wraps(1, 256)
    registry.save(replace(record, state=KeyState.DECRYPT_ONLY))
    assert FileRegistry(tmp_path / "registry.json").records() == [replace(record, state=KeyState.DECRYPT_ONLY, wraps=256)]
    (tmp_path / "registry.json").write_text("{")
    with pytest.raises(KeysUnavailable):
        registry.records()


def test_budgets_forget_nobody_who_is_short() -> None:
    budget = Budget(2, 3600)
    assert [budget.spend("short", 0.0) for _ in range(3)] == [True, True, False]
    for number in range(5000):
        budget.spend(f"other-{number}", 0.5)
    assert not budget.spend("short", 0.5)
    assert budget.spend("short", 1.5)


CLIENT = """
import sys
from pathlib import Path
from kms import open_keys
from kms.settings import KmsSettings
from tests.kms.fake import MemoryRegistry
keys = open_keys(KmsSettings(socket=Path(sys.argv[1])), MemoryRegistry())
wrapped = keys.wrap(bytes(range(32)), context=b"c")
with keys.unwrap(wrapped, context=b"c") as secret:
    assert len(secret) == 32
print("worked", flush=True)
sys.stdin.readline()
"""


def found_in_memory(pid: int, wanted: bytes) -> int:
    """How often ``wanted`` stands in another process's writable memory."""
    count = 0
    with Path(f"/proc/{pid}/maps").open(encoding="ascii") as maps, Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("rw") or "[v" in line:
                continue
            start, end = (int(bound, 16) for bound in span.split("-"))
            with suppress(OSError, ValueError):
                memory.seek(start)
                count += memory.read(end - start).count(wanted)
    return count


@pytest.mark.hsm
@pytest.mark.alone
@pytest.mark.skipif(os.getuid() != 0, reason="optional: only root reads another process's memory")
def test_a_client_s_memory_holds_no_pin_and_its_map_no_module(softhsm: KmsSettings, tmp_path: Path) -> None:
    registry = FileRegistry(tmp_path / "registry.json")
    create_first_keys(softhsm, registry)
    with closing(TokenKeys(softhsm, registry)) as behind, serving(service(tmp_path), behind):
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(tmp_path / "keys.sock")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == b"worked\n"
            assert found_in_memory(client.pid, b"key process") > 0  # the search does find what is there
            assert found_in_memory(client.pid, softhsm.pin_file.read_bytes()) == 0
            assert "softhsm" not in Path(f"/proc/{client.pid}/maps").read_text(encoding="utf-8")
        finally:
            client.communicate(b"\n")


@pytest.mark.hsm
@pytest.mark.alone
def test_the_real_process_holds_pin_and_keys_and_its_client_does_not(softhsm: KmsSettings, tmp_path: Path) -> None:
    config = tmp_path / "keys.toml"
    config.write_text(
        f'[kms]\nmodule = "{softhsm.module}"\ntoken_label = "{softhsm.token_label}"\npin_file = "{softhsm.pin_file}"\n'
        f'softhsm_conf = "{softhsm.softhsm_conf}"\n'
        '[key_process]\nsocket = "keys.sock"\njournal = "journal"\nregistry = "registry.json"\n'
    )
    coffre = [sys.executable, "-c", "from web.cli import main; main()", "--config", str(config)]
    made = subprocess.run([*coffre, "keys", "renew", "--json"], check=True, capture_output=True, cwd=ROOT)
    assert len(json.loads(made.stdout)["keys"]) >= 3
    process = subprocess.Popen([*coffre, "keys", "serve"], stderr=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stderr is not None
        assert b"listening" in process.stderr.readline()
        with closing(open_keys(KmsSettings(socket=tmp_path / "keys.sock"), MemoryRegistry())) as keys:
            wrapped = keys.wrap(SECRET, context=b"c")
            with keys.unwrap(wrapped, context=b"c") as secret:
                assert secret.view == SECRET
            assert keys.health().facts["token"] == softhsm.token_label
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert not (tmp_path / "keys.sock").exists()
    finally:
        process.kill()
        process.communicate()
    checked = subprocess.run([*coffre, "keys", "check", "--json"], check=True, capture_output=True, cwd=ROOT)
    assert json.loads(checked.stdout)["ok"]
    assert [entry.outcome for _, entry in read(tmp_path / "journal")] == ["done"]
