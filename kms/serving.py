"""Owns the key process: a Unix socket before a KeyService, with peer credentials, budgets and its own log.

It must not know documents, and offers nothing that makes or ends a key: a thief of the web process gets an oracle with a meter.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kms.budget import Budget
from kms.errors import BadSettings, BudgetExceeded, KmsError
from kms.journal import Journal
from kms.keys import KeyService, KeyUse, Mark, Purpose, WrappedKey
from kms.wire import BrokenFrame, Operation, Status, receive, send

CONNECTIONS = 64
"""Clients at once; each web thread holds one connection at most."""
IDLE_SECONDS = 300
_CREDENTIALS = struct.Struct("3i")
Fields = list[bytearray]


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The ``[key_process]`` table: only the key process's own settings file has one."""

    socket: Path
    journal: Path
    """The key process's own log of unwraps."""
    registry: Path
    """The registry of keys, one JSON file."""
    users: tuple[str, ...] = ()
    """Who may connect, besides the key process's own user."""
    caller_burst: int = 300
    """Unwraps that one caller may ask for at once …"""
    caller_per_hour: int = 1200
    """… and how fast that refills."""
    total_burst: int = 2000
    """The same for everything that one peer asks for, whoever it says it asks for."""
    total_per_hour: int = 6000


@dataclass(frozen=True, slots=True)
class _Peer:
    pid: int
    uid: int


class KeyServer:
    """Serves ``keys`` on a socket until closed."""

    def __init__(
        self,
        settings: ServiceSettings,
        keys: KeyService,
        journal: Journal,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Binds the socket. Raises BadSettings for an unknown user or where the socket can't be bound."""
        self._keys = keys
        self._journal = journal
        self._monotonic = monotonic
        self._allowed = {os.getuid(), *(_uid(name) for name in settings.users)}
        self._callers = Budget(settings.caller_burst, settings.caller_per_hour)
        self._totals = Budget(settings.total_burst, settings.total_per_hour)
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self._stopping = threading.Event()
        self._socket = _bind(settings.socket)
        self._path = settings.socket

    def serve(self) -> None:
        """Accept until ``close``; one thread for each connection."""
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                break
            if not self._room.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._attend, args=(connection,), daemon=True, name="coffre-key-client").start()

    def close(self) -> None:
        """Stop accepting and remove the socket; idempotent."""
        self._stopping.set()
        with suppress(OSError):
            self._socket.close()
        self._path.unlink(missing_ok=True)

    def _attend(self, connection: socket.socket) -> None:
        try:
            with connection:
                peer = _peer_of(connection)
                if peer.uid not in self._allowed:
                    return
                connection.settimeout(IDLE_SECONDS)
                while (frame := receive(connection)) is not None:
                    self._answer(connection, peer, *frame)
        except (BrokenFrame, OSError):
            pass  # a client that went away or talks nonsense loses its connection, nothing else
        finally:
            self._room.release()

    def _answer(self, connection: socket.socket, peer: _Peer, kind: int, fields: Fields) -> None:
        try:
            operation = Operation(kind)
            caller, arguments = bytes(fields[0]).decode("ascii")[:64], fields[1:]
            results = self._perform(operation, caller, peer, arguments)
        except KmsError as error:
            send(connection, Status.REFUSED, [error.code.encode(), str(error).encode()])
            return
        except (ValueError, IndexError) as error:
            raise BrokenFrame("a request that makes no sense") from error
        finally:
            for field in fields:
                field[:] = bytes(len(field))
        try:
            send(connection, Status.DONE, results)
        finally:
            for result in results:
                if isinstance(result, bytearray):
                    result[:] = bytes(len(result))

    def _perform(self, operation: Operation, caller: str, peer: _Peer, fields: Fields) -> Sequence[bytes | bytearray]:
        keys = self._keys
        results: Sequence[bytes | bytearray]
        match operation:
            case Operation.WRAP:
                results = [keys.wrap(fields[0], context=bytes(fields[1]))]
            case Operation.UNWRAP:
                results = [self._unwrap(caller, peer, WrappedKey(bytes(fields[0])), bytes(fields[1]))]
            case Operation.REWRAP:
                results = [keys.rewrap(WrappedKey(bytes(fields[0])), context=bytes(fields[1]))]
            case Operation.MAC:
                messages = [bytes(message) for message in fields[2:]]
                number = int(fields[1]) if fields[1] else None
                results = keys.macs(Purpose(fields[0].decode("ascii")), messages, number=number)
            case _:
                results = self._attest(operation, caller, peer, fields)
        return results

    def _attest(self, operation: Operation, caller: str, peer: _Peer, fields: Fields) -> Sequence[bytes | bytearray]:
        """What leaves no secret with the asker: signatures, marks, facts."""
        keys = self._keys
        results: Sequence[bytes | bytearray] = []
        match operation:
            case Operation.SIGN:
                signature = keys.sign(bytes(fields[0]))
                results = [str(signature.number).encode(), signature.raw]
            case Operation.PUBLIC_KEY:
                results = [keys.public_key(int(fields[0]) if fields[0] else None, KeyUse(fields[1].decode("ascii")))]
            case Operation.SIGN_TEXT:
                text = keys.sign_text(bytes(fields[0]))
                results = [] if text is None else [str(text.number).encode(), text.raw]
            case Operation.MARK:
                standing = keys.mark()
                results = [] if standing is None else [standing.packed()]
            case Operation.RAISE_MARK:
                results = self._raise_mark(caller, peer, Mark.unpacked(bytes(fields[0])))
            case Operation.ACTIVE:
                results = [str(keys.active(KeyUse(fields[0].decode("ascii")))).encode()]
            case Operation.VERSIONS:
                results = [str(number).encode() for number in keys.versions(KeyUse(fields[0].decode("ascii")))]
            case Operation.RECORD:
                known = keys.record(KeyUse(fields[0].decode("ascii")), int(fields[1]))
                results = [known.state.encode(), known.key_id, str(known.created_at).encode(), str(known.wraps).encode()]
            case Operation.RANDOM:
                results = [keys.random(min(int(fields[0]), 4096))]
            case Operation.HEALTH:
                health = keys.health()
                facts = [part.encode() for name, value in health.facts.items() for part in (name, str(value))]
                results = [b"\x01" if health.ok else b"", health.detail.encode(), (health.code or "").encode(), *facts]
        return results

    def _raise_mark(self, caller: str, peer: _Peer, mark: Mark) -> list[bytes]:
        """A new generation forgives a log that went back: that is in this process's own log, whatever the vault's says."""
        before = self._keys.mark()
        if before is not None and mark.generation > before.generation:
            what = f"{before.generation}/{before.size}->{mark.generation}/{mark.size}"
            self._journal.record("mark", caller, peer.uid, what, "done")
        standing = self._keys.raise_mark(mark)
        return [] if standing is None else [standing.packed()]

    def _unwrap(self, caller: str, peer: _Peer, wrapped: WrappedKey, context: bytes) -> bytearray:
        """The line is in the log before the secret leaves; so is a refusal."""
        what = hashlib.sha256(wrapped).hexdigest()
        now = self._monotonic()
        if not (self._totals.spend(str(peer.uid), now) and self._callers.spend(f"{peer.uid}/{caller}", now)):
            self._journal.record("unwrap", caller, peer.uid, what, BudgetExceeded.code)
            raise BudgetExceeded("more keys were asked for than anybody needs in this time")
        try:
            secret = self._keys.unwrap(wrapped, context=context)
        except KmsError as error:
            self._journal.record("unwrap", caller, peer.uid, what, error.code)
            raise
        with secret:
            self._journal.record("unwrap", caller, peer.uid, what, "done")
            return bytearray(secret.view)


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise BadSettings(f"[key_process] users: there is no user {name!r} on this machine") from None


def _peer_of(connection: socket.socket) -> _Peer:
    """Who is at the other end, from the kernel (SO_PEERCRED): it can't be claimed."""
    pid, uid, _gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return _Peer(pid, uid)


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                try:
                    probe.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink()  # left behind by a process that was killed
                else:
                    raise BadSettings(f"another key process is listening on {path}")
        listener.bind(str(path))
        path.chmod(0o660)
    except OSError as error:
        listener.close()
        raise BadSettings(f"[key_process] socket: {path} can't be bound ({error.strerror})") from error
    except BadSettings:
        listener.close()
        raise
    listener.listen(CONNECTIONS)
    listener.settimeout(1.0)
    return listener
