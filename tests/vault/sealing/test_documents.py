from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.hazmat.primitives.hashes import SHA256, SHA512, HashAlgorithm
from hypothesis import given, settings
from hypothesis import strategies as st

from kms.keys import Secret
from tests.vault.sealing.memory import BODY, KEY, Bytes, seal
from vault.errors import StorageFull, Tampered
from vault.model import BlobId, DocumentId, TenantId
from vault.sealing.documents import BLOCK_BYTES, CHUNK_BYTES, HEADER_BYTES, MAGIC, Body, Sealer, sealed_size_of
from vault.sealing.reading import HELD_BYTES, ChunkReader, Opener

LENGTHS = (
    0, 1, 15, 16, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7,
    BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES + CHUNK_BYTES, HELD_BYTES, HELD_BYTES + 1,
    HELD_BYTES + 123_457,
)  # fmt: skip


def opened(blob: bytes, *, key: bytes = KEY, body: Body = BODY) -> bytes:
    opener = Opener(Secret(key), body, Bytes(blob))
    opener.authenticate()
    whole = b"".join(opener.whole())
    opener.close()
    return whole


@pytest.mark.parametrize("length", LENGTHS)
def test_what_was_sealed_opens(length: int) -> None:
    plaintext = os.urandom(length)
    blob, sealed = seal(plaintext)
    assert opened(blob) == plaintext
    assert (sealed.size, sealed.sealed_size) == (length, len(blob))
    assert sealed.sealed_size == sealed_size_of(length)
    assert sealed.sha256 == hashlib.sha256(plaintext).digest()
    assert sealed.sealed_sha256 == hashlib.sha256(blob).digest()


@given(st.integers(0, 3 * CHUNK_BYTES), st.integers(97, 40_000))
@settings(max_examples=40, deadline=None)
def test_the_size_of_the_pieces_does_not_matter(length: int, step: int) -> None:
    plaintext = os.urandom(length)
    blob, sealed = seal(plaintext, step=step)
    assert opened(blob) == plaintext
    assert sealed.sha256 == hashlib.sha256(plaintext).digest()


def test_the_format_is_the_documented_one() -> None:
    """Opened here from nothing but docs/format.md and ``cryptography``."""
    blob, _ = seal(b"scan")
    assert blob[:48] == b"\x89COFFRE\n" + b"\x00\x01" + b"\x00\x01" + bytes(4) + bytes([0xAA] * 16) + bytes([0xBB] * 16)
    label = b"\x00\x0ecoffre/body/v1"
    context = label + b"\x00\x30" + blob[:48] + b"\x00\x20" + b"c" * 32 + b"\x00\x08" + (1).to_bytes(8, "big")
    cipher = Cobblestone256Decryptor(KEY, context)
    assert cipher.update(blob[48:]) + cipher.finalize() == b"scan"


def test_a_caller_may_reuse_its_buffer() -> None:
    blob = bytearray()
    buffer = bytearray(BLOCK_BYTES)
    digest = hashlib.sha256()
    sealer = Sealer(Secret(KEY), BODY, blob.extend)
    for number in range(9):
        buffer[:] = bytes([number]) * BLOCK_BYTES
        digest.update(buffer)
        sealer.update(buffer)
    assert sealer.finish().sha256 == digest.digest()
    assert hashlib.sha256(opened(bytes(blob))).digest() == digest.digest()


@pytest.mark.parametrize("nth", [1, 2, 3, 6])
def test_a_failing_writer_is_heard(nth: int) -> None:
    calls = 0

    def write(_view: memoryview) -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise StorageFull("no room")

    before = set(threading.enumerate())
    sealer = Sealer(Secret(KEY), BODY, write)

    def run() -> None:
        for _ in range(12):
            sealer.update(bytes(BLOCK_BYTES))
        sealer.finish()

    with pytest.raises(StorageFull):
        run()
    sealer.abandon()
    assert set(threading.enumerate()) <= before
    assert calls == nth


def test_an_abandoned_seal_leaves_no_thread() -> None:
    before = set(threading.enumerate())  # threads of earlier tests may end meanwhile
    sealer = Sealer(Secret(KEY), BODY, lambda _view: None)
    for _ in range(5):
        sealer.update(bytes(BLOCK_BYTES))
    sealer.abandon()
    sealer.abandon()
    assert set(threading.enumerate()) <= before


# --- ranges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", LENGTHS)
def test_ranges_agree_with_the_whole(length: int) -> None:
    plaintext = os.urandom(length)
    blob, _ = seal(plaintext)
    opener = Opener(Secret(KEY), BODY, Bytes(blob))
    opener.authenticate_length()
    edges = sorted({0, 1, length // 3, length // 2, max(length - 1, 0), length} | {e for e in (CHUNK_BYTES,) if e <= length})
    for start in edges:
        for stop in (edge for edge in edges if edge >= start):
            assert b"".join(opener.range(start, stop)) == plaintext[start:stop]


def test_a_range_reads_little() -> None:
    blob, _ = seal(os.urandom(8 * BLOCK_BYTES))
    source = Bytes(blob)
    opener = Opener(Secret(KEY), BODY, source)
    opener.authenticate_length()
    b"".join(opener.range(5_000_000, 5_000_001))
    assert source.reads < 4 * CHUNK_BYTES


def test_a_held_document_serves_ranges_too() -> None:
    plaintext = os.urandom(100_000)
    opener = Opener(Secret(KEY), BODY, Bytes(seal(plaintext)[0]))
    opener.authenticate()
    assert b"".join(opener.range(7, 50_000)) == plaintext[7:50_000]


# --- tampering --------------------------------------------------------------------------------------------------------


def refuse(forged: bytes, *, key: bytes = KEY, body: Body = BODY) -> None:
    with pytest.raises(Tampered):
        opened(forged, key=key, body=body)


def test_every_bit_of_the_front_counts() -> None:
    """Header, salt and commitment: 104 bytes, every bit of them."""
    blob, _ = seal(b"scan")
    for at in range(HEADER_BYTES + 56):
        for bit in range(8):
            forged = bytearray(blob)
            forged[at] ^= 1 << bit
            refuse(bytes(forged))


@pytest.mark.parametrize("length", [0, 1, 5, CHUNK_BYTES, CHUNK_BYTES + 3, 2 * CHUNK_BYTES])
def test_every_cut_is_refused(length: int) -> None:
    blob, _ = seal(os.urandom(length))
    cuts = {
        len(blob) - 1,
        len(blob) - 15,
        len(blob) - 16,
        len(blob) - 17,
        len(blob) // 2,
        HEADER_BYTES,
        HEADER_BYTES + 56,
        1,
        0,
    }
    cuts |= {HEADER_BYTES + 56 + n * (CHUNK_BYTES + 16) for n in range(3)}
    for cut in sorted(c for c in cuts if 0 <= c < len(blob)):
        refuse(blob[:cut])


@pytest.mark.parametrize("length", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 3])
def test_every_extension_is_refused(length: int) -> None:
    blob, _ = seal(os.urandom(length))
    for more in (b"\x00", bytes(16), bytes(CHUNK_BYTES), bytes(CHUNK_BYTES + 16), blob[HEADER_BYTES + 56 :]):
        refuse(blob + more)


@pytest.mark.parametrize("waits", [False, True])
def test_bits_anywhere_in_a_large_body_are_found(waits: bool) -> None:
    """Also where it is read ahead by another thread, of which nothing is left."""
    blob, _ = seal(os.urandom(HELD_BYTES + 3 * CHUNK_BYTES + 5))
    for at in range(HEADER_BYTES + 56, len(blob), 99_991):
        forged = bytearray(blob)
        forged[at] ^= 0x40
        with pytest.raises(Tampered):
            Opener(Secret(KEY), BODY, Bytes(bytes(forged), waits=waits)).authenticate()
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


@pytest.mark.parametrize("waits", [False, True])
def test_a_large_body_that_is_read_ahead_is_the_same(waits: bool) -> None:
    plaintext = os.urandom(HELD_BYTES + 5 * BLOCK_BYTES + 7)
    opener = Opener(Secret(KEY), BODY, Bytes(seal(plaintext)[0], waits=waits))
    opener.authenticate()
    assert b"".join(opener.whole()) == plaintext
    assert opener.sha256() == hashlib.sha256(plaintext).digest()


@pytest.mark.parametrize("waits", [False, True])
def test_a_flipped_bit_in_a_large_body_is_found_before_any_byte_leaves(waits: bool) -> None:
    blob = bytearray(seal(os.urandom(HELD_BYTES + CHUNK_BYTES))[0])
    blob[-1] ^= 1
    opener = Opener(Secret(KEY), BODY, Bytes(bytes(blob), waits=waits))
    with pytest.raises(Tampered):
        opener.authenticate()
    with pytest.raises(Tampered):
        opener.authenticate_length()


def test_chunks_can_not_be_reordered_repeated_or_dropped() -> None:
    blob, _ = seal(os.urandom(3 * CHUNK_BYTES + 9))
    front, size = HEADER_BYTES + 56, CHUNK_BYTES + 16
    parts = [blob[front + n * size : front + (n + 1) * size] for n in range(3)]
    last = blob[front + 3 * size :]
    for order in ((1, 0, 2), (0, 0, 2), (0, 2), (0, 1, 1, 2)):
        refuse(blob[:front] + b"".join(parts[n] for n in order) + last)


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(BODY, tenant=TenantId("d" * 32)),
        replace(BODY, blob=BlobId("d" * 32)),
        replace(BODY, document=DocumentId("d" * 32)),
        replace(BODY, version=2),
    ],
    ids=["tenant", "blob", "document", "version"],
)
def test_a_body_moved_elsewhere_is_refused(elsewhere: Body) -> None:
    blob, _ = seal(b"scan")
    refuse(blob, body=elsewhere)
    refuse(elsewhere.header() + blob[HEADER_BYTES:], body=elsewhere)


def test_another_key_is_refused() -> None:
    refuse(seal(b"scan")[0], key=os.urandom(32))


def test_unknown_formats_and_suites_are_refused() -> None:
    blob, _ = seal(b"scan")
    for at in (len(MAGIC) + 1, len(MAGIC) + 3):
        refuse(blob[:at] + b"\x02" + blob[at + 1 :])


# --- public vectors ---------------------------------------------------------------------------------------------------


def bits(text: str | None, *, compressed: bool) -> bytes:
    raw = base64.b64decode(text or "")
    return zlib.decompress(raw) if compressed else raw


def library_vectors() -> list[dict[str, Any]]:
    path = Path(cryptography_vectors.__file__).parent / "chunked-encryption" / "vectors.json"
    found = [vector for vector in json.loads(path.read_text())["vectors"] if vector["aead"] == "AEAD_AES_256_GCM"]
    assert len(found) >= 20
    return found


def read_all(key: bytes, context: bytes, ciphertext: bytes, algorithm: HashAlgorithm) -> bytes:
    reader = ChunkReader(key, context, Bytes(b"front" + ciphertext), 5, len(ciphertext), algorithm=algorithm)
    reader.check_length()
    return b"".join(reader.read(0, reader.size))


@pytest.mark.parametrize("vector", library_vectors(), ids=lambda vector: vector["name"])
def test_the_range_reader_agrees_with_the_c2sp_vectors(vector: dict[str, Any]) -> None:
    """The specification's vectors are made with SHA-256; Cobblestone's SHA-512 is held by Wycheproof and by the library."""
    key, context = bytes.fromhex(vector["key"]), vector["context"].encode()
    ciphertext = bits(vector["ciphertext"], compressed=vector.get("compressed", False))
    if vector["expect"] != "success":
        with pytest.raises(Tampered):
            read_all(key, context, ciphertext, SHA256())
        return
    plaintext = read_all(key, context, ciphertext, SHA256())
    assert len(plaintext) == vector["payload_length"]
    assert hashlib.sha256(plaintext).hexdigest() == vector["payload_sha256"]


def test_the_range_reader_agrees_with_wycheproof(wycheproof: Path) -> None:
    groups = json.loads((wycheproof / "c2sp_chunked_encryption_aes_256_gcm_test.json").read_text())["testGroups"]
    checked = 0
    for vector in (vector for group in groups for vector in group["tests"]):
        key, context = bytes.fromhex(vector["key"]), bytes.fromhex(vector["ctx"])
        ciphertext = zlib.decompress(bytes.fromhex(vector["ct"]))
        if vector["result"] == "valid":
            assert hashlib.sha512(read_all(key, context, ciphertext, SHA512())).hexdigest() == vector["msgSha512"], vector[
                "comment"
            ]
        else:
            with pytest.raises(Tampered):
                read_all(key, context, ciphertext, SHA512())
        checked += 1
    assert checked >= 30
