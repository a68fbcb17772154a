"""Owns pages on request: hands a document to the sandbox and checks what comes back. It must not know patients or storage.

The document goes over in an anonymous memory file (memfd), never under a path, and the answer comes back through a pipe. At
most ``limit`` documents are under way; whoever waits too long gets Busy.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vault.errors import Busy, NotFound, NotRenderable, StorageUnavailable
from vault.rendering import messages
from vault.rendering.messages import MAGIC, Answer, MalformedAnswer, PageForm, Reason, Request, Verdict, Work
from vault.rendering.recognise import MediaType

Source = bytes | bytearray | memoryview | Iterable[bytes | bytearray | memoryview]
"""A document's bytes, whole or in pieces; pieces are copied before the next one is asked for."""

SOURCE_BYTES = 256 * 1024 * 1024
"""A larger document is not drawn: it would have to stand in memory."""
WIDTHS = (48, 2400)
ANSWER_SECONDS = 20.0
"""Longer than the sandbox's own limit: it normally ends a child first and says why."""
START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """One page as pixels."""

    content: bytes = field(repr=False)
    """A picture file."""
    width: int
    """Pixels."""
    height: int
    pages: int
    """How many the document has."""
    media_type: str = PageForm.JPEG.value


@dataclass(frozen=True, slots=True)
class Facts:
    """What a document is, once its structure was really read."""

    pages: int
    width: float
    """Of the first page: points for a PDF, pixels for a picture."""
    height: float


@dataclass(frozen=True, slots=True)
class Code:
    """A QR code or Datamatrix read from a page."""

    format: str
    content: bytes = field(repr=False)


class _Unanswered(Exception):
    """The warm parent has died."""


class _Parent:
    """A running warm parent."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = Path(__file__).resolve().parents[2]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module, no outside text
                [sys.executable, "-P", "-s", "-m", "vault.rendering.parent", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"},
                cwd="/",
                pass_fds=(theirs.fileno(),),
            )
        self._control = ours
        ours.settimeout(START_SECONDS)
        try:
            hello = ours.recv(messages.REQUEST_BYTES)
            self.confinement: dict[str, bool] = json.loads(hello)
        except (TimeoutError, OSError, ValueError) as error:
            self.close()
            raise StorageUnavailable("the page renderer did not start") from error

    def send(self, request: Request, descriptors: list[int]) -> None:
        """Raises OSError where the parent has gone."""
        socket.send_fds(self._control, [messages.pack_request(request)], descriptors)

    def close(self) -> None:
        self._control.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Renderer:
    """Thread-safe. Make one per process, after any fork; the warm parent starts with the first request."""

    def __init__(self, limit: int = 2, *, queue_seconds: float = 8.0) -> None:
        self._queue_seconds = queue_seconds
        self._places = threading.BoundedSemaphore(limit)
        self._parent: _Parent | None = None
        self._starting = threading.Lock()
        self._is_closed = False

    def inspect(self, source: Source, media_type: MediaType) -> Facts:
        """Read the structure. Raises NotRenderable(reason), Busy."""
        answer = self._ask(source, Request(Work.INSPECT, media_type))
        size = answer.facts.get("size")
        if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int | float) for side in size)):
            raise _refusal(Reason.BROKEN)
        return Facts(_pages(answer), float(size[0]), float(size[1]))

    def page(
        self,
        source: Source,
        media_type: MediaType,
        page: int,
        width: int,
        *,
        watermark: str = "",
        quarter_turns: int = 0,
        form: PageForm = PageForm.JPEG,
    ) -> RenderedPage:
        """Page ``page`` (from 1), ``width`` pixels wide within WIDTHS, ``watermark`` drawn faintly on the pixels.

        Raises NotFound for a page that isn't there, NotRenderable(reason), Busy.
        """
        width = min(max(width, WIDTHS[0]), WIDTHS[1])
        request = Request(Work.PAGE, media_type, page, width, watermark[:80], quarter_turns % 4, form)
        answer = self._ask(source, request)
        wide, high = answer.facts.get("width"), answer.facts.get("height")
        begins, eighth = MAGIC[form]
        is_picture = answer.payload.startswith(begins) and answer.payload[8:].startswith(eighth)
        if not (isinstance(wide, int) and isinstance(high, int) and is_picture):
            raise _refusal(Reason.BROKEN)
        return RenderedPage(answer.payload, wide, high, _pages(answer), form.value)

    def text(self, source: Source, media_type: MediaType, page: int) -> str:
        """The text layer of a page; empty where there is none. Raises NotFound, NotRenderable(reason), Busy."""
        return self._ask(source, Request(Work.TEXT, media_type, page)).payload.decode(errors="replace")

    def codes(self, source: Source, media_type: MediaType, page: int) -> tuple[Code, ...]:
        """QR codes and Datamatrix of a page. Raises NotFound, NotRenderable(reason), Busy."""
        read = self._ask(source, Request(Work.CODES, media_type, page)).facts.get("codes")
        try:
            return tuple(Code(str(code["format"]), bytes.fromhex(code["content"])) for code in read or ())
        except (TypeError, KeyError, ValueError) as error:
            raise _refusal(Reason.BROKEN) from error

    def copy(self, source: Source, media_type: MediaType) -> bytes:
        """A picture's pages as one PDF. Raises NotRenderable(reason; ``no_picture`` for a PDF), Busy."""
        answer = self._ask(source, Request(Work.COPY, media_type))
        if not (answer.payload.startswith(b"%PDF-") and answer.payload.rstrip().endswith(b"%%EOF")):
            raise _refusal(Reason.BROKEN)
        return answer.payload

    def confinement(self) -> dict[str, bool]:
        """What the sandbox obtained on this machine: network_namespace, unprivileged, confined. Starts the warm parent."""
        return dict(self._warm().confinement)

    def close(self) -> None:
        """End the warm parent, and with it every child; idempotent."""
        with self._starting:
            self._is_closed = True
            parent, self._parent = self._parent, None
        if parent is not None:
            parent.close()

    def _ask(self, source: Source, request: Request) -> Answer:
        if not self._places.acquire(timeout=self._queue_seconds):
            raise Busy("too many pages are being drawn", retry_after_s=3)
        try:
            document = _memory_file(source)
            try:
                return self._converse(request, document)
            finally:
                os.close(document)
        finally:
            self._places.release()

    def _converse(self, request: Request, document: int) -> Answer:
        """A parent that dies with the question says nothing of the document: a new one is asked, once."""
        for _ in range(2):
            parent = self._warm()
            try:
                return self._exchange(parent, request, document)
            except _Unanswered:
                self._replace(parent)
        raise StorageUnavailable("the page renderer dies")

    def _exchange(self, parent: _Parent, request: Request, document: int) -> Answer:
        """Raises _Unanswered where the parent has died."""
        answer, answer_end = os.pipe()
        verdict, verdict_end = os.pipe()
        try:
            try:
                parent.send(request, [document, answer_end, verdict_end])
            except OSError as error:
                raise _Unanswered from error
            finally:
                os.close(answer_end)
                os.close(verdict_end)
            deadline = time.monotonic() + ANSWER_SECONDS
            said = _read_to_end(answer, messages.ANSWER_BYTES, deadline)
            ended = _read_to_end(verdict, 1, deadline)
        finally:
            os.close(answer)
            os.close(verdict)
        if not ended and time.monotonic() >= deadline:
            raise _refusal(Reason.TOO_SLOW)
        return _judged(said, ended)

    def _replace(self, dead: _Parent) -> None:
        """Whoever asks next starts a new one."""
        with self._starting:
            if self._parent is dead:
                dead.close()
                self._parent = None

    def _warm(self) -> _Parent:
        with self._starting:
            if self._is_closed:
                raise StorageUnavailable("the page renderer is closed")
            if self._parent is None:
                self._parent = _Parent()
            return self._parent


def _refusal(reason: Reason) -> NotRenderable:
    return NotRenderable(f"this document can't be shown as pages: {reason}", reason=reason.value)


def _pages(answer: Answer) -> int:
    pages = answer.facts.get("pages")
    if not isinstance(pages, int) or pages < 1:
        raise _refusal(Reason.BROKEN)
    return pages


def _judged(said: bytes, ended: bytes) -> Answer:
    """The answer, or why there is none. Raises _Unanswered where nobody was left to say how the child ended."""
    if ended == Verdict.OVERDUE.encode():
        raise _refusal(Reason.TOO_SLOW)
    try:
        answer = messages.unpack_answer(said)
    except MalformedAnswer as error:
        if not ended:
            raise _Unanswered from error
        raise _refusal(Reason.TOO_HEAVY if ended == Verdict.CRASHED.encode() else Reason.BROKEN) from error
    if answer.refusal is Reason.NO_SUCH_PAGE:
        raise NotFound("no such page")
    if answer.refusal is not None:
        raise _refusal(answer.refusal)
    return answer


def _memory_file(source: Source) -> int:
    """The document in memory, as a descriptor. Raises NotRenderable where it is empty or over SOURCE_BYTES."""
    document = os.memfd_create("document", os.MFD_CLOEXEC)
    try:
        _fill(document, (source,) if isinstance(source, bytes | bytearray | memoryview) else source)
    except BaseException:
        os.close(document)
        raise
    return document


def _fill(document: int, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > SOURCE_BYTES:
            raise _refusal(Reason.TOO_LARGE)
        left = memoryview(piece)
        while left:
            left = left[os.write(document, left) :]
    if size == 0:
        raise _refusal(Reason.BROKEN)


def _read_to_end(descriptor: int, bound: int, deadline: float) -> bytes:
    """Everything up to end of file, ``bound`` or ``deadline``, whichever is first."""
    pieces = bytearray()
    poll = select.poll()  # select() itself knows no descriptor above 1023, and a busy server has them
    poll.register(descriptor, select.POLLIN)
    while len(pieces) < bound:
        readable = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        piece = os.read(descriptor, min(1 << 20, bound - len(pieces))) if readable else b""
        if not piece:
            break
        pieces += piece
    return bytes(pieces)
