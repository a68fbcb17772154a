"""The catalogue against the program: what can be logged is logged somewhere, or is known to wait for its feature."""

from __future__ import annotations

import re
from pathlib import Path

from vault.audit.events import Action
from vault.audit.words import WORDS

ROOT = Path(__file__).parents[3]
SAID_ELSEWHERE = {"events.py", "words.py", "questions.py"}

AWAITED = {
    Action.ROLE_REVOKE: "an account has one role: giving another one says it all",
    Action.DOCUMENT_LINK_CREATE: "links for people outside",
    Action.DOCUMENT_LINK_REVOKE: "links for people outside",
    Action.DOCUMENT_RESTORE: "taking back a deletion",
    Action.ACCESS_REQUEST: "asking a colleague for access",
    Action.EXPORT_PORTABILITY: "exports of whole files",
    Action.EXPORT_PATIENT_COPY: "exports of whole files",
    Action.EXPORT_BULK: "exports of whole files",
    Action.PRIVACY_BREACH_DECLARED: "the privacy register",
    Action.PRIVACY_BREACH_CLOSED: "the privacy register",
    Action.PRIVACY_REQUEST_OPENED: "the privacy register",
    Action.PRIVACY_REQUEST_CLOSED: "the privacy register",
}
"""What nothing writes yet, and for want of what; whoever makes it takes its line away here."""


def test_every_action_is_written_somewhere_or_known_to_be_awaited() -> None:
    program = "".join(
        path.read_text(encoding="utf-8")
        for room in ("vault", "web")
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name not in SAID_ELSEWHERE
    )
    written = set(re.findall(r"\bAction\.([A-Z_]+)\b", program))
    assert {action for action in Action if action.name not in written} == set(AWAITED)


def test_every_action_has_its_words_in_both_languages() -> None:
    assert all(set(words) == set(Action) for words in WORDS.values())
