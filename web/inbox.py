"""Owns reception's inbox: drop, look, choose patient, type and date, file, next. It must not know how drafts are sealed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from flask import Blueprint, Flask, redirect, render_template, request, url_for
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import (
    AlreadyPresent,
    Conflict,
    EmptyDocument,
    Invalid,
    NotFound,
    NotRenderable,
    Quarantined,
    UnsupportedType,
)
from vault.model import Actor, DocumentId, Patient, PatientId
from vault.records.inbox.drafts import Concordance, Draft
from web import navigation
from web.answers import html
from web.documents import WIDTHS
from web.forms import date_typed, field_errors
from web.pages import today
from web.routes import audited
from web.safety import CAMERA_PERMISSIONS, check_forgery
from web.session import actor, vault
from web.uploads import Form

inbox = Blueprint("inbox", __name__)
SHOWN = 100
FOUND = 8
DAY_US = 86_400_000_000
MOST_PAGES = 60
"""Pages put on the filing page at once: enough to recognise a document; the rest is read once it is filed."""


@inbox.after_request
def allow_camera(response: Response) -> Response:
    """Papers are photographed here, and nowhere else."""
    response.headers["Permissions-Policy"] = CAMERA_PERMISSIONS
    return response


@inbox.get("/inbox")
@inbox.get("/inbox/<draft>")
@audited(Action.DOCUMENT_PREVIEW)
def show(draft: str | None = None) -> str:
    """The queue, the chosen document (the first one by default) and the form that files it."""
    return _desk(DocumentId(draft) if draft else None)


@inbox.post("/inbox")
@audited(Action.DOCUMENT_UPLOAD)
def deposit() -> Response:
    """Take in the documents of a plain form, each sealed while it arrives."""
    form, last, refused = Form(), None, ""
    for part in form.files():
        if last is None and not refused:
            check_forgery(form.fields.get("csrf_token"))
        try:
            last = vault().inbox.deposit(actor(), file_name=part.file_name, body=part).id
        except (AlreadyPresent, UnsupportedType, EmptyDocument, Quarantined) as error:
            refused = error.code
    if last is None and not refused:
        raise EmptyDocument
    return redirect(url_for("inbox.show", draft=last, refused=refused or None), 303)


deposit.checks_forgery_itself = True  # type: ignore[attr-defined]  # the token stands in the form, before the files


@inbox.get("/inbox/<draft>/pages/<int:number>")
@audited(Action.DOCUMENT_PREVIEW)
def page(draft: str, number: int) -> Response:
    """One page of a draft as a picture."""
    if number < 1:
        raise NotFound
    asked = request.args.get("width", WIDTHS[1], type=int)
    width = next((known for known in WIDTHS if known >= asked), WIDTHS[-1])
    turns = request.args.get("turns", 0, type=int)
    drawn = vault().inbox.page(actor(), DocumentId(draft), number, width, quarter_turns=turns)
    return Response(drawn.content, mimetype=drawn.media_type, headers={"Content-Disposition": "inline"})


@inbox.post("/inbox/<draft>/search")
@audited(Action.PATIENT_SEARCH)
def search(draft: str) -> str:
    """Find the patient of a draft; what is typed travels in the body."""
    query = request.form.get("q", "")[:200]
    found = vault().patients.search(actor(), query, FOUND) if query.strip() else None
    return _desk(DocumentId(draft), typed={"q": query}, found=found)


@inbox.post("/inbox/<draft>/file")
@audited(Action.DOCUMENT_REFILE)
def file(draft: str) -> Response:
    """File a draft with a patient and go on to the next one."""
    typed = {name: request.form.get(name, "").strip() for name in ("patient", "type", "act_date", "urgent")}
    following = _following(DocumentId(draft))
    try:
        filed = vault().inbox.file(
            actor(),
            DocumentId(draft),
            PatientId(typed["patient"]),
            type=typed["type"],
            act_date=_date(typed["act_date"]),
            is_urgent=typed["urgent"] == "yes",
        )
    except (Invalid, AlreadyPresent, Conflict, NotFound) as error:
        return html(_desk(DocumentId(draft), typed=typed, refused=error), 422)
    doubt = "yes" if filed.is_elsewhere else None
    return redirect(url_for("inbox.show", draft=following, filed=filed.id, to=filed.patient, doubt=doubt), 303)


@inbox.post("/inbox/<document>/undo")
@audited(Action.DOCUMENT_REFILE)
def undo(document: str) -> Response:
    """Take the last filing back into the inbox."""
    try:
        draft = vault().inbox.take_back(actor(), DocumentId(document)).id
    except (Conflict, NotFound):
        return redirect(url_for("inbox.show", refused="too_late"), 303)
    return redirect(url_for("inbox.show", draft=draft, done="filing-undone"), 303)


@inbox.post("/inbox/<draft>/discard")
@audited(Action.DOCUMENT_DELETE)
def discard(draft: str) -> Response:
    """Destroy a draft and go on."""
    following = _following(DocumentId(draft))
    vault().inbox.discard(actor(), DocumentId(draft))
    return redirect(url_for("inbox.show", draft=following, done="draft-discarded"), 303)


# --- what they share ------------------------------------------------------------------------------------------------------


def _date(text: str) -> date | None:
    return date_typed(text, "act_date", today()) if text else None


def _following(draft: DocumentId) -> DocumentId | None:
    """The draft below this one in the queue, or the first one that is left."""
    return _after(vault().inbox.list(actor(), SHOWN).items, draft)


def _after(drafts: Sequence[Draft], draft: DocumentId) -> DocumentId | None:
    ids = [item.id for item in drafts]
    rest = [other for other in ids if other != draft]
    return ids[ids.index(draft) + 1] if draft in ids and ids[-1] != draft else (rest[0] if rest else None)


def _desk(
    chosen: DocumentId | None, *, typed: dict[str, str] | None = None, found: Any = None, refused: Exception | None = None
) -> str:
    """The whole page for one draft."""
    drafts = vault().inbox.list(actor(), SHOWN)
    first = drafts.items[0].id if drafts.items else None
    draft = _draft(chosen or first)
    typed = typed or _proposed(draft)
    # Whom a person chose comes before whom the page proposes.
    patient = _patient(request.args.get("patient", "") or typed.get("patient", ""))
    return render_template(
        "inbox/show.html",
        drafts=drafts,
        draft=draft,
        pages=range(1, min(draft.pages or 0, MOST_PAGES) + 1) if draft else (),
        width=WIDTHS[1],
        following=_after(drafts.items, draft.id) if draft else None,
        patient=patient,
        concordance=_concordance(draft, patient),
        typed=typed,
        found=found,
        errors=field_errors(refused) if isinstance(refused, Invalid) else {},
        refusal=_refusal(refused),
        last=_last(),
        apart=vault().quarantine.own(actor()),
        yesterday=vault().clock() - DAY_US,
    )


def _draft(draft: DocumentId | None) -> Draft | None:
    """The chosen draft; one that has just been filed by somebody else is not there any more."""
    if draft is None:
        return None
    try:
        return vault().inbox.get(actor(), draft)
    except NotFound:
        return None


def _proposed(draft: Draft | None) -> dict[str, str]:
    """What the form holds at first: what the page itself proposes."""
    proposal = draft.proposal if draft else None
    if proposal is None:
        return {}
    read = f"{date.fromisoformat(proposal.act_date):%d/%m/%Y}" if proposal.act_date else ""
    return {"patient": proposal.patient or "", "type": proposal.type or "", "act_date": read, "read_date": read}


def _patient(patient: str) -> Patient | None:
    try:
        return vault().patients.get(actor(), PatientId(patient)) if patient else None
    except NotFound:
        return None


def _concordance(draft: Draft | None, patient: Patient | None) -> Concordance | None:
    if draft is None or patient is None:
        return None
    try:
        return vault().inbox.concordance(actor(), draft.id, patient.identity)
    except (NotRenderable, NotFound):
        return Concordance.UNREADABLE


def _refusal(error: Exception | None) -> str:
    """The slug of what went wrong, for the banner of the form."""
    match error:
        case None | Invalid():
            return request.args.get("refused", "")
        case AlreadyPresent():
            return "already_present"
        case NotFound():
            return "not_found"
        case _:
            return "already_moved"


def _last() -> dict[str, Any] | None:
    """What was filed a moment ago and with whom, so that a slip is seen at once."""
    filed, to = request.args.get("filed", ""), request.args.get("to", "")
    patient = _patient(to) if filed else None
    return {"document": filed, "patient": patient, "is_elsewhere": request.args.get("doubt") == "yes"} if patient else None


def _waiting(who: Actor) -> int:
    return vault().inbox.count(who)


def install(app: Flask) -> None:
    """Count the waiting documents beside the entry of the navigation."""
    navigation.counts["inbox.show"] = _waiting
    app.register_blueprint(inbox)
