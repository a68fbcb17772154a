"""Fixtures of the journeys: a served vault on each column, and one browser for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.conftest import fresh_bucket, fresh_databases
from tests.demonstration import copy
from tests.journeys.site import Site
from tests.journeys.visitor import Telephones, Visitor, browsing
from tests.servers.postgresql import Cluster
from tests.servers.s3 import Store
from vault.demo.stage import Demo

Browsing = Callable[..., AbstractContextManager[Visitor]]
SignedIn = Browsing

NEAR, FAR = "near", "far"
FRESH_S = 150.0
"""Sensitive acts want a code of the last five minutes; a journey takes two at most."""
BEYOND = [pytest.mark.postgresql, pytest.mark.s3]
ON_BOTH_COLUMNS = pytest.mark.parametrize("column", [NEAR, pytest.param(FAR, marks=BEYOND)], indirect=True)
"""A journey that says nothing runs on one machine; one with this mark runs beyond it too."""


@dataclass(frozen=True, slots=True)
class Column:
    """A served vault with its databases and its store, and what its people have at hand there."""

    name: str
    site: Site
    places: tuple[Path, ...]
    """Every directory into which one of its servers writes."""
    telephones: Telephones = field(default_factory=Telephones)
    doors: dict[str, tuple[float, Any]] = field(default_factory=dict)
    """Sessions that are open already, by username, and since when: signing in anew at once would wait for a fresh code."""

    def door(self, username: str, *, is_fresh: bool = True) -> Any:
        """A session of which no page asks the code again, or (``is_fresh`` False) any; None where there is none."""
        since, state = self.doors.get(username, (0.0, None))
        return state if not is_fresh or time.monotonic() - since < FRESH_S else None

    def let_in(self, visitor: Visitor) -> None:
        """Sign somebody in who came by no open door, which is open from then on."""
        visitor.go("/")
        if not visitor.is_inside:
            visitor.sign_in()
            self.doors[visitor.account.username] = time.monotonic(), visitor.page.context.storage_state()


@pytest.fixture(scope="session")
def near(pristine: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Column]:
    """The demonstration on one machine: SQLite and its own disk."""
    room = tmp_path_factory.mktemp("site")
    served = Site.start(room, copy(pristine, room))
    yield Column(NEAR, served, (room,))
    assert served.stop() == 0, served.words()


@pytest.fixture(scope="session")
def far(postgresql_cluster: Cluster, s3_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Column]:
    """The demonstration beyond one machine: PostgreSQL and an S3 store."""
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
    yield Column(FAR, served, (room, postgresql_cluster.directory, s3_store.directory))
    assert served.stop() == 0, served.words()


@pytest.fixture
def column(request: pytest.FixtureRequest) -> Column:
    """Where the journey takes place: on one machine, unless the test says otherwise."""
    chosen: Column = request.getfixturevalue(getattr(request, "param", NEAR))
    return chosen


@pytest.fixture
def site(column: Column) -> Site:
    """The demonstration, served."""
    return column.site


@pytest.fixture
def telephones(column: Column) -> Telephones:
    """Its people's telephones."""
    return column.telephones


@pytest.fixture
def at_desk(browser: Browser, column: Column) -> Browsing:
    """``with at_desk("sophie.garnier") as visitor``: a person in a private window."""
    return partial(browsing, browser, column.site, column.telephones)


@pytest.fixture
def signed_in(at_desk: Browsing, column: Column) -> SignedIn:
    """``with signed_in("nadia.roche") as visitor``: a person whose session is open already, or is opened now."""

    @contextmanager
    def enter(username: str, **options: Any) -> Iterator[Visitor]:
        scripts = options.get("java_script_enabled", True)  # without them the code does not send itself
        with at_desk(username, storage_state=column.door(username, is_fresh=scripts), **options) as visitor:
            column.let_in(visitor)
            yield visitor

    return enter
