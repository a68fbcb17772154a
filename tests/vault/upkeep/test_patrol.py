"""The check that never ends: every stored body within so many days, by one process at a time, and every finding told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.servers.scanner import OddScanner
from tests.vault.records.desk import Desk, open_desk, scan
from tests.vault.records.tray import renderer as renderer  # noqa: PLC0414  # the fixture, by its own name
from tests.vault.records.ward import HIT, document_of, open_ward
from vault.audit.events import Action
from vault.errors import LogUnavailable, StorageUnavailable
from vault.model import BlobId, Document
from vault.rendering.renderer import Renderer
from vault.settings import ScanSettings
from vault.storage.blobs import BlobReader, DiskBlobs
from vault.upkeep.patrol import HOLD_US, LATE, PAGE, Patrol, Watch, watch
from vault.upkeep.whereabouts import whereabouts

DAYS = 10


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with open_desk(tmp_path, clock) as desk:
        yield desk


class Looked(DiskBlobs):
    """The same blobs; remembers what was opened."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[str] = []
        self.is_away = False

    def open(self, blob: BlobId, *, is_cold: bool = False) -> BlobReader:
        if self.is_away:
            raise StorageUnavailable("away")
        self.opened.append(blob)
        return super().open(blob, is_cold=is_cold)


@pytest.fixture
def blobs(desk: Desk) -> Looked:
    return Looked(desk.directory / "blobs")


def patrol(desk: Desk, blobs: DiskBlobs, **choices: object) -> Patrol:
    return Patrol(desk.documents.rooms, blobs, days=DAYS, pause=lambda _: None, **choices)  # type: ignore[arg-type]  # as asked


def state(desk: Desk) -> Watch:
    return watch(desk.documents.rooms, DAYS)


def deposit(desk: Desk, count: int) -> list[Document]:
    return [desk.deposit(data=scan(2_000, seed=seed)) for seed in range(count)]


def test_everything_is_seen_within_the_days_and_nothing_twice(desk: Desk, blobs: Looked) -> None:
    deposit(desk, 50)
    patrol_ = patrol(desk, blobs)
    patrol_.turn()
    assert blobs.opened == []
    seen = []
    for _ in range(DAYS):
        desk.clock.advance(days=1)
        patrol_.turn()
        seen.append(len(blobs.opened))
    assert seen == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]
    assert len(set(blobs.opened)) == 50
    assert (state(desk).ended_at, state(desk).checked, state(desk).findings) == (desk.clock.now, 0, ())
    assert desk.told()[-1] == ("document.integrity_check", "success")
    desk.clock.advance(days=DAYS)
    patrol_.turn()
    assert len(blobs.opened) == 100


def test_a_server_that_was_away_catches_up(desk: Desk, blobs: Looked) -> None:
    deposit(desk, PAGE * 2 + 3)
    patrol(desk, blobs).turn()
    desk.clock.advance(days=3 * DAYS)
    assert state(desk).is_late
    assert patrol(desk, blobs).turn() == PAGE * 2 + 3
    assert not state(desk).is_late
    assert LATE < 3


def test_two_processes_take_turns_and_a_dead_one_is_followed(desk: Desk, blobs: Looked) -> None:
    deposit(desk, 20)
    one, other = patrol(desk, blobs), patrol(desk, blobs)
    one.turn()
    for _ in range(5):
        desk.clock.advance(seconds=600)
        assert other.turn() == 0
        one.turn()
    desk.clock.advance(days=DAYS / 2)
    assert other.turn() > 0  # the first one says nothing any more
    assert one.turn() == 0
    before = len(blobs.opened)
    desk.clock.advance(seconds=HOLD_US / 1e6 - 1)
    assert one.turn() == 0
    assert len(set(blobs.opened)) == len(blobs.opened) == before


def test_what_is_wrong_is_an_event_and_stays_in_sight(desk: Desk, blobs: Looked) -> None:
    filed = deposit(desk, 6)
    os.truncate(desk.blob_path(filed[2].id), 100)
    desk.blob_path(filed[4].id).unlink()
    patrol(desk, blobs).turn()
    desk.clock.advance(days=DAYS)
    patrol(desk, blobs).turn()
    found = {(each.document, each.kind.value) for each in state(desk).findings}
    assert found == {(filed[2].id, "cut"), (filed[4].id, "missing")}
    assert not state(desk).ok
    failures = [record for record in desk.log() if record.action is Action.DOCUMENT_INTEGRITY_FAILURE]
    assert {(record.subject or {}).get("document") for record in failures} == {filed[2].id, filed[4].id}
    assert desk.told()[-1] == ("document.integrity_check", "failed")
    desk.execute("DELETE FROM document_versions WHERE document = ?", filed[4].id)  # as an erasure would
    desk.clock.advance(days=DAYS)
    patrol(desk, blobs).turn()
    assert [each.document for each in state(desk).findings] == [filed[2].id]


def test_what_was_destroyed_is_out_of_sight(tmp_path: Path, clock: Clock, renderer: Renderer) -> None:
    """A damaged file in quarantine is named until it is destroyed there, not until the next round ends."""
    with (
        OddScanner(tmp_path / "s", reply=HIT) as scanner,
        open_ward(tmp_path, clock, renderer, ScanSettings(scanner.path)) as ward,
    ):
        desk, file = ward.desk, document_of(ward.send(scan()))
        desk.blob_path(file).chmod(0o600)
        desk.blob_path(file).write_bytes(b"wrong")
        clock.advance(seconds=DAYS * 86_400)
        rounds = patrol(desk, desk.blobs)
        rounds.turn()
        clock.advance(seconds=DAYS * 86_400)
        rounds.turn()
        assert [(each.document, each.kind) for each in state(desk).findings] == [(file, "cut")]
        with desk.documents.rooms.db.read() as connection:
            assert whereabouts(connection, state(desk).findings) == {(file, 1): "quarantined"}
        ward.quarantine.discard(ward.owner, file)
        assert state(desk).findings == ()
        assert state(desk).ok


def test_a_good_copy_is_put_back_and_told(desk: Desk, blobs: Looked, tmp_path: Path) -> None:
    filed = deposit(desk, 3)
    shutil.copytree(desk.directory / "blobs", tmp_path / "replica")
    path = desk.blob_path(filed[1].id)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    replica = DiskBlobs(tmp_path / "replica")
    patrol(desk, blobs, replica=replica).turn()
    desk.clock.advance(days=DAYS)
    patrol(desk, blobs, replica=replica).turn()
    assert path.read_bytes() == whole
    assert state(desk).ok
    assert [each for each in desk.told() if each[0].startswith("document.integrity")] == [
        ("document.integrity_failure", "failed"), ("document.integrity_check", "success"),  # found, repaired
        ("document.integrity_check", "success"),  # the round
    ]  # fmt: skip


def test_a_store_or_a_log_that_is_away_blames_no_document(desk: Desk, blobs: Looked) -> None:
    filed = deposit(desk, 4)
    patrol(desk, blobs).turn()
    desk.clock.advance(days=DAYS)
    blobs.is_away = True
    with pytest.raises(StorageUnavailable):
        patrol(desk, blobs).turn()
    blobs.is_away = False
    desk.blob_path(filed[0].id).unlink()
    desk.execute("CREATE TRIGGER sabotage BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'no'); END")
    desk.clock.advance(seconds=HOLD_US / 1e6 + 1)
    with pytest.raises((LogUnavailable, StorageUnavailable)):
        patrol(desk, blobs).turn()
    assert state(desk).findings == ()
    desk.execute("DROP TRIGGER sabotage")
    desk.clock.advance(seconds=HOLD_US / 1e6 + 1)
    assert patrol(desk, blobs).turn() == 4
    assert [each.document for each in state(desk).findings] == [filed[0].id]


def test_it_starts_and_stops_with_the_server(desk: Desk, blobs: Looked) -> None:
    for days in (0, DAYS):
        one = Patrol(desk.documents.rooms, blobs, days=days)
        one.start(lambda error: pytest.fail(str(error)))
        one.stop()
        one.stop()


def test_what_crashes_left_of_uploads_goes_after_a_day(desk: Desk, blobs: Looked) -> None:
    old, young = (desk.directory / "blobs" / fan / f"{fan * 16}.part" for fan in ("aa", "bb"))
    oldest = desk.directory / "blobs" / "tmp" / ("c" * 32)  # where an older version left it
    for path, hours in ((old, 30), (young, 3), (oldest, 30)):
        path.parent.mkdir()
        path.write_bytes(b"half")
        at = desk.clock.now / 1_000_000 - hours * 3600
        os.utime(path, (at, at))
    one = patrol(desk, blobs)
    one.turn()
    assert [path.exists() for path in (old, young, oldest)] == [False, True, False]
    desk.clock.advance(days=1)
    one.turn()
    assert not young.exists()


def test_an_empty_vault_is_well(desk: Desk, blobs: Looked) -> None:
    assert state(desk) == Watch(DAYS, 0, 0, (), None, None, is_late=False)
    patrol(desk, blobs).turn()
    desk.clock.advance(days=5 * DAYS)
    assert state(desk).ok
    patrol(desk, blobs).turn()
    assert state(desk).ok
