"""Owns who plays in the demonstration: people of the practice, patients, and which papers they have. All of them are invented.

It must not know how accounts, patients or documents are stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vault.model import Identity, IdentityStatus, Role, Sex

PRACTICE = "Cabinet des Tilleuls"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who works in the practice."""

    username: str
    display_name: str
    role: Role


RECEPTION = Person("sophie.garnier", "Sophie Garnier", Role.RECEPTION)
TREATING = Person("claire.martin", "Dr Claire Martin", Role.CLINICIAN)
"""The clinician whose care team the patients join."""
OUTSIDE = Person("karim.benali", "Dr Karim Benali", Role.CLINICIAN)
"""A clinician of the same practice who follows only patients of his own."""
LOCUM = Person("louis.perrin", "Dr Louis Perrin", Role.LOCUM)
AUDITOR = Person("nadia.roche", "Nadia Roche", Role.AUDITOR)
DPO = Person("paul.lemaire", "Paul Lemaire", Role.DPO)
OWNER = Person("helene.marchetti", "Dr Hélène Marchetti", Role.OWNER)
ADMIN = Person("thomas.weber", "Thomas Weber", Role.ADMIN)

PEOPLE = (RECEPTION, TREATING, OUTSIDE, LOCUM, AUDITOR, DPO, OWNER, ADMIN)


@dataclass(frozen=True, slots=True)
class Paper:
    """One document to make: which form, what it is filed as, how long ago."""

    form: str
    """The name of a function of vault/demo/paper.py."""
    type: str
    """A code of vault/records/documents/types.py."""
    days_ago: int
    file_name: str
    is_urgent: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A patient, their papers, and who follows them."""

    identity: Identity
    papers: tuple[Paper, ...] = ()
    doctor: Person = TREATING


BIOLOGY, IMAGING, LETTER, PRESCRIPTION = "11502-2", "18748-4", "11490-0", "57833-6"
HOSPITAL, CERTIFICATE, RIGHTS, VACCINATION = "34112-3", "89601-9", "ATTEST-DROITS-AM", "87273-9"


INS_DEMO = "1.2.250.1.213.1.4.11"
"""The register of invented matricules (Référentiel INS)."""


def _identity(birth_name: str, given: str, birth_date: str, sex: Sex, used_name: str | None = None) -> Identity:
    return Identity(birth_name, tuple(given.split()), birth_date, sex, used_name)


def _proven(identity: Identity, status: IdentityStatus, place: str, label: str, ins: str | None = None) -> Identity:
    """The same person with what a status asks for."""
    oid = INS_DEMO if ins else None
    return replace(identity, status=status, birth_place=place, birth_place_label=label, ins=ins, ins_oid=oid)


_PARTS = (
    Part(
        _proven(
            _identity("Dupont", "Claire Marie", "1980-03-12", Sex.FEMALE, "Moreau"),
            IdentityStatus.QUALIFIED,
            "75113",
            "Paris 13e",
            "280037511305663",
        ),
        (
            Paper("biology", BIOLOGY, 3, "Labo du Parc - bilan sanguin.pdf"),
            Paper("letter", LETTER, 20, "Lettre de liaison - cardiologie.pdf"),
            Paper("imaging", IMAGING, 67, "CR échographie abdominale.pdf"),
            Paper("prescription", PRESCRIPTION, 174, "Ordonnance.pdf"),
            Paper("scanned_file", HOSPITAL, 344, "Numérisation 0042.pdf"),
            Paper("rights", RIGHTS, 350, "Attestation de droits.jpg"),
        ),
    ),
    Part(
        _proven(_identity("Lefèvre", "Jean-Pierre", "1957-11-02", Sex.MALE), IdentityStatus.VALIDATED, "29019", "Brest"),
        (
            Paper("biology", BIOLOGY, 9, "Biologie Lefèvre novembre.pdf"),
            Paper("scanned_file", HOSPITAL, 41, "Scan courrier hôpital.pdf"),
            Paper("prescription", PRESCRIPTION, 42, "Renouvellement ordonnance.pdf"),
        ),
    ),
    Part(
        _proven(
            _identity("N’Guyen", "Mai-Linh", "1993-07-25", Sex.FEMALE),
            IdentityStatus.RETRIEVED,
            "99243",
            "Hanoï (Viêt Nam)",
            "293079924301725",
        ),
        (
            Paper("imaging", IMAGING, 15, "Radiographie thorax.pdf"),
            Paper("certificate", CERTIFICATE, 88, "Certificat sport.pdf"),
        ),
    ),
    Part(
        _proven(
            _identity("Bernard", "Lucas", "2016-05-30", Sex.MALE),
            IdentityStatus.QUALIFIED,
            "69383",
            "Lyon 3e",
            "116056938314507",
        ),
        (
            Paper("vaccination", VACCINATION, 12, "Carnet de vaccination.jpg"),
            Paper("letter", LETTER, 120, "Courrier ORL.pdf"),
        ),
    ),
    Part(
        _identity("Petit", "Émilie Rose", "1988-12-08", Sex.FEMALE, "Da Silva"),
        (
            Paper("biology", BIOLOGY, 30, "Résultats laboratoire.pdf"),
            Paper("letter", LETTER, 33, "Avis endocrinologue.pdf"),
        ),
    ),
    Part(
        _identity("Rousseau", "André", "1941-01-19", Sex.MALE),
        (
            Paper("scanned_file", HOSPITAL, 5, "Compte rendu hospitalisation.pdf", is_urgent=True),
            Paper("prescription", PRESCRIPTION, 6, "Ordonnance de sortie.pdf"),
        ),
    ),
    Part(_identity("Dupont", "Clara", "1980-12-03", Sex.FEMALE), (Paper("rights", RIGHTS, 60, "Attestation.jpg"),)),
    Part(_identity("Haddad", "Samir", "1975-09-14", Sex.MALE), (Paper("biology", BIOLOGY, 18, "Bilan lipidique.pdf"),)),
    Part(
        _identity("Girard", "Noémie", "2001-04-02", Sex.FEMALE),
        (Paper("letter", LETTER, 25, "Courrier dermatologue.pdf"), Paper("prescription", PRESCRIPTION, 25, "Ordonnance.pdf")),
        doctor=OUTSIDE,
    ),
    Part(
        _identity("Le Goff", "Yann", "1968-02-29", Sex.MALE), (Paper("imaging", IMAGING, 51, "IRM genou.pdf"),), doctor=OUTSIDE
    ),
    Part(_identity("Fontaine", "Marguerite", "1934-08-21", Sex.FEMALE, "Chevalier")),
)

PATIENTS = _PARTS[::-1]
"""The first above comes last, so that lists of recent patients begin with the fullest file."""

DOUBTFUL = (
    Part(_proven(_identity("El Amrani", "Fatima", "1950-00-00", Sex.FEMALE), IdentityStatus.VALIDATED, "99350", "Fès (Maroc)")),
    Part(
        _identity("Addad", "Samir", "1975-09-14", Sex.MALE),
        (Paper("rights", RIGHTS, 200, "Attestation de droits 2026.jpg"),),
    ),
)
"""An uncertain birth date, and a file that reception made a second time, misspelt: Addad is Haddad."""

MORNING = (
    ("scanned_file", "Rousseau", "Numérisation 0107.pdf"),
    ("biology", "Haddad", "Numérisation 0108.pdf"),
    ("letter", "Petit", "Numérisation 0109.pdf"),
    ("rights", "Fontaine", "Photo 0031.jpg"),
)
"""What this morning's scans hold: form, birth name of whom it is about, file name. They wait in reception's inbox."""
READ_AFTER_DAYS = 25
"""Older documents were seen and validated by their doctor."""
LOCUM_DAYS = 90
"""How long the locum replaces the treating clinician, from the day the demonstration is made."""
