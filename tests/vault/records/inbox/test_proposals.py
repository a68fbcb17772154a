"""What a page says about patient and type: sheets, the INS Datamatrix, a letter's own text; and the wrong-patient guard."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from tests.vault.records.tray import Tray
from tests.vault.records.tray import renderer as renderer  # noqa: PLC0414  # the fixture, by its own name
from tests.vault.records.tray import tray as tray  # noqa: PLC0414  # the same
from tests.vault.rendering import papers
from vault.errors import Forbidden, Invalid
from vault.model import Identity, Sex
from vault.records.inbox.drafts import Concordance, Proposal
from vault.records.inbox.proposals import dates_in, ins_fields, names_in
from vault.rendering.renderer import Code

TODAY = date(2026, 11, 23)


def test_a_separator_sheet_proposes_patient_and_type(tray: Tray) -> None:
    said = tray.proposals.sheet(tray.desk.patient, "18748-4")
    draft = tray.put(papers.coded_page(said.encode(), "QRCode"), name="scan.png")
    assert draft.proposal == Proposal(tray.desk.patient, "18748-4", source="sheet")
    assert tray.inbox.get(tray.desk.reception, draft.id).proposal == draft.proposal


def test_only_the_front_prints_sheets(tray: Tray) -> None:
    assert tray.inbox.sheet(tray.desk.reception, tray.desk.patient, "18748-4").startswith("COFFRE1 ")
    with pytest.raises(Forbidden):
        tray.inbox.sheet(tray.desk.auditor, tray.desk.patient, "18748-4")
    with pytest.raises(Invalid):
        tray.inbox.sheet(tray.desk.reception, tray.desk.patient, "nothing")


def test_a_forged_or_foreign_sheet_proposes_nothing(tray: Tray) -> None:
    said = tray.proposals.sheet(tray.desk.patient, "18748-4")
    other = said.replace(tray.desk.patient, tray.desk.other_patient)
    for forged in (
        other,
        said[:-1] + ("0" if said[-1] != "0" else "1"),
        said.replace("18748-4", "11502-2"),
        "COFFRE1 a b c",
        "x",
    ):
        code = Code("QRCode", forged.encode())
        assert tray.proposals.read(tray.desk.reception, [code], "", TODAY) is None


def test_the_ins_datamatrix_proposes_the_patient(tray: Tray) -> None:
    who = Identity("Zola", ("Émile",), "1940-04-02", Sex.MALE, ins="140047512345678")
    made = tray.desk.patients.create(tray.desk.clinician, who)
    said = "IS010000000000000000000000S1140047512345678S21.2.250.1.213.1.4.8\x1dS3EMILE\x1dS4ZOLA\x1dS5MS602-04-1940S775056"
    assert ins_fields(said) == {
        "S1": "140047512345678",
        "S2": "1.2.250.1.213.1.4.8",
        "S3": "EMILE",
        "S4": "ZOLA",
        "S5": "M",
        "S6": "02-04-1940",
        "S7": "75056",
    }
    draft = tray.put(papers.coded_page(said.encode(), "DataMatrix"), name="scan.png")
    assert draft.proposal == Proposal(made.id, source="ins")


def test_a_name_beside_its_birth_date_proposes_the_patient(tray: Tray) -> None:
    who = Identity("Le Goff", ("Maëlle",), "1980-03-12", Sex.FEMALE)
    made = tray.desk.patients.create(tray.desk.clinician, who)
    letter = "Patient : Mme LE GOFF Maëlle, née le 12/03/1980. Prélèvement du 20/08/2026."
    draft = tray.put(papers.pdf(1, text=letter))
    assert draft.proposal == Proposal(made.id, act_date="2026-08-20", source="text")
    other = tray.desk.patients.get(tray.desk.clinician, tray.desk.patient).identity
    assert tray.inbox.concordance(tray.desk.reception, draft.id, who) is Concordance.AGREES
    assert tray.inbox.concordance(tray.desk.reception, draft.id, replace(other, birth_date="1999-01-01")) is Concordance.DIFFERS
    assert tray.inbox.concordance(tray.desk.reception, draft.id, replace(who, birth_date="1999-01-01")) is Concordance.PARTLY
    picture = tray.put(papers.picture("PNG"))
    assert tray.inbox.concordance(tray.desk.reception, picture.id, who) is Concordance.UNREADABLE
    for text in ("Mme LE GOFF Maëlle, née le 13/03/1980", "M. LEGOFFIC Maël, 12/03/1980", "12/03/1980", ""):
        proposal = tray.put(papers.pdf(1, text=text)).proposal
        assert proposal is None or proposal.patient is None


def test_two_people_who_fit_propose_nobody(tray: Tray) -> None:
    who = Identity("Zola", ("Émile",), "1940-04-02", Sex.MALE)
    tray.desk.patients.create(tray.desk.clinician, who)
    tray.desk.patients.create(tray.desk.clinician, who, anyway=True)
    assert tray.put(papers.pdf(1, text="M. ZOLA Emile né le 02/04/1940")).proposal == Proposal(source="text")


def test_reading_a_page_is_pure() -> None:
    assert dates_in("né le 02/04/1940, vu le 31-02-2020 et le 1.5.2099, 12 03 1980", TODAY) == ("1940-04-02", "1980-03-12")
    assert ins_fields("") == ins_fields("IS01") == ins_fields("hello S1 140047512345678") == {}
    assert names_in("LE GOFF, Maelle", Identity("Le Goff", ("Maëlle",), "1980-03-12", Sex.FEMALE))
    assert not names_in("GOFF Maelle", Identity("Le Goff", ("Maëlle",), "1980-03-12", Sex.FEMALE))
