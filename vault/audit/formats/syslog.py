"""Owns the syslog copy of the log: RFC 5424 messages, one an entry, for a collector. It must not know where lines come from.

Facility 13 (log audit). Names of people and patients are never in it: collectors keep what they get.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from vault.audit.lines import Line

FACILITY: Final = 13
ENTERPRISE: Final = 32473
"""The number that RFC 5612 gives to documentation: this software has none of its own."""
_QUOTED: Final = re.compile(r'(["\\\]])')
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


def message(line: Line, host: str) -> bytes:
    """One message, without framing."""
    moment = datetime.fromtimestamp(line.at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    facts = {
        "position": line.position,
        "outcome": line.outcome.value,
        "actorKind": line.actor_kind,
        "actor": line.actor_ref,
        "role": line.actor_role,
        "patient": line.patient_ref,
        "document": line.document,
        "person": line.person,
        "ip": line.ip,
        "session": line.session,
        "code": line.code,
        "breakglass": int(line.is_breakglass) or "",
        "leaf": line.leaf_hash,
    }
    said = " ".join(f'{name}="{_value(str(value))}"' for name, value in facts.items() if value != "")
    priority = FACILITY * 8 + int(line.severity)
    head = f"<{priority}>1 {moment}.{line.at % 1_000_000:06d}Z {_token(host, 255)} coffre - {_token(line.action.value, 32)}"
    return f"{head} [entry@{ENTERPRISE} {said}]".encode()


def write(pages: Iterable[list[Line]], host: str) -> Iterator[bytes]:
    """One message a line."""
    for page in pages:
        yield b"".join([message(line, host) + b"\n" for line in page])


def framed(data: bytes) -> bytes:
    """Octet counting (RFC 6587 §3.4.1, RFC 5425 §4.3): length, space, message."""
    return str(len(data)).encode() + b" " + data


def _value(text: str) -> str:
    return _QUOTED.sub(r"\\\1", _CONTROL.sub(" ", text))


def _token(text: str, limit: int) -> str:
    """PRINTUSASCII, at most ``limit``; ``-`` for nothing."""
    return "".join(letter for letter in text if "!" <= letter <= "~")[:limit] or "-"
