"""The telephone against the published codes."""

from __future__ import annotations

import base64

import pytest

from vault.demo.phone import ROOM_S, STEP_S, code, present, seconds_left

RFC_6238_SECRET = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("at_s", "digits"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_codes_of_rfc_6238_appendix_b(at_s: int, digits: str) -> None:
    assert code(RFC_6238_SECRET, at_s) == digits[-6:]


@pytest.mark.parametrize(("at_s", "left"), [(0, 30), (29.9, 1), (30, 30), (45, 15)])
def test_seconds_left(at_s: float, left: int) -> None:
    assert seconds_left(at_s) == left


@pytest.mark.parametrize(("at_s", "moment"), [(0.0, 0.0), (26.9, 26.9), (27.5, 30.0), (59.99, 60.0)])
def test_no_code_is_shown_in_the_last_moments_of_a_step(at_s: float, moment: float) -> None:
    now = at_s

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds / 2 + 0.001  # a clock that is being set may be behind when the sleeper wakes

    assert present(lambda: now, sleep) == pytest.approx(moment, abs=0.01)
    assert STEP_S - now % STEP_S >= ROOM_S
