"""Owns how long the server waits for a slow client: gunicorn's threads by themselves wait for ever. It must not know requests.

Only the time spent waiting for the network counts, never the time that the vault takes: whoever sends or takes fewer than
LEAST_RATE bytes a second over a while is hung up on, so that a few hundred dribbling connections can't hold every thread.
"""

from __future__ import annotations

import errno
import select
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from gunicorn.workers.gthread import TConn, ThreadWorker

from vault.floor import Floor
from web.unreadable import answer_to

A = TypeVar("A")
T = TypeVar("T")

GRACE_S = 20.0
"""Waiting that costs nothing: a telephone that changes cells, a person who pulls the network cable and puts it back."""
LEAST_RATE = 500
"""Bytes a second; a 2 MB scan at that rate would take an hour, so nobody at work is this slow."""
LINGER_S = 5.0
"""How long a refused sender may go on before we stop listening."""
AT_ONCE_MS = 5
"""How long a thread stays with a connection for the next request: a page's come in a row, a person's do not."""
SLICE = 64 * 1024
"""What is read at once from a refused sender, to be thrown away."""


class Patience:
    """A connected socket, plain or TLS, whose peer must make progress. Raises ConnectionResetError where it doesn't."""

    def __init__(self, connection: socket.socket, floor: Floor | None = None) -> None:
        """``floor``: whoever waits for the line yields it."""
        self._socket = connection
        self._floor = floor or Floor()
        self._waited_s = 0.0
        self._moved = 0
        self._armed_s: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def begin(self) -> None:
        """A new request: what came before is forgiven."""
        self._waited_s, self._moved, self._armed_s = 0.0, 0, None

    def recv(self, size: int) -> bytes:
        """At most ``size`` bytes; nothing at the end."""
        while (data := self._try(select.POLLIN, self._socket.recv, size)) is None:
            pass
        self._moved += len(data)
        return data

    def sendall(self, data: bytes) -> None:
        """All of ``data``; what the system takes at once counts at once, so that a slow but steady reader shows progress."""
        view = memoryview(data)
        while view:
            sent = self._try(select.POLLOUT, self._socket.send, view) or 0
            self._moved += sent
            view = view[sent:]

    def _try(self, wanted: int, move: Callable[[A], T], what: A) -> T | None:
        """What ``move`` gives; None where nothing moved. Who must wait for the line yields the floor meanwhile."""
        self._arm()
        poll = select.poll()
        poll.register(self._socket, wanted)
        if poll.poll(0):
            return self._timed(move, what)
        with self._floor.yielded():
            return self._timed(move, what)

    def _timed(self, move: Callable[[A], T], what: A) -> T | None:
        began = time.monotonic()
        try:
            return move(what)
        except TimeoutError:
            return None
        finally:
            self._waited_s += time.monotonic() - began

    def _arm(self) -> None:
        """Judge the patience, and arm the socket with it: one system call, so only where what it was armed with is too long."""
        left = GRACE_S + self._moved / LEAST_RATE - self._waited_s
        if left <= 0:
            raise _gone()
        if self._armed_s is None or left < self._armed_s:
            self._armed_s = left
            self._socket.settimeout(left)


def _gone() -> ConnectionResetError:
    """The error that gunicorn takes for a client who left: no trace in the journal."""
    return ConnectionResetError(errno.ECONNRESET, "the client is too slow")


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no type hints
    """A connection whose reads and writes have patience, but not for ever."""

    patience: Patience | None = None
    has_left: bool = False
    floor: Floor | None = None

    def init(self) -> None:
        """Make the parser (and shake hands where there is TLS), then let both directions run through one ``Patience``."""
        self.sock.settimeout(GRACE_S)  # for the handshake
        super().init()
        if self.patience is None and not self.is_http2:
            self.patience = Patience(self.sock, self.floor)
            self.parser.unreader.sock = self.patience

    def goes_on(self) -> bool:
        """Whether the peer's next request comes at once."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(self.parser.unreader.buf.getvalue() or poll.poll(AT_ONCE_MS))

    def leave(self) -> None:
        """Say good-bye in the caller's thread: a peer that is still sending must be let finish, or it never reads our answer.

        gunicorn does this in its one accepting thread, where two seconds of one peer are two seconds of everybody.
        """
        self.has_left = True
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + LINGER_S
            while (left := deadline - time.monotonic()) > 0:
                self.sock.settimeout(left)
                if not self.sock.recv(SLICE):
                    break
        with suppress(OSError):
            self.sock.close()

    def close(self, graceful: bool = False) -> None:  # noqa: FBT002  # gunicorn's shape
        """Close, unless that was done."""
        if not self.has_left:
            super().close(graceful)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no type hints
    """gunicorn's threads with patient connections, of which one has the floor."""

    floor = Floor()
    """Replaced by that of the vault which is served."""
    number = 0
    """Which of the serving processes this is."""

    def load_wsgi(self) -> None:
        """Make the application, and with it the vault."""
        super().load_wsgi()
        self.floor = self.wsgi.extensions["coffre"].floor

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection and hand it to a thread, or to the process whose it is."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                raise
            return
        if not self.app.processes.hand_over(client, address[0]):
            self._take(client, address, listener.getsockname())

    def set_accept_enabled(self, enabled: bool) -> None:
        """The same for what other processes hand over; once we stop, those who wait at the door are still served."""
        door = self.app.processes.door
        if door is not None and enabled != self._accepting:
            if enabled:
                self.poller.register(door, selectors.EVENT_READ, self._answer_door)
            else:
                self.poller.unregister(door)
        super().set_accept_enabled(enabled)
        if not self.alive:
            self._answer_door()

    def _answer_door(self, _door: socket.socket | None = None) -> None:
        for client in self.app.processes.handed_over():
            try:
                address, name = client.getpeername(), client.getsockname()
            except OSError:  # left meanwhile
                client.close()
                continue
            self._take(client, address, name)

    def _take(self, client: socket.socket, address: Any, name: Any) -> None:
        self.nr_conns += 1
        client.setblocking(True)  # noqa: FBT003  # the standard library's shape
        connection = Connection(self.cfg, client, address, name)
        connection.floor = self.floor
        self.enqueue_req(connection)

    def handle(self, conn: Connection) -> Any:
        """A request of a connection, in a thread, and those that follow at once.

        gunicorn would give the connection back to its accepting thread after each one: two hand-overs, and under load each
        waits for its turn with the interpreter.
        """
        while True:
            if conn.patience is not None:
                conn.patience.begin()
            with self.floor:
                result = super().handle(conn)
            if result is False:
                conn.leave()
            if result is not True or not self.alive or not conn.goes_on():
                return result

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """The same; what is sent goes through the connection's ``Patience`` as well."""
        bare = conn.sock
        conn.sock = conn.patience or bare
        try:
            return super().handle_request(req, conn)
        finally:
            conn.sock = bare

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:  # noqa: ARG002  # gunicorn's shape
        """What is no request gets an answer that repeats nothing of it."""
        answer = answer_to(exc, str(addr[0]) if addr else "", is_tls=bool(self.cfg.is_ssl))
        with suppress(OSError):
            client.sendall(answer)
