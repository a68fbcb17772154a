"""Owns the way of a body into the blob store and out of it: fresh key, sealing, receipt before key. It must not know policy.

Order of a deposit: key, blob, then (by the caller) the row with its event. A crash leaves an orphan blob, never a row without
bytes. No receipt, no key: a body is opened only for a durable event that grants this very document. The data key of an infected
body is sealed to another context: whatever opens documents and drafts finds no key there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import NoReturn
from uuid import uuid4

from kms.keys import KeyService, Secret
from vault.audit.append import Receipt
from vault.audit.events import Action, Outcome
from vault.errors import Infected, LogUnavailable, NotFound, Quarantined, Tampered
from vault.floor import Floor
from vault.model import BlobId, DocumentId, Scan, ScopeId, TenantId
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.intake import Intake
from vault.records.documents.scanning import Scanner
from vault.rendering.recognise import MediaType
from vault.sealing.binding import data_key_context, quarantine_key_context
from vault.sealing.documents import DATA_KEY_BYTES, Body, Sealed, Sealer, sealed_size_of
from vault.sealing.faults import key_faults
from vault.sealing.fields import open_field, seal_field
from vault.sealing.reading import Opener
from vault.sealing.scopes import ScopeKeys
from vault.storage.blobs import BlobReader, BlobStore
from vault.storage.schema import QUARANTINED


@dataclass(frozen=True, slots=True)
class Deposited:
    """A body that is sealed and durable; no row knows it yet."""

    blob: BlobId
    data_key_sealed: bytes
    sealed: Sealed
    media_type: MediaType
    scan: Scan


@dataclass(frozen=True, slots=True)
class Hit:
    """A body in which the scanner recognised something: sealed and durable for the quarantine; no row knows it yet."""

    signature: str
    blob: BlobId
    data_key_sealed: bytes
    sealed: Sealed
    media_type: MediaType
    document: DocumentId
    """To which, with ``version``, the sealed bytes are bound."""
    version: int


@dataclass(frozen=True, slots=True)
class Apart:
    """Where infected bodies go: the scope under which they are sealed, and who makes the row; gives its id."""

    scope: ScopeId
    keep: Callable[[Hit], DocumentId]


class OpenBody:
    """A sealed body, open for one reader; ``close`` wipes its key and lets the blob go."""

    def __init__(self, opener: Opener, reader: BlobReader) -> None:
        self.opener = opener
        self._reader = reader

    def close(self) -> None:
        self.opener.close()
        self._reader.close()


class Bodies:
    """Thread-safe."""

    def __init__(
        self,
        *,
        blobs: BlobStore,
        keys: KeyService,
        scopes: ScopeKeys,
        tenant: TenantId,
        scanner: Scanner,
        new_id: Callable[[], str] = lambda: uuid4().hex,
        floor: Floor | None = None,
    ) -> None:
        """``floor``: whoever waits for the store yields it."""
        self._blobs = blobs
        self._scanner = scanner
        self._keys = keys
        self._scopes = scopes
        self._tenant = tenant
        self._new_id = new_id
        self._floor = floor or Floor()

    def take_in(
        self,
        intake: Intake,
        *,
        scope: ScopeId,
        document: DocumentId,
        version: int,
        judge: Callable[[Sealed], None],
        apart: Apart | None = None,
        must_scan: bool = False,
    ) -> Deposited:
        """Seal a body under a fresh data key, scanned meanwhile, and make it durable. ``judge`` sees the digests before that.

        What comes back was never infected: such a body goes ``apart``, where the settings keep it, and Quarantined is raised;
        else Infected. ``must_scan``: only a clean word lets it pass. Whatever else raises, nothing is left in the store.
        """
        blob, hit = BlobId(self._new_id()), None
        apart = apart if self._scanner.keeps_infected else None
        with self._scopes.open(scope), key_faults():
            key = Secret(self._keys.random(DATA_KEY_BYTES))
        expected = sealed_size_of(intake.declared or 0)
        began = self._scanner.begin(must=must_scan, hears_out=apart is not None)
        with key, closing(began) as scanning, self._blobs.write(blob, expected) as sink:
            sealer = Sealer(key, Body(self._tenant, blob, document, version), sink.write)
            try:
                for block in intake:
                    scanning.feed(block)
                    sealer.update(block)
                sealed = sealer.finish()
            finally:
                sealer.abandon()
            media_type = intake.media_type()
            intake.check_digest(sealed.sha256)
            try:
                scan = scanning.finish()
                judge(sealed)
                with self._scopes.open(scope) as scope_key:
                    data_key_sealed = seal_field(scope_key, data_key_context(self._tenant, scope, blob), key.view)
            except Infected as found:
                if apart is None:
                    raise
                with self._scopes.open(apart.scope) as scope_key:
                    context = quarantine_key_context(self._tenant, apart.scope, blob)
                    data_key_sealed = seal_field(scope_key, context, key.view)
                hit = Hit(str(found.details["reason"]), blob, data_key_sealed, sealed, media_type, document, version)
            with self._floor.yielded():
                sink.commit()
        if hit is not None and apart is not None:
            _set_apart(hit, apart)
        return Deposited(blob, data_key_sealed, sealed, media_type, scan)

    def withdraw(self, blob: BlobId) -> None:
        """Remove a body that was deposited and then refused, before any row named it."""
        self._blobs.delete(blob)

    def reseal(self, stored: StoredVersion, scope: ScopeId) -> bytes:
        """The data key of a version, from its present scope to another; the body stays as it is.

        Raises Tampered, NotFound (erased), KeysUnavailable.
        """
        with self._scopes.open(stored.scope) as present:
            context = data_key_context(self._tenant, stored.scope, stored.blob)
            data_key = Secret(open_field(present, context, stored.data_key_sealed))
        with data_key, self._scopes.open(scope) as target:
            return seal_field(target, data_key_context(self._tenant, scope, stored.blob), data_key.view)

    def open(self, receipt: Receipt, stored: StoredVersion) -> OpenBody:
        """The body of one version, not yet authenticated.

        Raises Tampered, NotFound (erased), KeysUnavailable, StorageUnavailable; LogUnavailable where ``receipt`` does not
        grant this document.
        """
        receipt.must_open(stored.document)
        if stored.state == QUARANTINED:
            raise NotFound(f"document {stored.document} is in quarantine")
        return self._unlock(stored)

    def open_apart(self, receipt: Receipt, bound: StoredVersion) -> OpenBody:
        """The body of what is in quarantine, for the scanner alone; ``bound`` names the document to which it is bound.

        Raises as ``open``; LogUnavailable where ``receipt`` does not tell of a scan.
        """
        if receipt.action is not Action.DOCUMENT_RESCAN or receipt.outcome is not Outcome.GRANTED:
            raise LogUnavailable(f"receipt {receipt.event} does not tell of a scan")
        return self._unlock(bound)

    def digest(self, receipt: Receipt, stored: StoredVersion) -> bytes:
        """SHA-256 of the plaintext, every byte authenticated and none released, for a check of the whole vault.

        Raises as ``open``; LogUnavailable where ``receipt`` does not tell of a check.
        """
        if receipt.action is not Action.DOCUMENT_INTEGRITY_CHECK or receipt.outcome is not Outcome.GRANTED:
            raise LogUnavailable(f"receipt {receipt.event} does not tell of a check")
        body = self._unlock(stored)
        try:
            return body.opener.sha256()
        finally:
            body.close()

    def _unlock(self, stored: StoredVersion) -> OpenBody:
        bind_key = quarantine_key_context if stored.state == QUARANTINED else data_key_context
        with self._scopes.open(stored.scope) as scope_key:
            context = bind_key(self._tenant, stored.scope, stored.blob)
            data_key = Secret(open_field(scope_key, context, stored.data_key_sealed))
        with data_key:
            return self._open(data_key, stored)

    def _open(self, data_key: Secret, stored: StoredVersion) -> OpenBody:
        try:
            reader = self._blobs.open(stored.blob)
        except NotFound as error:
            raise Tampered(f"the body of {stored.document} is missing", kind="missing") from error
        try:
            _same_size(stored, reader.size, stored.sealed_size)
            body = Body(self._tenant, stored.blob, stored.document, stored.version)
            opener = Opener(data_key, body, reader)
            _same_size(stored, opener.size, stored.size)
        except BaseException:
            reader.close()
            raise
        return OpenBody(opener, reader)


def _set_apart(hit: Hit, apart: Apart) -> NoReturn:
    """Raises Quarantined once the row is durable, and whatever keeps it from being so: the body is then an orphan."""
    document = apart.keep(hit)
    raise Quarantined(f"set apart as {document}", document=document, reason=hit.signature)


def _same_size(stored: StoredVersion, found: int, expected: int) -> None:
    if found != expected:
        raise Tampered(f"the body of {stored.document} has another size than its row says", kind="size")
