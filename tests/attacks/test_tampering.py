"""Somebody with the disk changes, cuts, swaps and moves what is stored: nothing wrong is served, everything is named."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.attacks.instance import Instance, events
from tests.demonstration import copy
from vault.demo.stage import Demo

pytestmark = [pytest.mark.hsm, pytest.mark.xdist_group("attacks"), pytest.mark.timeout(170)]


class Filed:
    """What was deposited before the attack: content by document, in order of deposit, for each of four patients."""

    def __init__(self) -> None:
        self.patients: list[str] = []
        self.contents: dict[str, bytes] = {}
        self.of: dict[str, list[str]] = {}

    def at(self, patient: int, number: int) -> str:
        return self.of[self.patients[patient]][number]


@pytest.fixture(scope="module")
def filled(pristine: Demo, tmp_path_factory: pytest.TempPathFactory) -> tuple[Instance, Filed]:
    """Four patients with ten documents each, and a stopped server."""
    room = tmp_path_factory.mktemp("filled")
    own, filed = Instance(room, copy(pristine, room)), Filed()
    own.start()
    claire = own.sign_in("claire.martin")
    for name in ("Avant", "Bravo", "Charlie", "Delta"):
        patient = claire.new_patient(name, birth_date=f"19{50 + len(filed.patients)}-01-02")
        filed.patients.append(patient)
        filed.of[patient] = []
        for number in range(10 if len(filed.patients) <= 2 else 2):
            content = b"%PDF-1.7\n" + secrets.token_bytes(100_000 if number % 2 else 700) + b"\n%%EOF"
            document = claire.upload(patient, content, name=f"{name} {number}.pdf").json["id"]
            filed.of[patient].append(document)
            filed.contents[document] = content
    assert own.stop() == 0
    return own, filed


@pytest.fixture
def stolen(filled: tuple[Instance, Filed], tmp_path: Path) -> Iterator[tuple[Instance, Filed]]:
    """A copy of all that, to do as one likes with."""
    own = Instance(tmp_path, copy(filled[0].demo, tmp_path), recovery=filled[0].recovery)
    yield own, filled[1]
    if own.process is not None:
        own.stop()


def blob_of(own: Instance, document: str) -> Path:
    with own.database() as connection:
        (name,) = connection.execute("SELECT blob FROM document_versions WHERE document = ?", (document,)).fetchone()
    return own.blobs()[name]


def swap(connection: sqlite3.Connection, table: str, key: str, column: str, pair: Sequence[str]) -> None:
    """Exchange a column of two rows."""
    values = [connection.execute(f"SELECT {column} FROM {table} WHERE {key} = ?", (each,)).fetchone()[0] for each in pair]
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (values[1], pair[0]))
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (values[0], pair[1]))


def spoil(own: Instance, filed: Filed) -> set[str]:
    """One attack on each document of the first two patients but their last; the documents attacked."""
    flipped, cut, longer, gone = (blob_of(own, filed.at(0, number)) for number in range(4))
    body = bytearray(flipped.read_bytes())
    body[len(body) // 2] ^= 1
    flipped.write_bytes(body)
    cut.write_bytes(cut.read_bytes()[:-17])
    longer.write_bytes(longer.read_bytes() + b"\0")
    gone.unlink()
    one, other = blob_of(own, filed.at(0, 4)), blob_of(own, filed.at(1, 4))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with own.database() as connection:
        for column, number in (("data_key_sealed", 5), ("description_sealed", 6), ("blob", 7)):
            if column == "blob":
                names = [
                    connection.execute("SELECT blob FROM document_versions WHERE document = ?", (filed.at(patient, number),))
                    for patient in (0, 1)
                ]
                (mine,), (yours,) = (cursor.fetchone() for cursor in names)
                renaming = "UPDATE document_versions SET blob = ? WHERE document = ?"
                connection.execute(renaming, ("-", filed.at(0, number)))
                connection.execute(renaming, (mine, filed.at(1, number)))
                connection.execute(renaming, (yours, filed.at(0, number)))
            else:
                swap(connection, "document_versions", "document", column, (filed.at(0, number), filed.at(1, number)))
        connection.execute("UPDATE documents SET patient = ? WHERE id = ?", (filed.patients[1], filed.at(0, 8)))
    return {filed.at(0, number) for number in range(9)} | {filed.at(1, number) for number in (4, 5, 6, 7)}


def test_nothing_wrong_is_served_and_everything_is_named(stolen: tuple[Instance, Filed]) -> None:
    own, filed = stolen
    attacked = spoil(own, filed)
    own.start()
    claire = own.sign_in("claire.martin")
    for document, content in filed.contents.items():
        for path in ("/content",):
            for part in ({}, {"Range": "bytes=10-200"}):
                answer = claire.call("GET", f"/api/v1/documents/{document}{path}", headers=part)
                if document in attacked:
                    assert answer.status == 500, (document, answer.status)
                    assert answer.code == "tampered"
                else:
                    assert answer.body == (content[10:201] if part else content)
    shown = claire.get(f"/api/v1/documents/{filed.at(0, 0)}/pages/1")
    assert (shown.status, shown.code) == (500, "tampered")
    verdict = own.verified("documents")
    assert {finding["document"] for finding in verdict["findings"]} == attacked
    keyless = own.coffre("documents", "verify", "--keyless", "--restart", "--json")
    assert keyless.returncode == 1
    incidents = events(own.sign_in("nadia.roche"), "document.integrity_failure")
    assert {filed.at(0, number) for number in (0, 1, 2, 3, 4)} <= {each["document"] for each in incidents}
    assert own.verified("audit")["ok"]


def test_swapped_wrapped_keys_open_nothing(stolen: tuple[Instance, Filed]) -> None:
    """The keys of two patients exchanged in the keyring, and the identities of two others in the database."""
    own, filed = stolen
    with own.database() as connection:
        scopes = [
            connection.execute("SELECT scope FROM patients WHERE id = ?", (patient,)).fetchone()[0]
            for patient in filed.patients[:2]
        ]
        swap(connection, "patients", "id", "identity_sealed", filed.patients[2:4])
    with own.database("keyring.db") as connection:
        swap(connection, "scopes", "id", "wrapped", scopes)
    own.start()
    claire = own.sign_in("claire.martin")
    for patient in filed.patients[:2]:
        for document in filed.of[patient]:
            answer = claire.content(document)
            assert (answer.status, answer.code) == (500, "tampered")
    for patient in filed.patients[2:]:
        answer = claire.get(f"/api/v1/patients/{patient}")
        assert (answer.status, answer.code) == (500, "tampered")
        for document in filed.of[patient]:
            assert claire.content(document).body == filed.contents[document]
    assert not own.verified("documents")["ok"]


def test_a_right_given_in_the_database_opens_nothing_sealed_for_others(stolen: tuple[Instance, Filed]) -> None:
    """Roles and care teams stand in clear, as docs/threat-model.md says; a second factor can't be made up that way."""
    own, _ = stolen
    with own.database() as connection:
        swap(connection, "people", "username", "totp_sealed", ("karim.benali", "claire.martin"))
        swap(connection, "people", "username", "password_hash", ("karim.benali", "claire.martin"))
    own.start()
    karim, claire = own.account("karim.benali"), own.account("claire.martin")
    stranger = own.caller()
    credentials = {"username": claire.username, "password": karim.password, "code": own.telephones.code(karim)}
    assert stranger.post_json("/api/v1/sessions", credentials).status in {401, 500}


def _edit(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    connection.execute("UPDATE audit_entries SET actor_sealed = ? WHERE position = ?", (secrets.token_bytes(80), rows[7]))


def _delete(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    connection.execute("DELETE FROM audit_entries WHERE position = ?", (rows[9],))


def _swap(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    swap(connection, "audit_entries", "position", "leaf", (str(rows[5]), str(rows[6])))


def _cut(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    connection.execute("DELETE FROM audit_entries WHERE position >= ?", (rows[-4],))


def _replay(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    connection.execute(
        "UPDATE audit_entries SET leaf = (SELECT leaf FROM audit_entries WHERE position = ?) WHERE position = ?",
        (rows[3], rows[12]),
    )


ATTACKS: dict[str, tuple[Callable[[sqlite3.Connection, Sequence[int]], None], set[int]]] = {
    "edited": (_edit, {7}),
    "deleted": (_delete, {9}),
    "swapped": (_swap, {5, 6}),
    "cut": (_cut, {-4}),
    "replayed": (_replay, {12, 3}),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_log_names_what_was_done_to_it(stolen: tuple[Instance, Filed], attack: str) -> None:
    own, _ = stolen
    act, expected = ATTACKS[attack]
    with closing(sqlite3.connect(own.demo.directory / "coffre.db")) as connection, connection:
        rows = [row[0] for row in connection.execute("SELECT position FROM audit_entries ORDER BY position")]
        act(connection, rows)
    verdict = own.verified("audit")
    assert verdict["ok"] is False
    assert verdict["first_bad"]["index"] in {rows[number] for number in expected}, verdict
