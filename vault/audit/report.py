"""Owns two papers: a patient's access report in plain French, and the checkpoint sheet that is kept outside.

It must not know rights. Both are HTML in French without scripts, made to be printed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from html import escape
from itertools import groupby
from typing import Final

import segno

from vault.audit.checkpoint import Signed
from vault.audit.events import Action, Outcome
from vault.audit.lines import Line
from vault.audit.period import ZONE
from vault.audit.words import WORDS

ROLES: Final = {
    "reception": "secrétariat",
    "clinician": "soignant",
    "locum": "remplaçant",
    "auditor": "auditeur",
    "dpo": "délégué à la protection des données",
    "owner": "responsable du cabinet",
    "admin": "administrateur technique",
}
_MONTHS: Final = (
    "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre",
)  # fmt: skip
_STYLE: Final = (
    "body{font:11pt/1.5 system-ui,sans-serif;max-width:45em;margin:2em auto;color:#111}"
    "table{border-collapse:collapse;width:100%}td{padding:.2em .6em .2em 0;vertical-align:top;border-top:1px solid #ccc}"
    "pre{font-size:9pt;white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid #999;padding:1em}h2{margin-top:1.6em}"
)


def day_of(at: int) -> str:
    """A French date: 3 mars 2026."""
    return _day(datetime.fromtimestamp(at // 1_000_000, UTC).astimezone(ZONE).date())


def _named(patient: str) -> str:
    """``MARTIN Zoé, 1980-03-12`` as a paper says it; a birth date that is not whole stays as it is."""
    name, comma, born = patient.rpartition(", ")
    try:
        day = date.fromisoformat(born)
    except ValueError:
        return f"<strong>{escape(patient)}</strong>"
    return f"<strong>{escape(name)}</strong>{comma}date de naissance : {_day(day)}"


def _day(day: date) -> str:
    return f"{'1er' if day.day == 1 else day.day} {_MONTHS[day.month - 1]} {day.year}"


def _hour(at: int) -> str:
    return datetime.fromtimestamp(at // 1_000_000, UTC).astimezone(ZONE).strftime("%H\u00a0h\u00a0%M")


@dataclass(frozen=True, slots=True)
class Paper:
    """Something to print: ``body`` for a page that has a title and a style of its own, ``str`` for a file that stands alone."""

    title: str
    body: str = field(repr=False)
    """HTML, everything in it escaped."""

    def __str__(self) -> str:
        """The whole document."""
        title = escape(self.title)
        head = f'<!doctype html><html lang="fr"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        return f"{head}<h1>{title}</h1>{self.body}</html>\n"


def _who(line: Line) -> str:
    role = ROLES.get(line.actor_role, "")
    name = line.actor_name or ("le logiciel" if line.actor_kind == "system" else "une personne du cabinet")
    return f"{name} ({role})" if role else name


def _what(line: Line) -> str:
    words = WORDS["fr"][line.action]
    refused = " (refusé)" if line.outcome in {Outcome.DENIED, Outcome.FAILED} else ""
    urgent = " – accès d’urgence" if line.is_breakglass and line.action is not Action.ACCESS_BREAKGLASS else ""
    return f"{words}{refused}{urgent}"


def access_report(patient: str, lines: Iterable[Line], practice: str, made_at: int) -> Paper:
    """Who accessed a patient's file, day by day, newest first: what the patient may ask for (GDPR article 15).

    ``patient`` and ``practice`` are names. Reasons, addresses and document titles are left out: they may concern others.
    """
    why = (
        "Chaque ligne est un accès à votre dossier, tel que le journal du cabinet l’a enregistré au moment même. "
        "Ce journal est scellé : personne, pas même le cabinet, ne peut en retirer une ligne sans que cela se voie."
    )
    parts = [
        f"<p>Dossier de {_named(patient)} – {escape(practice)}, le {day_of(made_at)}.</p>",
        f"<p>{why}</p>",
    ]
    count = 0
    for day, entries in groupby(lines, key=lambda line: day_of(line.at)):
        rows = []
        for line in entries:
            count += 1
            rows.append(f"<tr><td>{_hour(line.at)}</td><td>{escape(_who(line))}</td><td>{escape(_what(line))}</td></tr>")
        parts.append(f"<h2>{day}</h2><table>{''.join(rows)}</table>")
    parts.append(f"<p>{count} accès en tout.</p>" if count else "<p>Aucun accès dans cette période.</p>")
    parts.append(
        "<p>Une question, un accès que vous ne comprenez pas ? Adressez-vous au cabinet ou à son délégué à la protection des "
        "données. Vous pouvez aussi saisir la CNIL (cnil.fr).</p>"
    )
    return Paper("Qui a consulté mon dossier ?", "".join(parts))


def sheet(signed: Signed, practice: str, facts: Mapping[str, str]) -> Paper:
    """The head of the log on paper, as text and as a QR code: kept in a drawer, it convicts whoever rewrites the past.

    ``facts``: lines to print above it, such as what the last verification found.
    """
    image = io.BytesIO()
    segno.make(signed.note, error="m").save(image, kind="svg", scale=3, xmldecl=False, svgns=True)
    said = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts.items())
    body = (
        f"<p>{escape(practice)} – état du journal des accès le {day_of(signed.at)} à {_hour(signed.at)}, "
        f"{signed.checkpoint.size} lignes.</p><table>{said}</table>{image.getvalue().decode()}<pre>{escape(signed.note)}</pre>"
        "<p>À signer, dater et garder hors du cabinet. Plus tard : enregistrer le texte ci-dessus (ou lire le code) dans un "
        "fichier <code>garde.checkpoint</code>, puis <code>coffre audit verify --since garde.checkpoint</code>, ou donner ce "
        "fichier au vérificateur hors ligne avec <code>--since</code>.</p>"
        "<p>Signature\u00a0: ……………………………… Date\u00a0:\u00a0………………</p>"
    )
    return Paper("Point de contrôle du journal", body)
