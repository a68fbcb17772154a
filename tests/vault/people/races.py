"""A race: the same work in many threads that start together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from vault.errors import VaultError

T = TypeVar("T")
WRONG = "Pas-Le-Bon-Mot-12"


def race(times: int, work: Callable[[], T]) -> tuple[list[T], list[VaultError]]:
    """Run ``work`` so that all start together; values and refusals."""
    gate = threading.Barrier(times)

    def one(_number: int) -> T | VaultError:
        gate.wait()
        try:
            return work()
        except VaultError as refusal:
            return refusal

    with ThreadPoolExecutor(times) as pool:
        results = list(pool.map(one, range(times)))
    return [each for each in results if not isinstance(each, VaultError)], [r for r in results if isinstance(r, VaultError)]
