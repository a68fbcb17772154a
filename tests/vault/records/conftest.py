"""A real virus scanner, started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts import MissingPart, clamd_program
from tests.servers.scanner import Clamd


@pytest.fixture(scope="session")
def clamd() -> Iterator[Clamd]:
    try:
        clamd_program()
    except MissingPart as missing:
        pytest.skip(str(missing))
    started = Clamd.start()
    yield started
    started.stop()
