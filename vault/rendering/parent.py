"""Owns the warm parent: a small process that forks a confined child for each request. It must not know keys, names or storage.

Started by fork + exec (``python -m vault.rendering.parent <control descriptor>``), it never shares memory with the process that
holds keys. It decodes nothing itself: everything is loaded once, so that a fork costs milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass

from vault.rendering import copying, drawing, sandbox
from vault.rendering.messages import REQUEST_BYTES, Reason, Request, Verdict, Work, pack_answer, unpack_request
from vault.rendering.recognise import MediaType

WALL_SECONDS = 15.0
"""A child is killed after this, whatever it does."""
LIMITS = sandbox.Limits()
_DESCRIPTORS = 4096


@dataclass(frozen=True, slots=True)
class _Child:
    pid: int
    watch: int
    """pidfd, readable when the child has ended."""
    verdict: int
    deadline: float


def _answer(request: Request, content: mmap.mmap) -> bytes:
    media_type = MediaType(request.media_type)
    pages = drawing.open_pages(media_type, content)
    if not 1 <= request.page <= pages.count:
        raise drawing.Refused(Reason.NO_SUCH_PAGE)
    facts: dict[str, object] = {"pages": pages.count}
    match request.work:
        case Work.INSPECT:
            facts["size"] = pages.size(request.page)
            return pack_answer(facts)
        case Work.TEXT:
            return pack_answer(facts, drawing.readable(pages.text(request.page)).encode())
        case Work.CODES:
            facts["codes"] = drawing.codes(pages, request.page)
            return pack_answer(facts)
        case Work.COPY:
            if not isinstance(pages, drawing.PicturePages):
                raise drawing.Refused(Reason.NO_PICTURE)
            return pack_answer(facts, copying.pdf_of(pages, content))
        case Work.PAGE:
            page = pages.draw(request.page, request.width)
            if request.quarter_turns % 4:
                page = page.rotate(-90 * (request.quarter_turns % 4), expand=True)
            if request.watermark:
                drawing.watermark(page, request.watermark)
            facts |= {"width": page.width, "height": page.height}
            return pack_answer(facts, drawing.encoded(page, request.form))


def _work(request: Request, document: int, answer: int) -> None:
    """The child's life: shut every other door, then read."""
    low, high = sorted((document, answer))
    os.closerange(3, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, _DESCRIPTORS)
    size = os.fstat(document).st_size
    content = mmap.mmap(document, size, access=mmap.ACCESS_COPY)
    # A picture's reader may hold the file once more; a PDF's does not.
    sandbox.confine(sandbox.Limits(LIMITS.cpu_seconds, LIMITS.memory_bytes + size))
    try:
        said = _answer(request, content)
    except drawing.Refused as refusal:
        said = pack_answer({}, refusal=refusal.reason)
    except MemoryError:
        said = pack_answer({}, refusal=Reason.TOO_HEAVY)
    except Exception:  # noqa: BLE001  # a decoder may raise anything on hostile bytes, and there is nobody else to tell
        said = pack_answer({}, refusal=Reason.BROKEN)
    left = memoryview(said)
    while left:
        left = left[os.write(answer, left) :]


def _start(request: Request, document: int, answer: int, verdict: int) -> _Child:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _work(request, document, answer)
            code = 0
        finally:
            os._exit(code)
    os.close(document)
    os.close(answer)
    return _Child(pid, os.pidfd_open(pid), verdict, time.monotonic() + WALL_SECONDS)


def _judge(child: _Child) -> None:
    """Reap a child that has ended and say how it went."""
    _, status = os.waitpid(child.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        verdict = Verdict.LEFT
    elif code in (-signal.SIGKILL, -signal.SIGXCPU):
        verdict = Verdict.OVERDUE
    else:
        verdict = Verdict.CRASHED
    with contextlib.suppress(BrokenPipeError):  # whoever asked may have gone
        os.write(child.verdict, verdict.encode())
    os.close(child.verdict)
    os.close(child.watch)


def _serve(control: socket.socket) -> None:
    """Fork a child per request until the other end closes; kill whoever is overdue."""
    children: dict[int, _Child] = {}
    with selectors.DefaultSelector() as ready:
        ready.register(control, selectors.EVENT_READ)
        while True:
            soonest = min((child.deadline for child in children.values()), default=None)
            for key, _ in ready.select(None if soonest is None else max(0.0, soonest - time.monotonic())):
                if key.fileobj is not control:
                    ready.unregister(key.fd)
                    _judge(children.pop(key.fd))
                    continue
                raw, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES, 3)
                if not raw:
                    return  # children die with us
                child = _start(unpack_request(raw), *descriptors)
                children[child.watch] = child
                ready.register(child.watch, selectors.EVENT_READ)
            now = time.monotonic()
            for child in children.values():
                if child.deadline <= now:
                    os.kill(child.pid, signal.SIGKILL)


def main(arguments: list[str]) -> None:
    """Load, give up privileges, say what was obtained, serve."""
    control = socket.socket(fileno=int(arguments[0]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us; we end when they close
    drawing.load_everything()
    copying.load_everything()
    obtained = sandbox.enclose()
    obtained["confined"] = sandbox.probe()
    control.send(json.dumps(obtained).encode())
    _serve(control)


if __name__ == "__main__":
    main(sys.argv[1:])
