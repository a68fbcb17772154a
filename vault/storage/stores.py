"""Owns which blob store an address names. It must not know how a store keeps its blobs."""

from __future__ import annotations

from pathlib import Path

from vault.errors import BadSettings
from vault.settings import BlobSettings, VerifyWrites
from vault.storage.blobs import BlobStore, DiskBlobs
from vault.storage.readback import ReadBack


def open_blobs(settings: BlobSettings) -> BlobStore:
    """The store that ``[blobs] url`` names: a directory or an S3 bucket. Raises BadSettings, StorageUnavailable."""
    store = _open(settings)
    return store if settings.verify_writes == VerifyWrites.NEVER else ReadBack(store, settings.verify_writes)


def _open(settings: BlobSettings) -> BlobStore:
    scheme, _, rest = settings.url.partition("://")
    if scheme == "file" and rest.startswith("/"):
        return DiskBlobs(Path(rest))
    if scheme == "s3" and rest:
        from vault.storage.blobs_s3 import open_s3

        return open_s3(settings)
    raise BadSettings("[blobs] url: write file:///absolute/path or s3://bucket/prefix")
