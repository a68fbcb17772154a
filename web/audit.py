"""Owns the auditor's pages: verdict first, filters, table, export. It must not know how the log is kept or proven."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, current_app, redirect, render_template, request, url_for
from flask_babel import get_locale
from flask_babel import gettext as _
from werkzeug import Response as AnyResponse

from vault.audit.auditing import ExportFile, Format
from vault.audit.events import Action, Outcome
from vault.audit.formats.csv import Dialect, Look
from vault.audit.lines import Line
from vault.audit.period import parse_period
from vault.audit.questions import QUESTIONS
from vault.audit.search import COUNTED, Filters, is_technical
from vault.audit.words import WORDS
from vault.errors import Busy, Invalid, NotFound, Tampered
from vault.model import PatientId
from vault.people.policy import LOG_REACH, Act, LogReach, decide_role
from web import event_words
from web.answers import html
from web.asked import asked, before, errors_of, filters_of, one_of, refusal_of
from web.forms import field_errors
from web.routes import audited, not_audited
from web.session import actor, vault

audit = Blueprint("audit", __name__)
SHOWN = 50
CHOSEN = ("action", "actor", "detector", "outcome", "question")
"""Filters that are chosen, not typed: a wrong one is forgotten, where a typed one stays to be corrected."""

OWN_QUESTIONS = ("opened", "filed", "left", "outside", "breakglass", "related", "refused")
"""What somebody may want to know of their own accesses."""
RUNNING = threading.Lock()
"""One verification at a time in a process: it reads the whole log."""


def _is_quiet(given: dict[str, str]) -> bool:
    """Whether the log's own readers are left out: unless they, or everything, are what was asked for."""
    return not ("readings" in given or "action" in given or given.get("question") in {"log", "keys"})


def _people(chosen: str = "") -> list[tuple[str, str]]:
    """Whom one may filter by: everybody for those who read everything, oneself for others.

    ``chosen`` is among them by its id where nobody has it, so that the field never says "all" over one person's events.
    """
    if LOG_REACH[actor().role] not in {LogReach.EVERYTHING, LogReach.PRACTICE}:
        return []
    known = sorted(vault().people.roster.display_names().items(), key=lambda pair: pair[1].casefold())
    return [*known, *([(chosen, chosen)] if chosen and chosen not in dict(known) else [])]


def _questions() -> tuple[str, ...]:
    """Those to which the reader's part of the log can hold an answer."""
    match LOG_REACH[actor().role]:
        case LogReach.EVERYTHING | LogReach.PRACTICE:
            return tuple(QUESTIONS)
        case LogReach.TECHNICAL:
            asked_of = {name: filters.actions for name, filters in QUESTIONS.items()}
            return tuple(name for name, actions in asked_of.items() if actions and all(map(is_technical, actions)))
        case LogReach.OWN | LogReach.OWN_PATIENTS:
            return OWN_QUESTIONS


def _around(given: dict[str, str]) -> dict[str, Any]:
    """What the page shows whatever was asked."""
    return {
        "lines": (),
        "given": given,
        "errors": {},
        "people": _people(given.get("actor", "")),
        "verified": vault().auditing.last_verdict(),
        "since": vault().installation.created_at,
        "size": vault().auditing.size(),
        "signed": vault().auditing.latest_checkpoint(),
        "witnessed": vault().auditing.witnessed(),
        "actions": sorted(((str(action), action_label(action)) for action in Action), key=lambda pair: pair[1]),
        "questions": _questions(),
    }


def _shown(given: dict[str, str]) -> dict[str, Any]:
    """The page with what was found. Raises Invalid."""
    filters, start = filters_of(given), before()
    found = vault().auditing.timeline(
        actor(), filters, before=start, limit=SHOWN, is_quiet=_is_quiet(given), is_counted=bool(given)
    )
    older = urlencode({**given, "before": found.next_before}) if found.next_before is not None else ""
    return {
        **_around(given),
        "lines": found.page.items,
        "passed_over": found.passed_over,
        "matching": found.matching,
        "most_counted": COUNTED,
        "older": older,
        "before": start,
        "extent": vault().auditing.extent(actor(), filters) if "extent" in request.args else None,
    }


def _refused(given: dict[str, str], error: Invalid) -> AnyResponse:
    """The page with what was typed, what is wrong with it, and no event at all."""
    decide_role(actor().role, Act.AUDIT_READ)
    errors = errors_of(error)
    sound = {name: value for name, value in given.items() if name not in errors or name not in CHOSEN}
    facts = {**_around(sound), "errors": errors, "refusal": refusal_of(error)}
    return html(render_template("audit/index.html", **facts), 422)


def action_label(action: Action) -> str:
    """What an action is called in this language."""
    return WORDS["fr" if str(get_locale()).startswith("fr") else "en"][action]


@audit.get("/audit")
@audited(Action.AUDIT_VIEW, Action.AUDIT_SEARCH)
def index() -> AnyResponse:
    """The access log: whether it is whole, then what one asks for."""
    try:
        return html(render_template("audit/index.html", **_shown(asked())))
    except Invalid as error:
        return _refused(asked(), error)


@audit.post("/audit/names")
@audited(Action.AUDIT_REVEAL_IDENTITY)
def reveal() -> AnyResponse:
    """The same page with the patients' names, for a reason that goes into the log, one event a patient."""
    try:
        facts = _shown(asked())
    except Invalid as error:
        return _refused(asked(), error)
    references = sorted({line.patient_ref for line in facts["lines"] if line.patient_ref})
    try:
        names = vault().auditing.reveal(actor(), references, request.form.get("reason", ""))
    except Invalid as error:
        return html(render_template("audit/index.html", **facts, names={}, reason_error=field_errors(error)), 422)
    return html(render_template("audit/index.html", **facts, names=names))


@audit.post("/audit/verify")
@audited(Action.AUDIT_VERIFY)
def verify() -> AnyResponse:
    """Verify the whole log now and come back to the verdict."""
    decide_role(actor().role, Act.AUDIT_VERIFY)
    if not RUNNING.acquire(blocking=False):
        raise Busy(retry_after_s=10)
    try:
        vault().auditing.verify(actor())
    finally:
        RUNNING.release()
    return redirect(url_for("audit.index", done="log-verified"), 303)


@audit.post("/audit/export")
@audited(Action.AUDIT_EXPORT)
def export() -> Response:
    """The entries that the filters let through, as a file; the export is itself in the log before its first byte."""
    form = one_of(Format, request.form, "format") or Format.CSV
    dialect = Dialect.FR if str(get_locale()).startswith("fr") else Dialect.EN
    revealing = request.form.get("revealing", "").strip()
    return sent(vault().auditing.export(actor(), filters_of(asked()), form, Look(dialect), revealing=revealing))


def sent(file: ExportFile) -> Response:
    """An export as an attachment, streamed."""
    response = Response(file.chunks, mimetype=file.media_type.partition(";")[0])
    response.headers["Content-Type"] = file.media_type
    response.headers["Content-Disposition"] = f'attachment; filename="{file.file_name}"'
    return response


@audit.get("/patients/<patient>/accesses")
@audited(Action.AUDIT_SEARCH, Action.PATIENT_VIEW)
def patient(patient: str) -> str:
    """Who opened, filed or changed what in one patient's file, for those who treat the patient.

    Files that were merged keep their own history: each is a page, and they lead to each other.
    """
    found = vault().patients.get(actor(), PatientId(patient))
    timeline = vault().auditing.timeline(actor(), Filters(patient=PatientId(patient)), before=before(), limit=SHOWN)
    merges = vault().merging.of(actor(), found.id) if found.absorbed else ()
    return render_template(
        "audit/patient.html",
        patient=found,
        asked=patient,
        merges=merges,
        lines=timeline.page.items,
        next_before=timeline.next_before,
    )


@audit.get("/audit/events/<int:number>")
@audited(Action.AUDIT_VIEW, Action.AUDIT_SEARCH)
def event(number: int) -> str:
    """Everything that one event says, as far as the reader's role goes."""
    found = vault().auditing.timeline(actor(), Filters(), before=number + 1, limit=1).page.items
    if not found or found[0].position != number:
        raise NotFound
    return render_template("audit/event.html", line=found[0])


@audit.get("/audit/events/<int:number>/proof")
@audited(Action.AUDIT_EXPORT)
def proof(number: int) -> Response:
    """One event with the proof that it stands in the signed log (C2SP tlog-proof)."""
    return attached(vault().auditing.proof(actor(), number), f"proof-{number}.txt")


@audit.post("/audit/report")
@audited(Action.PATIENT_REPORT_GIVEN)
def report() -> str:
    """Who accessed a patient's file, in plain French, to be printed and handed to the patient who asked."""
    given = asked()
    paper = vault().auditing.patient_report(actor(), filters_of(given), practice())
    return render_template("audit/paper.html", paper=paper, back=f"{url_for('audit.index')}?{urlencode(given)}")


@audit.post("/patients/<patient>/accesses/report")
@audited(Action.PATIENT_REPORT_GIVEN)
def patient_report(patient: str) -> str:
    """The same paper from the patient's own page, for those who treat the patient."""
    since, until = parse_period(request.form.get("since"), request.form.get("until"))
    filters = Filters(since=since, until=until, patient=PatientId(patient))
    paper = vault().auditing.patient_report(actor(), filters, practice())
    return render_template("audit/paper.html", paper=paper, back=url_for("audit.patient", patient=patient))


@audit.get("/audit/kept")
@not_audited("an empty form")
def kept() -> str:
    """Where an auditor gives the checkpoint that was kept outside."""
    decide_role(actor().role, Act.AUDIT_VERIFY)
    return render_template("audit/kept.html", head=None, fault="", typed="")


@audit.post("/audit/kept")
@audited(Action.AUDIT_SEARCH)
def extends() -> AnyResponse:
    """Whether the log still extends that checkpoint: a plain verdict."""
    typed = request.form.get("checkpoint", "")
    note = typed.strip().replace("\r\n", "\n") + "\n"
    head, fault = None, ""
    try:
        head = vault().auditing.extends(actor(), note)
    except Tampered as error:
        fault = str(error.details.get("kind", "note"))
    return html(render_template("audit/kept.html", head=head, fault=fault, typed=typed), 200 if head else 422)


@audit.get("/audit/sheet")
@not_audited("hashes and signatures, which say nothing about anybody")
def sheet() -> str:
    """The signed head of the log on paper: the weekly sheet that is kept outside."""
    return render_template("audit/paper.html", paper=vault().auditing.sheet(actor(), practice()), back=url_for("audit.index"))


@audit.get("/audit/verifier")
@not_audited("a program that everybody may have")
def verifier() -> Response:
    """The offline verifier: one Python file that needs nothing else."""
    return attached(vault().auditing.verifier(), "coffre_verify.py")


@audit.get("/audit/keys")
@not_audited("public keys, which say nothing about anybody")
def keys() -> Response:
    """The log's public keys: what an auditor keeps apart from any export."""
    decide_role(actor().role, Act.AUDIT_VERIFY)
    return attached(vault().auditing.trust(), "coffre-log-keys.txt")


@audit.get("/audit/checkpoint")
@not_audited("hashes and signatures, which say nothing about anybody")
def checkpoint() -> Response:
    """The signed head of the log, to keep on another machine."""
    signed = vault().auditing.checkpoint(actor())
    return attached(signed.note, f"checkpoint-{signed.checkpoint.size}.txt")


def practice() -> str:
    """The practice's name, as papers bear it."""
    return str(current_app.config["PRACTICE"])


def attached(text: str, name: str) -> Response:
    """A small text file."""
    response = Response(text, mimetype="text/plain")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def happened(line: Line) -> str:
    """What one event says, as people would: the two steps of signing in are told apart."""
    if line.action is Action.AUTH_LOGIN:
        return str(_("Password accepted") if line.outcome is Outcome.PARTIAL else _("Sign-in"))
    return action_label(line.action)


def export_formats() -> list[tuple[str, str]]:
    """The formats of an export with their names; one without a name of its own is shown by its slug."""
    names = {
        "csv": _("Spreadsheet (CSV)"),
        "xlsx": _("Spreadsheet (XLSX)"),
        "bundle": _("Evidence bundle (verifiable)"),
        "jsonl": _("Programs (JSON Lines)"),
        "fhir": _("Hospital systems (FHIR AuditEvent)"),
    }
    return [(str(form), names.get(str(form), str(form))) for form in Format]


def install(app: Flask) -> None:
    """Give ``app`` the words of the log."""
    event_words.install(app)
    app.jinja_env.filters["happened"] = happened
    app.jinja_env.globals["export_formats"] = export_formats
