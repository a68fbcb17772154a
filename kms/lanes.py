"""Owns threads that run one blocking call at a time and can be given up on. It must not know what the calls do.

A PKCS#11 module may hang for minutes and no Python thread can be taken out of it, so every call runs on a lane while its
caller waits with a deadline. Hand-over goes through two eventfds: the kernel runs the woken thread at once, which measured 5
to 10 µs for a round trip against 25 to 200 µs for ``queue`` and ``threading.Lock``. The way back is watched for its edge
alone, so that one system call is enough: each one lets other threads in, and they take their time.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


class Hanging(Exception):
    """The call did not come back in time; it may still be running."""


@runtime_checkable
class _Wipeable(Protocol):
    def wipe(self) -> None: ...


class Lane:
    """A daemon thread that runs one call at a time for whoever holds the lane."""

    def __init__(self, name: str, returned: Callable[[Lane, bool], None]) -> None:
        """``returned(lane, late)`` is told once for each call when the lane is free again.

        A late call tells it on the lane's thread.
        """
        self._go = os.eventfd(0, os.EFD_CLOEXEC)
        self._done = os.eventfd(0, os.EFD_CLOEXEC)
        self._edge = select.epoll(1, select.EPOLL_CLOEXEC)
        self._edge.register(self._done, select.EPOLLIN | select.EPOLLET)
        self._returned = returned
        self._lock = threading.Lock()
        self._work: Callable[[], Any] | None = None
        self._outcome: tuple[Any, BaseException | None] | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], T], timeout_ms: float) -> T:
        """What ``work`` returns or raises; Hanging when it takes longer. A late result is wiped, not delivered."""
        self._work = work
        os.eventfd_write(self._go, 1)
        try:
            is_back = self._edge.poll(timeout_ms / 1000, 1)
        except BaseException:  # a signal handler raised: give the call up like one that hangs
            if not self._give_up():
                self._edge.poll(-1, 1)  # it has just come back, and its edge must not greet the next call
                self._collect()
            raise
        if not is_back:
            if self._give_up():
                raise Hanging
            self._edge.poll(-1, 1)  # the same
        result, error = self._collect()
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]  # the outcome of ``work``, which gives T

    def stop(self) -> None:
        """End the thread once it is idle; an abandoned one ends with the process."""
        self._work = None
        os.eventfd_write(self._go, 1)

    def _give_up(self) -> bool:
        """Abandon the running call; False where it has just come back."""
        with self._lock:
            self._abandoned = self._outcome is None
            return self._abandoned

    def _collect(self) -> tuple[Any, BaseException | None]:
        outcome, self._outcome = self._outcome, None
        self._returned(self, False)  # noqa: FBT003  # a callback's only flag: is it late?
        return outcome or (None, None)

    def _serve(self) -> None:
        while True:
            os.eventfd_read(self._go)
            work, self._work = self._work, None
            if work is None:
                break
            self._run(work)
        self._edge.close()
        os.close(self._go)
        os.close(self._done)

    def _run(self, work: Callable[[], Any]) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # carried over to the caller's thread, whatever it is
            failure = error
        with self._lock:
            is_late, self._abandoned = self._abandoned, False
            if not is_late:
                self._outcome = (result, failure)
        del failure  # its traceback holds this frame: no cycle may keep a secret alive
        if not is_late:
            os.eventfd_write(self._done, 1)
            return
        if isinstance(result, _Wipeable):
            result.wipe()
        self._returned(self, True)  # noqa: FBT003  # same
