from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.vault.records.desk import Desk, open_desk, scan
from vault.audit.append import Receipt
from vault.audit.events import Action, Event, Outcome, Subject, System
from vault.errors import KeysUnavailable, LogUnavailable
from vault.model import Document
from vault.records.documents import catalogue
from vault.storage.blobs import DiskBlobs
from vault.upkeep.scrub import Report, Scrub
from vault.upkeep.sweep import Sweep


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with open_desk(tmp_path, clock) as desk:
        yield desk


def scrub(desk: Desk, **choices: object) -> Report:
    return Scrub(desk.documents.rooms, desk.blobs, by=System("scrub")).run(**choices)  # type: ignore[arg-type]  # as asked


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def swap(desk: Desk, one: Document, other: Document) -> None:
    first, second = desk.blob_path(one.id), desk.blob_path(other.id)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def replace_by(make: Callable[[Path], None]) -> Callable[[Desk, Document], None]:
    def spoil(desk: Desk, filed: Document) -> None:
        path = desk.blob_path(filed.id)
        path.unlink()
        make(path)

    return spoil


OUTSIDE: dict[str, tuple[str, Callable[[Desk, Document], None]]] = {
    "missing": ("missing", lambda desk, filed: desk.blob_path(filed.id).unlink()),
    "fifo": ("not_a_file", replace_by(os.mkfifo)),
    "link": ("not_a_file", replace_by(lambda path: path.symlink_to("/dev/zero"))),
    "cut": ("cut", lambda desk, filed: os.truncate(desk.blob_path(filed.id), 1000)),
    "extended": ("extended", lambda desk, filed: os.truncate(desk.blob_path(filed.id), 10_000_000)),
    "flipped in the body": ("flipped", lambda desk, filed: flip(desk.blob_path(filed.id), 5_000)),
    "flipped tag": ("flipped", lambda desk, filed: flip(desk.blob_path(filed.id), -1)),
    "flipped magic": ("foreign", lambda desk, filed: flip(desk.blob_path(filed.id), 0)),
    "flipped tenant": ("foreign", lambda desk, filed: flip(desk.blob_path(filed.id), 20)),
    "flipped blob id": ("swapped", lambda desk, filed: flip(desk.blob_path(filed.id), 40)),
    "flipped digest in the row": (
        "flipped",
        lambda desk, filed: desk.execute(
            "UPDATE document_versions SET sealed_sha256 = zeroblob(32) WHERE document = ?", filed.id
        ),
    ),
}


def refill(desk: Desk, filed: Document, column: str) -> None:
    """Take a column from another document of the same patient."""
    other = desk.deposit(data=scan(seed=77))
    value = desk.row(other.id)[column]
    desk.execute(f"UPDATE document_versions SET {column} = ? WHERE document = ?", value, filed.id)


INSIDE: dict[str, tuple[str, Callable[[Desk, Document], None]]] = {
    "description of another": ("description", lambda desk, filed: refill(desk, filed, "description_sealed")),
    "data key of another": ("key", lambda desk, filed: refill(desk, filed, "data_key_sealed")),
    "moved to another patient": (
        "description",
        lambda desk, filed: desk.execute("UPDATE documents SET patient = ? WHERE id = ?", desk.other_patient, filed.id),
    ),
    "wrapped scope keys swapped": ("key", lambda desk, _filed: desk.swap_scopes(desk.patient, desk.other_patient)),
    "scope key lost": ("key", lambda desk, _filed: desk.erase_scope(desk.patient)),
    "older version called current": (
        "version",
        lambda desk, filed: desk.execute("UPDATE documents SET version = 0 WHERE id = ?", filed.id),
    ),
}


def test_a_sound_vault_is_sound(desk: Desk) -> None:
    for seed in range(3):
        desk.deposit(data=scan(seed=seed))
    for is_keyless in (True, False):
        report = scrub(desk, is_keyless=is_keyless)
        assert (report.checked, report.findings, report.unreferenced) == (3, (), 0)
    assert desk.told()[-4:] == [("document.integrity_check", "granted"), ("document.integrity_check", "success")] * 2


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("is_keyless", [True, False])
def test_what_shows_without_keys(desk: Desk, name: str, *, is_keyless: bool) -> None:
    kind, spoil = OUTSIDE[name]
    filed, sound = desk.deposit(), desk.deposit(data=scan(seed=2))
    spoil(desk, filed)
    desk.house.keys.break_down() if is_keyless else None
    report = scrub(desk, is_keyless=is_keyless)
    assert [(f.document, f.kind) for f in report.findings] == [(filed.id, kind)]
    assert report.checked == 2
    failures = [record for record in desk.log() if record.action is Action.DOCUMENT_INTEGRITY_FAILURE]
    assert [(record.subject or {}).get("document") for record in failures] == [filed.id]
    assert (failures[0].note or {}).get("code") == kind
    assert sound.id not in {f.document for f in report.findings}


@pytest.mark.parametrize("name", INSIDE)
def test_what_shows_only_with_keys(desk: Desk, name: str) -> None:
    kind, spoil = INSIDE[name]
    filed = desk.deposit()
    spoil(desk, filed)
    desk.house.people.roster.scopes.forget(desk.scope())
    assert scrub(desk, is_keyless=True).findings == ()
    assert (filed.id, kind) in [(f.document, f.kind) for f in scrub(desk).findings]


def test_swapped_blobs_are_named(desk: Desk) -> None:
    one, other = desk.deposit(data=scan(seed=1)), desk.deposit(data=scan(seed=2))
    swap(desk, one, other)
    report = scrub(desk, is_keyless=True)
    assert {(f.document, f.kind.value) for f in report.findings} == {(one.id, "swapped"), (other.id, "swapped")}


def test_a_token_that_is_away_stops_the_check_and_blames_no_document(desk: Desk) -> None:
    desk.deposit()
    desk.house.people.roster.scopes.forget(desk.scope())
    desk.house.keys.break_down()
    with pytest.raises(KeysUnavailable):
        scrub(desk)
    desk.house.keys.repair()
    assert scrub(desk).findings == ()


class Interrupted(Exception):
    """The operator pressed Ctrl-C."""


def test_an_interrupted_check_goes_on_and_keeps_what_it_found(desk: Desk) -> None:
    documents = sorted((desk.deposit(data=scan(5_000, seed=seed)) for seed in range(6)), key=lambda filed: filed.id)
    desk.blob_path(documents[0].id).unlink()
    looked = 0

    def stop_at_four(count: int) -> None:
        nonlocal looked
        looked += count
        if looked == 4:
            raise Interrupted

    ticks = iter(range(0, 1000, 10))
    with pytest.raises(Interrupted):
        Scrub(desk.documents.rooms, desk.blobs, by=System("scrub"), monotonic=lambda: next(ticks)).run(advance=stop_at_four)
    report = scrub(desk)
    assert (report.is_resumed, report.checked) == (True, 6)
    assert [f.document for f in report.findings] == [documents[0].id]
    failures = [record for record in desk.log() if record.action is Action.DOCUMENT_INTEGRITY_FAILURE]
    assert len(failures) == 1
    assert not scrub(desk).is_resumed


def test_a_check_starts_anew_when_told_or_after_a_day(desk: Desk) -> None:
    for seed in range(3):
        desk.deposit(data=scan(5_000, seed=seed))

    def interrupt() -> None:
        ticks = iter(range(0, 1000, 10))
        counts = iter([0, 0, 0, 1])

        def stop(_count: int) -> None:
            if next(counts):
                raise Interrupted

        with pytest.raises(Interrupted):
            Scrub(desk.documents.rooms, desk.blobs, by=System("scrub"), monotonic=lambda: next(ticks)).run(advance=stop)

    interrupt()
    assert not scrub(desk, is_anew=True).is_resumed
    interrupt()
    desk.clock.advance(days=1, seconds=1)
    assert not scrub(desk).is_resumed
    interrupt()
    assert not scrub(desk, is_keyless=True).is_resumed


def test_a_pace_is_kept(desk: Desk) -> None:
    for seed in range(4):
        desk.deposit(data=scan(1_000_000, seed=seed))
    slept: list[float] = []
    Scrub(desk.documents.rooms, desk.blobs, by=System("scrub"), monotonic=lambda: 0.0, sleep=slept.append).run(rate_mib=2)
    assert slept == pytest.approx([0.48, 0.95, 1.43, 1.91], abs=0.01)


def test_good_bodies_come_back_from_a_replica(desk: Desk, tmp_path: Path) -> None:
    documents = [desk.deposit(data=scan(seed=seed)) for seed in range(4)]
    shutil.copytree(desk.directory / "blobs", tmp_path / "replica")
    desk.blob_path(documents[0].id).unlink()
    flip(desk.blob_path(documents[1].id), 3_000)
    flip(desk.blob_path(documents[2].id), 3_000)
    flip(tmp_path / "replica" / desk.blob_path(documents[2].id).relative_to(desk.directory / "blobs"), 9)
    replica = DiskBlobs(tmp_path / "replica")
    report = Scrub(desk.documents.rooms, desk.blobs, by=System("scrub"), replica=replica).run()
    assert {f.document for f in report.repaired} == {documents[0].id, documents[1].id}
    assert [f.document for f in report.findings] == [documents[2].id]
    assert {f.document for f in scrub(desk).findings} == {documents[2].id}


def test_a_check_can_not_be_used_to_read(desk: Desk) -> None:
    """The digest wants a receipt of a check; the receipt of a check opens no document."""
    filed = desk.deposit()
    rooms = desk.documents.rooms
    with desk.house.db.read() as connection:
        stored = catalogue.stored_version(connection, filed.id)

    def receipt(action: Action, outcome: Outcome) -> Receipt:
        return desk.house.log.record(Event(action, outcome, System("x"), Subject(desk.patient, filed.id, 1)))

    for action, outcome in (
        (Action.DOCUMENT_VIEW, Outcome.GRANTED),
        (Action.DOCUMENT_INTEGRITY_CHECK, Outcome.SUCCESS),
    ):
        with pytest.raises(LogUnavailable):
            rooms.bodies.digest(receipt(action, outcome), stored)
    check = desk.house.log.record(Event(Action.DOCUMENT_INTEGRITY_CHECK, Outcome.GRANTED, System("x")))
    with pytest.raises(LogUnavailable):
        rooms.bodies.open(check, stored)


def test_the_sweep_takes_orphans_and_nothing_else(desk: Desk) -> None:
    filed = desk.deposit()
    blobs = desk.directory / "blobs"
    young, old = blobs / "aa" / ("a" * 32), blobs / "ab" / ("ab" * 16)
    half, fresh = blobs / "cc" / f"{'c' * 32}.part", blobs / "dd" / f"{'d' * 32}.part"
    for path in (young, old, half, fresh):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 10)
        now = desk.clock.now / 1_000_000
        age = {young: 3 * 86_400, old: 41 * 86_400, half: 2 * 86_400, fresh: 3_600}[path]
        os.utime(path, (now - age, now - age))
    os.utime(desk.blob_path(filed.id), (0, 0))
    assert scrub(desk).unreferenced == 2
    sweep = Sweep(desk.documents.rooms, desk.blobs, by=System("sweep"))
    found = sweep.run(grace_days=40, is_rehearsal=True)
    assert (found.orphans, found.leftovers, found.bytes) == (1, 1, 20)
    assert old.exists()
    sweep.run(grace_days=40)
    assert [path.exists() for path in (young, old, half, fresh, desk.blob_path(filed.id))] == [True, False, False, True, True]
    assert scrub(desk).findings == ()
