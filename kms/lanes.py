"""Owns lanes, threads that run blocking calls and can be given up on, and the queue before them.

It must not know what the calls do.

A PKCS#11 module may hang for minutes and no Python thread can be taken out of it, so every call runs on a lane while its
caller waits with a deadline. One lane that is awake takes whatever waits, call after call: it sleeps and wakes once for many
callers, and does not fight with other lanes for the interpreter's lock. A further lane is engaged where calls are known to be
slow or long, or when one has waited for PATIENCE; so nothing waits for ever behind a call that hangs.

Hand-over goes through eventfds: ``queue`` and ``threading.Lock`` cost more. The way back is watched for its edge alone, so
that one system call is enough: each one lets other threads in, and they take their time.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

S = TypeVar("S")
T = TypeVar("T")

PATIENCE = 0.002
"""Seconds that a call waits behind others before it engages another lane; then twice as long, and so on."""
SLOW = 0.0005
"""A call of so many seconds does not let another one wait behind it: a network HSM's lasts milliseconds, SoftHSM's 15 µs."""


class Hanging(Exception):
    """The call did not come back in time; it is still running."""


class Crowded(Exception):
    """No lane was free to begin the call in time; it never ran."""


@runtime_checkable
class _Wipeable(Protocol):
    def wipe(self) -> None: ...


def _wipe(result: object) -> None:
    if isinstance(result, _Wipeable):
        result.wipe()


class _State(Enum):
    WAITING = auto()
    BEGUN = auto()
    DONE = auto()
    WITHDRAWN = auto()
    """It never began."""
    ABANDONED = auto()
    """It began and did not come back in time."""


class _Call:
    """One call's way to a lane and back; used again once its bell was heard."""

    __slots__ = ("bell", "edge", "failure", "is_long", "result", "state", "work")

    def __init__(self) -> None:
        self.bell = os.eventfd(0, os.EFD_CLOEXEC)
        self.edge = select.epoll(1, select.EPOLL_CLOEXEC)
        self.edge.register(self.bell, select.EPOLLIN | select.EPOLLET)
        self.work: Callable[[Any], Any] | None = None
        self.is_long = False
        self.state = _State.WAITING
        self.result: Any = None
        self.failure: BaseException | None = None

    def hears(self, seconds: float) -> bool:
        """Whether the answer has come within ``seconds``; a bell that rings for nothing does not count."""
        return bool(self.edge.poll(seconds, 1)) and self.state is _State.DONE

    def close(self) -> None:
        self.edge.close()
        os.close(self.bell)


class _Lane(Generic[S]):
    """A thread's own: what wakes it, and the seat that its calls are given."""

    __slots__ = ("go", "is_over", "is_slow", "seat")

    def __init__(self, seat: S) -> None:
        self.go = os.eventfd(0, os.EFD_CLOEXEC)
        self.seat = seat
        self.is_over = False
        """Whether its thread ends instead of going to sleep."""
        self.is_slow = False
        """Whether its last call took longer than SLOW."""


class Lanes(Generic[S]):
    """Up to ``limit`` daemon threads, each with a seat of its own, that run calls for whoever asks. Thread-safe."""

    def __init__(self, name: str, limit: int, seat: Callable[[], S], came_late: Callable[[], None]) -> None:
        """``came_late()`` is told, on the lane's thread, when a call that was given up has come back."""
        self._name = name
        self._limit = limit
        self._make_seat = seat
        self._came_late = came_late
        self._mutex = threading.Lock()
        self._queue: deque[_Call] = deque()
        self._idle: list[_Lane[S]] = []
        self._spare: list[_Call] = []
        self._count = 0
        self._quick: set[_Lane[S]] = set()
        """Lanes that are awake, and with a call that will be over in a moment: others may wait behind it."""
        self._is_stopped = False
        self.hanging = 0
        """Calls that were given up and have not come back."""

    @property
    def in_use(self) -> int:
        """Lanes with a call now, hanging ones included."""
        with self._mutex:
            return self._count - len(self._idle)

    # --- on the caller's thread ---

    def call(self, work: Callable[[S], T], timeout_s: float, begin_s: float | None = None, *, is_long: bool = False) -> T:
        """What ``work`` returns or raises.

        Hanging when it takes longer than ``timeout_s`` (a late result is wiped, not delivered), Crowded where it has not begun
        after ``begin_s``. A call that ``is_long`` has nobody wait behind it.
        """
        try:
            call = self._spare.pop()
        except IndexError:
            call = _Call()
        call.work, call.is_long, call.state = work, is_long, _State.WAITING
        with self._mutex:
            if self._is_stopped:
                call.close()
                raise Crowded
            self._queue.append(call)
            lane = None if self._quick and not is_long else self._engage()
        try:
            if lane is not None:
                os.eventfd_write(lane.go, 1)
            is_back = call.hears(PATIENCE) or self._wait(call, timeout_s - PATIENCE, begin_s)
        except BaseException:  # a signal handler raised: give the call up like one that hangs
            if self._give_up(call) is not _State.BEGUN:
                self._collect(call, deliver=False)
            raise
        if not is_back:
            found = self._give_up(call)
            if found is _State.BEGUN:
                raise Hanging
            if found is _State.WITHDRAWN:
                self._collect(call, deliver=False)
                raise Crowded
        return self._collect(call)  # type: ignore[no-any-return]  # the outcome of ``work``, which gives T

    def stop(self) -> list[S]:
        """End the threads: the idle ones, whose seats are given, now; each other one when its call comes back."""
        with self._mutex:
            self._is_stopped = True
            idle, self._idle = self._idle, []
            spare, self._spare = self._spare, []
        for lane in idle:
            os.eventfd_write(lane.go, 1)
        for call in spare:
            call.close()
        return [lane.seat for lane in idle]

    def _collect(self, call: _Call, *, deliver: bool = True) -> Any:
        """What came of a call whose bell was heard, or which never began; it may be used again."""
        result, failure = call.result, call.failure
        call.work = call.result = call.failure = None
        if self._is_stopped:
            call.close()
        else:
            self._spare.append(call)
        if not deliver:
            _wipe(result)
        elif failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame: no cycle may keep a secret alive
        return result

    def _engage(self) -> _Lane[S] | None:
        """Another lane, to be rung: an idle one, or a new one; None where none is to be had. Under the mutex."""
        if self._idle:
            lane = self._idle.pop()
        elif self._count < self._limit and not self._is_stopped:
            lane = _Lane(self._make_seat())
            thread = threading.Thread(target=self._serve, args=(lane,), name=f"{self._name}-{self._count + 1}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads: the call waits for those that there are
                os.close(lane.go)
                return None
            self._count += 1
        else:
            return None
        if not lane.is_slow:
            self._quick.add(lane)
        return lane

    def _wait(self, call: _Call, timeout_s: float, begin_s: float | None) -> bool:
        """Whether it came back; False once it is too late for that, or too late to begin."""
        now = time.monotonic()
        deadline, patience = now + timeout_s, PATIENCE
        begin_by = deadline if begin_s is None else min(deadline, now + begin_s)
        while True:
            seconds = deadline - now
            if call.state is _State.WAITING:
                if not (engaged := self._insist(call, is_last=now >= begin_by)):
                    return False
                if engaged is not True:
                    os.eventfd_write(engaged.go, 1)
                patience *= 2
                seconds = min(patience, begin_by - now)
            elif seconds <= 0:
                return False
            if call.hears(max(0.0, seconds)):
                return True
            now = time.monotonic()

    def _insist(self, call: _Call, *, is_last: bool) -> _Lane[S] | bool:
        """A further lane for a call that waits, to be rung; True where there is none; False where it was withdrawn instead."""
        with self._mutex:
            if call.state is not _State.WAITING:
                return True
            if is_last:
                self._queue.remove(call)
                call.state = _State.WITHDRAWN
                return False
            self._quick.clear()  # they are not: something keeps them
            return self._engage() or True

    def _give_up(self, call: _Call) -> _State:
        """Take a call back; in which state it was found. One that has begun now counts as hanging."""
        with self._mutex:
            found = call.state
            if found is _State.WAITING:
                self._queue.remove(call)
            elif found is _State.BEGUN:
                call.state = _State.ABANDONED
                self.hanging += 1
        if found is _State.DONE:
            call.hears(1.0)  # it has just come back; unless a signal handler raised after the bell was heard
        return found

    # --- on a lane's thread ---

    def _serve(self, lane: _Lane[S]) -> None:
        while True:
            os.eventfd_read(lane.go)
            call = self._next(lane)
            while call is not None:
                call = self._run(lane, call)
            if lane.is_over:
                break
        os.close(lane.go)

    def _run(self, lane: _Lane[S], call: _Call) -> _Call | None:
        """Run one call, tell its caller, and take the next."""
        work, begun = call.work, time.monotonic()
        result: Any = None
        failure: BaseException | None = None
        try:
            result = work(lane.seat)  # type: ignore[misc]  # a queued call has work
        except BaseException as error:  # noqa: BLE001  # carried over to the caller's thread, whatever it is
            failure = error
        if not call.is_long:
            lane.is_slow = time.monotonic() - begun > SLOW
        with self._mutex:
            is_late = call.state is _State.ABANDONED
            if is_late:
                self.hanging -= 1
            else:
                call.result, call.failure, call.state = result, failure, _State.DONE
            following = self._take(lane)
        del failure  # its traceback holds this frame: no cycle may keep a secret alive
        if not is_late:
            os.eventfd_write(call.bell, 1)
            return following
        _wipe(result)
        call.close()
        self._came_late()
        return following

    def _next(self, lane: _Lane[S]) -> _Call | None:
        with self._mutex:
            return self._take(lane)

    def _take(self, lane: _Lane[S]) -> _Call | None:
        """The call that has waited longest; None sends the lane to sleep. Under the mutex."""
        call = self._queue.popleft() if self._queue else None
        if call is None or call.is_long or lane.is_slow:
            self._quick.discard(lane)
        else:
            self._quick.add(lane)
        if call is not None:
            call.state = _State.BEGUN
        elif not self._is_stopped:
            self._idle.append(lane)
        else:
            self._count -= 1
            lane.is_over = True
        return call
