"""An inbox on a desk, with the renderer and the proposals. Knows no test."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.vault.records.desk import Desk, open_desk
from tests.vault.rendering import papers
from vault.audit.events import Action
from vault.model import Actor, DocumentId, ScopeKind
from vault.records.inbox.drafts import Draft
from vault.records.inbox.inbox import Inbox
from vault.records.inbox.proposals import Proposals
from vault.records.tickets import Tickets
from vault.rendering.renderer import Renderer
from vault.settings import LimitSettings


@dataclass(frozen=True)
class Tray:
    """The inbox on a desk."""

    desk: Desk
    inbox: Inbox
    proposals: Proposals

    def put(self, data: bytes | None = None, actor: Actor | None = None, name: str = "Scan_0146.pdf") -> Draft:
        content = papers.pdf() if data is None else data
        return self.inbox.deposit(actor or self.desk.reception, file_name=name, body=io.BytesIO(content))

    def file(self, draft: Draft, **changes: object) -> object:
        wanted = {"type": "11502-2", "act_date": date(2026, 9, 1), "patient": self.desk.patient} | changes
        return self.inbox.file(wanted.pop("actor", self.desk.reception), draft.id, **wanted)  # type: ignore[arg-type]  # as asked

    def exact(self, document: DocumentId, actor: Actor) -> bytes:
        with self.desk.documents.open(actor, document, Action.DOCUMENT_DOWNLOAD) as opened:
            return b"".join(opened.read())


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer()
    yield made
    made.close()


@pytest.fixture
def tray(tmp_path: Path, clock: Clock, renderer: Renderer) -> Iterator[Tray]:
    with open_desk(tmp_path, clock) as desk:
        yield tray_on(desk, renderer)


def tray_on(desk: Desk, renderer: Renderer) -> Tray:
    """An inbox on a desk, under the scope that the desk's quarantine has, or one of its own."""
    rooms = desk.documents.rooms
    proposals = Proposals(rooms.keys, rooms.tenant, desk.patients)
    inbox = Inbox(
        rooms=rooms,
        scope=rooms.aside or rooms.scopes.create(ScopeKind.INBOX),
        renderer=renderer,
        limits=LimitSettings(document_mib=4),
        tickets=Tickets(rooms.clock),
        proposals=proposals,
        drawn=desk.documents.drawn,
    )
    return Tray(desk, inbox, proposals)
