from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from vault.errors import BadSettings, Conflict, NotFound, StorageFull, StorageUnavailable, Tampered
from vault.model import BlobId
from vault.settings import BlobSettings
from vault.storage.blobs import BlobStore, DiskBlobs
from vault.storage.stores import open_blobs

ONE, OTHER = BlobId("ab" * 16), BlobId("cd" * 16)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def store(root: Path) -> DiskBlobs:
    return DiskBlobs(root)


def put(store: BlobStore, blob: BlobId, data: bytes) -> None:
    with store.write(blob, len(data)) as sink:
        sink.write(memoryview(data))
        sink.commit()


def everything(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def test_files_are_private_and_spread(store: DiskBlobs, root: Path) -> None:
    put(store, ONE, b"sealed")
    assert everything(root) == [f"ab/{ONE}"]
    assert stat.S_IMODE((root / "ab" / ONE).stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in (root, root / "ab")} == {0o700}


def test_an_upload_without_commit_leaves_nothing(store: DiskBlobs, root: Path) -> None:
    with store.write(ONE) as sink:
        sink.write(memoryview(b"half"))
        assert everything(root) == [f"ab/{ONE}.part"]
    assert everything(root) == []

    def fail() -> None:
        with store.write(ONE) as sink:
            sink.write(memoryview(b"half"))
            raise RuntimeError("the sender went away")

    with pytest.raises(RuntimeError):
        fail()
    assert everything(root) == []


def test_a_blob_is_written_once(store: DiskBlobs, root: Path) -> None:
    put(store, ONE, b"first")
    with pytest.raises(Conflict):
        put(store, ONE, b"second")
    assert (root / "ab" / ONE).read_bytes() == b"first"
    assert everything(root) == [f"ab/{ONE}"]


def test_two_uploads_of_one_id_can_not_mix(store: DiskBlobs) -> None:
    with store.write(ONE), pytest.raises(StorageUnavailable), store.write(ONE):
        pass


def test_more_than_the_disk_holds_is_refused_before_any_byte(store: DiskBlobs, root: Path) -> None:
    with pytest.raises(StorageFull), store.write(ONE, 1 << 60):
        pass
    assert everything(root) == []


def test_no_fifo_link_or_directory_is_taken_for_a_blob(store: DiskBlobs, root: Path) -> None:
    put(store, OTHER, b"sealed")
    place = root / "ab" / ONE
    place.parent.mkdir()
    makers: tuple[Callable[[], None], ...] = (
        lambda: os.mkfifo(place),
        lambda: place.symlink_to(root / "cd" / OTHER),
        place.mkdir,
        lambda: place.symlink_to("/dev/zero"),
    )
    for make in makers:
        make()
        with pytest.raises(Tampered):
            store.open(ONE)
        place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()


def test_a_link_in_the_place_of_an_upload_is_not_followed(store: DiskBlobs, root: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (root / "ab").mkdir()
    (root / "ab" / f"{ONE}.part").symlink_to(victim)
    with pytest.raises(StorageUnavailable):
        put(store, ONE, b"sealed")
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "AB" * 16, "ab" * 15, "a/" * 16])
def test_only_ids_become_paths(store: DiskBlobs, name: str) -> None:
    with pytest.raises(ValueError, match="blob id"):
        store.open(BlobId(name))


@pytest.mark.parametrize("place", [f"ab/{ONE}.part", f"tmp/{ONE}"])
def test_leftovers_of_a_crash_are_listed_and_discarded(root: Path, place: str) -> None:
    """Also those of an older version, which began its uploads in a directory of their own."""
    store = DiskBlobs(root)
    (root / place).parent.mkdir()
    (root / place).write_bytes(b"half")
    put(store, OTHER, b"whole")
    assert [(entry.blob, entry.size) for entry in store.leftovers()] == [(ONE, 4)]
    assert [entry.blob for entry in store.list()] == [OTHER]
    store.discard(ONE)
    assert list(store.leftovers()) == []


def test_only_ids_are_listed(store: DiskBlobs, root: Path) -> None:
    put(store, ONE, b"sealed")
    for name in (".part", "notes", f"{ONE}.part.part", f"{ONE}.txt", f"x{ONE}.part"):
        (root / "ab" / name).write_bytes(b"x")
    assert [entry.blob for entry in store.list()] == [ONE]
    assert list(store.leftovers()) == []


def test_a_directory_that_somebody_removed_is_made_again(store: DiskBlobs, root: Path) -> None:
    put(store, ONE, b"sealed")
    store.delete(ONE)
    (root / "ab").rmdir()
    put(store, ONE, b"sealed")
    assert everything(root) == [f"ab/{ONE}"]


def test_a_lost_directory_is_an_outage_and_not_an_empty_store(store: DiskBlobs, root: Path) -> None:
    put(store, ONE, b"sealed")
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StorageUnavailable):
        put(store, OTHER, b"sealed")


@pytest.mark.parametrize("url", ["", "file://relative", "ftp://x", "s3://", "/bare/path"])
def test_unknown_urls_are_refused(url: str) -> None:
    with pytest.raises(BadSettings):
        open_blobs(BlobSettings(url))


def test_the_url_chooses_the_store(root: Path) -> None:
    open_blobs(BlobSettings(f"file://{root}")).probe()
    assert everything(root) == []


# --- the contract of every store ------------------------------------------------------------------------------------------


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.s3)])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    settings = BlobSettings(f"file://{tmp_path}/blobs") if request.param == "disk" else request.getfixturevalue("s3")
    return open_blobs(settings)


def read(store: BlobStore, blob: BlobId, offset: int, count: int) -> bytes:
    found = bytearray(count)
    reader = store.open(blob)
    reader.read_into(offset, memoryview(found))
    reader.close()
    return bytes(found)


@pytest.mark.parametrize("size", [0, 1, 5_000_000, 17_000_001])
def test_what_was_committed_is_there(any_store: BlobStore, size: int) -> None:
    data = os.urandom(size)
    with any_store.write(ONE, size) as sink:
        for start in range(0, size, 1_000_003):
            sink.write(memoryview(data)[start : start + 1_000_003])
        sink.commit()
    reader = any_store.open(ONE)
    assert reader.size == size
    reader.close()
    assert read(any_store, ONE, 0, size) == data
    assert read(any_store, ONE, size // 2, min(100, size - size // 2)) == data[size // 2 : size // 2 + 100]
    assert [(entry.blob, entry.size) for entry in any_store.list()] == [(ONE, size)]


def test_nothing_is_visible_before_the_commit(any_store: BlobStore) -> None:
    with any_store.write(ONE) as sink:
        sink.write(memoryview(bytes(9_000_000)))
        assert list(any_store.list()) == []
        with pytest.raises(NotFound):
            any_store.open(ONE)
    assert list(any_store.list()) == []
    assert list(any_store.leftovers()) == []


def test_an_unknown_blob_is_not_found(any_store: BlobStore) -> None:
    with pytest.raises(NotFound):
        any_store.open(ONE)
    any_store.delete(ONE)


def test_a_deleted_blob_is_gone(any_store: BlobStore) -> None:
    put(any_store, ONE, b"sealed")
    any_store.delete(ONE)
    with pytest.raises(NotFound):
        any_store.open(ONE)
    assert list(any_store.list()) == []


def test_a_committed_blob_is_never_replaced(any_store: BlobStore) -> None:
    put(any_store, ONE, b"first")
    with pytest.raises(Conflict):
        put(any_store, ONE, b"other")
    assert read(any_store, ONE, 0, 5) == b"first"


def test_reading_past_the_end_is_a_cut(any_store: BlobStore) -> None:
    put(any_store, ONE, b"sealed")
    with pytest.raises(Tampered):
        read(any_store, ONE, 3, 10)


def test_the_list_is_in_the_order_of_ids(any_store: BlobStore) -> None:
    ids = [BlobId(os.urandom(16).hex()) for _ in range(12)]
    for blob in ids:
        put(any_store, blob, b"x")
    assert [entry.blob for entry in any_store.list()] == sorted(ids)


def test_the_probe_leaves_nothing(any_store: BlobStore) -> None:
    any_store.probe()
    assert list(any_store.list()) == []
