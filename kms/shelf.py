"""Owns a registry in one JSON file, for a key process that shares no database with the vault. It must not know the token."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, replace
from pathlib import Path

from kms.errors import KeysUnavailable
from kms.keys import KeyRecord, KeyState, KeyUse


class FileRegistry:
    """``kms.keys.Registry`` in a file of mode 0600, replaced atomically.

    Nothing in it is secret; losing it loses the canaries.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def records(self) -> list[KeyRecord]:
        """See Registry.records."""
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))
            return [
                KeyRecord(
                    KeyUse(row["use"]),
                    row["number"],
                    KeyState(row["state"]),
                    bytes.fromhex(row["key_id"]),
                    bytes.fromhex(row["canary"]),
                    row["created_at"],
                    row["wraps"],
                )
                for row in rows
            ]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError) as error:
            raise KeysUnavailable(f"the registry {self._path} can't be read ({error})") from error

    def save(self, record: KeyRecord) -> None:
        """See Registry.save."""
        with self._lock:
            known = {(row.use, row.number): row for row in self.records()}
            before = known.get((record.use, record.number))
            known[record.use, record.number] = record if before is None else replace(record, wraps=before.wraps)
            self._write(list(known.values()))

    def count_wraps(self, number: int, wraps: int) -> None:
        """See Registry.count_wraps."""
        with self._lock:
            self._write(
                [
                    replace(row, wraps=row.wraps + wraps) if (row.use, row.number) == (KeyUse.MASTER, number) else row
                    for row in self.records()
                ]
            )

    def _write(self, records: list[KeyRecord]) -> None:
        rows = [asdict(record) | {"key_id": record.key_id.hex(), "canary": record.canary.hex()} for record in records]
        fresh = self._path.with_suffix(".new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(rows, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise KeysUnavailable(f"the registry {self._path} can't be written ({error.strerror})") from error
