"""Owns what the pages of a draft say about patient and type: separator sheets, INS Datamatrix, the text of a letter.

A proposal is never filed by itself: a person looks and confirms. It must not know drafts, HTTP or how codes are read.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import date

from kms.errors import KeyDestroyed, KeyMissing
from kms.keys import KeyService, KeyUse, Purpose
from vault.model import Actor, Identity, PatientId, TenantId
from vault.records.documents.types import CATALOGUE
from vault.records.inbox.drafts import Concordance, Proposal
from vault.records.patients.patients import Patients
from vault.rendering.renderer import Code
from vault.sealing.binding import bind
from vault.sealing.faults import key_faults
from vault.sealing.index import IndexName, joined, words

SHEET = "COFFRE1"
SHEET_MAC_BYTES = 12
_RECENT_YEARS = 3
"""An older date on a page is hardly that of the act."""
_DATES = 24
"""How many different dates of a page are tried as a birth date."""
_DATE = re.compile(r"(?<![0-9])([0-3]?[0-9])[/.\- ]([01]?[0-9])[/.\- ]((?:19|20)[0-9]{2})(?![0-9])", re.ASCII)
_INS_HEADER = re.compile(r"IS[0-9]{2}", re.ASCII)
_GS = "\x1d"
_FIXED = {"S1": 15, "S5": 1, "S6": 10, "S7": 5}
"""Fields of the INS Datamatrix (Guide d'implémentation du Datamatrix INS, GIE SESAM-Vitale) whose length is fixed."""


def ins_fields(text: str) -> dict[str, str]:
    """The fields of an INS Datamatrix by their two-character identifiers; empty where it is none.

    S1 matricule, S2 OID, S3 given names, S4 birth name, S5 sex, S6 birth date (DD-MM-YYYY), S7 birth place (INSEE). Fields of
    variable length end with the group separator.
    """
    start = text.find("S1")
    if not _INS_HEADER.match(text) or start < 0:
        return {}
    fields: dict[str, str] = {}
    at = start
    while at + 2 <= len(text):
        name, at = text[at : at + 2], at + 2
        if not re.fullmatch(r"S[1-9]", name):
            break
        end = at + _FIXED[name] if name in _FIXED else text.find(_GS, at)
        end = len(text) if end < 0 else end
        fields[name] = text[at:end].strip()
        at = end + (1 if text[end : end + 1] == _GS else 0)
    return fields


def dates_in(text: str, today: date) -> tuple[str, ...]:
    """The dates of a text that may be birth dates, ISO 8601, in the order in which they stand."""
    found: dict[str, None] = {}
    for day, month, year in _DATE.findall(text):
        try:
            when = date(int(year), int(month), int(day))
        except ValueError:
            continue
        if when <= today:
            found[when.isoformat()] = None
    return tuple(found)[:_DATES]


def names_in(text: str, identity: Identity) -> bool:
    """Whether a text names somebody: the whole birth or used name, and the first given name."""
    run = " ".join(words(text))

    def stands(name: str) -> bool:
        return f" {' '.join(words(name))} " in f" {run} "

    surnames = [name for name in (identity.birth_name, identity.used_name) if name]
    return any(stands(name) for name in surnames) and stands(identity.given_names[0])


def concordance(text: str, identity: Identity, today: date) -> Concordance:
    """How far the text of a page fits an identity."""
    if not joined(text):
        return Concordance.UNREADABLE
    signs = names_in(text, identity), identity.birth_date in dates_in(text, today)
    return Concordance.AGREES if all(signs) else Concordance.PARTLY if any(signs) else Concordance.DIFFERS


class Proposals:
    """Reads proposals and writes separator sheets. Thread-safe."""

    def __init__(self, keys: KeyService, tenant: TenantId, patients: Patients) -> None:
        self._keys = keys
        self._tenant = tenant
        self._patients = patients

    def sheet(self, patient: PatientId, type: str) -> str:  # noqa: A002  # the field's word, as in Document
        """What the QR code of a separator sheet says: ids and a keyed check, so that only sheets printed here are believed."""
        with key_faults():
            return f"{SHEET} {patient} {type} {self._check(patient, type)}"

    def read(self, actor: Actor, codes: Iterable[Code], text: str, today: date) -> Proposal | None:
        """The first proposal that a page makes: a sheet of ours, an INS Datamatrix, then a name with its birth date.

        Raises KeysUnavailable, StorageUnavailable, LogUnavailable.
        """
        contents = [code.content.decode("utf-8", "replace") for code in codes]
        for content in contents:
            if (proposal := self._of_sheet(content)) or (proposal := self._of_ins(actor, content)):
                return proposal
        return self._of_text(actor, text, today)

    def _check(self, patient: str, type: str, mac: int | None = None) -> str:  # noqa: A002  # as above
        message = bind("coffre/sheet/v1", self._tenant, patient, type)
        return self._keys.mac(Purpose.FINGERPRINT, message, number=mac)[:SHEET_MAC_BYTES].hex()

    def _is_ours(self, patient: str, type: str, check: str) -> bool:  # noqa: A002  # as above
        """Whether a sheet was printed here, under any MAC key that is left: paper outlives a rotation."""
        with key_faults():
            for mac in self._keys.versions(KeyUse.MAC):
                with suppress(KeyMissing, KeyDestroyed):  # an older key may have stayed on a token that was left behind
                    if hmac.compare_digest(self._check(patient, type, mac), check):
                        return True
        return False

    def _of_sheet(self, content: str) -> Proposal | None:
        parts = content.split(" ")
        if len(parts) != 4 or parts[0] != SHEET or parts[2] not in {kind.code for kind in CATALOGUE}:
            return None
        if not parts[3].isascii() or not self._is_ours(parts[1], parts[2], parts[3]):
            return None
        return Proposal(PatientId(parts[1]), parts[2], source="sheet")

    def _of_ins(self, actor: Actor, content: str) -> Proposal | None:
        ins = ins_fields(content).get("S1", "")[:13]
        if len(ins) != 13:
            return None
        found = self._patients.recognise(actor, [{(IndexName.INS, ins)}], lambda who: (who.ins or "")[:13] == ins)
        return Proposal(found[0].id, source="ins") if len(found) == 1 else None

    def _of_text(self, actor: Actor, text: str, today: date) -> Proposal | None:
        dates = dates_in(text, today)
        if not dates or not joined(text):
            return None
        sets = [{(IndexName.BIRTH_DATE, day)} for day in dates]
        found = self._patients.recognise(actor, sets, lambda who: who.birth_date in dates and names_in(text, who))
        patient = found[0] if len(found) == 1 else None
        born = {who.identity.birth_date for who in found}
        recent = [day for day in dates if day not in born and day > f"{today.year - _RECENT_YEARS}"]
        return Proposal(patient.id if patient else None, act_date=max(recent, default=None), source="text")
