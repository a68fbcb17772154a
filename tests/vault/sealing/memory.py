"""A sealed body in memory, for tests of sealing and reading."""

from __future__ import annotations

from kms.keys import Secret
from vault.errors import Tampered
from vault.model import BlobId, DocumentId, TenantId
from vault.sealing.documents import Body, Sealed, Sealer

KEY = bytes(range(32))
BODY = Body(TenantId("a" * 32), BlobId("b" * 32), DocumentId("c" * 32), 1)


class Bytes:
    """``Source`` over a bytes object; counts what was read."""

    def __init__(self, data: bytes, *, waits: bool = False) -> None:
        self.data = data
        self.waits = waits
        self.reads = 0

    @property
    def size(self) -> int:
        return len(self.data)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.reads += len(buffer)
        if offset + len(buffer) > len(self.data):
            raise Tampered("cut", kind="cut")
        buffer[:] = self.data[offset : offset + len(buffer)]


def seal(plaintext: bytes, *, key: bytes = KEY, body: Body = BODY, step: int = 1 << 20) -> tuple[bytes, Sealed]:
    """The blob of ``plaintext``, fed in pieces of ``step`` bytes, and what the pass found out."""
    blob = bytearray()
    sealer = Sealer(Secret(key), body, blob.extend)
    for start in range(0, len(plaintext), step):
        sealer.update(plaintext[start : start + step])
    sealed = sealer.finish()
    return bytes(blob), sealed
