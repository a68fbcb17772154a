"""Sealing and opening in memory, beside SHA-256 alone and beside peers that do less."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator

import click
from cryptography.cobblestone import Cobblestone256Encryptor

from kms.keys import Secret
from tests.bench.measure import Figure, against, alternate
from vault.model import BlobId, DocumentId, TenantId
from vault.sealing.documents import BLOCK_BYTES, Body, Sealer
from vault.sealing.reading import Opener

MIB = 1024 * 1024
SIZE = 256 * MIB
PEER_SIZE = 64 * MIB
KEY = os.urandom(32)
BODY = Body(TenantId("a" * 32), BlobId("b" * 32), DocumentId("c" * 32), 1)

Work = Callable[[], object]


def _blocks(data: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(data), BLOCK_BYTES):
        yield data[start : start + BLOCK_BYTES]


def _seal(data: memoryview) -> None:
    sealer = Sealer(Secret(KEY), BODY, lambda _view: None)
    for block in _blocks(data):
        sealer.update(block)
    sealer.finish()


def _seal_on_one_thread(data: memoryview) -> None:
    """Sealing and the plaintext's digest, nothing beside: what one core does."""
    cipher, digest = Cobblestone256Encryptor(KEY, b""), hashlib.sha256()
    room = bytearray(2 * BLOCK_BYTES)
    for block in _blocks(data):
        digest.update(block)
        cipher.update_into(block, room)
    cipher.finalize()


def _hash(data: memoryview) -> None:
    digest = hashlib.sha256()
    for block in _blocks(data):
        digest.update(block)


def seal() -> Iterator[Figure]:
    """Targets: ≥ 0.7 × SHA-256 on one thread, ≥ 0.85 × with two; faster than every peer, which does not hash."""
    data = memoryview(os.urandom(MIB) * (SIZE // MIB))
    alone = alternate(lambda: _seal_on_one_thread(data), lambda: _hash(data))
    yield against("seal + SHA-256, one thread", alone, SIZE / MIB, "MiB/s", "hashlib.sha256 alone", least=0.7)
    both = alternate(lambda: _seal(data), lambda: _hash(data))
    yield against("seal + SHA-256 of both texts, two threads", both, SIZE / MIB, "MiB/s", "hashlib.sha256 alone", least=0.85)
    small = data[:PEER_SIZE]
    for name, (peer_seal, _) in _peers(bytes(small)).items():
        pair = alternate(lambda: _seal(small), peer_seal)
        yield against("seal + SHA-256 of both texts, 64 MiB", pair, PEER_SIZE / MIB, "MiB/s", f"{name} (no digest)", least=1.0)


class _Memory:
    """A sealed body in memory."""

    waits = False

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self.size = len(data)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self._view[offset : offset + len(buffer)]


def _sealed(data: memoryview) -> bytes:
    blob = io.BytesIO()
    sealer = Sealer(Secret(KEY), BODY, blob.write)
    for block in _blocks(data):
        sealer.update(block)
    sealer.finish()
    return blob.getvalue()


def open_() -> Iterator[Figure]:
    """Targets: 3 GB/s and ≥ 1.5 × the fastest peer."""
    data = memoryview(os.urandom(MIB) * (SIZE // MIB))
    blob = _Memory(_sealed(data))

    def authenticate() -> None:
        Opener(Secret(KEY), BODY, blob).authenticate()

    pair = alternate(authenticate, lambda: _hash(data))
    figure = against("authenticate and decrypt 256 MiB", pair, SIZE / MIB, "MiB/s", "hashlib.sha256 alone")
    yield Figure(figure.name, figure.ours, figure.unit, figure.beside, figure.theirs, figure.ratio, "≥ 2,861 MiB/s (3 GB/s)",
                 figure.ours >= 3e9 / MIB)  # fmt: skip
    small = _Memory(_sealed(data[:PEER_SIZE]))

    def open_small() -> None:
        opener = Opener(Secret(KEY), BODY, small)
        opener.authenticate()
        opener.close()

    for name, (_, peer_open) in _peers(bytes(data[:PEER_SIZE])).items():
        pair = alternate(open_small, peer_open)
        yield against("authenticate and decrypt 64 MiB", pair, PEER_SIZE / MIB, "MiB/s", name, least=1.5)


def _peers(data: bytes) -> dict[str, tuple[Work, Work]]:
    """Whichever peers are installed (``pip install -e .[bench]``), and a word about the others: name → (seal, open).

    The AWS Encryption SDK goes without its material providers library, which refuses the ``cryptography`` of this product.
    """
    found: dict[str, tuple[Work, Work]] = {}
    for maker, name in ((_tink, "tink"), (_pyrage, "pyrage"), (_aws, "AWS Encryption SDK")):
        try:
            found |= maker(data)
        except ImportError:
            click.echo(f"  not beside {name}, which is not installed", err=True)
    return found


def _tink(data: bytes) -> dict[str, tuple[Work, Work]]:
    import tink
    from tink import streaming_aead

    streaming_aead.register()
    handle = tink.new_keyset_handle(streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB)
    primitive = handle.primitive(streaming_aead.StreamingAead)

    class Kept(io.BytesIO):
        def close(self) -> None:
            """Keep what was written readable."""

    def seal() -> bytes:
        sink = Kept()
        with primitive.new_encrypting_stream(sink, b"") as stream:
            for start in range(0, len(data), MIB):
                stream.write(data[start : start + MIB])
        return sink.getvalue()

    sealed = seal()

    def open_all() -> None:
        with primitive.new_decrypting_stream(io.BytesIO(sealed), b"") as stream:
            while stream.read(MIB):
                pass

    return {"tink streaming AEAD": (seal, open_all)}


def _pyrage(data: bytes) -> dict[str, tuple[Work, Work]]:
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    sealed = pyrage.encrypt(data, [identity.to_public()])
    return {"pyrage (age)": (lambda: pyrage.encrypt(data, [identity.to_public()]), lambda: pyrage.decrypt(sealed, [identity]))}


def _aws(data: bytes) -> dict[str, tuple[Work, Work]]:
    import aws_encryption_sdk
    from aws_encryption_sdk.identifiers import Algorithm, EncryptionKeyType, WrappingAlgorithm
    from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
    from aws_encryption_sdk.key_providers.raw import RawMasterKey

    wrapping = WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING
    key = WrappingKey(wrapping_algorithm=wrapping, wrapping_key=KEY, wrapping_key_type=EncryptionKeyType.SYMMETRIC)
    master = RawMasterKey(provider_id="bench", key_id=b"bench", wrapping_key=key)
    suite = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
    client = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=aws_encryption_sdk.CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    )

    def seal() -> bytes:
        sealed: bytes = client.encrypt(source=data, key_provider=master, algorithm=suite, frame_length=MIB)[0]
        return sealed

    sealed = seal()
    return {"AWS Encryption SDK, 1 MiB frames": (seal, lambda: client.decrypt(source=sealed, key_provider=master))}
