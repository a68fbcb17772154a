"""Owns one PKCS#11 module in this process: initialised for threads, entered and left by calls, re-initialised as a new epoch.

It must not know tokens' keys or PINs. PKCS#11 state belongs to the process, so a module is loaded once and shared by whoever
opens it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kms import constants as ck
from kms.cryptoki import Cryptoki, CryptokiError
from kms.errors import BadSettings, KeysUnavailable
from kms.profiles import Profile, Threads
from kms.settings import KmsSettings
from kms.softhsm import keep_token_files

REOPEN_SECONDS = 1.0
"""At most one re-initialisation in this time: a real HSM counts connections, and a dead one must not be hammered."""

_loaded: dict[Path, Module] = {}
_loading = threading.Lock()


def configuration(settings: KmsSettings) -> str:
    """What the module reads when it is initialised; two users of one module in one process must agree on it."""
    return f"{settings.profile}:{settings.softhsm_conf or ''}:{settings.library_parameters or ''}"


class Module:
    """A loaded module and its epoch: the number of the initialisation to which all sessions and handles belong."""

    def __init__(self, path: Path, settings: KmsSettings, profile: Profile) -> None:
        try:
            self.cryptoki = Cryptoki(path)
        except (OSError, CryptokiError) as error:
            raise BadSettings(
                f"[kms] module: {path} can't be loaded as a PKCS#11 module ({error}). "
                "Install SoftHSM2 (Debian: apt-get install softhsm2) or write the path of your HSM's module."
            ) from error
        self.path = path
        self.configuration = configuration(settings)
        self.users = 0
        self.epoch = 0
        self.reopenings = 0
        self._settings = settings
        self._mutex = threading.Lock()
        self._gate = threading.Condition(self._mutex)
        self._inside = 0
        self._is_reopening = False
        self.is_initialised = False
        self._reopened_at = float("-inf")
        self._pid = os.getpid()
        self._serial = threading.RLock() if profile.threads is Threads.SERIALIZE else None

    @contextmanager
    def serialised(self) -> Iterator[None]:
        """One call at a time where the module can't lock by itself."""
        if self._serial is None:
            yield
        else:
            with self._serial:
                yield

    @property
    def is_serialised(self) -> bool:
        return self._serial is not None

    def enter(self, timeout_s: float) -> int:
        """Before a call: the epoch in which it will run. Raises KeysUnavailable while the module is being re-initialised."""
        with self._mutex:
            if self._is_reopening and not self._gate.wait_for(lambda: not self._is_reopening, timeout_s):
                raise KeysUnavailable("the key module is being re-initialised")
            self._inside += 1
            return self.epoch

    def leave(self) -> None:
        """After a call has really come back (not when its caller gave up)."""
        with self._mutex:
            self._inside -= 1
            if self._is_reopening:
                self._gate.notify_all()

    def may_reopen(self) -> bool:
        """Whether the last initialisation is long enough ago."""
        return time.monotonic() - self._reopened_at >= REOPEN_SECONDS

    def reopen(self, stale: int, drain_s: float) -> None:
        """Finalize and initialize, unless somebody has already left epoch ``stale``; runs on a lane, with nobody else inside.

        Raises KeysUnavailable when calls hang inside the module, when the last attempt is too recent, or when the
        module refuses.
        """
        with self._gate:
            if self.epoch != stale:
                return
            if self._is_reopening or not self.may_reopen():
                raise KeysUnavailable("the key module was re-initialised less than a second ago")
            self._is_reopening = True
            drained = self._gate.wait_for(lambda: self._inside == 0, drain_s)
        try:
            if not drained:
                raise KeysUnavailable("calls hang inside the key module")
            self._reopened_at = time.monotonic()
            self.reopenings += 1
            self._initialise()
        finally:
            with self._gate:
                self._is_reopening = False
                self._gate.notify_all()

    def _initialise(self) -> None:
        """The epoch moves on first: whatever happens next, no old handle may be used again."""
        self.epoch += 1
        if self.is_initialised:
            self.is_initialised = False
            with suppress(CryptokiError):  # a module that lost its token may refuse; initialising tells
                self.cryptoki.finalize()
        if self._settings.softhsm_conf is not None:
            os.environ["SOFTHSM2_CONF"] = str(self._settings.softhsm_conf)
            keep_token_files(self._settings)
        parameters = self._settings.library_parameters
        arguments = parameters.encode() if parameters else None
        try:
            self._initialize(arguments)
        except CryptokiError as error:
            raise KeysUnavailable(f"the key module can't be initialised ({error})") from error
        self.is_initialised = True

    def _initialize(self, arguments: bytes | None) -> None:
        """C_Initialize with locking; without, and serialised, where the module can't lock.

        Again where a parent process had done it.
        """
        for _ in range(3):
            try:
                self.cryptoki.initialize(locking=self._serial is None, library_parameters=arguments)
            except CryptokiError as error:
                if error.rv == ck.CKR_CANT_LOCK and self._serial is None:
                    self._serial = threading.RLock()
                elif error.rv == ck.CKR_CRYPTOKI_ALREADY_INITIALIZED:
                    self.cryptoki.finalize()
                else:
                    raise
            else:
                return
        raise CryptokiError("C_Initialize", ck.CKR_CRYPTOKI_ALREADY_INITIALIZED)

    def finalise(self) -> None:
        """Leave the module as it was before; nothing happens in a forked child, nor while calls hang inside."""
        with self._gate:
            self._reopened_at = float("-inf")
            if os.getpid() != self._pid or not self.is_initialised or self._inside:
                return
            self.is_initialised = False
            self.epoch += 1
        with suppress(CryptokiError):
            self.cryptoki.finalize()


def borrow_module(settings: KmsSettings, profile: Profile) -> Module:
    """The process's one Module for this path. Raises BadSettings where it is in use with another configuration."""
    path = settings.module.resolve()
    with _loading:
        module = _loaded.get(path)
        if module is None or module._pid != os.getpid():  # noqa: SLF001  # same file, same owner
            module = _loaded[path] = Module(path, settings, profile)
        if module.users == 0 and module.configuration != configuration(settings):
            module.configuration, module._settings = configuration(settings), settings  # noqa: SLF001  # same
        if module.configuration != configuration(settings):
            raise BadSettings(f"{path} is already open in this process with another configuration ({module.configuration})")
        module.users += 1
        return module


def return_module(module: Module) -> None:
    """Give back what ``borrow_module`` gave; the last one finalizes."""
    with _loading:
        module.users -= 1
        if module.users == 0:
            module.finalise()
