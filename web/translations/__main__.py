"""Owns the upkeep of the catalogues: ``python -m web.translations`` reads every sentence of the interface, updates the French
catalogue, sets its typography, compiles it, and names what has no translation yet (exit 1). It must not know the sentences.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

WEB = Path(__file__).parents[1]
PO = WEB / "translations" / "fr" / "LC_MESSAGES" / "messages.po"
MO = PO.with_suffix(".mo")
METHODS = [("templates/**.html", "jinja2"), ("**.py", "python")]
OPTIONS = {
    "templates/**.html": {"trim_blocks": "true", "lstrip_blocks": "true", "extensions": "jinja2.ext.do", "silent": "false"}
}
KEYWORDS = {
    "_": None,
    "gettext": None,
    "ngettext": (1, 2),
    "lazy_gettext": None,
    "pgettext": ((1, "c"), 2),
    "lazy_pgettext": ((1, "c"), 2),
}


EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""Stands for every date in the compiled catalogue, so that it only changes with its sentences."""


def typeset(text: str) -> str:
    """French typography: no-break spaces (narrow before ; ! ?, plain before : and inside guillemets) and curly apostrophes."""
    text = text.replace("'", "’")
    text = re.sub(r"[ \u00a0\u202f]+([;!?])", "\u202f\\1", text)
    text = re.sub(r"[ \u00a0\u202f]+:(?=\s|$)", "\u00a0:", text)
    text = re.sub(r"«[ \u00a0\u202f]*", "«\u00a0", text)
    return re.sub(r"[ \u00a0\u202f]*»", "\u00a0»", text)


def extracted() -> Catalog:
    """Every sentence that stands in the code and the templates."""
    catalog = Catalog(project="Coffre", charset="utf-8")
    found = extract_from_dir(str(WEB), METHODS, OPTIONS, KEYWORDS)
    for name, _line, message, _comments, context in sorted(found, key=lambda item: (item[0], item[1])):
        catalog.add(message, None, [(name, 1)], context=context)
    return catalog


def updated() -> Catalog:
    """The French catalogue with every present sentence and none of the gone ones."""
    known = read_po(BytesIO(PO.read_bytes()), locale="fr") if PO.exists() else Catalog(locale="fr")
    fresh = Catalog(locale="fr", project="Coffre", charset="utf-8", fuzzy=False)
    for message in extracted():
        if not message.id:
            continue
        old = known.get(message.id, context=message.context)
        text = old.string if old is not None and not old.fuzzy else ""
        text = tuple(typeset(form) for form in text) if isinstance(text, tuple | list) else typeset(text or "")
        if message.pluralizable and not isinstance(text, tuple):
            text = ("", "")
        places = sorted({(name, 1) for name, _ in message.locations})
        fresh.add(message.id, text, places, context=message.context, flags=message.flags - {"fuzzy"})
    return fresh


def untranslated(catalog: Catalog) -> list[str]:
    """The sentences without a French form."""
    missing = []
    for message in catalog:
        forms = message.string if isinstance(message.string, tuple | list) else (message.string,)
        if message.id and not all(forms):
            missing.append(message.id if isinstance(message.id, str) else message.id[0])
    return missing


def po_bytes(catalog: Catalog) -> bytes:
    """The catalogue as its file, the same on every run."""
    buffer = BytesIO()
    write_po(buffer, catalog, width=0, omit_header=False, sort_output=True, include_lineno=False)
    text = buffer.getvalue().decode()
    return re.sub(
        r'^"(POT-Creation-Date|PO-Revision-Date|Generated-By|Last-Translator|Language-Team|Report-Msgid-Bugs-To):.*\n',
        "",
        text,
        flags=re.MULTILINE,
    ).encode()


def mo_bytes(catalog: Catalog) -> bytes:
    """The compiled catalogue, from what its file says."""
    buffer = BytesIO()
    written = read_po(BytesIO(po_bytes(catalog)), locale="fr")
    written.creation_date = written.revision_date = EPOCH
    write_mo(buffer, written)
    return buffer.getvalue()


def main() -> int:
    """Update, compile, report."""
    catalog = updated()
    PO.parent.mkdir(parents=True, exist_ok=True)
    PO.write_bytes(po_bytes(catalog))
    MO.write_bytes(mo_bytes(catalog))
    missing = untranslated(catalog)
    for sentence in missing:
        print(f"no French for: {sentence}", file=sys.stderr)  # noqa: T201  # a command line tool
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
