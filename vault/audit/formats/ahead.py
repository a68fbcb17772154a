"""Owns reading one page ahead: while a page is compressed and hashed, the next one is made. It must not know what pages are."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, Final, TypeVar

T = TypeVar("T")

PAGES: Final = 2
"""Pages that wait: the memory that it costs."""
_END: Final = object()


def ahead(pages: Iterator[T]) -> Iterator[T]:
    """The same pages, made in a thread of their own. What the maker raises is raised here; closing this stops the maker."""
    ready: queue.Queue[Any] = queue.Queue(PAGES)
    stopping = threading.Event()

    def offer(item: object) -> bool:
        while not stopping.is_set():
            try:
                ready.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for page in pages:
                if not offer((page, None)):
                    return
            offer(_END)
        except BaseException as error:  # noqa: BLE001  # handed over to the reader, who is the caller
            offer((None, error))

    maker = threading.Thread(target=make, name="log-pages", daemon=True)
    maker.start()
    try:
        while (item := ready.get()) is not _END:
            page, error = item
            if error is not None:
                raise error
            yield page
    finally:
        stopping.set()
        maker.join()
