"""Everybody sends at once: each gets an answer, memory stays bounded, and what was refused leaves nothing."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.caller import Answer, Caller
from tests.attacks.instance import Instance

pytestmark = [pytest.mark.hsm, pytest.mark.alone, pytest.mark.timeout(170)]

SENDERS = 50
BLOCK = secrets.token_bytes(1_000_000)
BLOCKS = 25
MORE_MIB = 256
"""What 16 deposits at once (`[limits] uploads`) and their waiting neighbours may add: docs/operations.md names it."""


def sent_by(number: int) -> Iterator[bytes]:
    """25 MB that nobody else sends, without keeping them all in memory."""
    yield b"%PDF-1.7\n%" + str(number).encode() + b"\n"
    for _ in range(BLOCKS):
        yield BLOCK


def size_of(number: int) -> int:
    return BLOCKS * len(BLOCK) + len(b"%PDF-1.7\n%\n") + len(str(number))


def digest_of(number: int) -> str:
    digest = hashlib.sha256()
    for piece in sent_by(number):
        digest.update(piece)
    return digest.hexdigest()


def resident_mib(own: Instance, what: str = "VmRSS") -> int:
    """Of all its processes together; ``VmHWM`` is the most there ever was."""
    total = 0
    for pid in own.pids():
        status = Path(f"/proc/{pid}/status").read_text()
        total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what))
    return total // 1024


def test_fifty_uploads_at_once(fresh: Instance) -> None:
    fresh.start()
    claire = fresh.sign_in("claire.martin")
    patient = claire.new_patient("Foule")
    assert claire.upload(patient, b"".join(sent_by(1000))).status == 201  # everything is loaded once
    idle, answers = resident_mib(fresh), dict[int, Answer]()
    start = threading.Barrier(SENDERS)

    def send(number: int) -> None:
        start.wait()
        answers[number] = claire.upload(patient, sent_by(number), headers={"Content-Length": str(size_of(number))})

    threads = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Counter(answer.status for answer in answers.values())
    most = resident_mib(fresh, "VmHWM")
    print(f"{SENDERS} at once: {dict(counts)}; resident {idle} MiB before, {most} MiB at most")  # noqa: T201  # the figures are the proof
    assert set(counts) <= {201, 429, 503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers.values() if answer.status != 201)
    assert most - idle < MORE_MIB
    filed = {document["sha256"] for document in claire.documents(patient)}
    assert filed == {digest_of(number) for number, answer in answers.items() if answer.status == 201} | {digest_of(1000)}
    assert len(fresh.blobs()) == fresh.count("document_versions")
    assert [path for path in (fresh.room / "tmp").rglob("*") if path.is_file()] == []
    assert fresh.verified("documents")["ok"]


def test_of_the_same_document_sent_many_times_at_once_one_is_filed(fresh: Instance) -> None:
    fresh.start()
    claire = fresh.sign_in("claire.martin")
    patient, before = claire.new_patient("Jumelle"), fresh.kept()
    content = b"".join(sent_by(1))[:300_000]
    answers: list[Answer] = []
    start = threading.Barrier(8)

    def send() -> None:
        start.wait()
        answers.append(Caller(fresh.port, claire.token).upload(patient, content))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    winner = next(answer for answer in answers if answer.status == 201).json["id"]
    assert {answer.json["document"] for answer in answers if answer.status == 409} == {winner}
    assert len(fresh.blobs()) == len(before["blobs"]) + 1  # type: ignore[arg-type]  # a set of names
