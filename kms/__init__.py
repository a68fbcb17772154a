"""The key room: secrets wrapped, unwrapped, authenticated and signed by a PKCS#11 token.

``open_keys`` is the door. This room has never heard of a document, a patient or HTTP.
"""

from __future__ import annotations

from pathlib import Path

from kms.client import KeyClient
from kms.errors import BadSettings
from kms.keys import KeyService, Registry
from kms.settings import KmsSettings
from kms.token import TokenKeys

__all__ = ["KeyService", "KmsSettings", "Registry", "open_keys", "open_token"]


def open_keys(settings: KmsSettings, registry: Registry) -> KeyService:
    """The key service of this process; call it after any fork, and close it.

    Raises BadSettings where the module can't be loaded. A token that is away is not an error here: calls then raise
    KeysUnavailable until it is back.
    """
    if settings.socket is not None:
        return KeyClient(settings.socket, settings.timeout_ms)
    return open_token(settings, registry)


def open_token(settings: KmsSettings, registry: Registry) -> TokenKeys:
    """The key service in this very process. Raises BadSettings, also where the settings name no token."""
    missing = [name for name in ("module", "token_label", "pin_file") if getattr(settings, name) in ("", Path())]
    if missing:
        raise BadSettings(f"[kms] {', '.join(missing)} is missing; or name the key process's socket instead")
    return TokenKeys(settings, registry)
