"""Owns the virus scan of a body on its way in, through clamd's Unix socket. It must not know where the body goes.

The scanner sees the same blocks as the sealer, at the same time, and its word is asked before anything is committed (clamd's
INSTREAM: chunks of a 4-byte big-endian length and data, ended by a length of zero; clamd(8), COMMANDS). What could not be
scanned is refused, or kept and marked, as ``[scan] policy`` says: never passed over in silence.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from vault.errors import Infected, ScannerUnavailable, TooLarge, VaultError
from vault.model import Scan
from vault.settings import InfectedPolicy, ScanPolicy, ScanSettings

OPEN = b"zINSTREAM\0"
END = bytes(4)
REPLY_BYTES = 4096
"""No verdict is longer; a scanner that goes on talking is not one."""
BEYOND_LIMITS = "Heuristics.Limits.Exceeded"
"""clamd found nothing because it stopped looking (``AlertExceedsMax``): not a virus, and not clean either."""


class Scanner:
    """Where bodies are scanned, and what happens to those that can't be. Thread-safe: each scan has its own connection."""

    def __init__(self, settings: ScanSettings) -> None:
        self._settings = settings

    @property
    def keeps_infected(self) -> bool:
        """Whether what is infected is set apart rather than refused."""
        return self._settings.infected == InfectedPolicy.QUARANTINE

    def begin(self, *, must: bool = False, hears_out: bool = False) -> Scanning:
        """A scan for one body; close it. Raises ScannerUnavailable where the policy, or ``must``, wants this body scanned.

        ``hears_out``: a hit before the end of the body is told by ``finish``, so that the whole body can be set apart.
        """
        if self._settings.socket is None:
            if must:
                raise ScannerUnavailable("no virus scanner is set up", reason="off")
            return Scanning(None, Scan.OFF, is_strict=False, hears_out=False)
        is_strict = must or self._settings.policy == ScanPolicy.REFUSE
        try:
            connection = _connect(self._settings.socket, self._settings.timeout_s)
            return Scanning(connection, Scan.CLEAN, is_strict=is_strict, hears_out=hears_out)
        except OSError as error:
            if is_strict:
                raise ScannerUnavailable("the virus scanner does not answer", reason="away") from error
            return Scanning(None, Scan.MISSED, is_strict=False, hears_out=False)


class Scanning:
    """One body under scan."""

    def __init__(self, connection: socket.socket | None, result: Scan, *, is_strict: bool, hears_out: bool) -> None:
        self._connection = connection
        self._result = result
        self._is_strict = is_strict
        self._hears_out = hears_out
        self._found: Infected | None = None

    def feed(self, block: bytes) -> None:
        """Hand the next bytes over. Raises Infected, TooLarge, ScannerUnavailable: see ``finish``."""
        if self._connection is None:
            return
        try:
            self._connection.sendall(len(block).to_bytes(4, "big"))
            self._connection.sendall(block)
        except TimeoutError as error:
            self._missed(ScannerUnavailable("the virus scanner stopped reading", reason="timeout"), error)
        except OSError as error:  # it hung up: it may have said why
            self._judge(error)
            if self._found is not None and not self._hears_out:
                raise self._found from error

    def finish(self) -> Scan:
        """The verdict on the whole body: CLEAN, MISSED (policy ``mark``) or OFF (no scanner set up).

        Raises Infected; and where every body must be scanned, ScannerUnavailable, or TooLarge for more than the scanner takes.
        """
        if self._connection is not None:
            try:
                self._connection.sendall(END)
            except OSError as error:
                self._judge(error)
            else:
                self._judge(None)
        if self._found is not None:
            raise self._found
        return self._result

    def close(self) -> None:
        """Hang up; idempotent. clamd forgets a stream that was not ended."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _judge(self, broken: OSError | None) -> None:
        """Read what the scanner says and hang up; only a clear OK after the whole body lets it pass."""
        try:
            reply = self._reply()
        except TimeoutError as error:
            self._missed(ScannerUnavailable("the virus scanner gave no verdict in time", reason="timeout"), error)
            return
        except OSError as error:
            broken, reply = error, ""
        signature = reply.removeprefix("stream: ").removesuffix(" FOUND") if reply.endswith(" FOUND") else None
        if signature is not None and not signature.startswith(BEYOND_LIMITS):
            self._found = Infected(f"the virus scanner found {signature}", reason=signature)
        elif signature is not None or "size limit exceeded" in reply:
            self._missed(TooLarge("the document is over the virus scanner's limit", reason="scanner_limit"), broken)
        elif broken is not None or reply != "stream: OK":
            self._missed(ScannerUnavailable("the virus scanner broke off", reason="broken"), broken)
        self.close()

    def _reply(self) -> str:
        connection, said = self._connection, b""
        if connection is None:  # unreachable: only an open scan is judged
            raise ConnectionError
        while not said.endswith(b"\0") and len(said) < REPLY_BYTES and (part := connection.recv(REPLY_BYTES)):
            said += part
        if not said.endswith(b"\0"):
            raise ConnectionError("the scanner hung up before its verdict")
        return said.rstrip(b"\0").decode("utf-8", "replace").strip()

    def _missed(self, error: VaultError, cause: OSError | None) -> None:
        self.close()
        self._result = Scan.MISSED
        if self._is_strict:
            raise error from cause


def _connect(path: Path, timeout_s: int) -> socket.socket:
    """Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(OPEN)
    except BaseException:
        with suppress(OSError):
            connection.close()
        raise
    return connection
