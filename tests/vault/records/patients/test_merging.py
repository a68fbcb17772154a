"""Two files of one patient become one and two again: what is read, who reads it, what the log says, what comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from tests.conftest import Clock
from tests.vault.people.conftest import TENANT
from tests.vault.records.desk import Desk, identity, open_desk, scan
from tests.vault.records.house import CLAIRE, House, open_house
from vault.errors import AlreadyPresent, Conflict, Forbidden, Invalid, NotFound, StepUpRequired, VaultError
from vault.model import Actor, DocumentId, Identity, IdentityStatus, Micros, PatientId, PersonId, Role, Sex
from vault.people.relations import Mode, Relations
from vault.records.documents.reading import Reading
from vault.records.patients.identities import Identities
from vault.records.patients.merging import Merging, obstacle
from vault.settings import DatabaseSettings
from vault.storage.schema import metadata

DAY_S = 86_400
NIR = "269054958815780"


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with open_desk(tmp_path, clock) as desk:
        yield desk


@pytest.fixture
def double(desk: Desk) -> PatientId:
    """A second file of the same person, made by mistake."""
    return desk.patients.create(desk.clinician, identity("MARTINE"), anyway=True).id


def merging(desk: Desk) -> Merging:
    return Merging(
        db=desk.house.db,
        log=desk.house.log,
        relations=desk.house.people.relations,
        patients=desk.patients,
        clock=lambda: Micros(desk.clock()),
    )


def fresh(desk: Desk, actor: Actor) -> Actor:
    return replace(actor, factor_at=Micros(desk.clock()))


def merge(desk: Desk, absorbed: PatientId, kept: PatientId | None = None, actor: Actor | None = None) -> str:
    who = fresh(desk, actor or desk.clinician)
    return merging(desk).merge(who, kept or desk.patient, absorbed, reason="Même personne").id


def undo(desk: Desk, merged: str, actor: Actor | None = None) -> int:
    return merging(desk).undo(fresh(desk, actor or desk.clinician), merged, reason="Deux personnes").filed_since


def listed(desk: Desk, patient: PatientId, actor: Actor | None = None) -> set[DocumentId]:
    return {document.id for document in desk.documents.list(actor or desk.clinician, patient).items}


def rows(desk: Desk) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table about patients and documents; the log and the merges themselves apart."""
    skipped = {"merges", "sessions", "notices"}
    with desk.house.db.read() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for name, table in metadata.tables.items()
            if name not in skipped and not name.startswith("audit")
        }


def test_the_documents_of_both_are_read_in_the_file_that_was_kept(desk: Desk, double: PatientId) -> None:
    mine, theirs = desk.deposit(data=scan(seed=1)), desk.deposit(data=scan(seed=2), patient=double)
    before = desk.row(theirs.id), desk.blob_path(theirs.id).read_bytes()
    merge(desk, double)
    for patient in (desk.patient, double):
        assert listed(desk, patient) == {mine.id, theirs.id}
        assert desk.patients.get(desk.clinician, patient).id == desk.patient
    assert desk.documents.describe(desk.clinician, theirs.id).file_name == "bilan.pdf"
    assert (desk.row(theirs.id), desk.blob_path(theirs.id).read_bytes()) == before
    assert [who.birth_name for who in desk.patients.get(desk.clinician, double).absorbed] == ["MARTINE"]


def test_undoing_restores_every_row_as_it_was(desk: Desk, double: PatientId) -> None:
    desk.deposit(data=scan(seed=1))
    desk.deposit(data=scan(seed=2), patient=double)
    before = rows(desk)
    merged = merge(desk, double)
    assert rows(desk) != before
    assert undo(desk, merged) == 0
    assert rows(desk) == before


def test_what_was_filed_since_stays_and_is_counted(desk: Desk, double: PatientId) -> None:
    old = desk.deposit(data=scan(seed=2), patient=double)
    merged = merge(desk, double)
    desk.clock.advance(seconds=60)
    since = desk.deposit(data=scan(seed=3))
    with pytest.raises(Conflict) as refused:
        desk.deposit(data=scan(seed=4), patient=double)
    assert refused.value.details == {"reason": "merged", "patient": desk.patient}
    with pytest.raises(Conflict, match="another"):
        desk.patients.update(desk.clinician, double, identity("AUTRE"))
    assert undo(desk, merged) == 1
    assert (listed(desk, desk.patient), listed(desk, double)) == ({since.id}, {old.id})


def test_equal_bytes_are_one_document_in_a_merged_file(desk: Desk, double: PatientId) -> None:
    known = desk.deposit(data=scan(seed=2), patient=double)
    merge(desk, double)
    with pytest.raises(AlreadyPresent) as refused:
        desk.deposit(data=scan(seed=2))
    assert refused.value.details["document"] == known.id
    with pytest.raises(Conflict, match="already"):
        desk.documents.refile(desk.clinician, known.id, desk.patient)


def test_the_absorbed_name_finds_the_file_that_was_kept(desk: Desk) -> None:
    other = desk.patients.create(
        desk.clinician, Identity("Zwingel", ("Odile",), "1980-03-12", Sex.FEMALE, ins=NIR), anyway=True
    ).id
    merged = merge(desk, other)
    for typed in ("zwingel", "12/03/80 zwi", NIR):
        (found,) = desk.patients.search(desk.reception, typed).items
        assert (found.id, found.identity.birth_name) == (desk.patient, "MARTIN")
        assert [who.birth_name for who in found.absorbed] == ["Zwingel"]
    (both,) = [who for who in desk.patients.search(desk.reception, "12031980").items if who.id == desk.patient]
    assert [who.birth_name for who in both.absorbed] == ["Zwingel"]
    (own,) = desk.patients.search(desk.reception, "martin").items
    assert own.absorbed == ()
    assert other not in {who.id for who in desk.patients.recent(desk.reception).items}
    undo(desk, merged)
    assert [who.id for who in desk.patients.search(desk.reception, "zwingel").items] == [other]


def test_both_histories_tell_of_it_and_of_its_end(desk: Desk, double: PatientId) -> None:
    merged = merge(desk, double)
    undo(desk, merged)
    told = [record for record in desk.log() if record.action.value in {"patient.merge", "patient.unmerge"}]
    notes = [(record.note or {}) for record in told]
    assert [record.action.value for record in told] == ["patient.merge"] * 2 + ["patient.unmerge"] * 2
    assert [note["code"] for note in notes] == ["kept", "absorbed"] * 2
    assert notes[0]["reason"] == "Même personne"
    references = [(record.subject or {})["patient"] for record in told]
    assert references[0] == references[2] != references[1] == references[3]
    counted = [(record.subject or {}) for record in desk.log()]
    for reference in set(references):
        numbers = [fields["n"] for fields in counted if fields.get("patient") == reference]
        assert numbers == list(range(1, len(numbers) + 1)), "each patient's count goes on by one"
    assert Identities(desk.house.db, desk.documents.rooms.scopes, TENANT).names([double])[double].startswith("MARTINE")


# --- who may, and who then reads ------------------------------------------------------------------------------------------


def test_whoever_merges_follows_both_and_has_shown_a_fresh_factor(desk: Desk, double: PatientId) -> None:
    for who, refusal in ((desk.reception, Forbidden), (desk.auditor, Forbidden), (desk.stranger, NotFound)):
        with pytest.raises(refusal):
            merge(desk, double, actor=who)
    with pytest.raises(NotFound):
        merge(desk, desk.other_patient)
    desk.clock.advance(seconds=301)
    with pytest.raises(StepUpRequired):
        merging(desk).merge(desk.clinician, desk.patient, double, reason="Même personne")
    for reason in ("", "   "):
        with pytest.raises(Invalid):
            merging(desk).merge(fresh(desk, desk.clinician), desk.patient, double, reason=reason)
    with pytest.raises(Conflict, match="one file already"):
        merge(desk, desk.patient)
    with pytest.raises(NotFound):
        merge(desk, PatientId("f" * 32))
    with pytest.raises(NotFound):
        undo(desk, "f" * 32)
    merged = merge(desk, double)
    with pytest.raises(NotFound):
        undo(desk, merged, desk.stranger)
    assert {outcome.value for outcome in [record.outcome for record in desk.log()]} >= {"denied", "success"}


def test_teams_become_one_and_part_again(desk: Desk, double: PatientId) -> None:
    theirs = desk.deposit(data=scan(seed=2), patient=double)
    desk.house.people.ties.add_to_team(desk.clinician, desk.patient, desk.stranger.person)
    with pytest.raises(NotFound):
        listed(desk, double, desk.stranger)
    merged = merge(desk, double)
    assert theirs.id in listed(desk, desk.patient, desk.stranger)
    assert set(desk.patients.get(desk.clinician, desk.patient).care_team) == {desk.clinician.person, desk.stranger.person}
    reading = Reading(desk.documents.rooms, desk.patients, desk.documents._tickets)
    assert [item.patient.id for item in reading.unread(desk.stranger).items] == [desk.patient]
    undo(desk, merged)
    with pytest.raises(NotFound):
        listed(desk, double, desk.stranger)
    assert reading.count(desk.stranger) == 0


def test_whatever_closes_one_closes_both(desk: Desk, double: PatientId) -> None:
    ties = desk.house.people.ties
    mine = desk.deposit(data=scan(seed=1))
    for patient in (desk.patient, double):
        ties.add_to_team(desk.clinician, patient, desk.stranger.person)
    ties.object_to(desk.clinician, double, desk.stranger.person)
    merged = merge(desk, double)
    with pytest.raises(NotFound):
        desk.documents.describe(desk.stranger, mine.id)
    undo(desk, merged)
    assert desk.documents.describe(desk.stranger, mine.id).id == mine.id
    ties.withdraw_objection(desk.clinician, double, desk.stranger.person)
    ties.restrict(desk.clinician, double, [desk.clinician.person])
    merged = merge(desk, double)
    with pytest.raises(NotFound):
        listed(desk, desk.patient, desk.stranger)
    assert ties.of(desk.clinician, desk.patient).named == (desk.clinician.person,)
    undo(desk, merged)
    assert mine.id in listed(desk, desk.patient, desk.stranger)


def test_what_is_closed_while_merged_stays_closed_after_the_undoing(desk: Desk, double: PatientId) -> None:
    ties = desk.house.people.ties
    ties.add_to_team(desk.clinician, double, desk.stranger.person)
    merged = merge(desk, double)
    ties.object_to(desk.clinician, desk.patient, desk.stranger.person)
    ties.restrict(desk.clinician, desk.patient, [desk.clinician.person])
    undo(desk, merged)
    for patient in (desk.patient, double):
        found = ties.of(desk.clinician, patient)
        assert (found.objected, found.named) == ((desk.stranger.person,), (desk.clinician.person,))
    merged = merge(desk, double)
    ties.remove_from_team(desk.clinician, desk.patient, desk.stranger.person)
    undo(desk, merged)
    assert ties.of(desk.clinician, double).team == (desk.clinician.person,)


def test_leave_opens_the_file_for_which_it_was_given(desk: Desk, double: PatientId) -> None:
    ties, hour = desk.house.people.ties, 3_600_000_000
    mine, theirs = desk.deposit(data=scan(seed=1)), desk.deposit(data=scan(seed=2), patient=double)
    ties.grant(desk.clinician, double, desk.stranger.person, until=desk.clock() + hour)
    desk.clock.advance(seconds=1)
    merge(desk, double)
    assert listed(desk, desk.patient, desk.stranger) == {theirs.id}
    with pytest.raises(NotFound):
        desk.documents.describe(desk.stranger, mine.id)
    desk.clock.advance(seconds=1)
    ties.grant(desk.clinician, desk.patient, desk.stranger.person, until=desk.clock() + hour)
    assert listed(desk, desk.patient, desk.stranger) == {mine.id, theirs.id}


# --- what can't be one ----------------------------------------------------------------------------------------------------

QUALIFIED = replace(CLAIRE, ins=NIR, ins_oid="1.2.250.1.213.1.4.8", birth_place="49007", status=IdentityStatus.QUALIFIED)
OTHER_INS = replace(QUALIFIED, ins="255081416802538")
TEAM = frozenset({PersonId("1" * 32)})


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param(QUALIFIED, OTHER_INS, "qualified_ins", id="two qualified"),
        pytest.param(QUALIFIED, replace(OTHER_INS, status=IdentityStatus.RETRIEVED), None, id="one only retrieved"),
        pytest.param(QUALIFIED, QUALIFIED, None, id="the same"),
        pytest.param(QUALIFIED, CLAIRE, None, id="one provisional"),
    ],
)
def test_two_qualified_matricules_are_two_persons(one: Identity, other: Identity, expected: str | None) -> None:
    for left, right in ((one, other), (other, one)):
        assert obstacle(left, right, (TEAM, TEAM), Mode.TEAMS) == expected
    assert obstacle(CLAIRE, CLAIRE, (TEAM, frozenset()), Mode.PARTITIONED) == "partitioned_merge"
    assert obstacle(CLAIRE, CLAIRE, (TEAM, frozenset()), Mode.TEAMS) is None


def test_two_qualified_matricules_are_refused_with_their_reason(desk: Desk) -> None:
    one, other = (desk.patients.create(desk.clinician, who, anyway=True).id for who in (QUALIFIED, OTHER_INS))
    assert merging(desk).compare(desk.clinician, one, other).obstacle == "qualified_ins"
    with pytest.raises(Conflict) as refused:
        merge(desk, other, one)
    assert refused.value.details["reason"] == "qualified_ins"
    assert desk.log()[-1].outcome.value == "failed"


def test_a_comparison_says_what_is_in_each_and_who_may_merge(desk: Desk, double: PatientId) -> None:
    desk.deposit(data=scan(seed=1))
    found = merging(desk).compare(desk.clinician, desk.patient, double)
    assert (found.one.documents, found.other.documents, found.obstacle) == (1, 0, None)
    assert merging(desk).compare(desk.reception, desk.patient, double).obstacle == "not_followed"
    with pytest.raises(Forbidden):
        merging(desk).compare(desk.auditor, desk.patient, double)


# --- time, chains, races --------------------------------------------------------------------------------------------------


def test_after_thirty_days_it_stands(desk: Desk, double: PatientId) -> None:
    merged = merge(desk, double)
    desk.clock.advance(seconds=30 * DAY_S)
    (shown,) = merging(desk).of(desk.clinician, desk.patient)
    assert (shown.id, shown.absorbed.identity.birth_name, shown.can_be_undone) == (merged, "MARTINE", True)
    desk.clock.advance(seconds=1)
    with pytest.raises(Conflict) as refused:
        undo(desk, merged)
    assert refused.value.details["reason"] == "too_late"
    assert not merging(desk).of(desk.clinician, desk.patient)[0].can_be_undone


def test_a_chain_is_undone_from_its_end(desk: Desk, double: PatientId) -> None:
    third = desk.patients.create(desk.clinician, identity("MARTINEZ"), anyway=True).id
    papers = [desk.deposit(data=scan(seed=n), patient=who).id for n, who in enumerate((desk.patient, double, third))]
    first = merge(desk, third, kept=double)
    before = rows(desk)
    second = merge(desk, double, kept=desk.patient)
    assert listed(desk, third) == set(papers)
    assert desk.patients.get(desk.clinician, third).id == desk.patient
    with pytest.raises(Conflict) as refused:
        undo(desk, first)
    assert refused.value.details["reason"] == "merged_again"
    undo(desk, second)
    assert rows(desk) == before
    assert listed(desk, third) == set(papers[1:])
    undo(desk, first)
    with pytest.raises(Conflict) as refused:
        undo(desk, first)
    assert refused.value.details["reason"] == "undone"
    assert listed(desk, third) == {papers[2]}


def together(*acts: Callable[[], object]) -> list[str]:
    """How each of some acts ends that begin at the same moment."""
    start, ends = threading.Barrier(len(acts)), list[str]()

    def run(act: Callable[[], object]) -> None:
        start.wait()
        try:
            act()
            ends.append("done")
        except Conflict as refused:
            ends.append(str(refused.details["reason"]))

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(ends)


@pytest.fixture
def house(databases: DatabaseSettings, clock: Clock) -> Iterator[House]:
    made = open_house(databases, clock)
    yield made
    made.close()


def test_of_two_who_merge_at_once_one_wins(house: House) -> None:
    doctor = house.person(Role.CLINICIAN)
    names = ("Abadie", "Bernard")
    one, other = (house.patients.create(doctor, replace(CLAIRE, birth_name=name, used_name=None)).id for name in names)
    room = Merging(
        db=house.db, log=house.log, relations=Relations(house.db), patients=house.patients, clock=lambda: Micros(house.clock())
    )
    actor = replace(doctor, factor_at=Micros(house.clock()))
    ends = together(
        lambda: room.merge(actor, one, other, reason="Double"), lambda: room.merge(actor, other, one, reason="Double")
    )
    assert ends == ["done", "merged"]
    with house.db.read() as connection:
        merged = connection.execute(text("SELECT count(*) FROM patients WHERE merged_into IS NOT NULL")).scalar_one()
    assert merged == 1
    assert house.events().count(("patient.merge", "success")) == 2
    (standing,) = room.of(actor, one)
    ends = together(*[lambda: room.undo(actor, standing.id, reason="Erreur")] * 2)
    assert ends == ["done", "undone"]


@pytest.mark.parametrize("table", ["merges", "audit_entries"])
def test_a_merge_that_fails_half_way_leaves_nothing(desk: Desk, double: PatientId, table: str) -> None:
    before, told = rows(desk), len(desk.log())
    desk.execute(f"CREATE TRIGGER stopped BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'stopped'); END")
    with pytest.raises((VaultError, DBAPIError)):
        merge(desk, double)
    desk.execute("DROP TRIGGER stopped")
    assert rows(desk) == before
    assert "patient.merge" not in {record.action.value for record in desk.log()[told:] if record.outcome.value == "success"}
    merge(desk, double)
