"""Owns the benchmark's HTTP client: a bare socket, kept buffers, nothing that costs. It must not know what it sends."""

from __future__ import annotations

import json
import socket
from typing import Any

BLOCK = 1 << 20


class Wire:
    """One kept-alive HTTP/1.1 connection, from a workplace of its own: each ``place`` has another loopback address."""

    def __init__(self, port: int, token: str = "", place: int = 0) -> None:
        self._port = port
        self._token = token
        self._from = f"127.0.0.{2 + place}"
        self._socket: socket.socket | None = None
        self._buffer = bytearray(BLOCK)

    def post(
        self, path: str, *pieces: bytes | memoryview, kind: str = "application/octet-stream"
    ) -> tuple[int, dict[str, Any]]:
        """Send ``pieces`` as one body; status and JSON answer."""
        size = sum(len(piece) for piece in pieces)
        self._send("POST", path, f"Content-Type: {kind}\r\nContent-Length: {size}\r\n", *pieces)
        status, headers, rest = self._head()
        body = bytes(rest) + self._exactly(int(headers["content-length"]) - len(rest))
        return status, json.loads(body)

    def get(self, path: str, headers: str = "") -> tuple[int, int]:
        """Fetch and throw away; status and bytes received."""
        self._send("GET", path, headers)
        status, found, rest = self._head()
        left = size = int(found["content-length"])
        left -= len(rest)
        view = memoryview(self._buffer)
        while left:
            count = self._connected().recv_into(view[: min(left, BLOCK)])
            if not count:
                raise ConnectionError("cut")
            left -= count
        return status, size

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=120, source_address=(self._from, 0))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def _send(self, verb: str, path: str, headers: str, *pieces: bytes | memoryview) -> None:
        authorization = f"Authorization: Bearer {self._token}\r\n" if self._token else ""
        head = f"{verb} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{authorization}{headers}\r\n".encode()
        wire = self._connected()
        try:
            wire.sendall(head)
            for piece in pieces:
                wire.sendall(piece)
        except OSError:
            self.close()
            raise

    def _head(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, and what of the body came along."""
        found = b""
        while b"\r\n\r\n" not in found:
            block = self._connected().recv(65_536)
            if not block:
                self.close()
                raise ConnectionError("no answer")
            found += block
        head, _, rest = found.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("connection", "").lower() == "close":
            raise ConnectionError("the server closes each connection")
        return int(first.split()[1]), headers, rest

    def _exactly(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            block = self._connected().recv(min(BLOCK, count - len(found)))
            if not block:
                raise ConnectionError("cut")
            found += block
        return bytes(found)
