"""Owns what makes an identity well formed: names, uncertain dates, the NIR and its key. It must not know storage or search.

NIR (numéro d'inscription au répertoire): 13 characters and a key of 2 digits, 97 − (n mod 97), where the Corsican departments
2A and 2B count as 19 and 18 (INSEE). The INS matricule has the same shape (Référentiel INS, ANS).
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from vault.errors import Invalid
from vault.model import Identity

NAME_CHARACTERS = 100
GIVEN_NAMES = 10
OLDEST_YEAR = 1880
_NIR = re.compile(r"[1-478][0-9]{2}[0-9]{2}(?:[0-9]{2}|2[AB])[0-9]{6}(?:[0-9]{2})?", re.ASCII)
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", re.ASCII)
_CORSICA = {"2A": "19", "2B": "18"}


def nir_key(nir: str) -> int:
    """The key of the first 13 characters of a NIR or INS matricule. Raises Invalid where they have not that shape."""
    body = nir[:13]
    if not _NIR.fullmatch(body):
        raise Invalid("not the shape of a NIR", field="ins", reason="shape")
    department = body[5:7]
    return 97 - int(body[:5] + _CORSICA.get(department, department) + body[7:]) % 97


def compact_ins(text: str) -> str:
    """A matricule as typed (spaces, dots, lower case) in its stored form. Raises Invalid where it has not the shape of one.

    A wrong key does not raise: the practice must be able to record what the card says; see ``has_right_key``.
    """
    compact = re.sub(r"[\s.\u202f\u00a0-]", "", text).upper()
    if not _NIR.fullmatch(compact):
        raise Invalid("not the shape of an INS matricule", field="ins", reason="shape")
    return compact


def has_right_key(ins: str) -> bool | None:
    """Whether the key of a 15-character matricule is right; None where only the first 13 are known."""
    return int(ins[13:]) == nir_key(ins) if len(ins) == 15 else None


def masked_ins(ins: str) -> str:
    """What reception sees of a matricule: its first digit and its last three before the key."""
    return f"{ins[0]} •• •• •• ••• {ins[10:13]}"


def check_birth_date(text: str, today: date) -> str:
    """An ISO 8601 birth date whose day, or day and month, may be 00 where they are not known.

    Raises Invalid with reason ``shape``, ``impossible``, ``future`` or ``too_old``.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        raise Invalid("not a date", field="birth_date", reason="shape")
    year, month, day = (int(part) for part in match.groups())
    if month == 0 and day != 0:
        raise Invalid("a day without its month", field="birth_date", reason="impossible")
    try:
        earliest = date(year, month or 1, day or 1)
    except ValueError:
        raise Invalid("no such day", field="birth_date", reason="impossible") from None
    if earliest > today:
        raise Invalid("a birth date in the future", field="birth_date", reason="future")
    if year < OLDEST_YEAR:
        raise Invalid(f"a birth date before {OLDEST_YEAR}", field="birth_date", reason="too_old")
    return text


def is_uncertain(birth_date: str) -> bool:
    """Whether the day or the month of a checked birth date is not known."""
    return birth_date.endswith("-00")


def clean_name(text: str, field: str) -> str:
    """One name in NFC with single spaces and without edges. Raises Invalid: ``empty``, ``too_long`` or ``characters``."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name:
        raise Invalid("a name is missing", field=field, reason="empty")
    if len(name) > NAME_CHARACTERS:
        raise Invalid("a name is too long", field=field, reason="too_long")
    # Letters, their marks, and what stands between letters in civil-status names. No control or direction-changing character.
    if not all(unicodedata.category(sign)[0] in "LM" or sign in " '’-.·ʼ‘" for sign in name) or not any(
        sign.isalpha() for sign in name
    ):
        raise Invalid("a character that no name has", field=field, reason="characters")
    return name


def checked(identity: Identity, today: date) -> Identity:
    """The same identity in its stored form. Raises Invalid naming the field."""
    if not identity.given_names or len(identity.given_names) > GIVEN_NAMES:
        raise Invalid("one to ten given names", field="given_names", reason="empty" if not identity.given_names else "too_many")
    return Identity(
        birth_name=clean_name(identity.birth_name, "birth_name"),
        given_names=tuple(clean_name(name, "given_names") for name in identity.given_names),
        birth_date=check_birth_date(identity.birth_date, today),
        sex=identity.sex,
        used_name=clean_name(identity.used_name, "used_name") if identity.used_name else None,
        ins=compact_ins(identity.ins) if identity.ins else None,
    )
