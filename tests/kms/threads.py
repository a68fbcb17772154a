"""Runs one piece of work in many threads at once, and keeps what they raised."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kms.errors import KmsError


def together(count: int, work: Callable[[], object]) -> list[BaseException]:
    """Run ``work`` in ``count`` threads; gives what they raised."""
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except KmsError as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised
