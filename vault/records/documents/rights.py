"""Owns what policy wants to know of one document, beside its reader's tie to the patient. It must not know bodies or blobs."""

from __future__ import annotations

from dataclasses import replace

from vault.audit.events import Action
from vault.model import Actor, Micros
from vault.people.policy import Act, DocumentClass, Relation
from vault.records.documents.catalogue import StoredVersion
from vault.records.documents.descriptions import Description
from vault.records.documents.types import document_type

_HOUR = 3_600_000_000

ACT_OF: dict[Action, Act] = {
    Action.DOCUMENT_VIEW: Act.DOCUMENT_VIEW,
    Action.DOCUMENT_PREVIEW: Act.DOCUMENT_VIEW,
    Action.DOCUMENT_DOWNLOAD: Act.DOCUMENT_DOWNLOAD,
    Action.DOCUMENT_PRINT: Act.DOCUMENT_PRINT,
}
"""Which right each way of opening wants: looking, keeping and printing are three."""


def relation_to(relation: Relation, actor: Actor, stored: StoredVersion, description: Description, now: Micros) -> Relation:
    """The relation to a patient, completed with the facts of one document."""
    administrative = document_type(description.type).is_administrative
    return replace(
        relation,
        document_class=DocumentClass.ADMINISTRATIVE if administrative else DocumentClass.MEDICAL,
        is_own_upload=stored.deposited_by == actor.person,
        hours_since_integration=None if stored.integrated_at is None else (now - stored.integrated_at) / _HOUR,
        is_handover=stored.is_handover,
    )
