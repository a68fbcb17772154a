"""Nothing acknowledged is ever lost: the writer killed under load, and a long random story against a model."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymerkle import InmemoryTree

from tests.conftest import Clock
from tests.kms.fake import FakeKeyService
from tests.vault.audit.conftest import Rig, document, open_rig, patient, person
from vault.audit import tiles
from vault.audit.append import Transaction
from vault.audit.events import Action, Event, Note, Outcome, Subject
from vault.audit.export import Export
from vault.audit.reading import Reader, Record
from vault.audit.search import Filters
from vault.errors import Forbidden
from vault.settings import DatabaseSettings

KILLS = int(os.environ.get("COFFRE_KILLS", "8"))
"""``make kills`` asks for a thousand on each database."""


def read(rig: Rig) -> list[Record]:
    reader = Reader(rig.log)
    return [record for page in reader.scan(0, 10**9) for record in reader.open(page)]


@dataclass
class Tally:
    """What a series of kills left behind."""

    kills: int
    acknowledged: int
    stored: int
    lost: int
    gaps: int
    duplicates: int


def kill_writers(place: Path, settings: DatabaseSettings) -> dict[int, str]:
    """KILLS writers, each killed after a random while under load; gives what they acknowledged, no position twice."""
    dice = random.Random(20260921)
    command = [sys.executable, "-m", "tests.vault.audit.writer", str(place), settings.url, settings.keyring_url]
    command.append(str(settings.password_file or ""))
    acknowledged: dict[int, str] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        for number in range(KILLS):
            nursery.stdin.write(f"{number}\n")
            process, said = int(nursery.stdout.readline()), place / f"said-{number}"
            begun = time.monotonic()
            while time.monotonic() - begun < 60 and not (said.exists() and said.stat().st_size):
                time.sleep(0.001)
            time.sleep(dice.uniform(0, 0.1))
            os.kill(process, signal.SIGKILL)
            assert nursery.stdout.readline() == "gone\n"
            for line in said.read_text().splitlines(keepends=True):
                assert line.endswith("\n"), "one write each"
                position, event = line.split()
                assert int(position) not in acknowledged, f"position {position} was given twice"
                acknowledged[int(position)] = event
        nursery.stdin.close()
    return acknowledged


@pytest.mark.alone
@pytest.mark.timeout(60 + 10 * KILLS)
def test_a_killed_writer_loses_nothing_that_it_acknowledged(
    databases: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_rig(tmp_path, Clock(), FakeKeyService(), databases).close()
    acknowledged = kill_writers(tmp_path, databases)
    rig = open_rig(tmp_path, Clock(), FakeKeyService(), databases)
    stored = {record.position: record.id for record in read(rig)}
    tally = Tally(
        kills=KILLS,
        acknowledged=len(acknowledged),
        stored=len(stored),
        lost=sum(stored.get(position) != event for position, event in acknowledged.items()),
        gaps=max(stored) + 1 - len(stored),
        duplicates=len(stored) - len(set(stored.values())),
    )
    with capsys.disabled():
        sys.stderr.write(f"\n{rig.db.engine.dialect.name}: {tally}\n")
    assert (tally.lost, tally.gaps, tally.duplicates) == (0, 0, 0)
    assert tally.acknowledged > KILLS
    assert rig.auditing.verify(rig.auditor()).is_whole
    rig.close()


def test_a_long_random_story_equals_its_export(rig: Rig) -> None:
    """2,000 actions, some refused, some undone: the export holds those that happened, and an independent tree agrees."""
    dice = random.Random(7)
    model: list[tuple[Any, ...]] = [(Action.LOG_GENESIS, Outcome.SUCCESS, "log", None, None)]

    def event() -> Event:
        action = dice.choice([Action.DOCUMENT_VIEW, Action.DOCUMENT_UPLOAD, Action.PATIENT_VIEW, Action.ACCESS_DENIED])
        outcome = Outcome.DENIED if action is Action.ACCESS_DENIED else dice.choice([Outcome.GRANTED, Outcome.SUCCESS])
        subject = Subject(patient=patient(dice.randrange(30)), document=document(dice.randrange(200)))
        return Event(action, outcome, person(dice.randrange(8)), subject, Note(count=dice.randrange(1_000)))

    def expect(made: Event) -> None:
        assert made.subject.document is not None
        known.update([made.subject.patient] if made.outcome is not Outcome.DENIED else [])
        is_known = made.subject.patient in known
        who = getattr(made.by, "person", "")
        model.append((made.action, made.outcome, who, made.subject.patient if is_known else None, made.subject.document))

    known: set[Any] = set()
    done = 0
    while done < 2_000:
        match dice.randrange(10):
            case 0:
                undone = event()

                def fail(tx: Transaction, made: Event = undone) -> None:
                    tx.record(made)
                    raise Forbidden("undone")

                with pytest.raises(Forbidden):
                    rig.log.transact(fail)
                known.update([undone.subject.patient] if undone.outcome is not Outcome.DENIED else [])
                done += 1
            case 1:
                several = [event() for _ in range(dice.randrange(2, 30))]
                for each in several:
                    expect(each)
                rig.log.record_all(several)
                done += len(several)
            case _:
                one = event()
                expect(one)
                rig.log.record(one)
                done += 1
    receipt = rig.log.record(Event(Action.AUDIT_EXPORT, Outcome.SUCCESS, rig.auditor()))
    records = [record for page in Export(rig.log, Filters(), receipt, {}).records() for record in page]
    found = [
        (each.action, each.outcome, (each.actor or {})["ref"], each.patient, (each.subject or {}).get("document"))
        for each in records
    ]
    assert found[:-1] == model
    independent = InmemoryTree(algorithm="sha256")
    for record in records:
        independent.append_entry(record.leaf)
    with rig.db.read() as connection:
        assert tiles.frontier(connection, len(records)).root() == independent.get_root()
