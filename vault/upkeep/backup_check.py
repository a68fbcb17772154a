"""Owns the judgement on a backup: signature, every digest, every body that the database names, the log's own root.

No key and no token is used. It must not know where a vault lives, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

from sqlalchemy import Connection, select

from kms.keys import KeyUse
from vault.audit import note
from vault.audit.checkpoint import origin_of
from vault.audit.tree import Frontier, leaf_hash
from vault.errors import Invalid, NotFound, StorageUnavailable, Tampered
from vault.model import BlobId, TenantId
from vault.storage import migrate, snapshot
from vault.storage.blobs import BlobStore
from vault.storage.schema import audit_entries, document_versions, installation, key_records
from vault.upkeep import depot as places
from vault.upkeep import manifest
from vault.upkeep.depot import Depot, Kept, fault_of
from vault.upkeep.manifest import Listed, Manifest

BLOCK_BYTES = 1 << 20
Begin = Callable[[int], Callable[[int], None]]
"""Told how many bodies there are; gives what is called with each advance."""


def quietly(_count: int) -> Callable[[int], None]:
    """A ``Begin`` that nobody sees."""
    return lambda _more: None


class Kind(StrEnum):
    """What can be wrong with a backup."""

    MANIFEST = "manifest"
    """The manifest was altered, or can't be read."""
    FOREIGN = "foreign"
    """Another vault's."""
    FORMAT = "format"
    """Written by a newer program than this one."""
    MISSING = "missing"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    LOG = "log"
    """The access log in it is not the one that was signed."""
    KEYRING = "keyring"
    """No good copy of the keyring is as new as the backup: nothing in it could be opened."""
    LACKING = "lacking"
    """The vault itself had lost this body when the backup was made."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not well."""

    part: str
    """A file of the backup, or a body's id."""
    kind: Kind


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check saw."""

    id: str
    manifest: Manifest | None
    """None where it can't be believed."""
    keyring: Kept | None
    """The copy of the keyring that a restore would take."""
    bodies: int
    bytes: int
    findings: tuple[Finding, ...]
    newer: tuple[str, ...]
    """Newer backups in the same place."""

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def can_restore(self) -> bool:
        """Whether everything that was in it when it was made is there."""
        return all(each.kind is Kind.LACKING for each in self.findings)


def trust_file(path: Path) -> list[note.Verifier]:
    """The keys of a trust file (``coffre audit trust``). Raises Invalid."""
    try:
        text = path.read_text(encoding="utf-8").splitlines()
        return [note.parse_verifier(each) for each in text if each.strip() and not each.startswith("#")]
    except (OSError, UnicodeDecodeError, note.NoteRejected) as error:
        raise Invalid("the trust file can't be read", field="trust", reason="malformed") from error


def keys_in(connection: Connection, tenant: TenantId) -> list[note.Verifier]:
    """The log's public keys as a keyring knows them; empty where a key process keeps the registry."""
    columns = key_records.c
    query = select(columns.canary).where(columns.use.in_([KeyUse.AUDIT.value, KeyUse.AUDIT_ED.value])).order_by(columns.number)
    return [note.verifier(origin_of(tenant), row.canary) for row in connection.execute(query) if row.canary]


class Check:
    """Looks at one backup."""

    def __init__(
        self, depot: Depot, trusted: Callable[[TenantId], list[note.Verifier]], tenant: TenantId | None = None
    ) -> None:
        """``trusted`` gives the keys that may have signed for a tenant; ``tenant``: the only one that is right, where known."""
        self._depot = depot
        self._trusted = trusted
        self._tenant = tenant

    def run(self, name: str | None = None, begin: Begin = quietly) -> Checked:
        """Check the backup ``name``, or the newest; ``begin`` as in ``Backup.create``. Raises NotFound, StorageUnavailable."""
        chosen = self._depot.choose(name)
        newer = tuple(each for each in self._depot.names() if each > chosen)
        try:
            made, trusted = self._manifest(chosen)
        except Tampered as error:
            kind = Kind(str(error.details.get("kind", Kind.MANIFEST)))
            return Checked(chosen, None, None, 0, 0, (Finding(places.MANIFEST, kind),), newer)
        place = self._depot.place(chosen)
        findings = [
            Finding(part.file, Kind(fault))
            for part in (made.database, made.blobs, made.settings)
            if (fault := fault_of(place / part.file, part))
        ]
        keyring = self._depot.newest_keyring(trusted, made)
        if keyring is None:
            findings.append(Finding("keyring", Kind.KEYRING))
        else:
            findings += self._revision(keyring.path, keyring.word.revision, migrate.KEYRING)
        bodies = size = 0
        if not any(finding.part in {made.database.file, made.blobs.file} for finding in findings):
            findings += self._database(place / made.database.file, made, trusted)
            bodies, size, wrong = self._bodies(place / made.blobs.file, begin(made.documents))
            findings += wrong
        return Checked(chosen, made, keyring, bodies, size, tuple(findings), newer)

    def _manifest(self, name: str) -> tuple[Manifest, list[note.Verifier]]:
        """The manifest, believed. Raises Tampered."""
        text = self._depot.manifest_text(name)
        claimed = TenantId(str(manifest.said_by(text, manifest.BACKUP).get("tenant", "")))
        trusted = self._trusted(claimed)
        made = manifest.manifest_of(manifest.opened(text, manifest.BACKUP, trusted))
        if self._tenant is not None and made.tenant != self._tenant:
            raise Tampered("it is the backup of another vault", kind="foreign")
        if made.id != name:
            raise Tampered("the manifest is another backup's", kind="manifest")
        return made, trusted

    # --- the database's copy

    def _database(self, path: Path, made: Manifest, trusted: list[note.Verifier]) -> Iterator[Finding]:
        """The copy is a vault's, of this tenant, names the bodies of the list, and holds the log that was signed."""
        if snapshot.fault_of(path) is not None:
            yield Finding(path.name, Kind.DAMAGED)
            return
        newer = list(self._revision(path, made.revision, migrate.MAIN))
        yield from newer
        if newer:
            return
        with snapshot.reading(path) as connection:
            if connection.execute(select(installation.c.tenant)).scalar_one_or_none() != made.tenant:
                yield Finding(path.name, Kind.FOREIGN)
            if not _names_the_same(connection, path.with_name(made.blobs.file)):
                yield Finding(made.blobs.file, Kind.DAMAGED)
            if made.is_log_whole and not _is_signed(connection, made, trusted):
                yield Finding("log", Kind.LOG)

    @staticmethod
    def _revision(path: Path, said: str, history: migrate.History) -> Iterator[Finding]:
        if not said or said > history.head or snapshot.revision_of(path) != said:
            yield Finding(path.name, Kind.FORMAT)

    # --- bodies

    def _bodies(self, path: Path, advance: Callable[[int], None]) -> tuple[int, int, list[Finding]]:
        pool, findings, count, size = self._depot.bodies(), list[Finding](), 0, 0
        for listed in listed_in(path):
            if listed.lacking:
                findings.append(Finding(listed.blob, Kind.LACKING))
            elif (kind := _body_fault(pool, listed)) is not None:
                findings.append(Finding(listed.blob, kind))
            count += 1
            size += listed.size
            advance(1)
        return count, size, findings


def listed_in(path: Path) -> Iterator[Listed]:
    """The list of bodies of a backup. Raises Tampered, StorageUnavailable."""
    with snapshot.file_faults("list"), path.open(encoding="ascii") as text:
        yield from manifest.lines(text)


def _names_the_same(connection: Connection, path: Path) -> bool:
    """Whether the list names exactly the bodies that the database names, with the same digests."""
    columns = document_versions.c
    query = select(columns.blob, columns.sealed_size, columns.sealed_sha256).order_by(columns.blob)
    rows = connection.execution_options(yield_per=1000).execute(query)
    return all(
        row is not None
        and listed is not None
        and (row.blob, row.sealed_size, row.sealed_sha256.hex()) == (listed.blob, listed.size, listed.sha256)
        for row, listed in zip_longest(rows, listed_in(path))
    )


def _is_signed(connection: Connection, made: Manifest, trusted: list[note.Verifier]) -> bool:
    """Whether the leaves, up to the signed head, give the root that was signed."""
    try:
        head = note.open_checkpoint(made.checkpoint, trusted, origin_of(made.tenant))
    except note.NoteRejected:
        return False
    frontier = Frontier()
    columns = audit_entries.c
    query = select(columns.position, columns.leaf).where(columns.position < head.size).order_by(columns.position)
    for position, leaf in connection.execution_options(yield_per=1000).execute(query):
        if position != frontier.size:
            return False
        frontier.append(leaf_hash(leaf))
    return frontier.size == head.size == made.log_size and frontier.root() == head.root


def _body_fault(pool: BlobStore, listed: Listed) -> Kind | None:
    try:
        reader = pool.open(BlobId(listed.blob), is_cold=True)
    except NotFound:
        return Kind.MISSING
    except Tampered:
        return Kind.DAMAGED
    try:
        if reader.size != listed.size:
            return Kind.TRUNCATED if reader.size < listed.size else Kind.DAMAGED
        digest, offset = sha256(), 0
        room = bytearray(min(BLOCK_BYTES, listed.size) or 1)
        while offset < listed.size:
            with memoryview(room)[: min(len(room), listed.size - offset)] as view:
                reader.read_into(offset, view)
                digest.update(view)
                offset += len(view)
        return None if digest.hexdigest() == listed.sha256 else Kind.DAMAGED
    except Tampered:
        return Kind.TRUNCATED
    except StorageUnavailable as error:
        if error.details.get("cause") == "EIO":
            return Kind.DAMAGED
        raise
    finally:
        reader.close()
