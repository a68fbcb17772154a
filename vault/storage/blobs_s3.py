"""Owns sealed blobs in an S3-compatible store: conditional writes, multipart, ranges, a sealed spool. It opens none.

Nothing is asked of the store but what compatible ones really do: ``If-None-Match: *``, ranges, multipart, Content-MD5. No
server-side encryption is relied on: what arrives there is sealed already.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from vault.errors import BadSettings, Conflict, NotFound, StorageFull, StorageUnavailable, Tampered
from vault.model import BlobId, Micros
from vault.settings import MIB, BlobSettings
from vault.storage.blobs import BlobEntry, BlobReader, BlobSink, is_blob_id, probe_blob

PART_BYTES = 8 * MIB
"""One part of a multipart upload, and the most that one upload holds in memory (S3: 5 MiB at least, 10,000 parts at most)."""
LARGE_PART_BYTES = 64 * MIB
"""Parts beyond the first 1,000, so that 10,000 parts reach 500 GiB."""
FRONT_BYTES = MIB
"""What the first request of an opening brings: a scan arrives whole in one round trip."""
CONNECT_S = 3
READ_S = 20
ATTEMPTS = 4

_MISSING = {"NoSuchKey", "404", "NotFound", "NoSuchUpload"}
_EXISTS = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_FULL = {"EntityTooLarge", "QuotaExceeded", "ServiceQuotaExceeded", "507", "InsufficientStorage", "413"}
_EMPTY = {"InvalidRange", "416"}


def _code(error: Exception) -> str:
    answer: dict[str, Any] = getattr(error, "response", {})
    return str(answer.get("Error", {}).get("Code", ""))


@contextmanager
def _faults(what: str) -> Iterator[None]:
    """Inside, whatever the client library raises becomes the vault's word for it."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in _MISSING:
            raise NotFound(f"blobs: {what}: no such blob") from error
        if code in _EXISTS:
            raise Conflict(f"blobs: {what}: the blob exists") from error
        if code in _FULL:
            raise StorageFull(f"blobs: {what}: {code}", cause=code) from error
        raise StorageUnavailable(f"blobs: {what}: {code}", cause=code) from error
    except (BotoCoreError, HTTPError, OSError) as error:
        cause = type(error).__name__
        raise StorageUnavailable(f"blobs: {what}: {cause}", cause=cause) from error


def _md5(data: bytes | bytearray) -> str:
    """RFC 1864: against damage on the way, not against people; sealing sees to those."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


class _S3Sink:
    """Held in memory up to one part; from then on a multipart upload, aborted unless committed."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self._place = {"Bucket": bucket, "Key": key}
        self._mark = os.urandom(16).hex()
        """Stands in the object's metadata: tells our own write from another's after a lost answer."""
        self._buffer = bytearray()
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._is_published = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._buffer.clear()
        if self._upload is not None and not self._is_published:
            with suppress(StorageUnavailable, NotFound), _faults("abort"):
                self._client.abort_multipart_upload(**self._place, UploadId=self._upload)

    def write(self, data: memoryview) -> None:
        self._buffer += data
        size = PART_BYTES if len(self._parts) < 1000 else LARGE_PART_BYTES
        while len(self._buffer) > size:
            part = self._buffer[:size]
            del self._buffer[:size]
            self._send_part(part)

    def commit(self) -> None:
        if self._upload is None:
            self._put()
        else:
            self._complete()
        self._is_published = True

    def _put(self) -> None:
        try:
            with _faults("write"):
                self._client.put_object(
                    **self._place,
                    Body=bytes(self._buffer),
                    ContentMD5=_md5(self._buffer),
                    IfNoneMatch="*",
                    Metadata={"write": self._mark},
                )
        except Conflict:
            if not self._is_ours():
                raise

    def _send_part(self, part: bytearray) -> None:
        with _faults("write"):
            if self._upload is None:
                begun = self._client.create_multipart_upload(**self._place, Metadata={"write": self._mark})
                self._upload = begun["UploadId"]
            number = len(self._parts) + 1
            sent = self._client.upload_part(
                **self._place, UploadId=self._upload, PartNumber=number, Body=bytes(part), ContentMD5=_md5(part)
            )
            self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})

    def _complete(self) -> None:
        self._send_part(self._buffer)
        # Not every store looks at If-None-Match here. Ids are random, so that only a repeated id could ever meet itself.
        with suppress(NotFound):
            if not self._is_ours():
                raise Conflict("blobs: commit: the blob exists")
        try:
            with _faults("commit"):
                self._client.complete_multipart_upload(
                    **self._place, UploadId=self._upload, MultipartUpload={"Parts": self._parts}, IfNoneMatch="*"
                )
        except (Conflict, NotFound):
            if not self._is_ours():
                raise

    def _is_ours(self) -> bool:
        """Whether what stands there is this very upload, whose answer was lost. Raises NotFound where nothing stands there."""
        with _faults("check"):
            found = self._client.head_object(**self._place)
        return bool(found.get("Metadata", {}).get("write") == self._mark)


class _S3Reader:
    """The front in memory; then one stream for whoever reads in order, single ranges for whoever seeks.

    What was streamed in order is kept, still sealed, in an unlinked local file: the second pass costs no second transfer.
    """

    waits = True

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self._place = {"Bucket": bucket, "Key": key}
        self._stream: Any = None
        self._position = 0
        self._spool: IO[bytes] | None = None
        self._front, self._size = self._fetch_front()
        self._spooled = len(self._front)

    @property
    def size(self) -> int:
        return self._size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        end = offset + len(buffer)
        if end > self._size:
            raise Tampered("a blob ends too early", kind="cut")
        if end <= len(self._front):
            buffer[:] = self._front[offset:end]
        elif end <= self._spooled and self._spool is not None:
            self._from_spool(offset, buffer)
        elif offset <= self._spooled and len(buffer) >= FRONT_BYTES // 2:
            self._in_order(offset, buffer)
        else:
            self._single(offset, buffer)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _fetch_front(self) -> tuple[bytes, int]:
        try:
            with _faults("open"):
                answer = self._client.get_object(**self._place, Range=f"bytes=0-{FRONT_BYTES - 1}")
                front = answer["Body"].read()
        except StorageUnavailable as error:
            if error.details.get("cause") in _EMPTY:
                return b"", 0
            raise
        return front, int(answer.get("ContentRange", f"/{len(front)}").rpartition("/")[2])

    def _single(self, offset: int, buffer: memoryview) -> None:
        with _faults("read"):
            answer = self._client.get_object(**self._place, Range=f"bytes={offset}-{offset + len(buffer) - 1}")
            data = answer["Body"].read()
        if len(data) != len(buffer):
            raise Tampered("a blob ends too early", kind="cut")
        buffer[:] = data

    def _in_order(self, offset: int, buffer: memoryview) -> None:
        """Move the stream forward to the end of ``buffer``, keeping everything on the way."""
        if self._spool is None:
            with _faults("spool"):
                self._spool = tempfile.TemporaryFile(prefix="coffre-sealed-")  # noqa: SIM115  # closed in close()
                self._spool.write(self._front)
        while self._spooled < offset + len(buffer):
            block = self._next_block()
            with _faults("spool"):
                self._spool.write(block)
                self._spool.flush()
            self._spooled += len(block)
        self._from_spool(offset, buffer)

    def _next_block(self) -> bytes:
        for attempt in range(ATTEMPTS):
            try:
                with _faults("read"):
                    if self._stream is None:
                        answer = self._client.get_object(**self._place, Range=f"bytes={self._spooled}-")
                        self._stream = answer["Body"]
                    block: bytes = self._stream.read(MIB)
                if block:
                    return block
                raise Tampered("a blob ends too early", kind="cut")
            except StorageUnavailable:
                if self._stream is not None:
                    self._stream.close()
                    self._stream = None
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _from_spool(self, offset: int, buffer: memoryview) -> None:
        if self._spool is None:
            raise StorageUnavailable("blobs: read: no spool")
        with _faults("spool"):
            while buffer:
                count = os.preadv(self._spool.fileno(), [buffer], offset)
                if count == 0:
                    raise Tampered("a blob ends too early", kind="cut")
                offset += count
                buffer = buffer[count:]


class S3Blobs:
    """Blobs as objects ``<prefix>/<id>`` of one bucket."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def write(self, blob: BlobId, expected_bytes: int = 0) -> AbstractContextManager[BlobSink]:
        del expected_bytes  # a store does not tell what is left
        return _S3Sink(self._client, self._bucket, self._key(blob))

    def open(self, blob: BlobId, *, is_cold: bool = False) -> BlobReader:
        del is_cold  # this machine remembers nothing of what the store holds
        return _S3Reader(self._client, self._bucket, self._key(blob))

    def delete(self, blob: BlobId) -> None:
        with suppress(NotFound), _faults("delete"):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(blob))

    def list(self) -> Iterator[BlobEntry]:
        with _faults("list"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for found in page.get("Contents", ()):
                    yield from self._entry(found["Key"], found["Size"], found["LastModified"])

    def leftovers(self) -> Iterator[BlobEntry]:
        with _faults("list"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for found in page.get("Uploads", ()):
                    yield from self._entry(found["Key"], 0, found["Initiated"])

    def discard(self, blob: BlobId) -> None:
        key = self._key(blob)
        with _faults("list"):
            answer = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=key)
        for upload in answer.get("Uploads", ()):
            with suppress(NotFound), _faults("delete"):
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload["UploadId"])

    def probe(self) -> None:
        probe_blob(self)

    def _key(self, blob: BlobId) -> str:
        if not is_blob_id(blob):
            raise ValueError("not a blob id")
        return f"{self._prefix}{blob}"

    def _entry(self, key: str, size: int, at: Any) -> Iterator[BlobEntry]:
        name = key.removeprefix(self._prefix)
        if is_blob_id(name):
            yield BlobEntry(BlobId(name), size, Micros(int(at.timestamp() * 1_000_000)))


def _secret(path: Path | None, name: str) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadSettings(f"[blobs] {name}: {path} can't be read") from error


def open_s3(settings: BlobSettings) -> S3Blobs:
    """The store behind ``s3://bucket/prefix``; nothing is sent yet. Raises BadSettings."""
    import boto3
    from botocore.config import Config

    bucket, _, prefix = settings.url.removeprefix("s3://").partition("/")
    if not bucket:
        raise BadSettings("[blobs] url: write s3://bucket or s3://bucket/prefix")
    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=32,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if settings.endpoint else {},
    )
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=settings.region or "us-east-1",
        aws_access_key_id=_secret(settings.access_key_file, "access_key_file"),
        aws_secret_access_key=_secret(settings.secret_key_file, "secret_key_file"),
        config=config,
    )
    return S3Blobs(client, bucket, prefix)
