"""kill -9 at each system call of setting an infected body apart, and of letting one out: apart, let out, or never arrived."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from socket import socket
from typing import BinaryIO

import pytest
from sqlalchemy import select

from tests.servers.scanner import OddScanner
from tests.vault.records.crash import CLINICIAN, OWNER, PATIENT, RECEPTION, Standing, look, paper, standing
from tests.vault.records.documents.test_crash import EVERY, ROUNDS, Call, child, trace
from tests.vault.records.ward import HIT
from vault.audit.events import Action, System
from vault.audit.reading import Reader
from vault.errors import NotFound, Quarantined
from vault.model import DocumentId
from vault.people.notices import Notice
from vault.storage.schema import notices
from vault.upkeep.scrub import Scrub
from vault.upkeep.sweep import Sweep

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

CLEAN = b"stream: OK\0"
WITHIN = ("write", "fsync", "pwrite64", "fdatasync", "rename")
TWO = 2


class SteadyScanner(OddScanner):
    """Goes on where a client was killed in the middle of a word."""

    def _talk(self, connection: socket, stream: BinaryIO) -> None:
        self.was_ended = False
        self.received.clear()
        with suppress(OSError, AssertionError):  # it hung up, perhaps before its first word
            super()._talk(connection, stream)


@pytest.fixture
def scanner(tmp_path: Path) -> Iterator[SteadyScanner]:
    with SteadyScanner(tmp_path / "s", reply=HIT) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty vault in a directory of its own."""
    made = tmp_path / "vault"
    made.mkdir()
    with standing(made):
        pass
    return made


def points(calls: list[Call]) -> dict[str, tuple[str, int]]:
    """Where to strike, by a name for the point: every distinct (call, count), or the first and last of the decisive calls."""
    found = sorted({(call.name, call.nth) for call in calls if call.is_target})
    if EVERY:
        return {f"{name} {nth}": (name, nth) for name, nth in found}
    chosen: dict[str, tuple[str, int]] = {}
    for name in (*WITHIN, "unlink"):
        mine = [point for point in found if point[0] == name]
        chosen |= {f"{which} {name}": mine[at] for which, at in (("first", 0), ("last", -1)) if mine}
    return chosen


@dataclass(frozen=True)
class Seen:
    """What a look after a restart saw."""

    apart: set[str]
    waiting: set[str]
    filed: set[str]
    told_apart: set[str]
    told_out: set[str]
    orphans: int
    """Bodies that no row names, and uploads that never ended."""


def told_in(vault: Standing, action: Action) -> set[str]:
    """The documents of which the log tells this, durable and done."""
    reader = Reader(vault.log)
    records = (record for page in reader.scan(0, 1 << 30) for record in reader.open(page))
    return {
        str((record.subject or {}).get("document"))
        for record in records
        if record.action is action and record.outcome.value == "success"
    }


def assert_sealed_off(vault: Standing, apart: set[str]) -> None:
    """No way of opening or filing a document knows what is set apart."""
    for name in apart:
        file = DocumentId(name)
        with pytest.raises(NotFound), vault.documents.open(CLINICIAN, file, Action.DOCUMENT_DOWNLOAD):
            pass
        with pytest.raises(NotFound):
            vault.inbox.file(RECEPTION, file, PATIENT, type="11502-2", act_date=None)


def seen_at(place: Path) -> Seen:
    """Open the vault anew, as after a restart: every row has its body, which opens to what was received."""
    with standing(place) as vault:
        report = Scrub(vault.documents.rooms, vault.blobs, by=System("test")).run()
        assert report.findings == ()
        apart = {str(file.id) for file in vault.quarantine.list(OWNER).items}
        assert_sealed_off(vault, set(sorted(apart)[:2]))
        with vault.db.read() as connection:
            mailed = list(connection.execute(select(notices.c.kind).where(notices.c.person == OWNER.person)).scalars())
        told = told_in(vault, Action.DOCUMENT_QUARANTINE)
        assert mailed == [Notice.QUARANTINED] * bool(told), "the notice comes and goes with the row"
        return Seen(
            apart,
            {str(draft.id) for draft in vault.inbox.list(RECEPTION).items},
            {str(document.id) for document in vault.documents.list(CLINICIAN, PATIENT).items},
            told,
            told_in(vault, Action.DOCUMENT_RELEASE),
            sum(1 for _ in vault.blobs.list()) - report.checked + sum(1 for _ in vault.blobs.leftovers()),
        )


def said(output: str, word: str) -> set[str]:
    return {line.split()[1] for line in output.splitlines() if line.startswith(f"{word} ")}


def blow(name: str, nth: int) -> tuple[str, ...]:
    return ("-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={nth}", "-o", "/dev/null")


def test_killed_at_each_system_call_of_setting_apart(place: Path, scanner: SteadyScanner) -> None:
    verb, numbers = f"infect {scanner.path}", itertools.count(1)
    struck: set[str] = set()
    promised: set[str] = set()
    for _ in range(ROUNDS):
        wanted = points(trace(place, next(numbers), verb))
        promised |= seen_at(place).apart  # undisturbed, so it was acknowledged
        for point, (name, nth) in wanted.items():
            if point in struck:
                continue
            done = child(place, next(numbers), 1, *blow(name, nth), verb=verb)
            struck |= {point} if done.returncode else set()
            promised |= said(done.stdout, "APART")
            seen = seen_at(place)
            assert promised <= seen.apart, "an acknowledged one is lost"
            assert seen.apart == seen.told_apart, "a row without its event, or an event without its row"
            assert (seen.waiting, seen.filed, seen.told_out) == (set(), set(), set())
            assert seen.orphans <= len(struck)
        if is_struck_everywhere := struck >= wanted.keys():
            break
    print(f"kills {len(struck)}, acknowledged {len(promised)}, lost 0, let in 0, orphans {seen.orphans}")  # noqa: T201  # the proof
    assert is_struck_everywhere or EVERY, wanted.keys() - struck
    assert {f"first {name}" for name in WITHIN} <= struck or EVERY


def set_apart(place: Path, scanner: SteadyScanner, number: int) -> str:
    """One more file in quarantine, undisturbed."""
    scanner.reply = HIT
    with standing(place, scanner=scanner.path) as vault, pytest.raises(Quarantined) as told:
        vault.inbox.deposit(RECEPTION, file_name=f"scan-{number}.pdf", body=io.BytesIO(paper(number)))
    scanner.reply = CLEAN
    return str(told.value.details["document"])


def test_killed_at_each_system_call_of_a_release(place: Path, scanner: SteadyScanner) -> None:
    """The draft under the same id, or still in quarantine; never both, never neither, and never other bytes.

    Each child lets two files out, so that the blow falls before the first is acknowledged or after.
    """
    verb, numbers = f"release {scanner.path} {TWO}", itertools.count(1)
    struck: set[str] = set()
    out: set[str] = set()
    sent: dict[str, str] = {}

    def fill(here: int) -> None:
        for _ in range(TWO - here):
            number = next(numbers)
            sent[set_apart(place, scanner, number)] = hashlib.sha256(paper(number)).hexdigest()

    for _ in range(ROUNDS):
        fill(len(seen_at(place).apart))
        wanted = points(trace(place, 0, verb))
        seen = seen_at(place)
        out |= seen.waiting  # undisturbed, so it was acknowledged
        for point, (name, nth) in wanted.items():
            if point in struck:
                continue
            fill(len(seen.apart))
            done = child(place, 0, 1, *blow(name, nth), verb=verb)
            struck |= {point} if done.returncode else set()
            out |= said(done.stdout, "FREE")
            seen = seen_at(place)
            assert out <= seen.waiting, "an acknowledged release is lost"
            assert seen.waiting == seen.told_out, "let out without its event, or told and not let out"
            assert seen.waiting.isdisjoint(seen.apart)
            assert seen.waiting | seen.apart == sent.keys(), "half way"
            assert seen.filed == set()
            assert seen.orphans <= len(struck)
        if is_struck_everywhere := struck >= wanted.keys():
            break
    print(f"kills {len(struck)}, acknowledged {len(out)}, lost 0, half way 0, orphans {seen.orphans}")  # noqa: T201  # the proof
    assert is_struck_everywhere or EVERY, wanted.keys() - struck
    assert {f"first {name}" for name in (*WITHIN, "unlink")} <= struck or EVERY
    with standing(place) as vault:
        for draft in seen.waiting:
            vault.inbox.file(RECEPTION, DocumentId(draft), PATIENT, type="11502-2", act_date=date(2026, 9, 1))
        Sweep(vault.documents.rooms, vault.blobs, by=System("test")).run(grace_days=0)
        assert sum(1 for _ in vault.blobs.list()) == len(sent), "the sweep takes what no row names"
    assert look(place).contents == {draft: sent[draft] for draft in seen.waiting}
