"""Owns the CSV copy of the log for spreadsheets, in French and English dialects. It must not know where lines come from.

RFC 4180 with CRLF, UTF-8 with a byte order mark (spreadsheets guess the encoding without it). A cell that a spreadsheet would
run as a formula is shown as text: a leading apostrophe (OWASP, "CSV injection").
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from vault.audit.events import Severity
from vault.audit.lines import Line
from vault.audit.period import ZONE
from vault.audit.words import WORDS

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
_DIGITS = {severity: str(int(severity)) for severity in Severity}
_BREAKS = re.compile(r"[\t\r\n]")
_HIDDEN = re.compile(rf"[\x00-\x1f\x7f-\x9f{_OVERRIDES}]")
BOM = b"\xef\xbb\xbf"


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


@lru_cache(maxsize=256)
def _second(second: int, zone: ZoneInfo) -> tuple[str, str]:
    """Local and UTC words of a second; neighbours in a log share it."""
    moment = datetime.fromtimestamp(second, UTC)
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"), moment.strftime("%Y-%m-%dT%H:%M:%S")


def cells(line: Line, look: Look) -> tuple[str, ...]:
    """A line's cells, in the order of COLUMNS. What people or other machines may have typed goes through ``cell``."""
    second, fraction = divmod(line.at, 1_000_000)
    local, utc = _second(second, look.zone)
    return (
        str(line.position),
        local,
        f"{utc}.{fraction:06d}Z",
        line.action.value,
        WORDS[look.dialect][line.action],
        line.outcome.value,
        _DIGITS[line.severity],
        cell(line.actor_ref),
        cell(line.actor_name),
        line.actor_role,
        line.methods,
        line.patient_ref,
        cell(line.patient_name),
        cell(line.document),
        cell(line.document_class),
        line.purpose,
        cell(line.reason),
        "1" if line.is_breakglass else "0",
        cell(line.relation),
        cell(line.ip),
        cell(line.workstation),
        cell(line.session),
        cell(line.op),
        cell(line.detail),
        line.leaf_hash,
    )


def write(pages: Iterable[list[Line]], look: Look) -> Iterator[bytes]:
    """The file, a chunk for each page: mark, header, one record a line."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=look.dialect.delimiter, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    yield BOM + _taken(buffer)
    for page in pages:
        writer.writerows([cells(line, look) for line in page])
        yield _taken(buffer)


def trailer(count: int, last: int, look: Look) -> bytes:
    """The last record: a copy without it was cut."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=look.dialect.delimiter, lineterminator="\r\n")
    end = ["#", "complete", f"count={count}", f"last={last}"]
    writer.writerow(end + [""] * (len(COLUMNS) - len(end)))
    return _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    data = buffer.getvalue().encode("utf-8")
    buffer.seek(0)
    buffer.truncate()
    return data
