"""Owns the KeyService of a process that holds neither PIN nor token: it asks the key process. It must not know PKCS#11."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from kms import errors
from kms.caller import current_caller
from kms.errors import Forked, KeysUnavailable, KmsError
from kms.keys import TEXT_BYTES, Health, KeyRecord, KeyState, KeyUse, Mark, Purpose, Secret, Secrets, Signature, WrappedKey
from kms.wire import BrokenFrame, Operation, Status, receive, send
from kms.wrapped import LARGEST, SMALLEST, take_apart

KEPT = 16
"""Idle connections kept open."""
TOGETHER = 64
"""How many messages one frame takes to be MACed: a name's tokens are short, and a frame has 64 KiB."""
ERRORS: dict[str, type[KmsError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, KmsError)
}


class KeyClient:
    """``KeyService`` over the key process's socket; thread-safe. The key process may be away, and come back."""

    def __init__(self, path: Path, timeout_ms: int) -> None:
        self._path = path
        self._timeout_s = timeout_ms / 1000
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        self._pid = os.getpid()
        self._is_closed = False

    def wrap(self, secret: bytes | bytearray, *, context: bytes) -> WrappedKey:
        """See KeyService.wrap."""
        if not SMALLEST <= len(secret) <= LARGEST:
            raise ValueError(f"a secret has {SMALLEST} to {LARGEST} bytes")
        return WrappedKey(bytes(self._ask(Operation.WRAP, secret, context)[0]))

    def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> Secret:
        """See KeyService.unwrap; may also raise BudgetExceeded."""
        take_apart(wrapped)
        answer = self._ask(Operation.UNWRAP, wrapped, context)[0]
        secret = Secret(answer)
        answer[:] = bytes(len(answer))
        return secret

    def unwrap_many(self, items: Sequence[tuple[WrappedKey, bytes]]) -> Secrets:
        """See KeyService.unwrap_many; the key process counts and logs each one."""
        opened = Secrets()
        for wrapped, context in items:
            opened.add(partial(self.unwrap, wrapped, context=context))
        return opened

    def rewrap(self, wrapped: WrappedKey, *, context: bytes) -> WrappedKey:
        """See KeyService.rewrap."""
        if take_apart(wrapped).number == self.active(KeyUse.MASTER):
            return wrapped
        return WrappedKey(bytes(self._ask(Operation.REWRAP, wrapped, context)[0]))

    def rewrap_many(self, items: Sequence[tuple[WrappedKey, bytes]]) -> list[WrappedKey | KmsError]:
        """See KeyService.rewrap_many."""
        done: list[WrappedKey | KmsError] = []
        for wrapped, context in items:
            try:
                done.append(WrappedKey(bytes(self._ask(Operation.REWRAP, wrapped, context)[0])))
            except KmsError as error:
                if error.retryable:
                    raise
                done.append(error)
        return done

    def mac(self, purpose: Purpose, message: bytes, *, number: int | None = None) -> bytes:
        """See KeyService.mac."""
        return self.macs(purpose, [message], number=number)[0]

    def macs(self, purpose: Purpose, messages: Sequence[bytes], *, number: int | None = None) -> list[bytes]:
        """See KeyService.macs."""
        key, made = b"" if number is None else str(number).encode(), list[bytes]()
        for start in range(0, len(messages), TOGETHER):
            made += map(bytes, self._ask(Operation.MAC, purpose.encode(), key, *messages[start : start + TOGETHER]))
        return made

    def sign(self, digest: bytes) -> Signature:
        """See KeyService.sign."""
        if len(digest) != 32:
            raise ValueError("a SHA-256 digest has 32 bytes")
        number, raw = self._ask(Operation.SIGN, digest)
        return Signature(int(number), bytes(raw))

    def sign_text(self, text: bytes) -> Signature | None:
        """See KeyService.sign_text."""
        if len(text) > TEXT_BYTES:
            raise ValueError(f"a text to be signed has {TEXT_BYTES} bytes at most")
        answer = self._ask(Operation.SIGN_TEXT, text)
        return Signature(int(answer[0]), bytes(answer[1])) if answer else None

    def public_key(self, number: int | None = None, use: KeyUse = KeyUse.AUDIT) -> bytes:
        """See KeyService.public_key."""
        return bytes(self._ask(Operation.PUBLIC_KEY, b"" if number is None else str(number).encode(), use.encode())[0])

    def mark(self) -> Mark | None:
        """See KeyService.mark."""
        answer = self._ask(Operation.MARK)
        return Mark.unpacked(bytes(answer[0])) if answer else None

    def raise_mark(self, mark: Mark) -> Mark | None:
        """See KeyService.raise_mark."""
        answer = self._ask(Operation.RAISE_MARK, mark.packed())
        return Mark.unpacked(bytes(answer[0])) if answer else None

    def active(self, use: KeyUse) -> int:
        """See KeyService.active."""
        return int(self._ask(Operation.ACTIVE, use.encode())[0])

    def versions(self, use: KeyUse) -> tuple[int, ...]:
        """See KeyService.versions."""
        return tuple(int(number) for number in self._ask(Operation.VERSIONS, use.encode()))

    def record(self, use: KeyUse, number: int) -> KeyRecord:
        """See KeyService.record."""
        state, key_id, made, wraps = map(bytes, self._ask(Operation.RECORD, use.encode(), str(number).encode()))
        return KeyRecord(use, number, KeyState(state.decode()), key_id, b"", int(made), int(wraps))

    def number_of(self, wrapped: WrappedKey) -> int:
        """See KeyService.number_of."""
        return take_apart(wrapped).number

    def random(self, count: int) -> bytes:
        """See KeyService.random; this process's kernel has a say too."""
        theirs = self._ask(Operation.RANDOM, str(count).encode())[0]
        return bytes(a ^ b for a, b in zip(theirs, os.urandom(count), strict=True))

    def health(self) -> Health:
        """See KeyService.health."""
        try:
            ok, detail, code, *facts = self._ask(Operation.HEALTH)
        except KmsError as error:
            return Health(ok=False, detail=str(error), code=error.code, facts={"socket": str(self._path)})
        words = [bytes(fact).decode() for fact in facts]
        told: dict[str, str | int] = dict(zip(words[::2], words[1::2], strict=True))
        return Health(bool(ok), bytes(detail).decode(), bytes(code).decode() or None, told | {"socket": str(self._path)})

    def close(self) -> None:
        """See KeyService.close."""
        self._is_closed = True
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _ask(self, operation: Operation, *fields: bytes | bytearray) -> list[bytearray]:
        """One question. A connection that the key process closed meanwhile (a restart) is replaced once."""
        if os.getpid() != self._pid:
            raise Forked("the key service was opened before a fork; open it in the worker")
        if self._is_closed:
            raise KeysUnavailable("the key service is closed")
        asked = (current_caller().encode("ascii", "replace"), *fields)
        connection, is_kept = self._connection()
        try:
            answer = self._exchange(connection, operation, asked)
            if answer is None and is_kept:
                connection.close()
                connection, _ = self._connection(fresh=True)
                answer = self._exchange(connection, operation, asked)
        except (OSError, BrokenFrame) as error:
            connection.close()
            raise KeysUnavailable(f"the key process does not answer on {self._path}") from error
        if answer is None:
            connection.close()
            raise KeysUnavailable(f"the key process on {self._path} does not let this process in")
        self._keep(connection)
        status, results = answer
        if status == Status.DONE:
            return results
        code, sentence = (bytes(result).decode() for result in results[:2])
        raise ERRORS.get(code, KeysUnavailable)(sentence)

    def _exchange(
        self, connection: socket.socket, operation: Operation, fields: Sequence[bytes | bytearray]
    ) -> tuple[int, list[bytearray]] | None:
        try:
            send(connection, operation, fields)
            return receive(connection)
        except (BrokenPipeError, ConnectionResetError):
            return None

    def _connection(self, *, fresh: bool = False) -> tuple[socket.socket, bool]:
        if not fresh:
            with self._lock:
                if self._idle:
                    return self._idle.pop(), True
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(self._timeout_s)
        try:
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            raise KeysUnavailable(f"no key process answers on {self._path}; start it: coffre keys serve") from error
        return connection, False

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            if not self._is_closed and len(self._idle) < KEPT:
                self._idle.append(connection)
                return
        with suppress(OSError):
            connection.close()
