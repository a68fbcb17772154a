"""Owns the papers of the demonstration: letters, laboratory results and scans as practices receive them, invented word by word.

It must not know where they go. Needs the ``demo`` extra (reportlab, img2pdf).
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable
from datetime import date

import img2pdf
import pypdfium2
from PIL import Image, ImageChops, ImageFilter
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, A5
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from vault.model import Identity, Sex

Paper = Callable[[Identity, date], bytes]

INK = colors.HexColor("#1c2a33")
TEXT = ParagraphStyle("text", fontName="Helvetica", fontSize=10, leading=14.5, textColor=INK, spaceAfter=6)
SMALL = ParagraphStyle("small", TEXT, fontSize=8, leading=11, textColor=colors.HexColor("#55636c"), spaceAfter=0)
TITLE = ParagraphStyle("title", TEXT, fontName="Helvetica-Bold", fontSize=13, leading=17, spaceBefore=8, spaceAfter=8)
HEAD = ParagraphStyle("head", TEXT, fontName="Helvetica-Bold", fontSize=12, leading=15, spaceAfter=1)
RIGHT = ParagraphStyle("right", TEXT, alignment=2)

BLOOD = (
    ("HÉMATOLOGIE", ()),
    ("Leucocytes", ("6,2", "G/L", "4,0 – 10,0")),
    ("Hémoglobine", ("13,4", "g/dL", "12,0 – 16,0")),
    ("Hématocrite", ("40,1", "%", "36,0 – 46,0")),
    ("Plaquettes", ("254", "G/L", "150 – 400")),
    ("BIOCHIMIE", ()),
    ("Glycémie à jeun", ("5,1", "mmol/L", "3,9 – 5,5")),
    ("Créatinine", ("71", "µmol/L", "49 – 90")),
    ("Cholestérol LDL", ("3,9 *", "mmol/L", "< 3,4")),
    ("Ferritine", ("48", "µg/L", "15 – 150")),
    ("TSH", ("2,1", "mUI/L", "0,4 – 4,0")),
)


def _day(on: date) -> str:
    return f"{on:%d/%m/%Y}"


def _named(patient: Identity) -> str:
    title = "Mme" if patient.sex is Sex.FEMALE else "M."
    born = "née" if patient.sex is Sex.FEMALE else "né"
    birth = date.fromisoformat(patient.birth_date)
    return f"{title} {patient.birth_name.upper()} {' '.join(patient.given_names)}, {born} le {_day(birth)}"


def _bound(story: Iterable[Flowable], page: tuple[float, float] = A4, title: str = "") -> bytes:
    buffer = io.BytesIO()
    margin = 20 * mm if page == A4 else 14 * mm
    edges = {f"{edge}Margin": margin for edge in ("left", "right", "top", "bottom")}
    SimpleDocTemplate(buffer, pagesize=page, title=title, author="", invariant=1, **edges).build(list(story))
    return buffer.getvalue()


def _letterhead(name: str, *lines: str) -> list[Flowable]:
    return [Paragraph(name, HEAD), *(Paragraph(line, SMALL) for line in lines), Spacer(1, 8 * mm)]


def _results(rows: Iterable[tuple[str, tuple[str, ...]]]) -> Table:
    cells: list[list[str]] = [["", "Résultat", "Unité", "Valeurs de référence"]]
    style = [
        ("FONT", (0, 0), (-1, -1), "Helvetica", 9.5),
        ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 9),
        ("TEXTCOLOR", (0, 0), (-1, -1), INK),
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, INK),
        ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, colors.HexColor("#f3f6f7")]),
        ("ALIGN", (1, 0), (1, -1), "RIGHT"),
    ]
    for number, (label, values) in enumerate(rows, 1):
        cells.append([label, *(values or ("", "", ""))])
        if not values:
            style.append(("FONT", (0, number), (-1, number), "Helvetica-Bold", 9.5))
        elif "*" in values[0]:
            style.append(("FONT", (1, number), (1, number), "Helvetica-Bold", 9.5))
    return Table(cells, colWidths=[70 * mm, 28 * mm, 28 * mm, 44 * mm], style=TableStyle(style))


def biology(patient: Identity, on: date) -> bytes:
    """A laboratory's results, one page of text."""
    return _bound(
        [
            *_letterhead("Laboratoire de biologie médicale du Parc", "14, rue des Tilleuls, 69006 Lyon", "Tél. 04 00 00 00 00"),
            Paragraph(f"<b>Patient :</b> {_named(patient)}", TEXT),
            Paragraph(f"<b>Prescripteur :</b> Dr C. Martin · <b>Prélèvement du</b> {_day(on)} à 8 h 10", TEXT),
            Spacer(1, 4 * mm),
            _results(BLOOD),
            Spacer(1, 8 * mm),
            Paragraph(
                "* hors des valeurs de référence. Discrète élévation du LDL-cholestérol, à confronter à la clinique.", TEXT
            ),
            Paragraph("Validé par le Dr P. Lenoir, biologiste médical.", RIGHT),
        ],
        title="Compte rendu de biologie",
    )


def letter(patient: Identity, on: date) -> bytes:
    """A specialist's letter to the treating doctor."""
    return _bound(
        [
            *_letterhead("Docteur Philippe Arnaud", "Médecine spécialisée", "3, place Bellevue, 69002 Lyon"),
            Paragraph(f"Lyon, le {_day(on)}", RIGHT),
            Paragraph("Madame le Docteur Martin<br/>Cabinet des Tilleuls", TEXT),
            Spacer(1, 6 * mm),
            Paragraph("Chère consœur,", TEXT),
            Paragraph(f"J’ai vu ce jour en consultation votre patient(e) {_named(patient)}, que vous m’avez adressé(e).", TEXT),
            Paragraph(
                "L’interrogatoire ne retrouve pas d’antécédent notable en dehors de ceux que vous connaissez. L’examen "
                "clinique est rassurant : pression artérielle 124/76 mmHg, fréquence cardiaque 68/min, pas de souffle.",
                TEXT,
            ),
            Paragraph(
                "L’électrocardiogramme s’inscrit en rythme sinusal, sans trouble de la repolarisation. Je ne propose pas "
                "de modification du traitement. Un contrôle dans douze mois suffit, plus tôt en cas de symptôme nouveau.",
                TEXT,
            ),
            Paragraph(
                "Je vous remercie de votre confiance et vous prie de croire, chère consœur, à mes sentiments les meilleurs.",
                TEXT,
            ),
            Spacer(1, 10 * mm),
            Paragraph("Dr Ph. Arnaud", RIGHT),
        ],
        title="Courrier",
    )


def imaging(patient: Identity, on: date) -> bytes:
    """An imaging report of two pages."""
    return _bound(
        [
            *_letterhead("Centre d’imagerie médicale des Quais", "22, quai Tilsitt, 69002 Lyon"),
            Paragraph("COMPTE RENDU D’EXAMEN", TITLE),
            Paragraph(f"{_named(patient)} · Examen du {_day(on)}", TEXT),
            Paragraph("<b>Indication.</b> Douleurs récidivantes. Recherche d’une cause organique.", TEXT),
            Paragraph("<b>Technique.</b> Exploration selon le protocole habituel, sans injection.", TEXT),
            Paragraph(
                "<b>Résultats.</b> Morphologie normale. Pas d’épanchement. Pas de lésion focale suspecte. Les structures "
                "adjacentes sont libres. Pas d’adénomégalie.",
                TEXT,
            ),
            Paragraph("<b>Conclusion.</b> Examen sans anomalie significative.", TEXT),
            PageBreak(),
            Paragraph("Annexe : mesures", TITLE),
            _results((("Diamètre longitudinal", ("104", "mm", "90 – 120")), ("Épaisseur corticale", ("16", "mm", "> 10")))),
            Spacer(1, 10 * mm),
            Paragraph("Dr S. Keller, radiologue", RIGHT),
        ],
        title="Compte rendu d’imagerie",
    )


def prescription(patient: Identity, on: date) -> bytes:
    """A prescription, A5."""
    lines = (
        "Paracétamol 1 g, comprimé : 1 comprimé en cas de douleur, au plus 3 par jour, espacés de 6 heures. QSP 8 jours.",
        "Ibuprofène 400 mg, comprimé : 1 comprimé matin et soir au cours du repas, 5 jours.",
        "Kinésithérapie : 10 séances de rééducation du rachis lombaire.",
    )
    return _bound(
        [
            *_letterhead(
                "Docteur Claire Martin", "Médecine générale · Cabinet des Tilleuls", "8, cours des Tilleuls, 69003 Lyon"
            ),
            Paragraph(f"Le {_day(on)}", RIGHT),
            Paragraph(_named(patient), HEAD),
            Spacer(1, 6 * mm),
            *(Paragraph(f"{number}. {line}", TEXT) for number, line in enumerate(lines, 1)),
            Spacer(1, 12 * mm),
            Paragraph("Dr C. Martin", RIGHT),
        ],
        page=A5,
        title="Ordonnance",
    )


def certificate(patient: Identity, on: date) -> bytes:
    """A medical certificate."""
    return _bound(
        [
            *_letterhead("Docteur Claire Martin", "Médecine générale · Cabinet des Tilleuls"),
            Paragraph("CERTIFICAT MÉDICAL", TITLE),
            Paragraph(f"Je soussignée, Dr Claire Martin, certifie avoir examiné ce jour {_named(patient)}, et n’avoir pas "
                      "constaté de contre-indication à la pratique du sport en compétition.", TEXT),
            Paragraph(f"Fait à Lyon, le {_day(on)}, remis en main propre pour valoir ce que de droit.", TEXT),
            Paragraph("Dr C. Martin", RIGHT),
        ],
        page=A5,
        title="Certificat",
    )  # fmt: skip


def _hospital_report(patient: Identity, on: date) -> bytes:
    course = (
        "Le patient a été hospitalisé pour exploration d’une dyspnée d’effort d’aggravation progressive depuis trois semaines. "
        "À l’entrée : apyrétique, saturation 95 % en air ambiant, quelques crépitants des bases."
    )
    outcome = (
        "L’évolution est favorable sous traitement diurétique, avec une perte de poids de 3,2 kg et une disparition des signes "
        "congestifs. L’échographie retrouve une fraction d’éjection à 52 %. Retour au domicile le cinquième jour."
    )
    return _bound(
        [
            *_letterhead("Hôpital de la Croix-Verte", "Service de médecine interne"),
            Paragraph("COMPTE RENDU D’HOSPITALISATION", TITLE),
            Paragraph(f"{_named(patient)} · sortie le {_day(on)}", TEXT),
            *(Paragraph(text, TEXT) for text in (course, outcome, course)),
            PageBreak(),
            Paragraph("Examens complémentaires", TITLE),
            _results(BLOOD),
            PageBreak(),
            Paragraph("Traitement de sortie et suivi", TITLE),
            Paragraph("Furosémide 20 mg le matin ; surveillance du poids. Consultation de contrôle dans un mois.", TEXT),
            Paragraph(outcome, TEXT),
            Paragraph("Dr A. Faure, praticien hospitalier", RIGHT),
        ]
    )


def _photographed(page: Image.Image, seed: int) -> Image.Image:
    """A drawn page as a tired office scanner gives it: skewed, grainy, greyish."""
    chance = random.Random(seed)  # noqa: S311  # looks, not secrets
    grey = page.convert("L").rotate(chance.uniform(-0.9, 0.9), Image.Resampling.BICUBIC, fillcolor=236)
    paper = Image.new("L", grey.size, 247)
    grain = Image.effect_noise(grey.size, 14).point(lambda value: 255 - abs(value - 128))
    return ImageChops.multiply(ImageChops.darker(grey, paper), grain).filter(ImageFilter.GaussianBlur(0.5))


def _drawn(pdf: bytes, dpi: int) -> list[Image.Image]:
    document = pypdfium2.PdfDocument(pdf)
    try:
        return [page.render(scale=dpi / 72).to_pil() for page in document]
    finally:
        document.close()


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, dpi=(150, 150))
    return buffer.getvalue()


def scanned_file(patient: Identity, on: date) -> bytes:
    """Three pages from an office scanner: a PDF of images without any text."""
    pages = _drawn(_hospital_report(patient, on), 150)
    layout = img2pdf.get_layout_fun((img2pdf.mm_to_pt(210), img2pdf.mm_to_pt(297)))
    scan = img2pdf.convert([_jpeg(_photographed(page, number), 62) for number, page in enumerate(pages)], layout_fun=layout)
    return bytes(scan or b"")


def rights(patient: Identity, on: date) -> bytes:
    """A certificate of health-insurance rights, as a JPEG from a phone."""
    text = _bound(
        [
            *_letterhead("Assurance maladie", "Spécimen sans valeur"),
            Paragraph("ATTESTATION DE DROITS", TITLE),
            Paragraph(f"Bénéficiaire : {_named(patient)}", TEXT),
            Paragraph(f"Droits ouverts du {_day(on)} au {_day(on.replace(year=on.year + 1, day=min(on.day, 28)))}.", TEXT),
            Paragraph("Médecin traitant déclaré : oui.", TEXT),
        ],
        page=A5,
    )
    return _jpeg(_photographed(_drawn(text, 150)[0], 7), 80)


def vaccination(patient: Identity, on: date) -> bytes:
    """A page of a vaccination record, as a JPEG from a phone."""
    rows = (("DTCaP", ("1re", "dose", "2016")), ("ROR", ("2e", "dose", "2017")), ("DTCaP", ("rappel", "dose", _day(on))))
    text = _bound([Paragraph("VACCINATIONS", TITLE), Paragraph(_named(patient), TEXT), _results(rows)])
    return _jpeg(_photographed(_drawn(text, 130)[0], 11), 78)


FORMS: dict[str, Paper] = {
    form.__name__: form for form in (biology, letter, imaging, prescription, certificate, scanned_file, rights, vaccination)
}
