"""Owns the quarantine's page: what was set apart, scan it again, destroy it. It must not know how a file is scanned."""

from __future__ import annotations

from flask import Blueprint, Flask, redirect, render_template, url_for
from werkzeug import Response

from vault.audit.events import Action
from vault.errors import AlreadyPresent, ScannerUnavailable, TooLarge, VaultError
from vault.model import Actor, DocumentId
from vault.people.policy import Act, ever_allowed
from web import navigation
from web.answers import html
from web.routes import audited, not_audited
from web.session import actor, vault

quarantine = Blueprint("quarantine", __name__)


def _page(refused: VaultError | None = None) -> str:
    return render_template(
        "inbox/quarantine.html",
        files=vault().quarantine.list(actor()),
        days=vault().quarantine.days,
        names=vault().people.roster.display_names(),
        refusal=refused.code if refused else "",
    )


@quarantine.get("/quarantine")
@not_audited("says what the scanner recognised and who sent it; nothing of the files is opened")
def index() -> str:
    """What was set apart, newest first."""
    return _page()


@quarantine.post("/quarantine/<document>/rescan")
@audited(Action.DOCUMENT_RESCAN)
def rescan(document: str) -> Response:
    """Have one file scanned again; a clean one waits in the inbox from then on."""
    try:
        is_clean = vault().quarantine.rescan(actor(), DocumentId(document))
    except (AlreadyPresent, ScannerUnavailable, TooLarge) as error:
        return html(_page(error), 409 if isinstance(error, AlreadyPresent) else 503)
    return redirect(url_for("quarantine.index", done="quarantine-released" if is_clean else "quarantine-kept"), 303)


@quarantine.post("/quarantine/<document>/discard")
@audited(Action.DOCUMENT_DELETE)
def discard(document: str) -> Response:
    """Destroy one file with its key."""
    vault().quarantine.discard(actor(), DocumentId(document))
    return redirect(url_for("quarantine.index", done="quarantine-destroyed"), 303)


def _apart(who: Actor) -> int:
    return vault().quarantine.count(who) if Act.QUARANTINE_MANAGE in ever_allowed(who.role) else 0


def install(app: Flask) -> None:
    """Register the page and the number beside its entry."""
    navigation.counts["quarantine.index"] = _apart
    app.register_blueprint(quarantine)
