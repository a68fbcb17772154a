from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.sealing.binding import bind

PART = st.one_of(st.text(max_size=20), st.binary(max_size=20), st.integers(0, 2**63))


@given(st.lists(PART, max_size=4), st.lists(PART, max_size=4))
def test_different_contexts_never_read_the_same(one: list[str | bytes | int], other: list[str | bytes | int]) -> None:
    def plain(parts: list[str | bytes | int]) -> list[bytes]:
        return [p.to_bytes(8, "big") if isinstance(p, int) else p.encode() if isinstance(p, str) else p for p in parts]

    assert (bind("x", *one) == bind("x", *other)) == (plain(one) == plain(other))


def test_a_part_can_not_move_its_border() -> None:
    assert bind("a", "bc", "d") != bind("a", "b", "cd") != bind("ab", "c", "d")


@pytest.mark.parametrize("part", ["x" * 65_536, -1])
def test_what_has_no_encoding_is_refused(part: str | int) -> None:
    with pytest.raises(ValueError, match="context part"):
        bind("label", part)


def test_the_encoding_is_the_documented_one() -> None:
    assert bind("ab", "é", b"\x00", 258) == b"\x00\x02ab\x00\x02\xc3\xa9\x00\x01\x00\x00\x08\x00\x00\x00\x00\x00\x00\x01\x02"
