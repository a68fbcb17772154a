"""Owns the sessions on one token: the anchor that is logged in, the bounded pool, deadlines, and coming back after a loss.

It must not know what keys are for. Rules behind it: one session per call in flight; only the anchor logs in, once an epoch; a
session that failed is replaced; a lost token is looked for at most once a second; a refused PIN is never tried again by
itself.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from kms import constants as ck
from kms.cryptoki import Cryptoki, CryptokiError, OpenSession, Token
from kms.errors import Forked, KeysBusy, KeysUnavailable, KmsError, PinRefused, WrongToken
from kms.keys import KeyUse
from kms.lanes import Crowded, Hanging, Lanes
from kms.module import borrow_module, return_module
from kms.pin import PinFile
from kms.profiles import Profile, find_profile
from kms.settings import KmsSettings

if TYPE_CHECKING:
    from kms.suites import KeyInUse

T = TypeVar("T")

PROBE_SECONDS = 1.0
"""While calls hang, one caller in this time may try; the others are refused at once instead of piling up."""

REOPEN_WAIT_SECONDS = 2.0
"""How long a call waits for a re-initialisation under way before it is refused."""


class KeyNotFound(Exception):
    """A search came back empty. On a lost token every search does, without an error, so this alone proves nothing."""

    def __init__(self, label: str, epoch: int) -> None:
        super().__init__(label)
        self.epoch = epoch


@dataclass(frozen=True, slots=True)
class Session:
    """What a call gets: a session that nobody else uses meanwhile, on a token that is logged in."""

    cryptoki: Cryptoki
    open: OpenSession
    epoch: int
    token: Token
    keys: dict[tuple[KeyUse, int], tuple[bytes, KeyInUse]]
    """Keys already found in this session, with their CKA_ID: a key object belongs to the session that found it."""


@dataclass(frozen=True, slots=True)
class _Anchor:
    epoch: int
    open: OpenSession
    token: Token


class _Seat:
    """What a lane keeps: its session in some epoch."""

    __slots__ = ("epoch", "session")

    def __init__(self) -> None:
        self.epoch = 0
        self.session: Session | None = None


class Pool:
    """Sessions on the token of ``settings``; thread-safe. Nothing touches the module before the first ``run``."""

    def __init__(self, settings: KmsSettings) -> None:
        """Raises BadSettings where the module can't be loaded or the profile is unknown."""
        self.profile: Profile = find_profile(settings.profile)
        self.label = settings.token_label
        self.module = borrow_module(settings, self.profile)
        self.timeout_ms = settings.timeout_ms
        self._pin = PinFile(settings.pin_file)
        self._limit = max(1, min(settings.sessions, self.profile.sessions) - 1)  # the anchor takes one
        self._pid = os.getpid()
        self._lanes = Lanes("coffre-keys", self._limit, _Seat, self._came_late)
        self._probing = threading.Lock()
        self._probe_at = 0.0
        self._keeper: Lanes[None] | None = None
        self._keeping = threading.Lock()
        self._attaching = threading.Lock()
        self._anchor: _Anchor | None = None
        self._lost_epoch = self.module.epoch if self.module.users == 1 else 0
        self._refused_epoch = -1
        self._is_closed = False

    # --- what the room calls ---

    def run(
        self,
        work: Callable[[Session], T],
        *,
        timeout_ms: float | None = None,
        writable: bool = False,
        is_long: bool = False,
    ) -> T:
        """``work`` on a logged-in session, on a lane, within the deadline; nobody waits behind what ``is_long``.

        Once more in a new epoch where the token was lost meanwhile.

        Raises Forked, KeysBusy, KeysUnavailable, PinRefused, WrongToken; CryptokiError and KeyNotFound from ``work``
        stay as they are.
        """
        if os.getpid() != self._pid:
            raise Forked("the key service was opened before a fork; open it in the worker")
        if self._is_closed:
            raise KeysUnavailable("the key service is closed")
        deadline = time.monotonic() + (timeout_ms or self.timeout_ms) / 1000
        if self._refused_epoch == self.module.epoch:
            self._pin.require_change()
            self.lose(self._refused_epoch)  # the token may have a new PIN too: look at it afresh
        if self.is_lost:
            self._reopen(deadline)
        epoch = self.module.epoch
        try:
            return self._dispatch(work, deadline, writable, is_long)
        except CryptokiError as error:
            if error.rv not in ck.TOKEN_LOST:
                raise
            self.lose(epoch)
            self._reopen(deadline)
            try:
                return self._dispatch(work, deadline, writable, is_long)
            except CryptokiError as again:
                raise KeysUnavailable(f"the token does not answer ({again})") from again

    @property
    def is_lost(self) -> bool:
        """Whether the sessions of this epoch are known to be worthless."""
        return self._lost_epoch == self.module.epoch or not self.module.is_initialised

    def lose(self, epoch: int) -> None:
        """Declare an epoch's sessions and handles worthless; the next call starts a new one."""
        self._lost_epoch = max(self._lost_epoch, epoch)

    def retry_pin(self) -> None:
        """An operator allows one more try of a refused PIN."""
        self._pin.unlatch()

    @property
    def in_use(self) -> int:
        """Sessions borrowed now, hanging ones included."""
        return self._lanes.in_use

    def close(self) -> None:
        """Close sessions and leave the module; idempotent, and nothing happens in a forked child."""
        if self._is_closed:
            return
        self._is_closed = True
        if os.getpid() != self._pid:
            return
        for seat in self._lanes.stop():
            self._close_session(seat.epoch, seat.session and seat.session.open)
        anchor, self._anchor = self._anchor, None
        if anchor is not None:
            self._close_session(anchor.epoch, anchor.open)
        if self._keeper is not None:
            self._keeper.stop()
        return_module(self.module)

    def _close_session(self, epoch: int, session: OpenSession | None) -> None:
        if session is not None and epoch == self.module.epoch and not self._lanes.hanging:
            with suppress(CryptokiError):
                self.module.cryptoki.close_session(session)

    # --- lending a lane ---

    def _dispatch(self, work: Callable[[Session], T], deadline: float, writable: bool, is_long: bool) -> T:
        if self._lanes.hanging:
            self._admit()
        seconds = deadline - time.monotonic()
        try:
            # a call that begins too late would make a healthy one look hung
            result = self._lanes.call(
                lambda seat: self._on_lane(seat, work, deadline, writable), seconds, seconds / 2, is_long=is_long
            )
        except Crowded:
            raise KeysBusy("every session on the token stayed busy") from None
        except Hanging:
            self._probe_at = time.monotonic() + PROBE_SECONDS
            raise KeysUnavailable("the token took too long to answer") from None
        if self._probe_at:
            self._probe_at = 0.0  # it answers: let everybody in again
        return result

    def _admit(self) -> None:
        """Who may try while calls hang. Raises KeysUnavailable for everybody else."""
        with self._probing:
            if self._probe_at:
                now = time.monotonic()
                if now < self._probe_at or self._lanes.hanging >= self._limit:
                    raise KeysUnavailable("calls hang inside the key module")
                self._probe_at = now + PROBE_SECONDS

    def _came_late(self) -> None:
        self._probe_at = 0.0

    # --- on a lane's thread ---

    def _on_lane(self, seat: _Seat, work: Callable[[Session], T], deadline: float, writable: bool) -> T:
        epoch = self.module.enter(min(REOPEN_WAIT_SECONDS, (deadline - time.monotonic()) / 2))
        try:
            if self.module.is_serialised:
                with self.module.serialised():
                    return self._in_session(seat, epoch, work, writable)
            return self._in_session(seat, epoch, work, writable)
        finally:
            self.module.leave()

    def _in_session(self, seat: _Seat, epoch: int, work: Callable[[Session], T], writable: bool) -> T:
        if writable:
            with self._writable(epoch) as opened:
                return work(opened)
        session = seat.session
        if session is None or seat.epoch != epoch:
            session = seat.session = self._open(epoch, writable=not self.profile.read_only_sessions)
            seat.epoch = epoch
        try:
            return work(session)
        except CryptokiError:  # an operation may still be active in it: never reuse a session that failed
            seat.session = None
            with suppress(CryptokiError):
                session.cryptoki.close_session(session.open)
            raise

    @contextmanager
    def _writable(self, epoch: int) -> Iterator[Session]:
        session = self._open(epoch, writable=True)
        try:
            yield session
        finally:
            with suppress(CryptokiError):
                session.cryptoki.close_session(session.open)

    def _open(self, epoch: int, *, writable: bool) -> Session:
        anchor = self._anchor
        if anchor is None or anchor.epoch != epoch:
            anchor = self._attach(epoch)
        cryptoki = self.module.cryptoki
        return Session(cryptoki, cryptoki.open_session(anchor.token, writable=writable), epoch, anchor.token, {})

    def _attach(self, epoch: int) -> _Anchor:
        """Find the token and log in on the anchor, once an epoch.

        Open first, then log in: a failed login must not leak a session.
        """
        with self._attaching:
            if self._anchor is not None and self._anchor.epoch == epoch:
                return self._anchor
            try:
                token = self._find_token()
                opened = self.module.cryptoki.open_session(token, writable=not self.profile.read_only_sessions)
                self._log_in(opened)
            except PinRefused:
                self._refused_epoch = epoch
                raise
            except (KeysUnavailable, WrongToken):
                self.lose(epoch)
                raise
            except CryptokiError as error:
                self.lose(epoch)
                raise KeysUnavailable(f"the token does not answer ({error})") from error
            self._anchor = _Anchor(epoch, opened, token)
            return self._anchor

    def _log_in(self, opened: OpenSession) -> None:
        try:
            self._pin.use(lambda pin: self.module.cryptoki.login(opened, pin))
        except CryptokiError as error:
            if error.rv == ck.CKR_USER_ALREADY_LOGGED_IN:  # another Pool of this process holds the login: the same user
                return
            self.module.cryptoki.close_session(opened)
            raise
        except KmsError:
            self.module.cryptoki.close_session(opened)
            raise

    def _find_token(self) -> Token:
        tokens = [token for token in self.module.cryptoki.tokens() if token.label == self.label and token.is_initialized]
        if not tokens:
            raise KeysUnavailable(f"no token labelled {self.label!r} is present")
        if len(tokens) > 1:
            raise WrongToken(f"{len(tokens)} tokens are labelled {self.label!r}: rename or remove all but one")
        return tokens[0]

    # --- a new epoch ---

    def _reopen(self, deadline: float) -> None:
        """Start a new epoch; one caller does, the others wait for it. Raises KeysUnavailable."""
        if not self._keeping.acquire(timeout=max(0.001, deadline - time.monotonic())):
            raise KeysUnavailable("the key module is being re-initialised")
        try:
            if not self.is_lost:
                return  # another caller has just done it
            stale = self.module.epoch
            if self._keeper is None:
                self._keeper = Lanes("coffre-keys-keeper", 1, lambda: None, lambda: None)
            keeper, remaining = self._keeper, max(0.001, deadline - time.monotonic())
            try:
                keeper.call(lambda _: self.module.reopen(stale, remaining), remaining, is_long=True)
            except (Crowded, Hanging):
                self._keeper = None
                keeper.stop()
                raise KeysUnavailable("the key module hangs while it is re-initialised") from None
        finally:
            self._keeping.release()
