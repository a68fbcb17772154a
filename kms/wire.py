"""Owns the frames between the key process and its clients (docs/format.md, "Key socket"). It must not know what they ask for.

A frame is a 4-byte big-endian length, one byte (the operation, or the answer's status) and fields, each behind its own 4-byte
length.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from enum import IntEnum

FRAME_LIMIT = 64 * 1024
"""Bytes: no request or answer of ours comes near it."""
_LENGTH = struct.Struct(">I")


class Operation(IntEnum):
    """What may be asked over the socket. Nothing here makes, activates or destroys a key."""

    WRAP = 1
    UNWRAP = 2
    REWRAP = 3
    MAC = 4
    SIGN = 5
    PUBLIC_KEY = 6
    ACTIVE = 7
    RANDOM = 8
    HEALTH = 9
    VERSIONS = 10
    SIGN_TEXT = 11
    MARK = 12
    RAISE_MARK = 13
    """Answered with the mark that stands: a lower one never takes its place."""
    RECORD = 14
    """What the registry says of one key version; nothing in it is secret."""


class Status(IntEnum):
    """How an answer begins."""

    DONE = 0
    REFUSED = 1
    """Fields: the error's code, its sentence."""


class BrokenFrame(Exception):
    """The other side does not speak this protocol, or hung up in the middle of a frame."""


def send(connection: socket.socket, kind: int, fields: Sequence[bytes | bytearray]) -> None:
    """Write one frame; the assembled copy is wiped."""
    size = 1 + sum(4 + len(field) for field in fields)
    if size > FRAME_LIMIT:
        raise BrokenFrame("a frame is too long")
    frame = bytearray(_LENGTH.pack(size))
    frame.append(kind)
    for field in fields:
        frame += _LENGTH.pack(len(field))
        frame += field
    try:
        connection.sendall(frame)
    finally:
        frame[:] = bytes(len(frame))


def receive(connection: socket.socket) -> tuple[int, list[bytearray]] | None:
    """One frame, or None where the other side closed between frames. Raises BrokenFrame, OSError (timeouts included)."""
    head = _exactly(connection, 4, may_end=True)
    if head is None:
        return None
    (size,) = _LENGTH.unpack(head)
    if not 1 <= size <= FRAME_LIMIT:
        raise BrokenFrame("a frame has an impossible length")
    frame = _exactly(connection, size) or bytearray()
    fields, place = [], 1
    while place < size:
        if place + 4 > size:
            raise BrokenFrame("a field is cut")
        (length,) = _LENGTH.unpack_from(frame, place)
        place += 4
        if place + length > size:
            raise BrokenFrame("a field is cut")
        fields.append(bytearray(memoryview(frame)[place : place + length]))
        place += length
    kind = frame[0]
    frame[:] = bytes(size)
    return kind, fields


def _exactly(connection: socket.socket, count: int, *, may_end: bool = False) -> bytearray | None:
    data = bytearray(count)
    view, have = memoryview(data), 0
    while have < count:
        got = connection.recv_into(view[have:])
        if got == 0:
            if may_end and have == 0:
                return None
            raise BrokenFrame("the other side hung up in the middle of a frame")
        have += got
    return data
