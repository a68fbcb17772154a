"""What the status page and the doctor say of backups and their rehearsals."""

from __future__ import annotations

from tests.web.conftest import Practice
from vault.audit.events import Action, Event, Outcome, System
from vault.upkeep.doctor import check_backups
from vault.upkeep.rehearsed import Rehearsals, rehearsals


def test_the_page_and_the_doctor_say_when_the_last_ones_were(practice: Practice) -> None:
    nadia = practice.browser("nadia").client
    page = nadia.get("/status").get_data(as_text=True)
    assert "Aucune sauvegarde" in page
    assert "aucun exercice de restauration" in page
    assert "un point vous attend" in page, "a green verdict above a marked line is not honest"
    found = rehearsals(practice.vault.db, practice.vault.clock())
    assert not check_backups(found, is_demo=False, is_unfinished=False).ok
    assert check_backups(found, is_demo=True, is_unfinished=False).ok, "a demonstration is thrown away"
    for action in (Action.SYSTEM_BACKUP, Action.SYSTEM_RESTORE_DRILL):
        practice.vault.log.record(Event(action, Outcome.SUCCESS, System("test")))
    page = nadia.get("/status").get_data(as_text=True)
    assert "Dernière sauvegarde le" in page
    assert "exercice de restauration le" in page
    assert "un point vous attend" not in page
    found = rehearsals(practice.vault.db, practice.vault.clock())
    assert check_backups(found, is_demo=False, is_unfinished=False).ok
    assert "run coffre backup restore once more" in check_backups(found, is_demo=True, is_unfinished=True).detail


def test_late_partial_and_failed_are_told_apart() -> None:
    day = 86_400 * 1_000_000
    cases: list[tuple[int, bool, bool, str]] = [
        (3, True, True, "3 days ago;"),
        (0, False, True, "lacked something"),
        (0, True, False, "it failed"),
    ]
    for days, is_whole, is_good, words in cases:
        seen = Rehearsals(100 * day, (100 - days) * day, is_whole, 99 * day, is_good)  # type: ignore[arg-type]  # plain numbers
        check = check_backups(seen, is_demo=False, is_unfinished=False)
        assert not check.ok
        assert words in check.detail
