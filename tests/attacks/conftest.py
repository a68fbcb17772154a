"""Fixtures of the attacks: one installation for those that only knock, and copies for those that break things."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attacks.caller import Caller
from tests.attacks.instance import Instance, served
from tests.demonstration import copy
from tests.journeys.papers import scan
from vault.demo.stage import Demo

LIMIT_MIB = 8


@pytest.fixture(scope="module")
def installation(pristine: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An installation of this file's own, served, with a small limit."""
    room = tmp_path_factory.mktemp("attacked")
    with served(room, copy(pristine, room), {"COFFRE_LIMITS_DOCUMENT_MIB": str(LIMIT_MIB)}) as instance:
        yield instance


@pytest.fixture
def fresh(pristine: Demo, tmp_path: Path) -> Iterator[Instance]:
    """An installation of this test's own, not started."""
    own = Instance(tmp_path, copy(pristine, tmp_path))
    yield own
    if own.process is not None:
        own.stop()


@pytest.fixture(scope="module")
def signed_in(installation: Instance) -> Callable[[str], Caller]:
    """``signed_in("nadia.roche")``: that person's program; one session each for the file."""
    known: dict[str, Caller] = {}

    def enter(username: str) -> Caller:
        if username not in known:
            known[username] = installation.sign_in(username)
        return known[username]

    return enter


@pytest.fixture(scope="module")
def reception(signed_in: Callable[[str], Caller]) -> Caller:
    return signed_in("sophie.garnier")


@pytest.fixture(scope="module")
def clinician(signed_in: Callable[[str], Caller]) -> Caller:
    return signed_in("claire.martin")


@pytest.fixture(scope="module")
def auditor(signed_in: Callable[[str], Caller]) -> Caller:
    return signed_in("nadia.roche")


@pytest.fixture(scope="module")
def browser_of(installation: Instance) -> Callable[[str], Caller]:
    """``browser_of("claire.martin")``: that person's browser, signed in through the pages; one each for the file."""
    known: dict[str, Caller] = {}

    def enter(username: str) -> Caller:
        if username not in known:
            known[username] = installation.browse(username)
        return known[username]

    return enter


@pytest.fixture(scope="session")
def paper() -> Callable[[str], bytes]:
    """``paper("words")``: a small scan whose bytes no other has."""
    return lambda words: scan(words, pages=1)
