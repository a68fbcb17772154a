"""A line that is cut: a relay between the browser and the server that breaks connections when it is told to. Knows no page."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

OFFSET = re.compile(rb"(?i)\r\nupload-offset: (\d+)")


@dataclass
class Line:
    """``plan``: what breaks, in this order, each once: "up" once so many bytes of a connection went up, "answer" instead of
    the first byte that comes back after so many went up."""

    target: int
    plan: list[tuple[str, int]]
    port: int = 0
    offsets: list[int] = field(default_factory=list)
    """Where the browser went on: every ``Upload-Offset`` that passed."""
    cuts: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def _breaks(self, what: str, up: int) -> bool:
        with self._lock:
            if not self.plan or self.plan[0][0] != what or up < self.plan[0][1]:
                return False
            self.plan.pop(0)
            self.cuts.append(what)
            return True

    def carry(self, client: socket.socket) -> None:
        """One connection, both ways, until it ends or breaks."""
        server = socket.create_connection(("127.0.0.1", self.target))
        up = 0

        def back() -> None:
            with suppress(OSError):
                while data := server.recv(65_536):
                    if self._breaks("answer", up):
                        break
                    client.sendall(data)
            for each in (client, server):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

        answers = threading.Thread(target=back, daemon=True)
        answers.start()
        with suppress(OSError):
            while data := client.recv(65_536):
                server.sendall(data)
                up += len(data)
                self.offsets += [int(offset) for offset in OFFSET.findall(data)]
                if self._breaks("up", up):
                    break
        for each in (client, server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        answers.join()
        client.close()
        server.close()


@contextmanager
def poor_line(target: int, plan: list[tuple[str, int]]) -> Iterator[Line]:
    """A relay to ``target`` on a port of its own."""
    line = Line(target, plan)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        line.port = listening.getsockname()[1]

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    threading.Thread(target=line.carry, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield line
        listening.shutdown(socket.SHUT_RDWR)
