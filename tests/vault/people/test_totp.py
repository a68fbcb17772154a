"""One-time codes against RFC 6238's own examples, and what must not count as a code."""

from __future__ import annotations

import base64

import pytest

from vault.model import Micros
from vault.people.totp import cleaned, drift, match, new_secret, step_at, uri

SECRET = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_rfc_6238_appendix_b(seconds: int, code: str) -> None:
    now = Micros(seconds * 1_000_000)
    found = match(SECRET, code, now)
    assert found is not None
    assert (found.step, found.drift_steps) == (step_at(now), 0)


def test_window_and_drift() -> None:
    now = Micros(59_000_000 + 30_000_000 * 10)
    assert match(SECRET, "287082", now) is None
    assert drift(SECRET, "287082", now) == -300
    assert drift(SECRET, "287082", Micros(59_000_000 + 30_000_000)) is None, "inside the window there is nothing to hint at"
    assert drift(SECRET, "000000", now) is None


@pytest.mark.parametrize(
    "typed", ["", "28708", "2870822", "２８７０８２", "٢٨٧٠٨٢", "28708a", "+87082", "287082" * 1000, "287-082"]
)
def test_only_six_ascii_digits_are_a_code(typed: str) -> None:
    assert cleaned(typed) is None
    assert match(SECRET, typed, Micros(59_000_000)) is None


def test_spaces_are_how_telephones_show_codes() -> None:
    assert {cleaned("287 082"), cleaned(" 287\u00a0082 "), cleaned("287\u202f082")} == {"287082"}


def test_the_first_steps_of_time_have_no_past() -> None:
    assert match(SECRET, "287082", Micros(0)) is not None


def test_secrets_are_160_random_bits_and_the_uri_names_whose() -> None:
    secret = new_secret(lambda count: bytes(range(count)))
    assert len(base64.b32decode(secret)) == 20
    address = uri(secret, "léa@cabinet", "Coffre")
    assert address.startswith("otpauth://totp/Coffre:l%C3%A9a%40cabinet?secret=")
