"""Owns looking at a draft: its pages as pixels, its text, what its first page says. One event covers the looking.

It must not know how drafts are stored, described or filed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from vault.audit.append import Receipt
from vault.audit.events import Action, Event, Note, Outcome, Purpose, Subject
from vault.errors import NotRenderable
from vault.model import Actor, DocumentId
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.pages import DrawnPages
from vault.records.documents.rooms import Rooms
from vault.records.inbox.drafts import DraftDescription
from vault.records.inbox.proposals import Proposals
from vault.records.local_time import practice_day, watermark
from vault.records.tickets import Tickets
from vault.rendering.recognise import MediaType
from vault.rendering.renderer import RenderedPage, Renderer


class Whole(Protocol):
    """An authenticated body, given whole as often as it is wanted."""

    def __call__(self) -> Iterator[bytes]: ...


class DraftPages:
    """Thread-safe. The caller has asked policy."""

    def __init__(
        self, rooms: Rooms, renderer: Renderer, tickets: Tickets[Receipt], drawn: DrawnPages, proposals: Proposals
    ) -> None:
        self._rooms = rooms
        self._renderer = renderer
        self._tickets = tickets
        self._drawn = drawn
        self._proposals = proposals

    def page(
        self, actor: Actor, stored: StoredVersion, media_type: MediaType, number: int, *, width: int, quarter_turns: int
    ) -> RenderedPage:
        """A page, watermarked; one drawn a moment ago is not drawn again.

        Raises NotFound, NotRenderable, Busy, Tampered, KeysUnavailable, LogUnavailable.
        """
        mark = watermark(actor, self._rooms.clock())
        what = (self._receipt(actor, stored.document).event, stored.document, number, width, quarter_turns % 4, mark)
        page = self._drawn.find(actor, *what)
        if page is None:
            with self._whole(actor, stored) as whole:
                page = self._renderer.page(whole(), media_type, number, width, watermark=mark, quarter_turns=quarter_turns)
            self._drawn.keep(actor, page, *what)
        return page

    def text(self, actor: Actor, stored: StoredVersion, media_type: MediaType) -> str:
        """The first page's own text. Raises as ``page``."""
        with self._whole(actor, stored) as whole:
            return self._renderer.text(whole(), media_type, 1)

    def examined(self, actor: Actor, stored: StoredVersion, description: DraftDescription) -> DraftDescription:
        """``description`` with the number of pages and what the first one proposes, or why it can't be shown.

        Raises NotFound, Busy, Tampered, KeysUnavailable, StorageUnavailable, LogUnavailable.
        """
        media_type = MediaType(description.media_type)
        pages, trouble, proposal = None, None, None
        with self._whole(actor, stored) as whole:
            try:
                pages = self._renderer.inspect(whole(), media_type).pages
                codes = self._renderer.codes(whole(), media_type, 1)
                text = self._renderer.text(whole(), media_type, 1)
                proposal = self._proposals.read(actor, codes, text, practice_day(self._rooms.clock()))
            except NotRenderable as error:
                trouble = str(error.details["reason"])
        return replace(description, pages=pages, trouble=trouble, proposal=proposal)

    @contextmanager
    def _whole(self, actor: Actor, stored: StoredVersion) -> Iterator[Whole]:
        """The body of a draft, authenticated."""
        body = self._rooms.bodies.open(self._receipt(actor, stored.document), stored)
        try:
            body.opener.authenticate()
            yield body.opener.whole
        finally:
            body.close()

    def _receipt(self, actor: Actor, draft: DocumentId) -> Receipt:
        """The grant to look at a draft: one event for all its pages."""
        receipt = self._tickets.find(actor, "draft", draft)
        if receipt is None:
            subject, note = Subject(document=draft, version=1), Note(purpose=Purpose.HOPERAT)
            receipt = self._rooms.log.record(Event(Action.DOCUMENT_PREVIEW, Outcome.GRANTED, actor, subject, note))
            self._tickets.keep(actor, receipt, "draft", draft)
        return receipt
