"""A store that lies: what it loses or spoils is found before anybody is told that it is safe."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.vault.people.conftest import TENANT
from tests.vault.records.desk import Desk, open_desk, scan
from vault.errors import BadSettings, StorageUnavailable
from vault.model import BlobId
from vault.records.documents.bodies import Bodies
from vault.records.documents.depositing import Deposits
from vault.records.documents.scanning import Scanner
from vault.settings import BlobSettings, LimitSettings, ScanSettings
from vault.storage.blobs import BlobSink, DiskBlobs
from vault.storage.readback import ReadBack
from vault.storage.stores import open_blobs

SAMPLED, OTHER = BlobId("0a" * 16), BlobId("a0" * 16)


class Liar(DiskBlobs):
    """A disk that says that everything went well."""

    def __init__(self, root: Path, spoil: Callable[[Path], object]) -> None:
        super().__init__(root)
        self._spoil = spoil

    def write(self, blob: BlobId, expected_bytes: int = 0) -> AbstractContextManager[BlobSink]:
        return self._lying(blob, super().write(blob, expected_bytes))

    @contextmanager
    def _lying(self, blob: BlobId, honest: AbstractContextManager[BlobSink]) -> Iterator[BlobSink]:
        with honest as sink:
            commit = sink.commit

            def lie() -> None:
                commit()
                self._spoil(self._path(blob))

            sink.commit = lie  # type: ignore[method-assign]  # this disk's own idea of a commit
            yield sink


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


LIES: dict[str, Callable[[Path], object]] = {
    "flips a bit": flip,
    "loses the end": lambda path: os.truncate(path, 5),
    "adds a sector": lambda path: os.truncate(path, 4096),
    "loses it": lambda path: path.unlink(),
    "gives zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


def put(store: ReadBack, blob: BlobId) -> None:
    with store.write(blob, 6) as sink:
        sink.write(memoryview(b"sea"))
        sink.write(memoryview(b"led"))
        sink.commit()


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize(("policy", "blob"), [("always", SAMPLED), ("always", OTHER), ("sample", SAMPLED)])
def test_a_lie_is_found_and_nothing_is_kept(tmp_path: Path, lie: str, policy: str, blob: BlobId) -> None:
    store = ReadBack(Liar(tmp_path, LIES[lie]), policy)
    with pytest.raises(StorageUnavailable) as refused:
        put(store, blob)
    assert refused.value.details["cause"] == "read_back"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_not_sampled_is_believed(tmp_path: Path) -> None:
    put(ReadBack(Liar(tmp_path, flip), "sample"), OTHER)


def test_an_honest_store_is_believed(tmp_path: Path) -> None:
    store = ReadBack(DiskBlobs(tmp_path), "always")
    put(store, OTHER)
    with store.write(SAMPLED) as sink:
        sink.commit()  # nothing at all reads back as nothing
    assert {entry.blob: entry.size for entry in store.list()} == {OTHER: 6, SAMPLED: 0}
    store.probe()


@pytest.mark.s3
def test_an_honest_far_store_is_believed(s3: BlobSettings) -> None:
    store = open_blobs(replace(s3, verify_writes="always"))
    assert isinstance(store, ReadBack)
    put(store, OTHER)
    assert [entry.blob for entry in store.list()] == [OTHER]


def test_the_setting_chooses(tmp_path: Path) -> None:
    url = f"file://{tmp_path}"
    assert isinstance(open_blobs(BlobSettings(url)), ReadBack)
    assert isinstance(open_blobs(BlobSettings(url, verify_writes="never")), DiskBlobs)
    for wrong in ({"verify_writes": "often"}, {"scrub_days": -1}, {"scrub_days": 4000}):
        with pytest.raises(BadSettings):
            BlobSettings(url, **wrong).judged()


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with open_desk(tmp_path, clock) as desk:
        yield desk


def test_a_document_on_a_lying_disk_is_refused_and_told(desk: Desk) -> None:
    liar = ReadBack(Liar(desk.directory / "blobs", flip), "always")
    rooms = desk.documents.rooms
    bodies = Bodies(blobs=liar, keys=rooms.keys, scopes=rooms.scopes, tenant=TENANT, scanner=Scanner(ScanSettings()))
    deposits = Deposits(replace(rooms, bodies=bodies), limit_bytes=1 << 22, uploads=LimitSettings().uploads)
    with pytest.raises(StorageUnavailable):
        deposits.store(
            desk.reception, desk.patient, type="11502-2", act_date=None, file_name="a.pdf", body=io.BytesIO(scan(2_500_000)),
            expected_sha256=None, declared_size=None, channel="api",
        )  # fmt: skip
    assert desk.files() == []
    assert desk.documents.list(desk.reception, desk.patient).items == ()
    assert ("document.upload", "failed") in desk.told()
