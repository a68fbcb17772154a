"""Parts that go away: token, room on the disk, the log. Clear refusals, nothing half-visible, recovery by itself."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.attacks.caller import Answer, Caller
from tests.attacks.instance import Instance
from tests.demonstration import copy
from vault.demo.stage import Demo

pytestmark = [pytest.mark.hsm, pytest.mark.xdist_group("attacks"), pytest.mark.timeout(170)]


def pdf(size: int = 2000) -> bytes:
    return b"%PDF-1.7\n" + secrets.token_bytes(size) + b"\n%%EOF"


def patients(caller: Caller, words: str = "dupont") -> list[str]:
    return [each["id"] for each in caller.post_json("/api/v1/patients/search", {"q": words}).json["patients"]]


def timed(act: Callable[[], Answer]) -> tuple[Answer, float]:
    began = time.monotonic()
    return act(), time.monotonic() - began


def test_token_gone_and_back(fresh: Instance) -> None:
    """Documents close with 503 and Retry-After within 5 s, other pages stay quick, and all of it heals without a restart."""
    fresh.start()
    reception, claire = fresh.sign_in("sophie.garnier"), fresh.sign_in("claire.martin")
    one, *others = patients(reception)
    content = pdf()
    document = reception.upload(one, content).json["id"]
    token = fresh.demo.directory / "token" / "tokens"
    away = token.with_name("away")
    token.rename(away)
    try:
        fresh.coffre("doctor")  # says so instead of failing
        deadline = time.monotonic() + 15
        refused = reception.upload(one, pdf())
        while refused.status != 503 and time.monotonic() < deadline:
            time.sleep(0.3)
            refused = reception.upload(one, pdf())
        assert (refused.status, refused.code) == (503, "keys_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        for patient in others:  # their keys were never in memory
            answer, spent = timed(partial(reception.get, f"/api/v1/documents?patient={patient}"))
            assert spent < 5
            assert answer.status in {200, 503}
        for path in ("/sign-in", "/healthz", "/signed-out"):
            asked = [timed(partial(fresh.caller().get, path)) for _ in range(3)]
            assert [answer.status for answer, _ in asked] == [200] * 3, path
            assert min(spent for _, spent in asked) < 1, path  # the quickest: other tests run beside
        ready = fresh.caller().get("/readyz")
        assert ready.status == 503
        assert "token" in ready.text
        opened = claire.content(document)
        assert opened.status in {200, 503}
        assert opened.status == 503 or opened.body == content
    finally:
        away.rename(token)
    began = time.monotonic()
    while (again := reception.upload(one, pdf())).status != 201:
        assert time.monotonic() - began < 10, again.body
        time.sleep(0.3)
    assert claire.content(document).body == content
    assert fresh.is_ready()
    assert fresh.verified("audit")["ok"]
    assert "Traceback" not in fresh.words()


def test_token_away_at_start(fresh: Instance) -> None:
    """The server starts, says what is missing, and heals when the token comes."""
    token = fresh.demo.directory / "token" / "tokens"
    away = token.with_name("away")
    token.rename(away)
    try:
        fresh.start("/healthz")
        assert fresh.caller().get("/sign-in").status == 200
        assert fresh.caller().get("/readyz").status == 503
    finally:
        away.rename(token)
    began = time.monotonic()
    while not fresh.is_ready():
        assert time.monotonic() - began < 10, fresh.words()[-2000:]
        time.sleep(0.2)
    fresh.sign_in("claire.martin")


@pytest.fixture
def small_disk(pristine: Demo, tmp_path: Path) -> Iterator[Instance]:
    """An installation on a file system of its own with little room."""
    room = tmp_path / "small"
    room.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(room)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("optional: no right to mount a file system here")
    own = Instance(room, copy(pristine, room))
    try:
        own.start("/healthz")  # so small a disk is not ready by its own judgement
        yield own
    finally:
        if own.process is not None:
            own.stop()
        subprocess.run(["umount", "-l", str(room)], check=True)


def test_disk_full(small_disk: Instance) -> None:
    """A document for which there is no room: 507, nothing left; once there is room, all goes on by itself."""
    reception = small_disk.sign_in("sophie.garnier")
    patient = patients(reception)[0]
    first = pdf()
    filed = reception.upload(patient, first)
    assert filed.status == 201
    blobs = set(small_disk.blobs())
    for size in (20_000_000, 11_000_000):
        refused = reception.upload(patient, pdf(size))
        assert (refused.status, refused.code) == (507, "storage_full"), refused.body
        assert set(small_disk.blobs()) == blobs
    chunked = reception.upload(patient, iter([b"%PDF-1.7\n", *[secrets.token_bytes(1_000_000)] * 15]))
    assert (chunked.status, chunked.code) == (507, "storage_full"), chunked.body
    assert set(small_disk.blobs()) == blobs
    ballast = small_disk.room / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    full = reception.upload(patient, pdf(200_000))
    assert full.status in {503, 507}, full.body
    ballast.unlink()
    began = time.monotonic()
    while reception.upload(patient, pdf(5000)).status != 201:
        assert time.monotonic() - began < 10
        time.sleep(0.3)
    assert reception.content(filed.json["id"]).body == first
    assert small_disk.verified("audit")["ok"]
    assert small_disk.verified("documents")["ok"]


def test_no_log_no_access(fresh: Instance) -> None:
    """While nothing can be written to the log, nothing opens; bytes that were opened before don't change that."""
    fresh.start()
    reception, claire = fresh.sign_in("sophie.garnier"), fresh.sign_in("claire.martin")
    patient = patients(reception)[0]
    content = pdf()
    document = reception.upload(patient, content).json["id"]
    before = fresh.count("documents")
    with closing(sqlite3.connect(fresh.demo.directory / "coffre.db", isolation_level=None, timeout=30)) as saboteur:
        saboteur.execute("CREATE TRIGGER sabotage BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'no'); END")
        opened = claire.content(document)
        assert opened.status == 503, opened.body
        assert opened.code in {"log_unavailable", "storage_unavailable"}
        assert claire.get(f"/documents/{document}/pages/1").status == 503
        refused = reception.upload(patient, pdf())
        assert refused.status == 503
        assert fresh.count("documents") == before
        credentials = fresh.account("karim.benali")
        code = credentials.recovery_codes[0]
        tried = fresh.caller().post_json(
            "/api/v1/sessions", {"username": credentials.username, "password": credentials.password, "code": code}
        )
        assert tried.status == 503
        saboteur.execute("DROP TRIGGER sabotage")
    assert claire.content(document).body == content
    assert fresh.verified("audit")["ok"]


def test_database_locked_by_somebody_else(fresh: Instance) -> None:
    """Somebody holds the database: a 503 in time, reading goes on where it needs no event, and writing comes back."""
    fresh.start()
    reception = fresh.sign_in("sophie.garnier")
    patient = patients(reception)[0]
    with closing(sqlite3.connect(fresh.demo.directory / "coffre.db", isolation_level=None, timeout=30)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        answer, spent = timed(lambda: reception.upload(patient, pdf()))
        assert answer.status == 503
        assert spent < 20
        assert fresh.caller().get("/sign-in").status == 200
        holder.execute("ROLLBACK")
    assert reception.upload(patient, pdf()).status == 201


@pytest.mark.skipif(os.geteuid() == 0, reason="optional: root writes everywhere")
def test_read_only_blobs(fresh: Instance) -> None:
    fresh.start()
    reception = fresh.sign_in("sophie.garnier")
    patient = patients(reception)[0]
    blobs = fresh.demo.directory / "blobs"
    for path in (blobs, *blobs.rglob("*")):
        if path.is_dir():
            path.chmod(0o500)
    refused = reception.upload(patient, pdf())
    assert refused.status in {503, 507}


def test_blob_directory_gone(fresh: Instance) -> None:
    """The store is not mounted: nothing is invented in its place."""
    fresh.start()
    reception = fresh.sign_in("sophie.garnier")
    patient = patients(reception)[0]
    document = reception.upload(patient, pdf()).json["id"]
    blobs = fresh.demo.directory / "blobs"
    shutil.move(blobs, blobs.with_name("elsewhere"))
    refused = reception.upload(patient, pdf())
    assert refused.status in {503, 507}, refused.body
    assert reception.content(document).status in {500, 503}
    if blobs.exists():
        shutil.rmtree(blobs)
    shutil.move(blobs.with_name("elsewhere"), blobs)
    assert reception.upload(patient, pdf()).status == 201
    assert reception.content(document).status == 200
