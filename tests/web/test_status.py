"""The status page tells the minutes out of service, and what nobody can know."""

from __future__ import annotations

from collections.abc import Callable

from tests.web.conftest import Practice
from vault.audit.events import Action, Event, Outcome, System


def test_minutes_out_of_service_are_told_apart_from_what_is_not_known(open_another: Callable[..., Practice]) -> None:
    practice = open_another(staff=("thomas",))
    assert "Affichée après la première journée" in practice.browser("thomas").client.get("/status").get_data(as_text=True)

    def happens(action: Action, after_minutes: int) -> None:
        practice.clock.advance(minutes=after_minutes)
        practice.vault.log.record(Event(action, Outcome.SUCCESS, System("web")))

    happens(Action.SYSTEM_START, 0)
    for _ in range(3 * 24 * 6):
        happens(Action.LOG_HEARTBEAT, 10)
    happens(Action.SYSTEM_STOP, 0)
    happens(Action.SYSTEM_START, 12)
    happens(Action.SYSTEM_UNCLEAN_START, 7)
    happens(Action.SYSTEM_START, 0)
    text = practice.browser("thomas").client.get("/status").get_data(as_text=True)
    assert "3 jours, depuis le" in text
    assert "12 minutes" in text
    assert "7 minutes" in text
    assert "(525 admises par an)" in text
