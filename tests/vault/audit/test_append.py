"""Writing: durable, in order, without gaps, all or nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

import vault
from kms.errors import KeysUnavailable
from kms.keys import Secret
from tests.conftest import Clock
from tests.vault.audit.conftest import TENANT, Rig, created, document, open_rig, patient, person, viewed
from vault.audit import tiles, tree
from vault.audit.append import AuditLog, Transaction
from vault.audit.canonical import decode
from vault.audit.entries import entry_at
from vault.audit.events import Action, Anonymous, Event, Note, Outcome, Subject, System
from vault.audit.reading import Reader, Record
from vault.errors import Forbidden, Invalid, LogUnavailable
from vault.model import Client, Micros
from vault.storage.schema import audit_counters, audit_entries, log_salts


def everything(rig: Rig) -> list[Record]:
    reader = Reader(rig.log)
    return [record for page in reader.scan(0, 10**9) for record in reader.open(page)]


def test_a_receipt_tells_of_a_durable_event(rig: Rig) -> None:
    rig.log.record(created(1))
    receipt = rig.log.record(viewed(5))
    again = rig.reopened()
    record = everything(again)[receipt.position]
    again.close()
    assert (record.id, record.at, record.action) == (receipt.event, receipt.at, Action.DOCUMENT_VIEW)
    assert receipt.document == document(5)
    receipt.must_open(document(5))
    with pytest.raises(LogUnavailable):
        receipt.must_open(document(6))


def test_a_receipt_of_a_refusal_opens_nothing(rig: Rig) -> None:
    denied = Event(Action.ACCESS_DENIED, Outcome.DENIED, person(1), Subject(document=document(5)))
    with pytest.raises(LogUnavailable):
        rig.log.record(denied).must_open(document(5))


def test_the_first_entry_is_genesis_and_positions_have_no_gap(rig: Rig) -> None:
    for number in range(5):
        rig.log.record(viewed(number))
    records = everything(rig)
    assert records[0].action is Action.LOG_GENESIS
    assert [record.position for record in records] == list(range(6))


def test_what_is_written_can_be_read_back_group_by_group(rig: Rig) -> None:
    actor = person(3)
    note = Note(reason="urgence : patient inconscient", is_breakglass=True, relation=("outside_team",), bytes=12, code="x")
    rig.log.record(Event(Action.ACCESS_BREAKGLASS, Outcome.SUCCESS, actor, Subject(patient=patient(8)), note))
    record = everything(rig)[-1]
    assert record.actor == {
        "kind": "person", "ref": actor.person, "role": "clinician", "session": "session3", "amr": "pwd otp", "n": 1,
    }  # fmt: skip
    assert record.client == {"ip": "192.0.2.7", "agent": "Firefox", "workstation": "poste-3"}
    assert record.note == {
        "reason": "urgence : patient inconscient", "breakglass": 1, "relation": "outside_team", "bytes": 12, "code": "x",
    }  # fmt: skip
    assert record.patient == patient(8)
    assert (record.subject or {}).get("patient") not in {None, patient(8)}, "the log names patients by a reference of its own"


def test_counters_have_no_gap_for_a_person_and_for_a_patient(rig: Rig) -> None:
    for turn in range(4):
        rig.log.record(viewed(turn, of=1, by=person(1)))
        rig.log.record(viewed(turn, of=2, by=person(2)))
    again = rig.reopened()
    again.log.record(viewed(9, of=1, by=person(2)))
    records = [record for record in everything(again) if record.action is Action.DOCUMENT_VIEW]
    again.close()
    assert [(record.subject or {}).get("n") for record in records if record.patient == patient(1)] == [1, 2, 3, 4, 5]
    assert [(record.actor or {}).get("n") for record in records if (record.actor or {}).get("ref") == person(2).person] == [
        1,
        2,
        3,
        4,
        5,
    ]


def test_a_change_and_its_event_are_one(rig: Rig) -> None:
    def work(tx: Transaction) -> str:
        tx.connection.execute(insert(audit_counters).values(subject=b"row", count=7))
        tx.record(created(4))
        tx.record(viewed(1, of=4))
        return "done"

    committed = rig.log.transact(work)
    assert committed.value == "done"
    assert [receipt.position for receipt in committed.receipts] == [1, 2]


def test_a_change_that_fails_leaves_neither_row_nor_event(rig: Rig) -> None:
    rig.log.record(created(1))

    def work(tx: Transaction) -> None:
        tx.connection.execute(insert(audit_counters).values(subject=b"row", count=7))
        tx.record(viewed(1))
        raise Forbidden("no")

    with pytest.raises(Forbidden):
        rig.log.transact(work)
    with rig.db.read() as connection:
        assert connection.execute(select(audit_counters).where(audit_counters.c.subject == b"row")).one_or_none() is None
    rig.log.record(viewed(2))
    assert [record.action for record in everything(rig)][2:] == [Action.DOCUMENT_VIEW]


def fill(rig: Rig) -> None:
    for number in range(2_000):
        rig.log.record(viewed(number))


def test_a_full_disk_refuses_the_access_and_the_log_recovers(rig: Rig) -> None:
    rig.log.record(created(1))
    with rig.db.engine.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    limit = rig.db.write(lambda connection: connection.execute(text(f"PRAGMA max_page_count={pages}")).scalar_one())
    assert limit == pages
    with pytest.raises(LogUnavailable):
        fill(rig)
    before = [record.position for record in everything(rig)]
    rig.db.write(lambda connection: connection.execute(text("PRAGMA max_page_count=100000")).scalar_one())
    receipt = rig.log.record(viewed(1))
    assert receipt.position == len(before)
    assert rig.auditing.verify(rig.auditor()).is_whole


def test_two_processes_append_to_one_log(rig: Rig) -> None:
    other = rig.reopened()
    for number in range(10):
        rig.log.record(viewed(number, by=person(1)))
        other.log.record(viewed(number, by=person(1)))
    records = everything(rig)
    assert [record.position for record in records] == list(range(21))
    assert [(record.actor or {}).get("n") for record in records[1:]] == list(range(1, 21))
    assert rig.auditing.verify(rig.auditor()).is_whole
    other.close()


def test_sixteen_threads_lose_and_repeat_nothing(rig: Rig) -> None:
    receipts: list[int] = []

    def work(number: int) -> None:
        receipts.extend(rig.log.record(viewed(turn, of=number % 5, by=person(number))).position for turn in range(40))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(receipts) == list(range(1, 641))
    records = everything(rig)
    assert [(record.actor or {}).get("n") for record in records if (record.actor or {}).get("ref") == person(3).person] == list(
        range(1, 41)
    )
    assert all(before.at <= after.at for before, after in pairwise(records))


def test_tiles_and_proofs_over_the_stored_log(rig: Rig) -> None:
    rig.log.record_all([viewed(number) for number in range(700)])
    with rig.db.read() as connection:
        size = tiles.size_of(connection)
        leaves = [row.leaf for row in connection.execute(select(audit_entries.c.leaf).order_by(audit_entries.c.position))]
        nodes = tiles.Nodes(connection, size)
        frontier = tree.Frontier()
        for leaf in leaves:
            frontier.append(tree.leaf_hash(leaf))
        assert frontier.root() == tiles.frontier(connection, size).root() == tree.root(size, nodes)
        for index in (0, 255, 256, 511, 512, 700):
            proof = tree.inclusion_proof(index, size, nodes)
            tree.verify_inclusion(index, size, tree.leaf_hash(leaves[index]), proof, frontier.root())


def test_time_never_goes_back_and_a_moved_clock_is_an_event(rig: Rig, clock: Clock) -> None:
    ticks = iter(range(1_000))
    log = AuditLog(
        db=rig.db, keyring=rig.keyring, tenant=TENANT, open_key=lambda: Secret(b"\x17" * 32), clock=lambda: Micros(clock()),
        monotonic=lambda: float(next(ticks)) / 1_000,
    )  # fmt: skip
    first = log.record(viewed(1))
    clock.advance(minutes=-90)
    second = log.record(viewed(2))
    assert second.at == first.at
    assert second.position == first.position + 2
    step = everything(rig)[second.position - 1]
    assert (step.action, (step.note or {}).get("code"), (step.note or {}).get("count")) == (
        Action.SYSTEM_CLOCK_STEP,
        "clock_backward",
        -5400,
    )


def test_a_database_put_back_under_a_running_process_is_told(rig: Rig) -> None:
    rig.log.record(created(1))
    for number in range(3):
        rig.log.record(viewed(number))
    rig.db.write(lambda connection: connection.execute(text("DELETE FROM audit_entries WHERE position >= 3")).rowcount)
    receipt = rig.log.record(viewed(9))
    detected = everything(rig)[receipt.position - 1]
    assert (detected.action, (detected.note or {}).get("count")) == (Action.LOG_ROLLBACK_DETECTED, 2)


def test_a_database_put_back_and_written_on_by_another_process_is_told(rig: Rig) -> None:
    """Longer than what this process knows, but another past: its own last leaf is no longer in its place."""
    rig.log.record(created(1))
    for number in range(3):
        rig.log.record(viewed(number))
    rig.db.write(lambda connection: connection.execute(text("DELETE FROM audit_entries WHERE position >= 3")).rowcount)
    other = rig.reopened()
    other.log.record_all([viewed(number) for number in range(5, 12)])
    other.close()
    receipt = rig.log.record(viewed(9))
    detected = everything(rig)[receipt.position - 1]
    assert (detected.action, (detected.note or {}).get("code")) == (Action.LOG_ROLLBACK_DETECTED, "rewound_while_running")


@pytest.mark.parametrize("count", [1, 255, 256, 257, 300])
def test_what_another_process_added_is_taken_in(rig: Rig, count: int) -> None:
    """One by one up to a tile's worth, and through full tiles: the tree is the one that a new reader finds."""
    rig.log.record(created(1))
    other = rig.reopened()
    other.log.record_all([viewed(number) for number in range(count)])
    receipts = rig.log.record_all([viewed(1), viewed(2)])
    assert [receipt.position for receipt in receipts] == [count + 2, count + 3]
    assert other.auditing.verify(other.auditor()).is_whole
    other.close()


def test_without_the_key_nothing_is_recorded_and_it_works_again_with_it(rig: Rig) -> None:
    is_away = True

    @contextmanager
    def open_key() -> Iterator[Secret]:
        if is_away:
            raise KeysUnavailable("away")
        with Secret(b"\x17" * 32) as secret:
            yield secret

    log = AuditLog(db=rig.db, keyring=rig.keyring, tenant=TENANT, open_key=open_key, clock=lambda: Micros(1))
    with pytest.raises(LogUnavailable):
        log.record(viewed(1))
    is_away = False
    assert log.record(viewed(1)).position == 1


def test_somebody_who_asks_for_an_unknown_patient_makes_no_salt(rig: Rig) -> None:
    event = Event(Action.ACCESS_DENIED, Outcome.DENIED, person(1), Subject(patient=patient(77)), Note(code="not_found"))
    rig.log.record(event)
    record = everything(rig)[-1]
    assert record.subject == {"asked": patient(77)}
    with rig.keyring.read() as connection:
        assert connection.execute(select(log_salts)).all() == []


def test_another_process_has_forgotten_a_patient(rig: Rig, clock: Clock) -> None:
    """What this one remembers of the patient is looked up again within two minutes."""
    rig.log.record(created(1))
    other = rig.reopened()
    other.log.references.forget(patient(1))
    other.close()
    clock.advance(seconds=119)
    assert rig.log.references.find(patient(1)) is not None
    clock.advance(seconds=2)
    assert rig.log.references.find(patient(1)) is None
    rig.log.record(Event(Action.ACCESS_DENIED, Outcome.DENIED, person(1), Subject(patient=patient(1)), Note(code="not_found")))
    assert everything(rig)[-1].subject == {"asked": patient(1)}


def test_hostile_text_is_bounded_and_kept_as_text(rig: Rig) -> None:
    client = Client("\x1b[31m10.0.0.1" * 1000, "Agent\r\nSet-Cookie: x" * 1000, "\ud800poste")
    rig.log.record(Event(Action.AUTH_LOGIN, Outcome.DENIED, Anonymous("h" * 1_000_000, is_known=False, client=client)))
    record = everything(rig)[-1]
    assert len(str((record.client or {}).get("ip"))) == 45
    assert len(str((record.client or {}).get("agent"))) == 80
    assert (record.client or {}).get("workstation") == "?poste"
    assert len(str((record.actor or {}).get("ref"))) == 128


@pytest.mark.parametrize("reason", ["x" * 201, "\udfff"])
def test_a_reason_that_cannot_be_kept_is_refused(reason: str) -> None:
    with pytest.raises(Invalid):
        Note(reason=reason)


def test_an_event_without_what_its_action_needs_is_refused() -> None:
    with pytest.raises(ValueError, match="must name its document"):
        Event(Action.DOCUMENT_VIEW, Outcome.GRANTED, person(1))
    assert Event(Action.DOCUMENT_VIEW, Outcome.DENIED, person(1)).severity == 4


def test_no_id_or_name_stands_in_clear_in_the_database(rig: Rig) -> None:
    rig.log.record(created(1))
    rig.log.record(viewed(5))
    rig.log.record(Event(Action.SYSTEM_START, Outcome.SUCCESS, System("web")))
    stored = b"".join(file.read_bytes() for file in rig.path.glob("coffre.db*"))
    for secret in (patient(1), document(5), person(1).person, "192.0.2.7", "Firefox", "session1", "TREAT"):
        assert secret.encode() not in stored
    assert b"document.view" in stored


def test_the_leaf_is_canonical_json_with_four_commitments(rig: Rig) -> None:
    rig.log.record(viewed(1))
    with rig.db.read() as connection:
        entry = entry_at(connection, 1)
    assert entry is not None
    skeleton = decode(entry.leaf)
    assert list(skeleton) == sorted(skeleton)
    assert {name for name in skeleton if name.startswith("c_")} == {"c_actor", "c_subject", "c_client", "c_note"}
    assert skeleton["src"] == "test"


def test_only_one_place_makes_receipts() -> None:
    room = Path(vault.__file__).parent.parent
    makers = [path for package in ("vault", "web") for path in (room / package).rglob("*.py") if "Receipt(" in path.read_text()]
    assert [path.name for path in makers] == ["append.py"]


def test_a_rig_reopens_on_the_same_files(rig: Rig) -> None:
    rig.log.record(viewed(1))
    again = open_rig(rig.path, rig.clock, rig.keys)
    assert again.log.record(viewed(2)).position == 2
    again.close()
