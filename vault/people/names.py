"""Owns what a username is and when two spellings are the same one. It must not know accounts or storage."""

from __future__ import annotations

import re
import unicodedata

from vault.errors import Invalid

LONGEST = 128
"""Characters of a username; what is longer is nobody's, yet still folded so that it counts and costs the same."""
_READ_AT_MOST = 1024
"""Characters that folding looks at: a megabyte typed as a name must not cost a megabyte of work."""
_ALLOWED = re.compile(r"[^\W_][\w.@+\-]{1,127}")


def fold(username: str) -> str:
    """The key under which every variant of a name meets: case, spaces, NFC/NFD, full width, invisible marks, Turkish i."""
    folded, before = username[:_READ_AT_MOST], ""
    while folded != before:  # leaving a space out may let two characters compose: again, until nothing moves
        before, folded = folded, _folded_once(folded)
    return folded


def _folded_once(name: str) -> str:
    plain = unicodedata.normalize("NFKC", name).replace("İ", "i").replace("ı", "i").casefold()
    visible = "".join(character for character in unicodedata.normalize("NFKC", plain) if not _is_invisible(character))
    return visible.replace("i\u0307", "i")


def _is_invisible(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"}


def checked(username: str) -> str:
    """``username`` in NFC as it will be shown, if it can be one.

    Two to 128 letters, digits and ``. _ - + @``, a letter or digit first. Raises Invalid.
    """
    name = unicodedata.normalize("NFC", username.strip())
    if not _ALLOWED.fullmatch(name) or len(fold(name)) < 2:
        raise Invalid(
            "A username is 2 to 128 letters, digits and . _ - + @, without spaces.", field="username", reason="username"
        )
    return name
