"""Owns the CSV copy of the log for spreadsheets, in French and English dialects. It must not know where lines come from.

RFC 4180 with CRLF, UTF-8 with a byte order mark (spreadsheets guess the encoding without it). A cell that a spreadsheet would
run as a formula is shown as text: a leading apostrophe (OWASP, "CSV injection").
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

from vault.audit.lines import DETAILS
from vault.audit.period import ZONE
from vault.audit.reading import Unsealed
from vault.audit.words import WORDS
from vault.model import PersonId

COLUMNS = (
    "seq", "date_heure_locale", "time_utc", "action", "libelle", "outcome", "severity", "actor_ref", "actor_name", "actor_role",
    "auth_methods", "patient_ref", "patient_name", "document_ref", "document_class", "purpose", "reason", "break_glass",
    "relation_flags", "client_ip", "workstation", "session_ref", "op", "detail", "leaf_hash",
)  # fmt: skip
_OVERRIDES = "\u202a-\u202e\u2066-\u2069"
"""Letters that change the direction of the text around them."""
_UNSAFE = re.compile(rf"^[ \t\r\n]*[=+\-@＝＋－＠]|[\x00-\x1f\x7f-\x9f{_OVERRIDES}]")
_FORMULA = re.compile(r"[ ]*[\t\r\n=+\-@＝＋－＠]")
"""What starts a formula in Excel, LibreOffice or Sheets, full-width twins included."""
_BREAKS = re.compile(r"[\t\r\n]")
_HIDDEN = re.compile(rf"[\x00-\x1f\x7f-\x9f{_OVERRIDES}]")
BOM = b"\xef\xbb\xbf"
SHOWN: Final = 4_096
"""Texts whose cell is remembered."""
_NOTHING: Final[dict[str, Any]] = {}


class Dialect(StrEnum):
    """French spreadsheets want semicolons, English ones commas."""

    FR = "fr"
    EN = "en"

    @property
    def delimiter(self) -> str:
        return ";" if self is Dialect.FR else ","


@dataclass(frozen=True, slots=True)
class Look:
    """How the copy speaks: dialect and time zone."""

    dialect: Dialect = Dialect.FR
    zone: ZoneInfo = ZONE


def cell(value: str) -> str:
    """The value as a spreadsheet must show it: never a formula, no control character, no bidirectional override."""
    if not _UNSAFE.search(value):
        return value
    clean = _HIDDEN.sub("", _BREAKS.sub(" ", value))
    return "'" + clean if _FORMULA.match(value) else clean


class _Shown(dict[str, str]):
    """``cell`` of what has been shown before: names, roles, addresses and workstations come back in every other line."""

    def __missing__(self, value: str) -> str:
        if len(self) > SHOWN:
            self.clear()
        self[value] = shown = cell(value)
        return shown


class Cells:
    """Makes the cells of one entry after the other, straight from its opened groups.

    What people or other machines may have typed goes through ``cell``; identifiers of ours are letters and digits.
    """

    def __init__(self, look: Look, people: Mapping[PersonId, str]) -> None:
        """``people``: the names of the accounts."""
        self._zone = look.zone
        self._labels = {action.value: label for action, label in WORDS[look.dialect].items()}
        self._people = people
        self._shown = _Shown()
        self._second = -1
        self._local = self._utc = ""

    def of(self, position: int, unsealed: Unsealed, patient_name: str) -> tuple[str, ...]:
        """In the order of COLUMNS."""
        hashed, leaf, *groups = unsealed
        actor, subject, client, note = [group or _NOTHING for group in groups]
        second, fraction = divmod(leaf["t"], 1_000_000)
        if second != self._second:
            self._tick(second)
        shown, action = self._shown, leaf["action"]
        who, document, detail = actor.get("ref", ""), subject.get("document", ""), self._detail(leaf, subject, note)
        return (
            str(position),
            self._local,
            f"{self._utc}.{fraction:06d}Z",
            action,
            self._labels[action],
            leaf["outcome"],
            str(leaf["sev"]),
            shown[who],
            shown[self._people.get(who, "")],
            actor.get("role", ""),
            actor.get("amr", ""),
            subject.get("patient", ""),
            shown[patient_name],
            document if document.isalnum() else cell(document),
            shown[subject.get("class", "")],
            note.get("purpose", ""),
            cell(note["reason"]) if "reason" in note else "",
            "1" if note.get("breakglass") == 1 else "0",
            shown[note.get("relation", "")],
            shown[client.get("ip", "")],
            shown[client.get("workstation", "")],
            shown[actor.get("session", "")],
            shown[leaf.get("op", "")],
            shown[detail],
            hashed.hex(),
        )

    def _tick(self, second: int) -> None:
        """Local and UTC words of a second; neighbours in a log share it."""
        moment = datetime.fromtimestamp(second, UTC)
        self._second = second
        self._local = moment.astimezone(self._zone).strftime("%Y-%m-%d %H:%M:%S")
        self._utc = moment.strftime("%Y-%m-%dT%H:%M:%S")

    @staticmethod
    def _detail(leaf: dict[str, Any], subject: dict[str, Any], note: dict[str, Any]) -> str:
        get, about = note.get, subject.get
        said = (get("code"), about("version"), get("bytes"), get("count"), get("changed"), about("person"), leaf.get("ref"))
        return " ".join([f"{name}={value}" for name, value in zip(DETAILS, said, strict=True) if value is not None])


def write(pages: Iterable[list[tuple[str, ...]]], look: Look) -> Iterator[bytes]:
    """The file, a chunk for each page: mark, header, one record a line."""
    yield BOM + _record(COLUMNS, look)
    delimiter, wanted = look.dialect.delimiter, len(COLUMNS) - 1
    for page in pages:
        records = []
        for values in page:
            # No cell holds a line's end. Without a quote, or a delimiter too many, nothing in this record has to be quoted.
            plain = delimiter.join(values)
            records.append(plain + "\r\n" if '"' not in plain and plain.count(delimiter) == wanted else _quoted(values, look))
        yield "".join(records).encode("utf-8")


def trailer(count: int, last: int, look: Look) -> bytes:
    """The last record: a copy without it was cut."""
    end = ("#", "complete", f"count={count}", f"last={last}")
    return _record((*end, *[""] * (len(COLUMNS) - len(end))), look)


def _quoted(values: tuple[str, ...], look: Look) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=look.dialect.delimiter, lineterminator="\r\n").writerow(values)
    return buffer.getvalue()


def _record(values: tuple[str, ...], look: Look) -> bytes:
    return _quoted(values, look).encode("utf-8")
