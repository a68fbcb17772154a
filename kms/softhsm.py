"""Owns what SoftHSM2 needs around it: where its tokens lie, and a copy of each one's own file, which it does not write safely.

Every login makes SoftHSM2 empty ``token.object`` and write it again: a process that is killed in between leaves it empty, and
with it no token. The copy is the file as it stood before; it holds nothing that the file does not. It must not know PKCS#11.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from kms.settings import KmsSettings

KEPT = "token.object.kept"
"""Beside ``token.object``; SoftHSM2 reads files whose names end in ``.object`` only."""


def token_directory(settings: KmsSettings) -> Path | None:
    """Where SoftHSM2's configuration says that tokens lie; None for every other token."""
    if settings.softhsm_conf is None or not settings.softhsm_conf.exists():
        return None
    for line in settings.softhsm_conf.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "directories.tokendir":
            return Path(value.strip())
    return None


def keep_token_files(settings: KmsSettings) -> None:
    """Copy each token's own file, or put the copy back where the file was left empty; before C_Initialize.

    Whatever the disk refuses is left for SoftHSM2 to say.
    """
    directory = token_directory(settings)
    if directory is not None:
        for path in directory.glob("*/token.object"):
            with suppress(OSError):
                _keep(path)


def _keep(path: Path) -> None:
    kept = path.with_name(KEPT)
    with path.open("rb") as file:
        fcntl.lockf(file, fcntl.LOCK_SH)  # SoftHSM2 holds the other kind while it writes
        found = file.read()
    if found and not (kept.exists() and kept.read_bytes() == found):
        _replace(kept, found)
    elif not found and kept.exists():
        _replace(path, kept.read_bytes())


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all, and durable."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
