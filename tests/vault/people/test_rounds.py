"""What happens by itself: mails that carry notices, accounts that nobody uses."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.servers.mail import Sink
from tests.vault.people.conftest import OFFICE, PASSWORD, House
from vault.errors import BadSettings, Invalid, SignInRefused, StorageUnavailable
from vault.model import Micros, PersonId, Role
from vault.people.mail import WORDS, by_smtp, letter
from vault.people.notices import Notice
from vault.settings import MailSettings
from vault.storage.schema import notices, people

SENDER = "coffre@cabinet.example"


def with_mail(house: House, username: str = "lmartin", address: str = "lea.martin@example.org") -> PersonId:
    return house.people.accounts.create(
        house.console(), username=username, display_name="Léa", role=Role.CLINICIAN, password=PASSWORD, email=address
    )


def test_a_lock_is_told_by_mail_without_link_name_or_code(house: House, mail_sink: Sink) -> None:
    with_mail(house)
    for _ in range(5):
        with pytest.raises(SignInRefused):
            house.people.sign_in.password("lmartin", "wrong", OFFICE)
    send = by_smtp(MailSettings(smtp=f"127.0.0.1:{mail_sink.port}", sender=SENDER))
    assert house.people.rounds.post(send, SENDER) == 1
    assert house.people.rounds.post(send, SENDER) == 0, "each notice leaves once"
    (received,) = mail_sink.letters
    body = received.get_content()
    assert received["To"] == "lea.martin@example.org"
    assert "bloqué" in received["Subject"]
    assert "locked" in body
    for never in ("http", "Léa", "lmartin", "://"):
        assert never not in body


def test_an_address_is_sealed_and_checked(house: House) -> None:
    with_mail(house)
    with house.db.read() as connection:
        sealed = connection.execute(select(people.c.email_sealed)).scalar_one()
    assert sealed is not None
    assert b"lea.martin" not in sealed
    for address in ("nowhere", "a@b\nBcc: all@example.org", "a b@example.org", "@example.org"):
        with pytest.raises(Invalid):
            with_mail(house, "other", address)


def test_whoever_has_no_address_reads_in_the_pages(house: House, mail_sink: Sink) -> None:
    _, first = house.enrol()
    for _ in range(5):
        with pytest.raises(SignInRefused):
            house.people.sign_in.password("lmartin", "wrong", OFFICE)
    send = by_smtp(MailSettings(smtp=f"127.0.0.1:{mail_sink.port}", sender=SENDER))
    assert house.people.rounds.post(send, SENDER) == 0
    assert mail_sink.letters == []
    assert [each.kind for each in house.people.notices.of(first.actor)] == [Notice.LOCKED]


def test_a_server_that_is_away_loses_no_notice(house: House, mail_sink: Sink) -> None:
    with_mail(house)
    for _ in range(5):
        with pytest.raises(SignInRefused):
            house.people.sign_in.password("lmartin", "wrong", OFFICE)
    away = by_smtp(MailSettings(smtp="127.0.0.1:9", sender=SENDER))
    with pytest.raises(StorageUnavailable):
        house.people.rounds.post(away, SENDER)
    back = by_smtp(MailSettings(smtp=f"127.0.0.1:{mail_sink.port}", sender=SENDER))
    assert house.people.rounds.post(back, SENDER) == 1


def test_every_notice_has_words() -> None:
    assert set(WORDS) == set(Notice)
    for kind in Notice:
        assert "://" not in letter(kind, Micros(1_790_000_000_000_000), SENDER, "a@example.org").as_string()


@pytest.mark.parametrize(
    "settings",
    [
        MailSettings(smtp="nowhere", sender=SENDER),
        MailSettings(smtp="host:99999", sender=SENDER),
        MailSettings(smtp="host:25"),
        MailSettings(sender=SENDER),
        MailSettings(smtp="host:25", sender="a\nb@example.org"),
        MailSettings(smtp="host:25", sender=SENDER, username="somebody"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: MailSettings) -> None:
    with pytest.raises(BadSettings):
        settings.judged()


def test_rounds_start_and_stop(house: House) -> None:
    house.people.rounds.start(None, "", lambda error: None)
    house.people.rounds.stop()
    house.people.rounds.stop()
    with house.db.read() as connection:
        assert connection.execute(select(notices)).all() == []
