"""The web room: HTTP, sessions, templates. It sees no SQL, no key and no cipher."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from vault.opening import Vault
    from web.processes import Processes
    from web.settings import WebSettings

MIB = 1024 * 1024


def create_app(settings: WebSettings, vault: Vault, processes: Processes | None = None) -> Flask:
    """The WSGI application over an open vault. Making it touches neither the token nor a document.

    ``processes``: those that serve it together; by default this one alone.
    Raises BadSettings where the ``[web]`` table would be unsafe.
    """
    from flask import Flask

    from web import (
        account,
        api,
        audit,
        corrections,
        documents,
        doubles,
        emergency,
        errors,
        inbox,
        meter,
        pages,
        passkeys,
        patients,
        people,
        quarantine,
        reading,
        retention,
        review,
        safety,
        session,
        signin,
        status,
        ways_in,
    )
    from web.settings import judge

    table = judge(settings.web)
    app = Flask(__name__, static_folder=None)
    app.ensure_sync = lambda func: func  # type: ignore[method-assign]  # none of ours is a coroutine: not asked six times a request
    app.extensions["coffre"] = vault
    app.config.update(DOCUMENT_BYTES=vault.settings.limits.document_mib * MIB, PRACTICE=table.practice)
    app.jinja_env.globals["document_bytes"] = app.config["DOCUMENT_BYTES"]
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it
    errors.install(app)
    safety.protect(app, table)
    status.install(app, processes)
    session.install(app)
    pages.install(app, table)
    audit.install(app)
    doubles.install(app)
    emergency.install(app)
    inbox.install(app)
    meter.install(app)
    quarantine.install(app)
    reading.install(app)
    retention.install(app)
    review.install(app)
    for blueprint in (
        signin.signin,
        patients.patients,
        documents.documents,
        corrections.corrections,
        audit.audit,
        account.account,
        people.people,
        passkeys.passkeys,
        ways_in.ways_in,
        status.status,
        api.api,
    ):
        app.register_blueprint(blueprint)
    return app
