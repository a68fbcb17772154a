"""Fixtures of the journeys: one served vault and one browser for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.journeys.site import Site
from tests.journeys.visitor import Telephones, Visitor, browsing
from tests.parts import MissingPart, softhsm_module

Browsing = Callable[..., AbstractContextManager[Visitor]]
SignedIn = Browsing


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The demonstration, served."""
    try:
        softhsm_module()
    except MissingPart as missing:
        pytest.skip(str(missing))
    served = Site.start(tmp_path_factory.mktemp("site"))
    yield served
    assert served.stop() == 0, served.words()


@pytest.fixture(scope="session")
def telephones() -> Telephones:
    return Telephones()


@pytest.fixture
def at_desk(browser: Browser, site: Site, telephones: Telephones) -> Browsing:
    """``with at_desk("sophie.garnier") as visitor``: a person in a private window."""
    return partial(browsing, browser, site, telephones)


@pytest.fixture(scope="session")
def doors() -> dict[str, Any]:
    """Sessions that are open already, by username: signing in anew would wait for fresh codes."""
    return {}


@pytest.fixture
def signed_in(at_desk: Browsing, doors: dict[str, Any]) -> SignedIn:
    """``with signed_in("nadia.roche") as visitor``: a person whose session is open already, or is opened now."""

    @contextmanager
    def enter(username: str, **options: Any) -> Iterator[Visitor]:
        with at_desk(username, storage_state=doors.get(username), **options) as visitor:
            visitor.go("/")
            if not visitor.is_inside:
                visitor.sign_in()
                doors[username] = visitor.page.context.storage_state()
            yield visitor

    return enter
