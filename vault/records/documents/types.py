"""Owns the catalogue of document types: what a practice may call a document. It must not know documents.

Codes are LOINC codes or those of the French CI-SIS value set for document types (JDV_J06/J07), but ``A-QUALIFIER``, ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vault.errors import Invalid


class DocumentClass(StrEnum):
    """What the log and the filters of a patient's page may say of a document: coarser than its type."""

    BIOLOGY = "biology"
    IMAGING = "imaging"
    REPORT = "report"
    LETTER = "letter"
    SUMMARY = "summary"
    PRESCRIPTION = "prescription"
    CERTIFICATE = "certificate"
    PREVENTION = "prevention"
    PHOTO = "photo"
    ADMINISTRATIVE = "administrative"
    UNQUALIFIED = "unqualified"


CLASS_LABELS: dict[DocumentClass, tuple[str, str]] = {
    DocumentClass.BIOLOGY: ("Biologie", "Laboratory"),
    DocumentClass.IMAGING: ("Imagerie", "Imaging"),
    DocumentClass.REPORT: ("Comptes rendus", "Reports"),
    DocumentClass.LETTER: ("Lettres", "Letters"),
    DocumentClass.SUMMARY: ("Synthèses", "Summaries"),
    DocumentClass.PRESCRIPTION: ("Prescriptions", "Prescriptions"),
    DocumentClass.CERTIFICATE: ("Certificats", "Certificates"),
    DocumentClass.PREVENTION: ("Prévention", "Prevention"),
    DocumentClass.PHOTO: ("Photos", "Photos"),
    DocumentClass.ADMINISTRATIVE: ("Administratif", "Administrative"),
    DocumentClass.UNQUALIFIED: ("À qualifier", "To be qualified"),
}
"""French and English."""


class Sensitivity(StrEnum):
    """Confidentiality as HL7 v3 writes it: normal, restricted (the patient's most intimate or binding papers)."""

    NORMAL = "N"
    RESTRICTED = "R"


class Retention(StrEnum):
    """Which rule usually ends the keeping (the durations themselves are policy data): with the file, or apart from it."""

    FILE = "R-20"
    TRANSFUSION = "R-TR"


@dataclass(frozen=True, slots=True)
class DocumentType:
    """One entry of the catalogue."""

    code: str
    fr: str
    en: str
    group: DocumentClass
    sensitivity: Sensitivity = Sensitivity.NORMAL
    is_administrative: bool = False
    """Reception may open an administrative document; a medical one only within the rules of vault/people/policy.py."""
    purpose: str = "TREAT"
    """HL7 v3 PurposeOfUse for which such a document is kept."""
    retention: Retention = Retention.FILE

    def label(self, language: str) -> str:
        """The label in ``fr`` or, for any other language, in English."""
        return self.fr if language.startswith("fr") else self.en


_C = DocumentClass
UNQUALIFIED = "A-QUALIFIER"

CATALOGUE: tuple[DocumentType, ...] = (
    DocumentType("11502-2", "Biologie (compte rendu)", "Laboratory report", _C.BIOLOGY),
    DocumentType("18748-4", "Imagerie (compte rendu)", "Imaging report", _C.IMAGING),
    DocumentType("11488-4", "Consultation", "Consultation note", _C.REPORT),
    DocumentType("11490-0", "Lettre de liaison", "Discharge letter", _C.LETTER),
    DocumentType("96349-6", "Lettre d’adressage", "Referral letter", _C.LETTER),
    DocumentType("34112-3", "Compte rendu hospitalier", "Hospital report", _C.REPORT),
    DocumentType("34874-8", "Compte rendu opératoire", "Operative report", _C.REPORT),
    DocumentType("15507-7", "Urgences (compte rendu)", "Emergency report", _C.REPORT),
    DocumentType("60568-3", "Anatomopathologie (compte rendu)", "Pathology report", _C.BIOLOGY),
    DocumentType("60591-5", "Synthèse (volet de synthèse médicale)", "Patient summary", _C.SUMMARY),
    DocumentType("57833-6", "Ordonnance", "Prescription", _C.PRESCRIPTION),
    DocumentType("57828-6", "Autre prescription", "Other prescription", _C.PRESCRIPTION),
    DocumentType("55115-0", "Demande d’imagerie", "Imaging request", _C.PRESCRIPTION),
    DocumentType("89601-9", "Certificat médical", "Medical certificate", _C.CERTIFICATE),
    DocumentType("59284-0", "Consentement", "Consent", _C.CERTIFICATE, Sensitivity.RESTRICTED),
    DocumentType("EXPPAT_3", "Directives anticipées", "Advance directives", _C.CERTIFICATE, Sensitivity.RESTRICTED),
    DocumentType("87273-9", "Vaccination", "Immunisation", _C.PREVENTION),
    DocumentType("52040-3", "Photo clinique", "Clinical photograph", _C.PHOTO, Sensitivity.RESTRICTED),
    DocumentType(
        "51851-4",
        "Document administratif",
        "Administrative document",
        _C.ADMINISTRATIVE,
        is_administrative=True,
        purpose="HOPERAT",
    ),
    DocumentType(
        "PIECE-IDENTITE", "Pièce d’identité", "Identity document", _C.ADMINISTRATIVE, is_administrative=True, purpose="HOPERAT"
    ),
    DocumentType(
        "ATTEST-DROITS-AM",
        "Attestation de droits",
        "Health insurance certificate",
        _C.ADMINISTRATIVE,
        is_administrative=True,
        purpose="HOPERAT",
    ),
    DocumentType(UNQUALIFIED, "À qualifier", "To be qualified", _C.UNQUALIFIED),
)
"""In the order in which a form proposes them."""

_BY_CODE = {kind.code: kind for kind in CATALOGUE}


def document_type(code: str) -> DocumentType:
    """The entry of ``code``. Raises Invalid for an unknown one."""
    try:
        return _BY_CODE[code]
    except KeyError:
        raise Invalid("unknown document type", field="type", reason="unknown_type") from None
