"""A watched folder: a file leaves it only once it is sealed; half-written ones wait, refused ones stay in sight."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.vault.records.tray import Tray
from tests.vault.records.tray import renderer as renderer  # noqa: PLC0414  # the fixture, by its own name
from tests.vault.records.tray import tray as tray  # noqa: PLC0414  # the same
from tests.vault.rendering import papers
from vault.errors import Invalid
from vault.upkeep.scan_folder import REFUSED, SETTLED_SECONDS, ScanFolder, Taken

__all__ = ["renderer", "tray"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scans"
    made.mkdir()
    return made


@pytest.fixture
def scans(tray: Tray, folder: Path) -> ScanFolder:
    return ScanFolder(tray.inbox, tray.desk.reception, folder, settled_seconds=0)


def put(folder: Path, name: str, content: bytes, age: float = 10) -> Path:
    path = folder / name
    path.write_bytes(content)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_scans_are_sealed_in_order_and_leave(tray: Tray, folder: Path, scans: ScanFolder) -> None:
    put(folder, "second.pdf", papers.pdf(1), age=10)
    put(folder, "first.pdf", papers.pdf(2), age=20)
    taken = list(scans.take())
    assert [(one.name, one.outcome) for one in taken] == [("first.pdf", "sealed"), ("second.pdf", "sealed")]
    assert list(folder.iterdir()) == []
    drafts = {draft.id: draft for draft in tray.inbox.list(tray.desk.reception).items}
    assert {drafts[one.draft].file_name for one in taken} == {"first.pdf", "second.pdf"}  # type: ignore[index]  # ids are strings
    assert {draft.channel for draft in drafts.values()} == {"folder"}


def test_a_file_that_is_still_written_is_waited_for(tray: Tray, folder: Path) -> None:
    now = 1_790_000_000.0
    scans = ScanFolder(tray.inbox, tray.desk.reception, folder, clock=lambda: now)
    path = put(folder, "growing.pdf", papers.pdf()[:200])
    os.utime(path, (now, now))
    assert list(scans.take()) == []
    now += SETTLED_SECONDS
    path.write_bytes(papers.pdf())
    os.utime(path, (now, now))
    now += SETTLED_SECONDS - 1
    assert list(scans.take()) == []
    now += 1
    assert [one.outcome for one in scans.take()] == ["sealed"]


def test_what_is_refused_is_moved_aside_and_never_over_another(tray: Tray, folder: Path, scans: ScanFolder) -> None:
    for _ in range(2):
        put(folder, "facture.exe", b"MZ" + bytes(100))
        (taken,) = scans.take()
        assert (taken.outcome, taken.code) == ("refused", "unsupported_type")
    put(folder, "vide.pdf", b"")
    assert [one.code for one in scans.take()] == ["empty_document"]
    assert {path.name for path in (folder / REFUSED).iterdir()} == {"facture.exe", "facture (2).exe", "vide.pdf"}
    assert list(scans.take()) == []
    assert tray.inbox.count(tray.desk.reception) == 0


def test_a_scan_that_waits_already_is_removed(tray: Tray, folder: Path, scans: ScanFolder) -> None:
    draft = tray.put(papers.pdf())
    put(folder, "again.pdf", papers.pdf())
    assert list(scans.take()) == [Taken("again.pdf", "known", draft=draft.id)]
    assert list(folder.iterdir()) == []


def test_while_the_token_is_away_everything_stays(tray: Tray, folder: Path, scans: ScanFolder) -> None:
    put(folder, "scan.pdf", papers.pdf())
    tray.desk.house.keys.break_down()
    assert [(one.outcome, one.code) for one in scans.take()] == [("later", "keys_unavailable")]
    assert (folder / "scan.pdf").exists()
    tray.desk.house.keys.repair()
    assert [one.outcome for one in scans.take()] == ["sealed"]


def test_links_hidden_files_pipes_and_folders_are_left_alone(tray: Tray, folder: Path, scans: ScanFolder) -> None:
    outside = put(folder.parent, "outside.pdf", papers.pdf())
    (folder / "link.pdf").symlink_to(outside)
    put(folder, ".hidden.pdf", papers.pdf())
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe.pdf")
    assert list(scans.take()) == []
    assert outside.exists()
    assert tray.inbox.count(tray.desk.reception) == 0


def test_watching_takes_what_comes_until_it_is_stopped(tray: Tray, folder: Path, scans: ScanFolder) -> None:
    stop, told = threading.Event(), list[Taken]()

    def report(one: Taken) -> None:
        told.append(one)
        stop.set()

    watcher = threading.Thread(target=scans.watch, args=(stop, report))
    watcher.start()
    put(folder.parent, "scan.pdf", papers.pdf()).rename(folder / "scan.pdf")  # whole at once: this watcher waits for nothing
    watcher.join(20)
    assert not watcher.is_alive()
    assert [one.outcome for one in told] == ["sealed"]


def test_a_file_is_no_folder(tray: Tray, tmp_path: Path, clock: Clock) -> None:
    assert clock()
    with pytest.raises(Invalid):
        ScanFolder(tray.inbox, tray.desk.reception, put(tmp_path, "a.pdf", b"x"))
