"""A desk with its inbox, its quarantine and a scanner that finds what a test wants. Knows no test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.conftest import Clock
from tests.servers.scanner import OddScanner
from tests.vault.records.desk import Desk, actor_of, open_desk
from tests.vault.records.tray import Tray, tray_on
from tests.vault.records.tray import renderer as renderer  # noqa: PLC0414  # the fixture, by its own name
from vault.errors import Quarantined
from vault.model import Actor, DocumentId, Role
from vault.people.notices import Notice
from vault.records.inbox.quarantine import Quarantine
from vault.rendering.renderer import Renderer
from vault.settings import ScanSettings
from vault.storage.schema import notices

HIT = b"stream: Win.Test FOUND\0"
DAYS = 30
NAME = "courrier-Zephyrin.pdf"


@dataclass(frozen=True)
class Ward:
    """A desk with its inbox and its quarantine."""

    desk: Desk
    tray: Tray
    quarantine: Quarantine
    owner: Actor
    admin: Actor

    def send(self, data: bytes, actor: Actor | None = None, name: str = NAME) -> Quarantined:
        """Put something infected into the inbox."""
        with pytest.raises(Quarantined) as told:
            self.tray.put(data, actor, name)
        return told.value

    def apart(self) -> list[str]:
        return [item.id for item in self.quarantine.list(self.owner).items]

    def notices(self) -> list[tuple[str, str | None]]:
        columns = notices.c
        query = select(columns.person, columns.about).where(columns.kind == Notice.QUARANTINED)
        with self.desk.house.db.read() as connection:
            return sorted((row.person, row.about) for row in connection.execute(query))


Wards = Callable[[ScanSettings], AbstractContextManager[Ward]]
Odd = Callable[..., OddScanner]


@contextmanager
def open_ward(directory: Path, clock: Clock, renderer: Renderer, settings: ScanSettings) -> Iterator[Ward]:
    with open_desk(directory, clock, scan=settings, has_quarantine=True) as desk:
        rooms = desk.documents.rooms
        assert rooms.aside is not None
        yield Ward(
            desk,
            tray_on(desk, renderer),
            Quarantine(rooms=rooms, scope=rooms.aside, days=DAYS),
            actor_of(desk.house, "titulaire", Role.OWNER, clock),
            actor_of(desk.house, "technique", Role.ADMIN, clock),
        )


@pytest.fixture
def wards(tmp_path: Path, clock: Clock, renderer: Renderer) -> Wards:
    return partial(open_ward, tmp_path, clock, renderer)


@pytest.fixture
def odd(tmp_path_factory: pytest.TempPathFactory) -> Odd:
    return lambda **how: OddScanner(tmp_path_factory.mktemp("s") / "s", **how)


def document_of(told: Quarantined) -> DocumentId:
    return DocumentId(str(told.details["document"]))
