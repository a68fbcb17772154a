"""Owns making and keeping signed checkpoints of the log. It must not know events or who asks.

A checkpoint is signed in the token; while the token is away the log goes on and the next checkpoint covers what was missed.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from kms.errors import KeyMissing
from kms.keys import KeyService, KeyUse
from vault.audit import note, tiles, tree
from vault.audit.append import AuditLog
from vault.audit.marks import Marks
from vault.errors import KeysUnavailable, Tampered
from vault.model import Micros, TenantId
from vault.sealing.faults import key_faults
from vault.storage.schema import audit_checkpoints

HOUR_US = 3_600 * 1_000_000
SIGNERS: Final = (KeyUse.AUDIT, KeyUse.AUDIT_ED)
LOOKED_THROUGH = 100
"""Heads among which the last witnessed one is looked for."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint and the note in which it was signed."""

    checkpoint: note.Checkpoint
    note: str
    at: Micros


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A head that a witness cosigned."""

    name: str
    size: int
    at: Micros
    """By the witness's clock."""


def origin_of(tenant: TenantId) -> str:
    """The log's name in its checkpoints: a schema-less URL without a host that anybody could own."""
    return f"coffre.invalid/log/{tenant}"


class Checkpoints:
    """Signs the head of the log and remembers what was signed. Thread-safe."""

    def __init__(self, log: AuditLog, keys: KeyService) -> None:
        self._log = log
        self._keys = keys
        self.origin = origin_of(log.tenant)
        self.marks = Marks(log, keys, self.origin)
        self._signing = threading.Lock()

    def verifiers(self) -> list[note.Verifier]:
        """Every audit key that ever signed, P-256 first, newest first. Raises KeysUnavailable."""
        with key_faults():
            pairs = [(use, number) for use in SIGNERS for number in range(self._newest(use), 0, -1)]
            return [note.verifier(self.origin, self._keys.public_key(number, use)) for use, number in pairs]

    def _newest(self, use: KeyUse) -> int:
        try:
            return self._keys.active(use)
        except KeyMissing:
            if use is KeyUse.AUDIT:
                raise
            return 0

    def make(self, *, keep: bool = False) -> Signed:
        """The signed head of the log as it stands now; ``keep`` for one that is given out.

        Raises KeysUnavailable, and Tampered where the log no longer extends its last checkpoint: that is never signed over.
        """
        with self._signing:
            last = self.latest()
            with self._log.db.read() as connection:
                if last is not None:
                    _must_extend(connection, tiles.size_of(connection), last.checkpoint)
            self.marks.compare(last.checkpoint if last else None, thoroughly=keep)
            self._log.is_dirty = False
            with self._log.db.read() as connection:
                size = tiles.size_of(connection)
                root = tiles.frontier(connection, size).root()
            head = note.Checkpoint(self.origin, size, root)
            if last is not None and last.checkpoint == head:
                if keep:
                    self._log.db.write(lambda c: _keep(c, size))
                    self.marks.put(head, last.note, thoroughly=True)
                return last
            try:
                signed = self._sign(head)
            except KeysUnavailable:
                self._log.is_dirty = True
                raise
            self._log.db.write(lambda connection: _store(connection, signed, keep=keep))
            self.marks.put(head, signed.note, thoroughly=keep)
            return signed

    def look_back(self) -> None:
        """Compare the log with what keyring and token remember of it; an event where it went back. Raises as ``make``."""
        with self._signing:
            self.marks.compare(thoroughly=True)

    def _sign(self, head: note.Checkpoint) -> Signed:
        """ECDSA always; Ed25519 beside it where the token offers it."""
        text = head.text()
        with key_faults():
            signature = self._keys.sign(sha256(text.encode()).digest())
            signer = note.verifier(self.origin, self._keys.public_key(signature.number))
            signed = note.sign(text, signer, lambda _digest: signature.raw)
            edwards = self._keys.sign_text(text.encode())
            if edwards is not None:
                public = self._keys.public_key(edwards.number, KeyUse.AUDIT_ED)
                signed += note.signature_line(note.verifier(self.origin, public), edwards.raw)
        return Signed(head, signed, self._log.clock())

    def must_extend(self, kept: str) -> note.Checkpoint:
        """The checkpoint of a note that was kept outside, where the log still extends it. Raises Tampered, KeysUnavailable."""
        try:
            head = note.open_checkpoint(kept, self.verifiers(), self.origin)
        except note.NoteRejected as error:
            raise Tampered(f"the kept checkpoint is not one of this log: {error}", kind=error.kind) from error
        with self._log.db.read() as connection:
            _must_extend(connection, tiles.size_of(connection), head)
        return head

    def consistency(self, old: int, signed: Signed) -> list[bytes]:
        """The proof that ``signed`` extends the tree of ``old`` leaves."""
        size = signed.checkpoint.size
        with self._log.db.read() as connection:
            return tree.consistency_proof(old, size, tiles.Nodes(connection, size))

    def replace(self, signed: Signed, cosigned: str) -> None:
        """Keep the note with the cosignatures that it was given."""
        statement = update(audit_checkpoints).where(audit_checkpoints.c.size == signed.checkpoint.size)
        self._log.db.write(lambda connection: connection.execute(statement.values(note=cosigned, is_kept=1)).rowcount)

    def witnessed(self) -> Witnessed | None:
        """The newest head among those kept that carries a witness's signature, as it was checked when it came in."""
        columns = audit_checkpoints.c
        query = (
            select(columns.size, columns.note).where(columns.is_kept == 1).order_by(columns.size.desc()).limit(LOOKED_THROUGH)
        )
        with self._log.db.read() as connection:
            for size, text in connection.execute(query):
                with suppress(note.NoteRejected):  # a spoilt one is for verification to name
                    for name, time_s in note.cosignatures(text, self.origin):
                        return Witnessed(name, size, Micros(time_s * 1_000_000))
        return None

    def latest(self) -> Signed | None:
        """The largest checkpoint that stands in the database, unverified."""
        with self._log.db.read() as connection:
            row = connection.execute(select(audit_checkpoints).order_by(audit_checkpoints.c.size.desc()).limit(1)).one_or_none()
        return None if row is None else _signed(row.note, row.at)

    def all(self) -> list[Signed]:
        """Every checkpoint kept, smallest first. Raises Tampered where one can't be read."""
        with self._log.db.read() as connection:
            rows = connection.execute(select(audit_checkpoints).order_by(audit_checkpoints.c.size)).all()
        return [_signed(row.note, row.at) for row in rows]


def _must_extend(connection: Connection, size: int, last: note.Checkpoint) -> None:
    """Raises Tampered unless the log still holds what ``last`` signed (tlog-checkpoint, "Signatures")."""
    if not tiles.extends(connection, size, last.size, last.root):
        raise Tampered(f"the log does not extend its checkpoint of {last.size} entries", kind="checkpoint")


def _signed(text: str, at: int) -> Signed:
    try:
        return Signed(note.parse_checkpoint(note.split(text)[0]), text, Micros(at))
    except note.NoteRejected as error:
        raise Tampered("a stored checkpoint can't be read") from error


def _keep(connection: Connection, size: int) -> None:
    connection.execute(update(audit_checkpoints).where(audit_checkpoints.c.size == size).values(is_kept=1))


def _store(connection: Connection, signed: Signed, *, keep: bool) -> None:
    """Add a checkpoint; of those that were not given out, one an hour stays, and a larger one of another process."""
    columns = audit_checkpoints.c
    size = signed.checkpoint.size
    hour = signed.at - signed.at % HOUR_US
    connection.execute(delete(audit_checkpoints).where((columns.is_kept == 0) & (columns.at >= hour) & (columns.size <= size)))
    if connection.execute(select(columns.size).where(columns.size == size)).one_or_none() is not None:
        return
    connection.execute(insert(audit_checkpoints).values(size=size, note=signed.note, at=signed.at, is_kept=int(keep)))
