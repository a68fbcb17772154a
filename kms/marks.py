"""Owns the high-water mark as an object of the token: a CKO_DATA that only its user sees. It must not know what is marked.

A data object can't be changed in place everywhere (SoftHSM2 refuses), so a higher mark is written first and the lower ones are
removed after it: whenever a crash strikes, the highest that stands is the mark.
"""

from __future__ import annotations

from contextlib import suppress

from kms import constants as ck
from kms.cryptoki import CryptokiError, KeyObject
from kms.keys import Mark
from kms.sessions import Session

APPLICATION = "coffre"


def _label(prefix: str) -> str:
    """CKA_LABEL: ``coffre/mark``."""
    return f"{prefix}/mark"


def _standing(session: Session, prefix: str) -> list[tuple[Mark, KeyObject]]:
    """Every mark of ours, lowest first; what can't be read as one is nobody's mark."""
    template = {ck.CKA_CLASS: ck.CKO_DATA, ck.CKA_APPLICATION: APPLICATION, ck.CKA_LABEL: _label(prefix)}
    found: list[tuple[Mark, KeyObject]] = []
    for each in session.cryptoki.find(session.open, template):
        with suppress(ValueError):
            found.append((Mark.unpacked(bytes(session.cryptoki.attribute(each, ck.CKA_VALUE))), each))
    return sorted(found, key=lambda pair: (pair[0].generation, pair[0].size))


def highest(session: Session, prefix: str) -> Mark | None:
    """The mark, None where there is none. Raises CryptokiError."""
    found = _standing(session, prefix)
    return found[-1][0] if found else None


def put(session: Session, prefix: str, mark: Mark) -> Mark:
    """Write ``mark`` unless it is not above the one that stands; gives the one that stands now. Raises CryptokiError."""
    found = _standing(session, prefix)
    if found and not mark.is_above(found[-1][0]):
        return found[-1][0]
    session.cryptoki.create_object(
        session.open,
        {
            ck.CKA_CLASS: ck.CKO_DATA,
            ck.CKA_TOKEN: True,
            ck.CKA_PRIVATE: True,
            ck.CKA_APPLICATION: APPLICATION,
            ck.CKA_LABEL: _label(prefix),
            ck.CKA_VALUE: mark.packed(),
        },
    )
    for _, lower in found:
        with suppress(CryptokiError):  # another process removed it first; a lower one that stays does no harm
            session.cryptoki.destroy_object(lower)
    return mark
