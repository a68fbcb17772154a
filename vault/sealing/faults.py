"""Owns the one place where the key room's errors become the vault's. It must not know what the keys protect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kms import errors as kms
from vault.errors import Busy, KeysUnavailable, NotFound, Tampered, VaultError


def _translate(error: kms.KmsError) -> VaultError:
    match error:
        case kms.UnwrapRejected() | kms.UnknownSuite():
            return Tampered("a wrapped key failed authentication", kind="wrapped_key")
        case kms.KeyDestroyed():
            return NotFound("the key was destroyed")
        case kms.BudgetExceeded():
            return Busy("too many keys were asked for in a short time", retry_after_s=60)
        case _:
            return KeysUnavailable(f"keys: {error.code}", cause=error.code)


@contextmanager
def key_faults() -> Iterator[None]:
    """Inside, a KmsError leaves as Tampered, NotFound, Busy or KeysUnavailable (``details['cause']`` keeps its code)."""
    try:
        yield
    except kms.KmsError as error:
        raise _translate(error) from error
