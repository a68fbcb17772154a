"""A file whose end has come goes by two people's word, whole and for good; anything else stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from tests.conftest import Clock
from tests.vault.records.desk import scan
from tests.vault.records.disposal.archive import NAME, OLD_ACT, Archive, open_archive
from vault.audit.events import Action
from vault.errors import Conflict, Forbidden, Invalid, NotFound, StepUpRequired, StorageUnavailable
from vault.model import Actor, DocumentId, Micros, PatientId, Role, ScopeId
from vault.people.relations import Mode, Relations
from vault.records.disposal.disposals import Disposals
from vault.records.disposal.facts import Facts
from vault.records.disposal.rows import State
from vault.records.documents.catalogue import every_version
from vault.records.patients.merging import Merging
from vault.records.patients.retention import End, Rule
from vault.settings import DatabaseSettings
from vault.storage.schema import breakglass, notices, patients, practice, scopes
from vault.upkeep.inspection import Inspection

ID = re.compile("[0-9a-f]{32}")


@pytest.fixture
def archive(databases: DatabaseSettings, tmp_path: Path, clock: Clock) -> Iterator[Archive]:
    with open_archive(databases, tmp_path, clock) as opened:
        yield opened


@pytest.fixture
def small(sqlite: DatabaseSettings, tmp_path: Path, clock: Clock) -> Iterator[Archive]:
    with open_archive(sqlite, tmp_path, clock) as opened:
        yield opened


def reason_of(act: Callable[[], object]) -> object:
    with pytest.raises(Conflict) as refused:
        act()
    return refused.value.details["reason"]


def proposal(archive: Archive, actor: Actor, patient: PatientId) -> object:
    return reason_of(lambda: archive.disposals.propose(actor, patient))


def approval(archive: Archive, actor: Actor, disposal: str) -> object:
    return reason_of(lambda: archive.disposals.approve(archive.fresh(actor), disposal))


def dispose(archive: Archive, patient: PatientId) -> str:
    proposed = archive.disposals.propose(archive.doctor, patient)
    done = archive.disposals.approve(archive.fresh(archive.owner), proposed.id)
    assert done.state is State.DONE
    return done.id


def test_two_people_and_nothing_is_left(archive: Archive) -> None:
    gone, kept = archive.old(3), archive.old(1)
    with archive.house.db.read() as connection:
        [scope] = connection.execute(select(patients.c.scope).where(patients.c.id == gone)).scalars()
    glass = {"id": "9" * 32, "patient": gone, "person": archive.stranger.person, "reason_sealed": b"", "since": 0, "until": 1}
    told = {"id": "8" * 32, "person": archive.owner.person, "kind": "break_glass", "about": glass["id"], "at": 0}
    archive.house.db.write(
        lambda connection: (connection.execute(insert(breakglass), [glass]), connection.execute(insert(notices), [told]))
    )
    archive.keeping.say(archive.reception, gone, Facts(last_care_on=date(2002, 1, 1)))
    archive.keeping.clear(archive.owner, archive.keeping.hold(archive.owner, gone, "Litige"), "Transaction")
    assert [past.patient for past in archive.keeping.due(archive.owner).files] == sorted([gone, kept])
    bodies = len(list(archive.blobs.list()))
    filed = [document.id for document in archive.documents.list(archive.doctor, gone).items]
    done = dispose(archive, gone)

    records = archive.log()
    told_of = [record for record in records if record.action.value in {"patient.erase", "audit.subject_erased"}]
    assert [record.outcome.value for record in told_of] == ["success", "success"]
    assert [(record.note or {}).get("count") for record in told_of[:1]] == [3]
    assert all(gone not in str(record.subject) + str(record.note) for record in records)
    assert archive.naming(gone) == archive.naming(scope) == []
    assert [table for document in filed for table in archive.naming(document)] == []
    assert len(list(archive.blobs.list())) == bodies - 3
    for act in (
        lambda: archive.house.patients.get(archive.doctor, gone),
        lambda: archive.documents.list(archive.doctor, gone),
        lambda: archive.documents.open(archive.doctor, filed[0], Action.DOCUMENT_VIEW),
        lambda: archive.file(gone),
        lambda: archive.keeping.of(archive.owner, gone),
    ):
        with pytest.raises(NotFound):
            act()
    with pytest.raises(NotFound), archive.house.scopes.open(ScopeId(scope)):
        pass
    assert [who.id for who in archive.house.patients.search(archive.doctor, NAME).items] == [kept]
    assert archive.disposals.waiting(archive.dpo) == ()
    assert archive.disposals.finish() == 0

    assert archive.auditing.verify(archive.house.person(Role.AUDITOR)).is_whole
    page = archive.disposals.certificate(archive.dpo, done).text()
    for said in (gone, done, archive.doctor.person, archive.owner.person, "R-20", "01/01/2022", "26/10/2026", "patient.erase"):
        assert said in page
    assert NAME.lower() not in page.lower()


def test_an_old_proof_still_verifies(small: Archive) -> None:
    patient = small.old()
    auditor = small.house.person(Role.AUDITOR)
    before = small.auditing.checkpoints.make(keep=True)
    dispose(small, patient)
    small.auditing.checkpoints.must_extend(before.note)
    assert small.auditing.verify(auditor).is_whole


def test_who_may_and_who_may_not(archive: Archive) -> None:
    patient = archive.old()
    for actor, refusal in ((archive.reception, Forbidden), (archive.dpo, Forbidden), (archive.stranger, NotFound)):
        with pytest.raises(refusal):
            archive.disposals.propose(actor, patient)
    proposed = archive.disposals.propose(archive.owner, patient)
    assert reason_of(lambda: archive.disposals.propose(archive.doctor, patient)) == "proposed"
    for actor in (archive.doctor, archive.reception):
        with pytest.raises(Forbidden):
            archive.disposals.approve(archive.fresh(actor), proposed.id)
        with pytest.raises(Forbidden):
            archive.disposals.take_back(actor, proposed.id)
        with pytest.raises(Forbidden):
            archive.disposals.waiting(actor)
    with pytest.raises(Forbidden) as alone:
        archive.disposals.approve(archive.fresh(archive.owner), proposed.id)
    assert alone.value.details["reason"] == "same_person"
    archive.house.clock.advance(minutes=6)
    with pytest.raises(StepUpRequired):
        archive.disposals.approve(archive.dpo, proposed.id)
    refused = [pair for pair in archive.house.events() if pair[0].startswith("privacy.")]
    assert refused.count(("privacy.retention_proposed", "denied")) == 3
    assert refused.count(("privacy.retention_proposed", "failed")) == 1
    assert refused.count(("privacy.retention_approved", "denied")) == 8
    assert archive.disposals.approve(archive.fresh(archive.dpo), proposed.id).state is State.DONE
    assert reason_of(lambda: archive.disposals.approve(archive.fresh(archive.dpo), proposed.id)) == "decided"
    with pytest.raises(NotFound):
        archive.disposals.approve(archive.fresh(archive.dpo), "0" * 32)


@pytest.mark.parametrize("who", ["doctor", "owner", "dpo"])
def test_it_can_be_taken_back(small: Archive, who: str) -> None:
    patient = small.old()
    proposed = small.disposals.propose(small.doctor, patient)
    small.disposals.take_back(getattr(small, who), proposed.id)
    assert small.disposals.waiting(small.owner) == ()
    assert reason_of(lambda: small.disposals.approve(small.fresh(small.owner), proposed.id)) == "decided"
    assert reason_of(lambda: small.disposals.take_back(small.owner, proposed.id)) == "decided"
    assert len(small.documents.list(small.doctor, patient).items) == 2
    assert small.disposals.propose(small.doctor, patient).state is State.PROPOSED


def test_alone_one_waits_a_week(small: Archive) -> None:
    small.house.db.write(lambda connection: connection.execute(insert(practice).values(id=1, mode=Mode.SOLO)))
    proposed = small.disposals.propose(small.owner, small.old())
    small.house.clock.advance(days=6.99)
    assert reason_of(lambda: small.disposals.approve(small.fresh(small.owner), proposed.id)) == "pause"
    small.house.clock.advance(days=0.02)
    assert small.disposals.approve(small.fresh(small.owner), proposed.id).state is State.DONE


def test_a_hold_stops_everybody(archive: Archive) -> None:
    patient = archive.old()
    proposed = archive.disposals.propose(archive.doctor, patient)
    hold = archive.keeping.hold(archive.doctor, patient, "Procédure en cours", since=date(2020, 1, 1))
    for actor in (archive.owner, archive.dpo):
        assert approval(archive, actor, proposed.id) == "on_hold"
    archive.disposals.take_back(archive.doctor, proposed.id)
    for actor in (archive.owner, archive.doctor):
        assert proposal(archive, actor, patient) == "on_hold"
    kept = archive.keeping.of(archive.dpo, patient)
    assert (kept.end, kept.is_held, kept.holds[0].reason) == (None, True, "Procédure en cours")
    assert archive.keeping.due(archive.owner).files == ()
    with pytest.raises(NotFound):
        archive.keeping.clear(archive.stranger, hold, "Non")
    with pytest.raises(Invalid):
        archive.keeping.clear(archive.doctor, hold, " ")
    archive.keeping.clear(archive.doctor, hold, "Jugement")
    assert reason_of(lambda: archive.keeping.clear(archive.doctor, hold, "Encore")) == "cleared"
    days = (date(2026, 9, 21) - date(2020, 1, 1)).days
    end = archive.keeping.of(archive.owner, patient).end
    assert end is not None
    assert (end.on - date(2021, 5, 2)).days == days
    assert reason_of(lambda: archive.disposals.propose(archive.owner, patient)) == "not_due"


def test_facts_move_the_end(small: Archive) -> None:
    patient = small.patient()
    assert small.keeping.of(small.owner, patient).end is None, "no care is known: nothing is ever proposed"
    assert reason_of(lambda: small.disposals.propose(small.owner, patient)) == "not_due"
    small.keeping.say(small.doctor, patient, Facts(last_care_on=date(2015, 1, 10), died_on=date(2016, 7, 1)))
    assert small.keeping.of(small.owner, patient).end == End(date(2026, 7, 1), Rule.DEATH)
    small.file(patient, act=date(2015, 6, 1))
    assert small.keeping.of(small.owner, patient).last_care_on == date(2015, 6, 1)
    small.keeping.say(small.doctor, patient, Facts())
    assert small.keeping.of(small.owner, patient).end == End(date(2035, 6, 1), Rule.CARE)
    small.file(patient, act=None, seed=2)
    assert small.keeping.of(small.owner, patient).last_care_on == date(2026, 9, 21), "no act date: the day of the deposit"
    with pytest.raises(Invalid):
        small.keeping.say(small.doctor, patient, Facts(died_on=date(2027, 1, 1)))
    with pytest.raises(Invalid):
        small.keeping.hold(small.doctor, patient, "Litige", since=date(2027, 1, 1))
    child = small.patient("2008-09-10")
    small.file(child, act=date(2010, 6, 1), seed=3)
    assert small.keeping.of(small.owner, child).end == End(date(2036, 9, 10), Rule.BIRTHDAY)


def test_what_is_said_is_sealed_to_its_patient(small: Archive) -> None:
    one, other = small.patient(), small.patient("1951-01-01")
    small.keeping.say(small.doctor, one, Facts(date(2001, 2, 3), date(2002, 3, 4)))
    small.keeping.hold(small.doctor, one, "Expertise Lafarge")
    with small.house.db.read() as connection:
        rows = [
            value
            for table in ("retention_facts", "legal_holds")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
            for value in row
        ]
    said = [value for value in rows if not ID.fullmatch(str(value))]  # in the hexadecimal of an id any year may stand
    assert len([value for value in said if isinstance(value, bytes)]) == 2
    assert not [word for word in ("2001", "2002", "Lafarge", "Expertise") if word in str(said)]
    small.house.db.write(lambda connection: connection.execute(text(f"UPDATE retention_facts SET patient = '{other}'")))
    assert small.keeping.due(small.owner).unreadable == 1


def test_due_walks_all_files_by_stretches(small: Archive) -> None:
    old = {small.old(1) for _ in range(3)}
    recent = small.patient()
    small.file(recent, act=date(2026, 1, 1), seed=77)
    found, after, steps = set[PatientId](), None, 0
    while steps == 0 or after is not None:
        due = small.keeping.due(small.owner, after, limit=2)
        found |= {past.patient for past in due.files}
        after, steps = due.after, steps + 1
    assert (found, steps) == (old, 3)
    assert small.keeping.due(small.stranger).files == (), "a clinician proposes for those they follow"
    assert {past.patient for past in small.keeping.due(small.dpo).files} == old
    with pytest.raises(Forbidden):
        small.keeping.due(small.reception)


def test_what_changes_after_the_proposal_is_looked_at_again(small: Archive) -> None:
    patient = small.old()
    proposed = small.disposals.propose(small.doctor, patient)
    small.file(patient, act=date(2026, 1, 1), seed=99)
    assert reason_of(lambda: small.disposals.approve(small.fresh(small.owner), proposed.id)) == "not_due"


def test_a_merged_file_goes_whole_and_not_while_the_merge_can_be_undone(archive: Archive) -> None:
    kept, absorbed = archive.old(1), archive.old(2)
    merging = Merging(
        db=archive.house.db, log=archive.house.log, relations=Relations(archive.house.db), patients=archive.house.patients,
        clock=lambda: Micros(archive.house.clock()),
    )  # fmt: skip
    merging.merge(archive.fresh(archive.doctor), kept, absorbed, reason="Même personne")
    assert reason_of(lambda: archive.disposals.propose(archive.doctor, kept)) == "recent_merge"
    archive.house.clock.advance(days=31)
    assert reason_of(lambda: archive.disposals.propose(archive.doctor, absorbed)) == "merged"
    dispose(archive, kept)
    assert archive.naming(kept) == archive.naming(absorbed) == []
    assert list(archive.blobs.list()) == []
    with archive.house.keyring_db.read() as connection:
        assert "patient" not in set(connection.execute(select(scopes.c.kind)).scalars())
    assert archive.auditing.verify(archive.house.person(Role.AUDITOR)).is_whole


def test_what_fails_after_the_decision_is_finished_later(small: Archive) -> None:
    patient = small.old()
    proposed = small.disposals.propose(small.doctor, patient)

    def away(*_: object) -> None:
        raise StorageUnavailable("the log's keyring is away")

    broken = Disposals(
        rooms=small.documents.rooms, keyring=small.disposals._keyring, keeping=small.keeping, forget=away, backup_days=35
    )
    assert broken.approve(small.fresh(small.owner), proposed.id).state is State.ERASING
    with pytest.raises(NotFound):
        small.house.patients.get(small.doctor, patient)
    assert reason_of(lambda: small.disposals.certificate(small.dpo, proposed.id)) == "not_done"
    assert [each.id for each in small.disposals.waiting(small.dpo)] == [proposed.id]
    assert (small.disposals.finish(), small.disposals.finish()) == (1, 0)
    assert small.naming(patient) == []
    assert list(small.blobs.list()) == []
    assert small.disposals.certificate(small.dpo, proposed.id).disposal.state is State.DONE


def test_a_check_under_way_misses_nothing_of_what_went(small: Archive) -> None:
    patient = small.old(1)
    with small.house.db.read() as connection:
        [stored] = every_version(connection, (DocumentId(""), 0), 10)
    assert Inspection(small.documents.rooms, small.blobs, receipt=None).look_at(stored) is None
    dispose(small, patient)
    assert Inspection(small.documents.rooms, small.blobs, receipt=None).look_at(stored) is None


def test_a_deposit_under_way_does_not_come_in_after_the_end(small: Archive) -> None:
    """Its checks were passed before the file went: the database itself refuses the row."""
    patient = small.old()
    body = scan(20_000, 5)

    class Slow:
        def __init__(self) -> None:
            self.left = [body[:10_000], body[10_000:]]

        def read(self, size: int, /) -> bytes:
            del size
            if len(self.left) == 1:
                dispose(small, patient)
            return self.left.pop(0) if self.left else b""

    with pytest.raises((StorageUnavailable, NotFound)):
        small.documents.store(
            small.doctor, patient, type="11502-2", act_date=OLD_ACT, file_name="x.pdf", body=Slow()
        )  # fmt: skip
    assert small.naming(patient) == []
