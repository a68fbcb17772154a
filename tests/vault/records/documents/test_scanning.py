"""Virus scan: a hit leaves nothing, what can't be scanned is refused or marked, and a real clamd agrees."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Clock
from tests.servers.scanner import EICAR, SIGNATURE, Clamd, OddScanner
from tests.vault.records.desk import Desk, open_desk, scan
from tests.vault.records.infected import infected_pdf, packed, zipped
from vault.audit.events import Action
from vault.audit.reading import Record
from vault.errors import BadSettings, Infected, ScannerUnavailable, TooLarge, UnsupportedType, VaultError
from vault.model import Scan
from vault.settings import ScanPolicy, ScanSettings
from vault.upkeep.doctor import check_scanner

Desks = Callable[[ScanSettings], AbstractContextManager[Desk]]


@pytest.fixture
def desks(tmp_path: Path, clock: Clock) -> Desks:
    return lambda settings: open_desk(tmp_path, clock, scan=settings)


@pytest.fixture
def odd(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., OddScanner]:
    return partial(OddScanner, tmp_path_factory.mktemp("s") / "s")


def code_of(record: Record) -> object:
    """What the event of a deposit says beside its outcome."""
    return (record.note or {}).get("code")


def refused_leaves_nothing(desk: Desk, error: type[VaultError], data: bytes | None = None) -> VaultError:
    """A deposit is refused with ``error`` and a failure in the log; no file is left. The error."""
    before = desk.files()
    with pytest.raises(error) as refusal:
        desk.deposit(data=data)
    assert desk.files() == before
    assert desk.told()[-1] == ("document.upload", "failed")
    assert code_of(desk.log()[-1]) == refusal.value.code
    return refusal.value


# --- a real clamd


def test_clamd_finds_a_virus_and_nothing_of_it_is_kept(clamd: Clamd, desks: Desks) -> None:
    with desks(ScanSettings(clamd.socket)) as desk:
        clean = desk.deposit()
        assert clean.scan is Scan.CLEAN
        found = refused_leaves_nothing(desk, Infected, infected_pdf())
        assert str(found.details["reason"]).startswith(SIGNATURE)
        # Its head is judged first: a bare EICAR is no document at all.
        refused_leaves_nothing(desk, UnsupportedType, EICAR)
        with pytest.raises(Infected):
            desk.documents.replace(desk.clinician, clean.id, file_name="b.pdf", body=io.BytesIO(infected_pdf()))
        assert clamd.left_behind() == []
        with desk.documents.open(desk.clinician, clean.id, Action.DOCUMENT_VIEW) as opened:
            assert b"".join(opened.read()) == scan()
        assert desk.documents.describe(desk.clinician, clean.id).scan is Scan.CLEAN


def test_clamd_finds_a_virus_wherever_it_hides_in_what_is_accepted(clamd: Clamd, desks: Desks) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (60, 40), "white").save(picture, "JPEG")
    with desks(ScanSettings(clamd.socket)) as desk:
        for body in (packed(EICAR), picture.getvalue() + EICAR, infected_pdf()):
            assert str(refused_leaves_nothing(desk, Infected, body).details["reason"]).startswith(SIGNATURE)
        # Archives are no documents: refused by their first bytes, before a scanner could unpack them.
        for body in (zipped(EICAR), zipped(infected_pdf())):
            refused_leaves_nothing(desk, UnsupportedType, body)


def test_a_real_scanner_that_dies_and_comes_back(clamd: Clamd, desks: Desks) -> None:
    with desks(ScanSettings(clamd.socket)) as desk:
        assert desk.deposit().scan is Scan.CLEAN
        clamd.process.kill()
        clamd.process.wait(30)
        try:
            assert refused_leaves_nothing(desk, ScannerUnavailable, scan(seed=2)).details["reason"] == "away"
        finally:
            clamd.restart()
        assert desk.deposit(data=scan(seed=2)).scan is Scan.CLEAN


def test_clamd_that_is_given_more_than_it_takes(clamd: Clamd, desks: Desks) -> None:
    with desks(ScanSettings(clamd.socket)) as desk:
        refused_leaves_nothing(desk, TooLarge, scan(3_000_000))


def test_clamd_that_is_given_more_than_it_takes_under_mark(clamd: Clamd, desks: Desks) -> None:
    with desks(ScanSettings(clamd.socket, ScanPolicy.MARK)) as desk:
        assert desk.deposit(data=scan(3_000_000)).scan is Scan.MISSED


# --- scanners that misbehave


def test_the_scanner_sees_every_byte(odd: Callable[..., OddScanner], desks: Desks) -> None:
    data = scan(3_000_001)
    with odd() as scanner, desks(ScanSettings(scanner.path)) as desk:
        desk.deposit(data=data)
    assert bytes(scanner.received) == data
    assert scanner.was_ended


def test_a_deposit_that_breaks_off_is_never_ended(odd: Callable[..., OddScanner], desks: Desks) -> None:
    with odd() as scanner, desks(ScanSettings(scanner.path)) as desk:
        with pytest.raises(VaultError, match="stopped"):
            desk.deposit(data=scan(100_000), declared_size=200_000)
        assert desk.files() == []
    assert not scanner.was_ended


@pytest.mark.parametrize(
    ("how", "missed"),
    [
        ({"dies_after": 1_000_000}, (ScannerUnavailable, "broken")),
        ({"dies_after": 1_000_000, "reply": b"INSTREAM size limit exceeded. ERROR\0"}, (TooLarge, "scanner_limit")),
        ({"is_silent": True}, (ScannerUnavailable, "timeout")),
        ({"reply": b"stream: OK"}, (ScannerUnavailable, "broken")),
        ({"reply": b"\0"}, (ScannerUnavailable, "broken")),
        ({"reply": b"stream: NOT OK\0"}, (ScannerUnavailable, "broken")),
        ({"reply": b"Can't allocate memory ERROR\0"}, (ScannerUnavailable, "broken")),
        ({"reply": b"x" * 10_000}, (ScannerUnavailable, "broken")),
        ({"reply": b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0"}, (TooLarge, "scanner_limit")),
    ],
)
@pytest.mark.parametrize("policy", list(ScanPolicy))
def test_what_could_not_be_scanned_is_refused_or_marked(
    odd: Callable[..., OddScanner],
    desks: Desks,
    how: dict[str, object],
    missed: tuple[type[VaultError], str],
    policy: ScanPolicy,
) -> None:
    started, (error, reason) = time.monotonic(), missed
    patience = 1 if reason == "timeout" else 60  # on a busy machine even a scanner that talks may take a second
    with odd(**how) as scanner, desks(ScanSettings(scanner.path, policy, timeout_s=patience)) as desk:
        if policy is ScanPolicy.REFUSE:
            assert refused_leaves_nothing(desk, error, scan(3_000_000)).details["reason"] == reason
        else:
            filed = desk.deposit(data=scan(3_000_000))
            assert filed.scan is Scan.MISSED
            assert desk.documents.describe(desk.clinician, filed.id).scan is Scan.MISSED
            assert "not_scanned" in {code_of(record) for record in desk.log() if record.action is Action.DOCUMENT_UPLOAD}
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("policy", list(ScanPolicy))
def test_a_hit_is_refused_under_either_policy_even_before_the_end(
    odd: Callable[..., OddScanner], desks: Desks, policy: ScanPolicy
) -> None:
    hit = b"stream: Win.Test FOUND\0"
    with odd(reply=hit, dies_after=1_000_000) as scanner, desks(ScanSettings(scanner.path, policy)) as desk:
        refused_leaves_nothing(desk, Infected, scan(3_000_000))


def test_a_scanner_that_is_away(tmp_path: Path, desks: Desks) -> None:
    with desks(ScanSettings(tmp_path / "nobody")) as desk:
        assert refused_leaves_nothing(desk, ScannerUnavailable).details["reason"] == "away"


def test_a_scanner_that_is_away_under_mark(tmp_path: Path, desks: Desks) -> None:
    with desks(ScanSettings(tmp_path / "nobody", ScanPolicy.MARK)) as desk:
        assert desk.deposit().scan is Scan.MISSED


def test_without_a_scanner_a_document_says_so(desks: Desks) -> None:
    with desks(ScanSettings()) as desk:
        assert desk.deposit().scan is Scan.OFF


def test_doctor_asks_the_scanner(odd: Callable[..., OddScanner], tmp_path: Path) -> None:
    with odd() as scanner:
        assert check_scanner(ScanSettings(scanner.path)).detail == "a probe was scanned"
        found = check_scanner(ScanSettings(scanner.path), 2)
        assert (found.ok, found.detail) == (True, "a probe was scanned; 2 in quarantine")
    assert not check_scanner(ScanSettings(tmp_path / "nobody", ScanPolicy.MARK)).ok
    with pytest.raises(ScannerUnavailable):
        check_scanner(ScanSettings(tmp_path / "nobody"))
    assert "unscanned" in check_scanner(ScanSettings()).detail


@pytest.mark.parametrize("wrong", [ScanSettings(policy="ignore"), ScanSettings(timeout_s=0)])
def test_settings_that_make_no_sense(wrong: ScanSettings) -> None:
    with pytest.raises(BadSettings):
        wrong.judged()
