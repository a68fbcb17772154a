"""Owns the PIN: read from its file for the length of one login, and latched once it was refused.

It must not know PKCS#11 sessions.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kms import constants as ck
from kms.cryptoki import CryptokiError
from kms.errors import BadSettings, PinRefused

LARGEST = 256
"""Bytes; a longer file is not a PIN."""


class PinFile:
    """A PIN file and its latch.

    A real HSM locks itself after a few wrong PINs, and a service that restarts in a loop would spend them in seconds. So a
    refusal is written beside the PIN file (``<name>.refused``: the identity of the refused file, not the PIN) and holds
    until the PIN file changes or an operator says so.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = path.with_name(path.name + ".refused")
        self._refused: str | None = None

    def _identity(self) -> str:
        try:
            status = self._path.stat()
        except OSError as error:
            raise BadSettings(f"[kms] pin_file: {self._path} can't be read ({error.strerror})") from error
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadSettings(f"[kms] pin_file: others can read {self._path}; run: chmod 600 {self._path}")
        return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"

    def use(self, login: Callable[[bytearray], None]) -> None:
        """Give the PIN to ``login`` and wipe it. Raises PinRefused, without trying, where this very file was refused before."""
        identity = self.require_change()
        pin = self._read()
        try:
            login(pin)
        except CryptokiError as error:
            if error.rv not in ck.PIN_REFUSED:
                raise
            self._latch(identity)
            raise PinRefused(f"the token refused the PIN in {self._path} ({ck.rv_name(error.rv)})") from error
        finally:
            pin[:] = bytes(len(pin))

    def require_change(self) -> str:
        """The file's identity. Raises PinRefused where it is the one that was refused."""
        identity = self._identity()
        if identity in {self._refused, self._marked()}:
            raise PinRefused(
                f"the token refused the PIN in {self._path}; it is not tried again, so that the token doesn't lock. "
                "Correct the file, or run: coffre keys check --retry-pin"
            )
        return identity

    def unlatch(self) -> None:
        """Allow one more try."""
        self._refused = None
        self._mark.unlink(missing_ok=True)

    def _read(self) -> bytearray:
        pin = bytearray(LARGEST + 1)
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            length = os.readv(descriptor, [pin])
        finally:
            os.close(descriptor)
        while length and pin[length - 1] in b"\r\n":
            length -= 1
        if not 0 < length <= LARGEST:
            raise BadSettings(f"[kms] pin_file: {self._path} is empty or too long to be a PIN")
        kept = bytearray(memoryview(pin)[:length])
        pin[:] = bytes(len(pin))
        return kept

    def _latch(self, identity: str) -> None:
        self._refused = identity
        with suppress(OSError):  # a read-only directory (systemd credentials): the latch then lasts as long as the process
            descriptor = os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, identity.encode())
            finally:
                os.close(descriptor)

    def _marked(self) -> str | None:
        try:
            return self._mark.read_text(encoding="ascii")
        except OSError:
            return None
