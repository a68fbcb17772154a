"""What the status page and the doctor say of the stored documents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.web.conftest import Practice
from vault.upkeep.doctor import check_documents
from vault.upkeep.patrol import Patrol

DAYS = 30


def go_round(practice: Practice, days: float) -> None:
    """As the serving process would, ``days`` from now."""
    practice.clock.advance(days=days)
    rooms = practice.vault.documents.rooms
    Patrol(rooms, practice.vault.blobs, days=DAYS, pause=lambda _: None).turn()


def test_a_lost_body_is_told_on_the_page_and_by_the_doctor(open_another: Callable[..., Practice]) -> None:
    practice = open_another(staff=("claire", "nadia"))
    patient = practice.patient()
    for number in range(3):
        assert (
            practice.program("claire").upload(patient.id, b"%PDF-1.7\n" + bytes([48 + number]) * 900 + b"\n%%EOF").status_code
            == 201
        )
    go_round(practice, 0)
    go_round(practice, DAYS / 2)
    seen = practice.vault.patrol.watch()
    assert (seen.checked, seen.total, seen.ok) == (2, 3, True)
    assert "2 of 3" in check_documents(seen).detail
    page = practice.browser("nadia").client.get("/status").get_data(as_text=True)
    assert "2 sur 3" in page
    bodies = [path for path in Path(practice.room / "blobs").rglob("*") if path.is_file()]
    for body in bodies:
        body.unlink()
    go_round(practice, DAYS)
    check = check_documents(practice.vault.patrol.watch())
    assert not check.ok
    assert "coffre documents verify" in check.detail
    page = practice.browser("nadia").client.get("/status").get_data(as_text=True)
    assert "Un document enregistré a été altéré ou perdu" in page
    assert practice.app.test_client().get("/readyz").get_json()["missing"] in ([], ["disk"])  # it goes on serving all others
    assert practice.events("document.integrity_failure")
    practice.clock.advance(days=3 * DAYS)
    assert practice.vault.patrol.watch().is_late


def test_what_is_switched_off_or_late_is_said(practice: Practice) -> None:
    watch = practice.vault.patrol.watch()
    assert "verify from a timer" in check_documents(type(watch)(0, 5, 0, (), None, None, is_late=False)).detail
    late = check_documents(type(watch)(30, 5, 0, (), watch.started_at, None, is_late=True))
    assert not late.ok
