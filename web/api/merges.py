"""Owns the API's merges: pairs that may be one patient, two files side by side, merged and parted again. It knows no pages."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from vault.audit.events import REASON_CHARACTERS, Action
from vault.model import PatientId
from web.api.operations import Reply, operation
from web.api.patients import GONE
from web.api.records import merge_json, patient_json, side_json
from web.api.shapes import Shape, identifier, read_json, text
from web.routes import audited
from web.session import actor, vault

merges = Blueprint("merges", __name__)

MERGE = Shape("NewMerge", {"absorbed": identifier(), "reason": text(REASON_CHARACTERS)})
UNDO = Shape("Undoing", {"reason": text(REASON_CHARACTERS)})
PAIR = Shape("Pair", {"one": identifier(), "other": identifier()})


@merges.get("/doubles")
@audited(Action.PATIENT_LIST)
@operation("Pairs of files that may be one patient", {200: Reply("Pairs", "Doubles")}, errors=GONE)
def doubles() -> dict[str, Any]:
    """The pairs that nobody has judged, newest first."""
    pairs = vault().merging.suspected(actor())
    return {"pairs": [[patient_json(patient, actor()) for patient in pair] for pair in pairs]}


@merges.post("/doubles/dismiss")
@audited(Action.PATIENT_UPDATE)
@operation("Say that two files are of two persons", {204: Reply("Noted")}, body=PAIR, errors=("invalid", "conflict", *GONE))
def dismiss() -> tuple[str, int]:
    """The pair is not named again."""
    given = read_json(PAIR)
    vault().merging.dismiss(actor(), PatientId(given["one"]), PatientId(given["other"]))
    return "", 204


@merges.get("/patients/<patient>/compare/<other>")
@audited(Action.PATIENT_VIEW)
@operation("Two files side by side", {200: Reply("Both, and what forbids a merge", "Comparison")}, errors=("conflict", *GONE))
def compare(patient: str, other: str) -> dict[str, Any]:
    """Identities and how much is in each file; ``obstacle`` is a slug, null where they can be merged."""
    found = vault().merging.compare(actor(), PatientId(patient), PatientId(other))
    return {"sides": [side_json(side, actor()) for side in (found.one, found.other)], "obstacle": found.obstacle}


@merges.get("/patients/<patient>/merges")
@audited(Action.PATIENT_VIEW)
@operation("The merges that make up a patient's file", {200: Reply("Merges, newest first", "Merges")}, errors=GONE)
def standing(patient: str) -> dict[str, Any]:
    """What was merged into this file, and until when that can be undone."""
    found = vault().patients.get(actor(), PatientId(patient))
    return {"merges": [merge_json(merge, actor()) for merge in vault().merging.of(actor(), found.id)]}


@merges.post("/patients/<patient>/merges")
@audited(Action.PATIENT_MERGE)
@operation(
    "Merge another file into this one; undone within 30 days",
    {201: Reply("The merge", "Merge", headers=("Location",))},
    body=MERGE,
    errors=("invalid", "conflict", "step_up_required", *GONE),
)
def merge(patient: str) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Read the documents of ``absorbed`` in this file from now on; nothing is moved."""
    given = read_json(MERGE)
    made = vault().merging.merge(actor(), PatientId(patient), PatientId(given["absorbed"]), reason=given["reason"])
    (shown,) = [each for each in vault().merging.of(actor(), made.kept) if each.id == made.id]
    return merge_json(shown, actor()), 201, {"Location": f"/api/v1/patients/{made.kept}/merges"}


@merges.post("/merges/<merge>/undo")
@audited(Action.PATIENT_UNMERGE)
@operation(
    "Make two files again, each as it was",
    {200: Reply("The two, and how many documents were filed since", "Unmerged")},
    body=UNDO,
    errors=("invalid", "conflict", "step_up_required", *GONE),
)
def undo(merge: str) -> dict[str, Any]:
    """What was filed since the merge stays where it was filed."""
    done = vault().merging.undo(actor(), merge, reason=read_json(UNDO)["reason"])
    return {"kept": done.kept, "absorbed": done.absorbed, "filed_since": done.filed_since}
