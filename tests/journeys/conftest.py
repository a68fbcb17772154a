"""Fixtures of the journeys: one served vault and one browser for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.conftest import fresh_bucket, fresh_databases
from tests.journeys.site import Site
from tests.journeys.visitor import Telephones, Visitor, browsing
from tests.parts import MissingPart, softhsm_module
from tests.servers.postgresql import Cluster
from tests.servers.s3 import Store

Browsing = Callable[..., AbstractContextManager[Visitor]]
SignedIn = Browsing


@pytest.fixture(scope="session")
def near_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The demonstration on one machine, served: SQLite and its own disk."""
    try:
        softhsm_module()
    except MissingPart as missing:
        pytest.skip(str(missing))
    served = Site.start(tmp_path_factory.mktemp("site"))
    yield served
    assert served.stop() == 0, served.words()


@pytest.fixture(scope="session")
def site(near_site: Site) -> Site:
    """The demonstration, served."""
    return near_site


@pytest.fixture(scope="session")
def far_site(postgresql_cluster: Cluster, s3_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The demonstration beyond one machine, served: PostgreSQL and an S3 store."""
    room = tmp_path_factory.mktemp("far-site")
    databases, blobs = fresh_databases(postgresql_cluster, room), fresh_bucket(s3_store, room)
    served = Site.start(
        room,
        settings={
            "COFFRE_DATABASE_URL": databases.url,
            "COFFRE_DATABASE_KEYRING_URL": databases.keyring_url,
            "COFFRE_DATABASE_PASSWORD_FILE": str(databases.password_file),
            "COFFRE_BLOBS_URL": blobs.url,
            "COFFRE_BLOBS_ENDPOINT": str(blobs.endpoint),
            "COFFRE_BLOBS_REGION": str(blobs.region),
            "COFFRE_BLOBS_ACCESS_KEY_FILE": str(blobs.access_key_file),
            "COFFRE_BLOBS_SECRET_KEY_FILE": str(blobs.secret_key_file),
        },
    )
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
