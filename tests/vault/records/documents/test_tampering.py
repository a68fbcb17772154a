"""What an attacker with the disk and the database in hand can do: nothing that is not refused, told and named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.vault.records.desk import Desk, open_desk, scan
from vault.audit.events import Action
from vault.errors import NotFound, Tampered, VaultError
from vault.model import Document, DocumentId
from vault.sealing.documents import HEADER_BYTES, SEALED_CHUNK_BYTES
from vault.sealing.reading import HELD_BYTES

FRONT = HEADER_BYTES + 56


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with open_desk(tmp_path, clock) as desk:
        yield desk


def read(desk: Desk, document: DocumentId) -> bytes:
    with desk.documents.open(desk.clinician, document, Action.DOCUMENT_DOWNLOAD) as opened:
        return b"".join(opened.read())


def refused(desk: Desk, document: DocumentId) -> None:
    """No byte is delivered, whole or in part, and the log holds the incident."""
    for attempt in (
        lambda: read(desk, document),
        lambda: desk.documents.open(desk.clinician, document, Action.DOCUMENT_VIEW).read(0, 10),
        lambda: desk.documents.page(desk.clinician, document, 1, 100),
    ):
        desk.clock.advance(minutes=6)
        before = len(desk.told())
        with pytest.raises(Tampered):
            attempt()
        assert ("document.integrity_failure", "failed") in desk.told()[before:]


@pytest.mark.parametrize("at", [0, 9, 11, 15, 16, 31, 32, 47, 48, 71, 72, 103, 104, 20_000, -17, -1])
def test_a_flipped_bit_in_the_blob(desk: Desk, at: int) -> None:
    filed = desk.deposit()
    path = desk.blob_path(filed.id)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(Tampered):
        read(desk, filed.id)
    assert desk.told()[-1] == ("document.integrity_failure", "failed")


@pytest.mark.parametrize("length", [0, 1, 47, 48, 103, 104, 119, 120, FRONT + SEALED_CHUNK_BYTES, -1])
def test_a_cut_blob(desk: Desk, length: int) -> None:
    filed = desk.deposit()
    path = desk.blob_path(filed.id)
    path.write_bytes(path.read_bytes()[:length])
    refused(desk, filed.id)


@pytest.mark.parametrize("more", [1, 16, SEALED_CHUNK_BYTES])
def test_an_extended_blob(desk: Desk, more: int) -> None:
    filed = desk.deposit()
    with desk.blob_path(filed.id).open("ab") as file:
        file.write(os.urandom(more))
    refused(desk, filed.id)


def test_a_missing_blob(desk: Desk) -> None:
    filed = desk.deposit()
    desk.blob_path(filed.id).unlink()
    refused(desk, filed.id)


@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")], ids=["fifo", "directory", "link"]
)
def test_something_else_where_the_blob_should_be(desk: Desk, make: Callable[[Path], None]) -> None:
    filed = desk.deposit()
    path = desk.blob_path(filed.id)
    path.unlink()
    make(path)
    refused(desk, filed.id)


def test_two_blobs_swapped(desk: Desk) -> None:
    one, other = desk.deposit(data=scan(seed=1)), desk.deposit(data=scan(seed=2))
    first, second = desk.blob_path(one.id), desk.blob_path(other.id)
    first.rename(first.with_suffix(".x"))
    shutil.move(second, first)
    shutil.move(first.with_suffix(".x"), second)
    refused(desk, one.id)
    refused(desk, other.id)


def _pair(desk: Desk, *, same_patient: bool) -> tuple[Document, Document]:
    one = desk.deposit(data=scan(seed=1))
    return one, desk.deposit(data=scan(seed=2), patient=desk.patient if same_patient else desk.other_patient)


@pytest.mark.parametrize("same_patient", [True, False])
@pytest.mark.parametrize(
    "columns",
    [
        ("blob",),
        ("data_key_sealed",),
        ("description_sealed",),
        ("blob", "data_key_sealed"),
        ("blob", "data_key_sealed", "scope"),
        ("blob", "data_key_sealed", "description_sealed"),
        ("blob", "data_key_sealed", "description_sealed", "scope"),
        ("blob", "data_key_sealed", "scope", "size", "sealed_size", "sealed_sha256"),
        ("data_key_sealed", "description_sealed", "scope"),
    ],
    ids="+".join,
)
def test_columns_swapped_between_documents(desk: Desk, columns: tuple[str, ...], *, same_patient: bool) -> None:
    one, other = _pair(desk, same_patient=same_patient)
    foreign = desk.row(other.id)
    desk.execute("UPDATE document_versions SET blob = blob || 'x' WHERE document = ?", other.id)
    for column in columns:
        desk.execute(f"UPDATE document_versions SET {column} = ? WHERE document = ?", foreign[column], one.id)
    with pytest.raises(Tampered):
        read(desk, one.id)
    assert desk.told()[-1] == ("document.integrity_failure", "failed")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("size", 10), ("sealed_size", 10), ("version", 2), ("deposited_by", None), ("scope", None),
        ("data_key_sealed", b""), ("description_sealed", b"\x01" * 40), ("blob", "0" * 32),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_column_changed(desk: Desk, column: str, value: object) -> None:
    filed = desk.deposit()
    if value is None:
        value = desk.clinician.person if column == "deposited_by" else desk.scope_of(desk.other_patient)
    desk.execute(f"UPDATE document_versions SET {column} = ? WHERE document = ?", value, filed.id)
    if column == "version":
        desk.execute("UPDATE documents SET version = 2 WHERE id = ?", filed.id)
    with pytest.raises(Tampered):
        read(desk, filed.id)


def test_a_document_moved_to_another_patient_by_hand(desk: Desk) -> None:
    """The stranger follows the other patient: moving the row would give him the document."""
    filed = desk.deposit()
    desk.execute("UPDATE documents SET patient = ? WHERE id = ?", desk.other_patient, filed.id)
    with pytest.raises(Tampered):
        desk.documents.open(desk.stranger, filed.id, Action.DOCUMENT_VIEW)
    with pytest.raises(VaultError):
        read(desk, filed.id)


def test_scope_keys_swapped_in_the_keyring(desk: Desk) -> None:
    filed = desk.deposit()
    desk.house.people.roster.scopes.forget(desk.scope())
    desk.swap_scopes(desk.patient, desk.other_patient)
    with pytest.raises(Tampered):
        read(desk, filed.id)


def test_an_erased_scope_key_opens_nothing_for_good(desk: Desk) -> None:
    filed = desk.deposit()
    desk.house.people.roster.scopes.forget(desk.scope())
    desk.erase_scope(desk.patient)
    with pytest.raises(NotFound):
        read(desk, filed.id)


def test_a_large_document_is_checked_to_its_end_before_its_first_byte(desk: Desk) -> None:
    filed = desk.deposit(data=scan(HELD_BYTES))
    big = desk.deposit(data=scan(HELD_BYTES - 5, seed=3))
    path = desk.blob_path(big.id)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Tampered):
        desk.documents.open(desk.clinician, big.id, Action.DOCUMENT_DOWNLOAD).read()
    assert read(desk, filed.id) == scan(HELD_BYTES)


def test_bytes_that_change_while_they_leave_are_cut_off(tmp_path: Path, clock: Clock) -> None:
    """The second reading authenticates again: what was altered after the check does not get out."""
    from vault.settings import LimitSettings

    with open_desk(tmp_path, clock, LimitSettings(document_mib=16)) as desk:
        original = scan(3 * HELD_BYTES)
        filed = desk.deposit(data=original)
        with desk.documents.open(desk.clinician, filed.id, Action.DOCUMENT_DOWNLOAD) as opened:
            blocks = opened.read()
            got = [next(blocks)]
            path = desk.blob_path(filed.id)
            with path.open("r+b") as file:
                file.seek(2 * HELD_BYTES)
                file.write(os.urandom(64))
            with pytest.raises(Tampered):
                got.extend(blocks)
        assert original.startswith(b"".join(got))
        assert sum(map(len, got)) <= 2 * HELD_BYTES
        assert desk.told()[-1] == ("document.integrity_failure", "failed")
