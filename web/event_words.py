"""Owns the words for what an event of the log says in codes: how somebody signed in, why something was refused, details.

It must not know how the log is kept. A code without words of its own is shown as it is, never left out.
"""

from __future__ import annotations

from babel.lists import format_list
from flask import Flask
from flask_babel import LazyString, get_locale, gettext, ngettext
from flask_babel import lazy_gettext as _

from vault.audit.detect import Detector
from vault.audit.events import Action, Outcome
from vault.audit.lines import Line
from web import wording
from web.errors import TABLE
from web.review import detector_label

METHODS: dict[str, LazyString] = {
    "pwd": _("password"),
    "otp": _("one-time code"),
    "hwk": _("passkey"),
    "recovery": _("recovery code"),
    "cli": _("the server’s console"),
}
CODES: dict[str, LazyString] = {
    "password": _("wrong password"),
    "code": _("wrong code"),
    "password_or_code": _("wrong password or code"),
    "recovery": _("wrong recovery code"),
    "invitation": _("wrong or expired invitation"),
    "replayed": _("code used before"),
    "passkey": _("passkey not accepted"),
    "not_found": _("not found, or not for them"),
    "forbidden": _("not allowed by the role"),
    "step_up_required": _("asked for a fresh code"),
    "locked_out": _("account locked"),
    "sign_in_refused": _("sign-in refused"),
    "keys_unavailable": _("key module away"),
    "pin_refused": _("PIN of the key module refused"),
    "justified": _("judged justified"),
    "unjustified": _("judged not justified"),
    "contained": _("judged without risk"),
    "breach": _("judged a breach of data"),
    "clock_forward": _("the clock was set forward"),
    "clock_backward": _("the clock was set back"),
    "rewound_while_running": _("an older database was put back while the vault ran"),
    "older_database": _("an older database was put back"),
    "behind_mark": _("the log stands behind what the key module remembers"),
    "filed_from_inbox": _("filed from the inbox"),
    "back_to_inbox": _("back to the inbox"),
    "refiled": _("refiled"),
    "draft": _("still in the inbox"),
    "quarantine": _("destroyed from quarantine"),
    "quarantine_expired": _("destroyed at the end of its days in quarantine"),
    "departure": _("departure"),
    "reviewed": _("access confirmed"),
    "unused": _("account unused"),
    "asked": _("asked"),
    "approved": _("approved"),
    "refused": _("refused"),
    "repaired": _("repaired"),
    "swept": _("leftovers swept"),
}
"""Codes of ``Note.code`` beside the detectors' and those of errors."""


def code_words(code: str) -> str:
    """What a code says; the code itself where nobody found words for it."""
    if code in CODES:
        return str(CODES[code])
    if code in set(Detector):
        return detector_label(code)
    return str(TABLE[code].title) if code in TABLE else code


def methods(line: Line) -> str:
    """How the actor had signed in: "password and one-time code"."""
    said = [str(METHODS.get(word, word)) for word in line.methods.split()]
    return str(format_list(said, locale=get_locale() or "fr")) if said else ""


def details(line: Line) -> list[str]:
    """What is left to say, in words; ``Line.detail`` says the same in codes."""
    language = str(get_locale() or "fr")
    said: list[str] = []
    if line.code and line.action is not Action.AUDIT_EXPORT and line.outcome not in {Outcome.DENIED, Outcome.FAILED}:
        said.append(code_words(line.code))
    if line.version is not None:
        said.append(gettext("version %(number)s", number=line.version))
    if line.bytes is not None:
        said.append(wording.size(line.bytes, language))
    if line.count is not None:
        count = wording.number(line.count, language)
        said.append(ngettext("%(number)s item", "%(number)s items", line.count, number=count))
    return said


def install(app: Flask) -> None:
    """Give ``app`` these words."""
    app.jinja_env.filters.update({"code_words": code_words, "sign_in_methods": methods, "event_details": details})
