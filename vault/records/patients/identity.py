"""Owns what makes an identity well formed: names, uncertain dates, the NIR and its key, what each status asks for.

It must not know storage or search.

NIR (numéro d'inscription au répertoire): 13 characters and a key of 2 digits, 97 − (n mod 97), where the Corsican departments
2A and 2B count as 19 and 18 (INSEE). The INS matricule has the same shape (Référentiel INS, ANS).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from types import MappingProxyType

from vault.birth_dates import is_uncertain
from vault.errors import Invalid
from vault.model import Identity, IdentityStatus

NAME_CHARACTERS = 100
GIVEN_NAMES = 10
OLDEST_YEAR = 1880
_NIR = re.compile(r"[1-478][0-9]{2}[0-9]{2}(?:[0-9]{2}|2[AB])[0-9]{6}(?:[0-9]{2})?", re.ASCII)
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", re.ASCII)
_CORSICA = {"2A": "19", "2B": "18"}
_PLACE = re.compile(r"(?:[0-9]{2}|2[AB])[0-9]{3}", re.ASCII)
OIDS: Mapping[str, str] = MappingProxyType(
    {
        "1.2.250.1.213.1.4.8": "INS-NIR",
        "1.2.250.1.213.1.4.9": "INS-NIA",
        "1.2.250.1.213.1.4.10": "INS-NIR test",
        "1.2.250.1.213.1.4.11": "INS-NIR démonstration",
    }
)
"""Which register a matricule comes from (Référentiel INS, ANS)."""
STRICT = ("birth_name", "given_names", "birth_date", "is_lunar", "sex", "birth_place", "ins", "ins_oid")
"""The traits that a status vouches for (RNIV, "traits stricts"); the used name and the place's label are the patient's word."""
TRAITS = (*STRICT, "used_name", "birth_place_label", "status")
PROVEN = frozenset({IdentityStatus.VALIDATED, IdentityStatus.QUALIFIED})
"""An identity document was seen."""
FROM_REGISTER = frozenset({IdentityStatus.RETRIEVED, IdentityStatus.QUALIFIED})
"""The national service gave matricule and traits."""


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


def check_birth_date(text: str, today: date, *, is_lunar: bool = False) -> str:
    """An ISO 8601 birth date whose day, or day and month, may be 00 where they are not known.

    ``is_lunar``: the date is in no calendar, and that is how the papers have it: any day up to 31, any month.
    Raises Invalid with reason ``shape``, ``impossible``, ``future``, ``too_old`` or ``not_lunar``.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        raise Invalid("not a date", field="birth_date", reason="shape")
    year, month, day = (int(part) for part in match.groups())
    if is_lunar:
        return _check_lunar(text, today)
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


def _check_lunar(text: str, today: date) -> str:
    year, day = int(text[:4]), int(text[8:])
    if not is_uncertain(text) or text.endswith("-00-00"):
        raise Invalid("this date is in the calendar, or has no month", field="birth_date", reason="not_lunar")
    if day > 31:
        raise Invalid("no such day", field="birth_date", reason="impossible")
    if not OLDEST_YEAR <= year <= today.year:
        raise Invalid("a year that can't be", field="birth_date", reason="future" if year > today.year else "too_old")
    return text


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


def check_place(code: str) -> str:
    """An INSEE code: 5 characters, Corsica 2A and 2B, 99 and the country for those born abroad. Raises Invalid (``shape``)."""
    compact = code.strip().upper()
    if not _PLACE.fullmatch(compact):
        raise Invalid("not an INSEE code", field="birth_place", reason="shape")
    return compact


def _check_label(text: str) -> str:
    label = " ".join(unicodedata.normalize("NFC", text).split())
    if len(label) > NAME_CHARACTERS:
        raise Invalid("a place is too long", field="birth_place_label", reason="too_long")
    if not all(unicodedata.category(sign)[0] in "LMN" or sign in " '’-.·ʼ‘()/," for sign in label):
        raise Invalid("a character that no place has", field="birth_place_label", reason="characters")
    return label


def check_status(identity: Identity) -> None:
    """What each status asks of the traits (RNIV). Raises Invalid naming the field.

    ``validated`` and ``qualified`` want the birth place; ``retrieved`` and ``qualified`` matricule and OID. A wrong key of the
    matricule is a warning (``has_right_key``), and stops ``qualified`` only.
    """
    if identity.status in PROVEN and not identity.birth_place:
        raise Invalid("this status wants a birth place", field="birth_place", reason="status_place")
    if identity.status in FROM_REGISTER:
        if not identity.ins:
            raise Invalid("this status wants a matricule", field="ins", reason="status_ins")
        if not identity.ins_oid:
            raise Invalid("this status wants the matricule's OID", field="ins_oid", reason="status_oid")
    if identity.status is IdentityStatus.QUALIFIED and has_right_key(identity.ins or "") is not True:
        raise Invalid("a qualified identity wants the matricule's right key", field="ins", reason="status_key")


def is_strictly_same(one: Identity, other: Identity) -> bool:
    """Whether two identities agree in every trait that a status vouches for."""
    return all(getattr(one, trait) == getattr(other, trait) for trait in STRICT)


def changed(before: Identity, after: Identity) -> tuple[str, ...]:
    """The names of the traits that differ, for the log; never their values."""
    return tuple(trait for trait in TRAITS if getattr(before, trait) != getattr(after, trait))


def checked(identity: Identity, today: date) -> Identity:
    """The same identity in its stored form. Raises Invalid naming the field."""
    if not identity.given_names or len(identity.given_names) > GIVEN_NAMES:
        raise Invalid("one to ten given names", field="given_names", reason="empty" if not identity.given_names else "too_many")
    if identity.ins_oid and identity.ins_oid not in OIDS:
        raise Invalid("no register of matricules has this OID", field="ins_oid", reason="unknown_value")
    whole = replace(
        identity,
        birth_name=clean_name(identity.birth_name, "birth_name"),
        given_names=tuple(clean_name(name, "given_names") for name in identity.given_names),
        birth_date=check_birth_date(identity.birth_date, today, is_lunar=identity.is_lunar),
        used_name=clean_name(identity.used_name, "used_name") if identity.used_name else None,
        ins=compact_ins(identity.ins) if identity.ins else None,
        ins_oid=identity.ins_oid or None,
        birth_place=check_place(identity.birth_place) if identity.birth_place else None,
        birth_place_label=_check_label(identity.birth_place_label) or None if identity.birth_place_label else None,
    )
    check_status(whole)
    return whole
