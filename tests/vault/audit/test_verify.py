"""Verification inside the vault: every way of meddling with the tables is found, and named at the right index."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kms.errors import KmsError, PinRefused
from tests.vault.audit.conftest import Rig, created, person, viewed
from vault.audit.events import Action, Note
from vault.audit.keeper import CHECKPOINT_S, RETRY_S, Keeper, this_run
from vault.audit.search import Filters
from vault.audit.verify import Fault, Finding, Verdict
from vault.errors import Forbidden, KeysUnavailable, Tampered
from vault.model import Role


def filled(rig: Rig, count: int = 40) -> None:
    rig.log.record(created(1))
    rig.log.record_all([viewed(number, of=number % 3, by=person(number % 4)) for number in range(count)])


def verdict(rig: Rig) -> Verdict:
    """As a fresh process sees it."""
    other = rig.reopened()
    try:
        return other.auditing.verify(other.auditor())
    finally:
        other.close()


def test_an_untouched_log_is_whole(rig: Rig) -> None:
    filled(rig, 600)
    signed = rig.auditing.checkpoint(rig.auditor())
    found = verdict(rig)
    assert found.is_whole
    assert (found.size, found.signed_size, found.withheld) == (602, signed.checkpoint.size, 0)


SWAP = (
    "UPDATE audit_entries SET position = -1 WHERE position = 10",
    "UPDATE audit_entries SET position = 10 WHERE position = 20",
    "UPDATE audit_entries SET position = 20 WHERE position = -1",
)
RENUMBER = (
    "DELETE FROM audit_entries WHERE position = 17",
    "UPDATE audit_entries SET position = -position WHERE position > 17",
    "UPDATE audit_entries SET position = -position - 1 WHERE position < 0",
)
EDIT = "UPDATE audit_entries SET leaf = CAST(replace(leaf, 'document.view', 'document.prin') AS BLOB) WHERE position = 12"


COPY = "UPDATE audit_entries SET {0} = (SELECT {0} FROM audit_entries WHERE position = 6) WHERE position = 5"


@pytest.mark.parametrize(
    ("statements", "index", "kind"),
    [
        ((EDIT,), 12, Fault.EDITED),
        (("DELETE FROM audit_entries WHERE position = 17",), 17, Fault.MISSING),
        (RENUMBER, 17, Fault.MISSING),
        (SWAP, 10, Fault.SWAPPED),
        (("DELETE FROM audit_entries WHERE position >= 30",), 30, Fault.TRUNCATED),
        ((COPY.format("client_sealed"),), 5, Fault.GROUP),
        (("UPDATE audit_entries SET patient_index = zeroblob(16) WHERE position = 8",), 8, Fault.EDITED),
        (("UPDATE audit_entries SET client_sealed = NULL WHERE position = 8",), 8, Fault.GROUP),
        (("UPDATE audit_entries SET patient_index = NULL WHERE position = 8",), 8, Fault.EDITED),
        ((COPY.format("actor_index"),), 5, Fault.COLUMNS),
        (("UPDATE audit_entries SET document_index = NULL WHERE position = 8",), 8, Fault.COLUMNS),
        (("UPDATE audit_entries SET action = 'log.heartbeat' WHERE position = 8",), 8, Fault.COLUMNS),
        (("UPDATE audit_entries SET flags = 2 WHERE position = 8",), 8, Fault.COLUMNS),
        (("UPDATE audit_entries SET detector_index = zeroblob(16) WHERE position = 8",), 8, Fault.COLUMNS),
        (("UPDATE audit_entries SET at = at - 1 WHERE position = 8",), 8, Fault.COLUMNS),
        (("UPDATE audit_checkpoints SET note = replace(note, '42', '41')",), 0, Fault.CHECKPOINT),
    ],
    ids=lambda value: value if isinstance(value, Fault) else None,
)  # fmt: skip
def test_meddling_is_named(rig: Rig, statements: tuple[str, ...], index: int, kind: Fault) -> None:
    filled(rig)
    rig.auditing.checkpoints.make()
    assert verdict(rig).is_whole
    rig.sql(*statements)
    found = verdict(rig)
    assert found.first_bad is not None
    assert (found.first_bad.index, found.first_bad.kind) == (index, kind)


def test_an_access_hidden_from_reviews_is_found(rig: Rig) -> None:
    """Its sealed note still says that it was outside the care team; the bit by which reviews find it is gone."""
    filled(rig)
    outside = rig.log.record(replace(viewed(1), note=Note(relation=("outside_team", "sensitive"), is_breakglass=True)))
    assert rig.auditing.verify(rig.auditor()).is_whole
    for flags in (0, 1, 2 + 8):
        rig.sql(f"UPDATE audit_entries SET flags = {flags} WHERE position = {outside.position}")
        assert rig.auditing.verify(rig.auditor()).first_bad == Finding(outside.position, Fault.COLUMNS)


def test_an_altered_tile_is_found(rig: Rig) -> None:
    filled(rig, 300)
    rig.sql("UPDATE audit_tiles SET hashes = zeroblob(8192)")
    found = verdict(rig)
    assert found.first_bad is not None
    assert (found.first_bad.index, found.first_bad.kind) == (0, Fault.TILE)


def test_a_truncated_tail_is_found_without_any_checkpoint(rig: Rig) -> None:
    filled(rig)
    rig.sql("DELETE FROM audit_entries WHERE position >= 30")
    found = verdict(rig)
    assert found.first_bad is not None
    assert (found.first_bad.index, found.first_bad.kind) == (30, Fault.TRUNCATED)


def test_a_checkpoint_of_another_key_is_refused(rig: Rig) -> None:
    from tests.kms.fake import FakeKeyService
    from tests.vault.audit.conftest import open_rig

    filled(rig)
    stranger = open_rig(rig.path, rig.clock, FakeKeyService())
    stranger.auditing.checkpoints.make()
    stranger.close()
    found = verdict(rig)
    assert found.first_bad is not None
    assert found.first_bad.kind is Fault.CHECKPOINT


def test_the_log_is_never_signed_over_a_rewritten_past(rig: Rig) -> None:
    filled(rig)
    rig.auditing.checkpoints.make()
    rig.sql(*RENUMBER)
    with pytest.raises(Tampered):
        rig.auditing.checkpoints.make()


def test_verifying_is_an_event_and_says_what_it_found(rig: Rig) -> None:
    filled(rig)
    rig.auditing.verify(rig.auditor())
    line = rig.auditing.timeline(rig.auditor(), Filters()).page.items[1]
    assert (line.action, line.count, line.actor_name) == (Action.AUDIT_VERIFY, 42, "Dr 9")


def test_reception_does_not_verify_and_the_refusal_is_an_event(rig: Rig) -> None:
    filled(rig)
    with pytest.raises(Forbidden):
        rig.auditing.verify(person(3, Role.RECEPTION))
    line = rig.auditing.timeline(rig.auditor(), Filters()).page.items[1]
    assert (line.action, line.code) == (Action.ACCESS_DENIED, "forbidden")


def test_without_the_token_the_log_goes_on_and_the_next_checkpoint_covers_it(rig: Rig) -> None:
    filled(rig)
    rig.keys.break_down()
    with pytest.raises(KeysUnavailable):
        rig.auditing.checkpoints.make()
    rig.log.record(viewed(3))
    rig.keys.repair()
    assert rig.auditing.checkpoints.make().checkpoint.size == 43


@pytest.mark.parametrize(
    ("trouble", "said"),
    [(None, "hsm.unavailable"), (PinRefused("the token refuses the PIN"), "hsm.login_failed")],
    ids=["away", "pin"],
)
def test_the_log_tells_once_that_the_token_left_and_that_it_is_back(rig: Rig, trouble: KmsError | None, said: str) -> None:
    filled(rig)
    heard: list[str] = []
    keeper = Keeper(rig.log, rig.auditing.checkpoints, this_run("test"), lambda error: heard.append(error.code))
    assert keeper.turn(1) == CHECKPOINT_S
    rig.keys.break_down(trouble)
    rig.log.record(viewed(3))
    assert [keeper.turn(1), keeper.turn(1)] == [RETRY_S, RETRY_S]
    rig.keys.repair()
    assert [keeper.turn(1), keeper.turn(1)] == [CHECKPOINT_S, CHECKPOINT_S]
    told = [line for line in rig.auditing.timeline(rig.auditor(), Filters()).page.items if line.action.value.startswith("hsm.")]
    assert [(line.action.value, line.code) for line in told] == [
        ("hsm.recovered", ""),
        (said, trouble.code if trouble else "keys_unavailable"),
    ]
    assert heard == ["keys_unavailable"] * 2


def test_one_checkpoint_an_hour_stays_and_those_given_out(rig: Rig) -> None:
    sizes: list[int] = []
    for minute in range(0, 180, 20):
        rig.log.record(viewed(minute))
        signed = rig.auditing.checkpoints.make(keep=minute == 20)
        sizes.append(signed.checkpoint.size)
        rig.clock.advance(minutes=20)
    kept = [each.checkpoint.size for each in rig.auditing.checkpoints.all()]
    assert sizes[-1] in kept
    assert sizes[1] in kept
    assert len(kept) <= 5


def test_an_old_database_put_back_is_found_by_the_mark_in_the_keyring(rig: Rig) -> None:
    filled(rig)
    rig.auditing.checkpoints.make()
    rig.close()
    files = list(rig.path.glob("coffre.db*"))
    old = {file: file.read_bytes() for file in files}
    later = rig.reopened()
    later.log.record_all([viewed(number) for number in range(30)])
    later.auditing.checkpoints.make()
    later.close()
    for file in rig.path.glob("coffre.db*"):
        file.unlink()
    for file, data in old.items():
        file.write_bytes(data)
    restored = rig.reopened()
    found = restored.auditing.verify(restored.auditor())
    assert found.first_bad is not None
    assert (found.first_bad.index, found.first_bad.kind) == (42, Fault.TRUNCATED)
    restored.auditing.checkpoints.make()
    filters = Filters(actions=(Action.LOG_ROLLBACK_DETECTED,))
    lines = restored.auditing.timeline(restored.auditor(), filters).page.items
    assert [line.code for line in lines] == ["behind_mark", "older_database"]
    assert restored.auditing.verify(restored.auditor()).is_whole, "it goes on from there, and says so for ever"
    restored.close()
