"""Fixtures of upkeep: a key process with a vault beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kms.settings import KmsSettings
from tests.vault.upkeep.host import Host, hosting_beside


@pytest.fixture
def host(softhsm: KmsSettings, tmp_path: Path) -> Iterator[Host]:
    """A key process on a thread, and a vault beside it."""
    with hosting_beside(softhsm, tmp_path) as made:
        yield made
