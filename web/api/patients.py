"""Owns the patients' part of the API. It must not know how identities are stored or searched."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from vault.audit.events import Action
from vault.model import Identity, IdentityStatus, PatientId, Sex
from web.api.operations import Reply, operation
from web.api.records import patient_json, patients_json
from web.api.shapes import Shape, choice, flag, read_json, text, texts, whole
from web.identity import changed_by
from web.routes import audited
from web.session import actor, vault

patients = Blueprint("patients", __name__)

NEW_PATIENT = Shape(
    "NewPatient",
    {
        "birth_name": text(100),
        "given_names": texts(100, 10),
        "birth_date": text(10, pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
        "sex": choice(Sex),
        "used_name": text(100).optional(),
        "ins": text(32).optional(),
        "ins_oid": text(40).optional(),
        "birth_place": text(5).optional(),
        "birth_place_label": text(100).optional(),
        "is_lunar": flag().optional(default=False),
        "status": choice(IdentityStatus).optional(IdentityStatus.PROVISIONAL),
        "refuse_duplicates": flag().optional(default=False),
    },
)
CORRECTION = Shape(
    "Correction",
    {
        "birth_name": text(100).optional(),
        "given_names": texts(100, 10).optional(),
        "birth_date": text(10, pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$").optional(),
        "sex": choice(Sex).optional(),
        "used_name": text(100, shortest=0).optional(),
        "ins": text(32, shortest=0).optional(),
        "ins_oid": text(40, shortest=0).optional(),
        "birth_place": text(5, shortest=0).optional(),
        "birth_place_label": text(100, shortest=0).optional(),
        "is_lunar": flag().optional(),
        "status": choice(IdentityStatus).optional(),
    },
)
SEARCH = Shape("Search", {"q": text(200, shortest=0), "limit": whole(1, 100).optional(20)})
GONE = ("not_found", "forbidden", "keys_unavailable", "storage_unavailable", "log_unavailable", "tampered")


@patients.post("/patients")
@audited(Action.PATIENT_CREATE)
@operation(
    "Create a patient; says who may be the same person, or with `refuse_duplicates` answers 409 then",
    {201: Reply("The patient", "CreatedPatient")},
    body=NEW_PATIENT,
    errors=("invalid", "conflict", *GONE),
)
def create() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Create a patient."""
    given = read_json(NEW_PATIENT)
    refuses = given.pop("refuse_duplicates")
    patient = vault().patients.create(actor(), Identity(**given), anyway=not refuses)
    shown = {**patient_json(patient, actor()), "possible_duplicates": list(patient.doubles)}
    return shown, 201, {"Location": f"/api/v1/patients/{patient.id}"}


@patients.get("/patients/<patient>")
@audited(Action.PATIENT_VIEW)
@operation("One patient", {200: Reply("The patient", "Patient")}, errors=GONE)
def show(patient: str) -> dict[str, Any]:
    """One patient's identity."""
    return patient_json(vault().patients.get(actor(), PatientId(patient)), actor())


@patients.patch("/patients/<patient>")
@audited(Action.PATIENT_UPDATE)
@operation(
    "Correct an identity: what is given replaces, an empty text takes away, what is left out stays",
    {200: Reply("The patient", "Patient")},
    body=CORRECTION,
    errors=("invalid", "conflict", *GONE),
)
def correct(patient: str) -> dict[str, Any]:
    """Correct an identity."""
    given = read_json(CORRECTION)
    before = vault().patients.get(actor(), PatientId(patient))
    after = vault().patients.update(actor(), PatientId(patient), changed_by(before.identity, given))
    return patient_json(after, actor())


@patients.post("/patients/search")
@audited(Action.PATIENT_SEARCH)
@operation(
    "Find patients by birth date and beginnings of names",
    {200: Reply("Patients", "Patients")},
    body=SEARCH,
    errors=("invalid", *GONE),
)
def search() -> dict[str, Any]:
    """Find patients; the text travels in the body."""
    given = read_json(SEARCH)
    return patients_json(vault().patients.search(actor(), given["q"], given["limit"]), actor())
