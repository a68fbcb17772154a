"""Owns work that is done one step ahead of who needs it: read while another block is decrypted, decrypt while one is sent.

It must not know what the blocks are. Threads that work ahead are few: where all are busy, and with a slow reader they may be
for long, the caller does the work itself, as it would without them.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import closing, suppress
from typing import Final, TypeVar

T = TypeVar("T")

HELPERS: Final = 2
"""Threads of one process that work ahead at once."""
DEPTH: Final = 2
"""Blocks that wait to be taken."""
IN_USE: Final = DEPTH + 2
"""Blocks that exist at once: those that wait, the one that is being made, the one that was taken."""

_HELPERS = threading.BoundedSemaphore(HELPERS)


def ahead(blocks: Generator[T, None, None]) -> Generator[T, None, None]:
    """The same blocks in the same order, made in a thread of their own where one is free.

    What ``blocks`` raises is raised here, in its place. Closing this closes ``blocks`` and ends the thread before it returns.
    """
    if not _HELPERS.acquire(blocking=False):
        yield from blocks
        return
    try:
        yield from _made(blocks)
    finally:
        _HELPERS.release()


def _made(blocks: Generator[T, None, None]) -> Generator[T, None, None]:
    waiting: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(DEPTH)
    is_over = threading.Event()

    def make() -> None:
        end: BaseException | None = None
        try:
            with closing(blocks):
                for block in blocks:
                    waiting.put((block,))
                    if is_over.is_set():
                        break
        except BaseException as error:  # noqa: BLE001  # carried to the caller, who raises it
            end = error
        waiting.put(end)

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while isinstance(item := waiting.get(), tuple):
            yield item[0]
        if item is not None:
            raise item
    finally:
        is_over.set()
        while thread.is_alive():
            with suppress(queue.Empty):  # it may wait for room
                waiting.get(timeout=0.01)
        thread.join()
