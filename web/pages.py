"""Owns what every page shares: home, preferences, static files, words and the page that shows the components.

It must not know patients, documents or the log.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, current_app, redirect, render_template, request, send_from_directory, url_for
from flask_babel import Babel, LazyString, get_locale
from flask_babel import lazy_gettext as _
from markupsafe import Markup, escape
from werkzeug import Response as AnyResponse

from vault.model import Micros, Role, Sex
from vault.records.documents.types import CATALOGUE, CLASS_LABELS
from web import identity, navigation, wording
from web.errors import local_target
from web.routes import not_audited, public
from web.safety import cookie_name, set_cookie
from web.session import actor, remaining_s, vault
from web.settings import WebTable
from web.showcase import examples

pages = Blueprint("pages", __name__)
STATIC = Path(__file__).parent / "static"
THEMES = ("auto", "light", "dark")
LANGUAGE_NAMES = {"fr": "Français", "en": "English"}
YEAR_S = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Done:
    """What a page says once after an act succeeded."""

    title: LazyString
    text: LazyString | str = ""


CONFIRMATIONS: dict[str, Done] = {
    "patient-created": Done(_("Patient created"), _("You can file documents now.")),
    "identity-corrected": Done(_("Identity corrected"), _("The access log keeps which fields changed, not what they say.")),
    "patients-merged": Done(_("Files merged"), _("The documents of both stand here. It can be undone for 30 days.")),
    "two-persons": Done(_("Noted: two persons"), _("This pair is not shown again.")),
    "document-filed": Done(_("Document filed"), _("Encrypted, verified and recorded in the access log.")),
    "document-elsewhere": Done(
        _("Filed, but already filed with another patient"),
        _("The same file stands in another patient’s file: check that this is the right patient."),
    ),
    "already-present": Done(
        _("Document already present"), _("The same file was already in this patient’s file: nothing was added.")
    ),
    "document-integrated": Done(_("Seen and validated"), _("The access log names you and the minute.")),
    "document-handover": Done(_("To be handed over"), _("Reception may now open and print it for the patient.")),
    "document-handover-undone": Done(_("No longer to be handed over"), _("Reception no longer opens it for the patient.")),
    "document-urgent": Done(_("Marked as urgent"), _("It stands first among the unread documents.")),
    "document-calm": Done(_("No longer urgent")),
    "filing-undone": Done(_("Filing undone"), _("The document is back in the inbox.")),
    "draft-discarded": Done(_("Document discarded"), _("It was never filed with a patient; the access log keeps the act.")),
    "quarantine-released": Done(_("Nothing was found any more"), _("The file waits in the inbox, to be filed.")),
    "quarantine-kept": Done(_("Still infected"), _("The file stays in quarantine.")),
    "quarantine-destroyed": Done(_("File destroyed"), _("Its key is gone; the access log keeps the act.")),
    "disposal-proposed": Done(_("Elimination proposed"), _("Nothing goes until another person approves.")),
    "disposal-taken-back": Done(_("Proposal taken back"), _("The file stays.")),
    "file-destroyed": Done(_("File destroyed for good"), _("Print its certificate: it is at the foot of this page.")),
    "file-erasing": Done(_("Decided: nobody reaches the file any more"), _("The server destroys the rest within the hour.")),
    "retention-said": Done(_("Dates saved")),
    "hold-set": Done(_("Legal hold set"), _("Nothing of this file can be destroyed.")),
    "hold-cleared": Done(_("Legal hold cleared"), _("Its days are added to the retention.")),
    "password-changed": Done(_("Password changed"), _("Your other sessions were ended.")),
    "phone-changed": Done(_("Telephone changed"), _("Only the new one is asked from now on.")),
    "passkey-added": Done(_("Passkey added"), _("It serves at the next sign-in.")),
    "passkey-removed": Done(_("Passkey removed")),
    "account-disable": Done(_("Account closed"), _("Its sessions have ended.")),
    "account-depart": Done(_("Departure recorded"), _("Sessions, password, telephone and passkeys are gone; the name stays.")),
    "account-remove": Done(_("Account removed"), _("Only the name is left, for the access log.")),
    "account-enable": Done(_("Account open")),
    "account-confirm": Done(_("Access confirmed"), _("It is asked again in a year.")),
    "account-unlock": Done(_("Account unlocked")),
    "account-role": Done(_("Role changed")),
    "account-reset-factor": Done(_("Reset asked for"), _("Another person must approve it within a day.")),
    "account-reset-password": Done(_("Reset asked for"), _("Another person must approve it within a day.")),
    "reset-approved": Done(_("Telephone reset"), _("Another one is set up at the next sign-in.")),
    "reset-refused": Done(_("Reset refused")),
    "window-set": Done(_("Replacement planned")),
    "window-ended": Done(_("Replacement ended")),
    "mode-set": Done(_("Sharing changed"), _("It applies at once.")),
    "glass-broken": Done(_("File open for one hour"), _("The treating doctor and the owner were told.")),
    "glass-closed": Done(_("Emergency access closed")),
    "glass-reviewed": Done(_("Review recorded")),
    "access-changed": Done(_("Access changed"), _("It applies at once.")),
    "session-ended": Done(_("Session ended")),
    "factor-confirmed": Done(_("Identity confirmed"), _("You can go on for five minutes.")),
    "document-refiled": Done(_("Filing corrected"), _("Nobody had opened it with the wrong patient.")),
    "document-replaced": Done(_("Version replaced"), _("The old one stays readable.")),
    "review-recorded": Done(_("Judgement recorded"), _("It is in the log, with its reason.")),
    "log-verified": Done(_("Verification finished"), _("The verdict is at the top of the page.")),
}
"""After-the-act messages by the slug that stands in ``?done=``; nothing personal can stand there."""


def language() -> str:
    """The language of this request: the visitor's choice, a program's Accept-Language, else the practice's first language."""
    offered: tuple[str, ...] = current_app.config["LANGUAGES"]
    chosen = request.cookies.get(cookie_name("language"), "")
    if chosen in offered:
        return chosen
    if request.path.startswith("/api/"):
        return request.accept_languages.best_match(offered, offered[0]) or offered[0]
    return offered[0]


def theme() -> str:
    """The visitor's theme; ``auto`` follows the workstation."""
    chosen = request.cookies.get(cookie_name("theme"), "")
    return chosen if chosen in THEMES else "auto"


def zone() -> str:
    """The time zone in which times are shown."""
    return str(current_app.config["BABEL_DEFAULT_TIMEZONE"])


def today() -> date:
    """The local date, by the vault's clock."""
    return wording.local(vault().clock(), zone()).date()


def kind_label(code: str) -> str:
    """A document type's label in this language; an unknown code is shown as it is."""
    return next((kind.label(str(get_locale())) for kind in CATALOGUE if kind.code == code), code)


@pages.get("/")
@not_audited("leads to the role's own page, which is audited")
def home() -> AnyResponse:
    """Where whoever is signed in begins."""
    return redirect(navigation.home(actor().role), 303)


@pages.post("/preferences")
@not_audited("a language and a theme are no access")
@public("a visitor chooses a language before signing in")
def prefer() -> AnyResponse:
    """Keep a language or a theme in a cookie."""
    response = redirect(local_target(request.form.get("next")) or url_for("pages.home"), 303)
    for name, allowed in (("language", current_app.config["LANGUAGES"]), ("theme", THEMES)):
        if request.form.get(name) in allowed:
            set_cookie(response, name, request.form[name], YEAR_S, readable=True)
    return response


@pages.get("/assets/<version>/<path:name>")
@not_audited("the interface's own files")
@public("style sheets, scripts and fonts of the sign-in page")
def asset(version: str, name: str) -> Response:
    """A file of the interface. Its address holds a digest of all of them, so that browsers may keep it for good."""
    response = send_from_directory(STATIC, name, max_age=YEAR_S)
    is_current = version == current_app.config["ASSETS_VERSION"]
    response.headers["Cache-Control"] = f"public, max-age={YEAR_S}, immutable" if is_current else "no-cache"
    return response


@pages.get("/favicon.ico")
@not_audited("the interface's own files")
@public("browsers ask for it unasked")
def favicon() -> AnyResponse:
    """The icon, where a browser expects it."""
    return redirect(asset_url("icons/coffre.svg"), 301)


@pages.get("/_components")
@not_audited("shows the interface's parts with invented data")
@public("holds nothing of the practice")
def components() -> str:
    """Every component of the design system, in every state."""
    return render_template("showcase.html", **examples())


def asset_url(name: str) -> str:
    """The address of a file of the interface."""
    return url_for("pages.asset", version=current_app.config["ASSETS_VERSION"], name=name)


def _assets_version() -> str:
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(STATIC).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _attributes(values: dict[str, Any]) -> Markup:
    """Keyword arguments of a macro as HTML attributes; False and None are left out, True stands alone."""
    words = []
    for name, value in values.items():
        if value is None or value is False or name == "caller":
            continue
        name = escape(name.strip("_").replace("_", "-"))  # noqa: PLW2901  # the HTML spelling of the same name
        words.append(Markup(" {}").format(name) if value is True else Markup(' {}="{}"').format(name, value))
    return Markup("").join(words)


def _filters() -> dict[str, Any]:
    """Template filters: ``wording`` in the language and time zone of the request."""

    def here() -> str:
        return "fr" if str(get_locale()).startswith("fr") else "en"

    roles = {
        Role.RECEPTION: _("Reception"), Role.CLINICIAN: _("Clinician"), Role.LOCUM: _("Locum"), Role.AUDITOR: _("Auditor"),
        Role.DPO: _("Data protection officer"), Role.OWNER: _("Owner"), Role.ADMIN: _("Technical administrator"),
    }  # fmt: skip
    sexes = {Sex.FEMALE: _("F"), Sex.MALE: _("M"), Sex.INDETERMINATE: _("Indeterminate")}
    return {
        "attributes": _attributes,
        "number": lambda value: wording.number(value, here()),
        "size": lambda value: wording.size(value, here()),
        "day": lambda value: wording.day(value, here()),
        "short_day": lambda value: wording.short_day(value, here()),
        "moment": lambda value: wording.moment(value, zone(), here()),
        "clock_time": lambda value: wording.clock_time(wording.local(value, zone()), here()),
        "local_day": lambda value: wording.day(wording.local(value, zone()).date(), here()),
        "birth_date": lambda value: wording.birth_date(value, here()),
        "age": lambda value: wording.age(value, today(), here()),
        "initials": wording.initials,
        "role": lambda value: roles[Role(value)],
        "sex": lambda value: sexes[Sex(value)],
        "kind": kind_label,
        **identity.filters(),
    }


def class_label(group: str) -> str:
    """A document class's label in this language."""
    french, english = next(labels for key, labels in CLASS_LABELS.items() if key == group)
    return french if str(get_locale()).startswith("fr") else english


def install(app: Flask, settings: WebTable) -> None:
    """Give ``app`` its words, filters and shared pages."""
    app.config.update(
        LANGUAGES=settings.languages,
        BABEL_DEFAULT_LOCALE=settings.languages[0],
        BABEL_DEFAULT_TIMEZONE=settings.time_zone,
        ASSETS_VERSION=_assets_version(),
    )
    Babel(app, locale_selector=language)
    app.jinja_env.filters.update(_filters())
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.add_extension("jinja2.ext.do")
    app.jinja_env.globals.update(
        asset=asset_url,
        tabs=navigation.tabs,
        menu=navigation.menu,
        may=navigation.may,
        class_label=class_label,
        remaining_s=remaining_s,
        endpoints=app.view_functions,
        kind_options=lambda: [(kind.code, kind.label(str(get_locale()))) for kind in CATALOGUE],
        languages=lambda: [(code, LANGUAGE_NAMES[code]) for code in settings.languages],
    )

    @app.context_processor
    def shared() -> dict[str, Any]:
        return {
            "locale": str(get_locale()),
            "theme": theme(),
            "practice": settings.practice,
            "today": today,
            "now": lambda: Micros(vault().clock()),
            "here": lambda: request.full_path.rstrip("?") if request.method == "GET" else url_for("pages.home"),
            "confirmation": lambda: CONFIRMATIONS.get(request.args.get("done", "")),
        }

    app.register_blueprint(pages)
