"""Owns a carer's reading pages: unread, "Vu et validé", "à remettre", text. It must not know how pages are drawn."""

from __future__ import annotations

import segno
from flask import Blueprint, Flask, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import Forbidden, NotFound
from vault.model import Actor, DocumentId, PatientId
from vault.records.documents.types import UNQUALIFIED, document_type
from web import navigation
from web.documents import WIDTHS, asked_version
from web.routes import audited
from web.session import actor, vault

unread = Blueprint("unread", __name__)
reading = Blueprint("reading", __name__)
MOST_PAGES = 20
"""Pages read out at once; a longer document is downloaded."""


@unread.get("/unread")
@audited(Action.PATIENT_LIST)
def show() -> str:
    """What came in for one's patients and nobody has taken over yet."""
    only_urgent = request.args.get("only") == "urgent"
    waiting = vault().reading.unread(actor(), only_urgent=only_urgent)
    return render_template("reading/unread.html", waiting=waiting, only_urgent=only_urgent)


@reading.post("/documents/<document>/integrate")
@audited(Action.DOCUMENT_INTEGRATE)
def integrate(document: str) -> Response:
    """Take the document over: "Vu et validé"."""
    vault().reading.integrate(actor(), DocumentId(document))
    return redirect(url_for("documents.show", document=document, done="document-integrated"), 303)


@reading.post("/documents/<document>/hand-over")
@audited(Action.DOCUMENT_METADATA)
def hand_over(document: str) -> Response:
    """Let reception open and print it for the patient (``wanted`` yes), or take that back (no)."""
    is_wanted = request.form.get("wanted") != "no"
    vault().reading.hand_over(actor(), DocumentId(document), is_wanted=is_wanted)
    done = "document-handover" if is_wanted else "document-handover-undone"
    return redirect(url_for("documents.show", document=document, done=done), 303)


@reading.post("/documents/<document>/urgent")
@audited(Action.DOCUMENT_METADATA)
def urgent(document: str) -> Response:
    """Put it first among the unread ones (``wanted`` yes), or take that back (no)."""
    is_wanted = request.form.get("wanted") != "no"
    vault().reading.mark_urgent(actor(), DocumentId(document), is_wanted=is_wanted)
    return redirect(url_for("documents.show", document=document, done="document-urgent" if is_wanted else "document-calm"), 303)


@reading.get("/documents/<document>/text")
@audited(Action.DOCUMENT_VIEW)
def text(document: str) -> str:
    """The text of every page, for screen readers and for those who read better in their own letters."""
    found = vault().documents.describe(actor(), DocumentId(document), version=asked_version())
    total = vault().documents.page(actor(), found.id, 1, WIDTHS[0], version=found.version).pages
    numbers = range(1, min(total, MOST_PAGES) + 1)
    texts = [vault().documents.text(actor(), found.id, number, version=found.version) for number in numbers]
    patient = vault().patients.get(actor(), found.patient)
    return render_template("reading/text.html", document=found, patient=patient, texts=texts, total=total)


@reading.get("/patients/<patient>/sheet")
@audited(Action.PATIENT_VIEW)
def sheet(patient: str) -> str:
    """A separator sheet to print: scanned first, it proposes the patient and the type in the inbox."""
    kind = document_type(request.args.get("type") or UNQUALIFIED).code
    found = vault().patients.get(actor(), PatientId(patient))
    said = vault().inbox.sheet(actor(), found.id, kind)
    drawn = segno.make(said, error="q", micro=False).svg_inline(scale=5, omitsize=True)
    return render_template("reading/sheet.html", patient=found, type=kind, code=Markup(drawn))  # noqa: S704  # segno's own SVG of hexadecimal text


def _waiting(who: Actor) -> int:
    try:
        return vault().reading.count(who)
    except (Forbidden, NotFound):
        return 0


def install(app: Flask) -> None:
    """Count what is unread beside the entry of the navigation."""
    navigation.counts["unread.show"] = _waiting
    app.register_blueprint(unread)
    app.register_blueprint(reading)
