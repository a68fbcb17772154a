"""Owns what a file name may be once it is in the vault. It must not know files: names are text for people, never paths."""

from __future__ import annotations

import unicodedata

from vault.errors import Invalid

LONGEST_CHARACTERS = 255
"""What file systems and download dialogs take."""
NAMELESS = "document"
_JOINERS = {"\u200c", "\u200d"}
"""Zero-width joiners: parts of emoji and of some scripts, and harmless."""


def accepted_name(name: str) -> str:
    """``name`` as it is kept: its last path part, NFC, without direction overrides; never empty.

    Raises Invalid for control characters, lone surrogates and names over 255 characters: what could not be given back.
    """
    if any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in name):
        raise Invalid("a file name holds control characters", field="file_name", reason="control_character")
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(letter for letter in name if unicodedata.category(letter) != "Cf" or letter in _JOINERS)
    name = unicodedata.normalize("NFC", name).strip()
    if len(name) > LONGEST_CHARACTERS:
        raise Invalid("a file name is too long", field="file_name", reason="too_long", limit=LONGEST_CHARACTERS)
    return NAMELESS if not name.strip(".") else name
