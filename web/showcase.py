"""Owns the invented examples of the page that shows every component. It must not know anything real."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

from vault.model import Document, DocumentId, Identity, Micros, Patient, PatientId, PersonId, Sex

FILED_AT = Micros(1_795_000_000_000_000)


def _document(number: int, code: str, act_date: date | None, name: str) -> Document:
    return Document(
        id=DocumentId(f"{number:032x}"),
        patient=PatientId("0" * 32),
        version=1 + number % 2,
        type=code,
        act_date=act_date,
        file_name=name,
        size=1_234_567 * number,
        deposited_by=PersonId("0" * 32),
        deposited_at=FILED_AT,
    )


def examples() -> dict[str, Any]:
    """Everything that the showcase's template needs."""
    identity = Identity("Exemple", ("Camille", "Lou"), "1980-03-12", Sex.FEMALE, used_name="Modèle")
    return {
        "patient": Patient(PatientId("0" * 32), identity, FILED_AT),
        "status": SimpleNamespace(label="Identité qualifiée", tone="good"),
        "years": [
            (
                2026,
                [
                    _document(1, "11502-2", date(2026, 11, 20), "bilan.pdf"),
                    _document(2, "57833-6", date(2026, 6, 2), "ordo.pdf"),
                ],
            ),
            (None, [_document(3, "A-QUALIFIER", None, "Scan_0147.pdf")]),
        ],
        "tones": ("", "good", "caution", "bad", "information", "accent"),
    }
