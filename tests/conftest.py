"""Fixtures that every room's tests share: a clock, real tokens, and the rule that a missing part is a failure in CI."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, expect, sync_playwright

from kms.caller import SYSTEM, act_for
from kms.settings import KmsSettings
from tests.demonstration import founded
from tests.parts import LAUNCH, PATIENCE_MS, MissingPart, chromium_path, postgresql_programs, softhsm_module
from tests.servers.mail import Sink
from tests.servers.postgresql import Cluster
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, Store
from vault.demo.stage import Demo
from vault.settings import BlobSettings, DatabaseSettings

SOFTHSM = Path(__file__).parents[1] / "softhsm"
STRICT = os.environ.get("CI") == "true" or os.environ.get("COFFRE_EVERY_PART") == "1"
"""With this on, a test that can't find its part (token, browser, database, store) fails instead of being skipped."""
settings.register_profile("anywhere", deadline=None, derandomize=STRICT, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("anywhere")
"""A busy machine makes no example wrong. Where nobody looks on, the same examples again; at a desk, new ones each time."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip for want of a part into a failure where every part must be there; ``optional: …`` skips stay."""
    report = yield
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "optional:" not in reason:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: {reason}. Every part must be here (CI or `make test`): run `make parts`."
    return report


@pytest.fixture(autouse=True)
def nobody_in_particular() -> None:
    """A request that ran in this thread names who asks for keys until the next one: no test inherits somebody."""
    act_for(SYSTEM)


class Clock:
    """Microseconds since the epoch, moved by the test alone; call it to read it."""

    def __init__(self, now: int = 1_790_000_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, *, seconds: float = 0, minutes: float = 0, days: float = 0) -> None:
        self.now += round((seconds + minutes * 60 + days * 86_400) * 1_000_000)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it; 2026-09-21T13:33:20Z at first."""
    return Clock()


def make_token(directory: Path, label: str = "coffre-test") -> KmsSettings:
    """A fresh SoftHSM2 token of its own in ``directory`` and the settings that reach it."""
    try:
        module = softhsm_module()
    except MissingPart as missing:
        pytest.skip(str(missing))
    command = ["sh", str(SOFTHSM / "new-token.sh"), str(directory), label]
    subprocess.run(command, env={**os.environ, "COFFRE_PKCS11_MODULE": str(module)}, check=True, capture_output=True)
    return KmsSettings(module, label, directory / "pin", softhsm_conf=directory / "softhsm2.conf")


@pytest.fixture(scope="session")
def blank_token(tmp_path_factory: pytest.TempPathFactory) -> KmsSettings:
    """An empty SoftHSM2 token that is never opened: what others are copied from."""
    return make_token(tmp_path_factory.mktemp("blank") / "softhsm")


@pytest.fixture
def softhsm(blank_token: KmsSettings, tmp_path: Path) -> KmsSettings:
    """Settings of a fresh, empty SoftHSM2 token. One process, one PKCS#11 module: close what you opened before the next."""
    template, place = blank_token.pin_file.parent, tmp_path / "softhsm"
    shutil.copytree(template, place)
    configuration = place / "softhsm2.conf"
    configuration.write_text(configuration.read_text().replace(str(template), str(place)))
    return replace(blank_token, pin_file=place / "pin", softhsm_conf=configuration)


@pytest.fixture
def new_token(tmp_path: Path) -> Callable[[str], KmsSettings]:
    """Makes further tokens for tests that need two (migration, wrong token)."""
    return lambda label: make_token(tmp_path / f"softhsm-{label}", label)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A demonstration with people, patients and papers, one for the whole run: copy it, never serve it."""
    try:
        softhsm_module()
    except MissingPart as missing:
        pytest.skip(str(missing))
    own = tmp_path_factory.getbasetemp()
    return founded(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser's executable."""
    try:
        return chromium_path()
    except MissingPart as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def browser(chromium: Path) -> Iterator[Browser]:
    """Headless Chromium, one for each process of a run: Playwright can't be started twice in one."""
    arguments = [*LAUNCH, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="session")
def samples() -> Path:
    """Real scans and documents, when somebody put some beside the project (``COFFRE_SAMPLES``); never part of it."""
    place = Path(os.environ.get("COFFRE_SAMPLES", Path(__file__).parents[2] / "shared" / "data" / "samples"))
    if not place.is_dir():
        pytest.skip("optional: no sample documents beside the project")
    return place


@pytest.fixture(scope="session")
def wycheproof() -> Path:
    """Newer Wycheproof vectors, when somebody put them beside the project (``COFFRE_WYCHEPROOF``); never part of it."""
    place = Path(os.environ.get("COFFRE_WYCHEPROOF", Path(__file__).parents[2] / "shared" / "data" / "wycheproof"))
    if not place.is_dir():
        pytest.skip("optional: no Wycheproof directory beside the project")
    return place


@pytest.fixture(scope="session")
def postgresql_cluster() -> Iterator[Cluster]:
    """A private PostgreSQL server, one for the whole run."""
    try:
        postgresql_programs()
    except MissingPart as missing:
        pytest.skip(str(missing))
    cluster = Cluster.start()
    yield cluster
    cluster.stop()


def fresh_databases(postgresql_cluster: Cluster, directory: Path) -> DatabaseSettings:
    """Two fresh, empty PostgreSQL databases (main and keyring), as settings whose password stands in a file."""
    names = [f"{part}_{secrets.token_hex(6)}" for part in ("main", "keyring")]
    with psycopg.connect(postgresql_cluster.dsn(), autocommit=True) as connection:
        for name in names:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
    word = directory / "postgresql-password"
    word.touch(mode=0o600)
    word.write_text(postgresql_cluster.password)
    main, keyring = (postgresql_cluster.url(name) for name in names)
    return DatabaseSettings(url=main, keyring_url=keyring, password_file=word)


@pytest.fixture
def postgresql(postgresql_cluster: Cluster, tmp_path: Path) -> DatabaseSettings:
    """``fresh_databases`` for one test."""
    return fresh_databases(postgresql_cluster, tmp_path)


@pytest.fixture
def sqlite(tmp_path: Path) -> DatabaseSettings:
    """Two fresh, empty SQLite databases (main and keyring)."""
    return DatabaseSettings(url=f"sqlite:///{tmp_path / 'coffre.db'}", keyring_url=f"sqlite:///{tmp_path / 'keyring.db'}")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def databases(request: pytest.FixtureRequest) -> DatabaseSettings:
    """Each database in turn: what every statement is tested on."""
    settings = request.getfixturevalue(request.param)
    assert isinstance(settings, DatabaseSettings)
    return settings


@pytest.fixture(scope="session")
def s3_store() -> Iterator[Store]:
    """A private S3 server, one for the whole run."""
    store = Store.start()
    yield store
    store.stop()


def fresh_bucket(s3_store: Store, directory: Path) -> BlobSettings:
    """A fresh bucket as settings whose credentials stand in files."""
    bucket = f"bucket-{secrets.token_hex(6)}"
    client = boto3.client(
        "s3",
        endpoint_url=s3_store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    client.create_bucket(Bucket=bucket)
    client.close()
    files = []
    for name, value in (("access", ACCESS_KEY), ("secret", SECRET_KEY)):
        file = directory / f"s3-{name}"
        file.touch(mode=0o600)
        file.write_text(value)
        files.append(file)
    return BlobSettings(
        url=f"s3://{bucket}/blobs",
        endpoint=s3_store.endpoint,
        region="us-east-1",
        access_key_file=files[0],
        secret_key_file=files[1],
    )


@pytest.fixture
def s3(s3_store: Store, tmp_path: Path) -> BlobSettings:
    """``fresh_bucket`` for one test."""
    return fresh_bucket(s3_store, tmp_path)


@pytest.fixture
def mail_sink() -> Iterator[Sink]:
    """An SMTP server that keeps every letter: ``.port``, ``.letters``."""
    sink = Sink()
    sink.start()
    yield sink
    sink.stop()
