"""Identity traits: names, uncertain dates, the NIR key."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from vault.birth_dates import is_uncertain
from vault.errors import Invalid
from vault.model import Identity, IdentityStatus, Sex
from vault.records.patients.identity import (
    changed,
    check_birth_date,
    checked,
    clean_name,
    compact_ins,
    has_right_key,
    is_strictly_same,
    masked_ins,
    nir_key,
)

TODAY = date(2026, 11, 23)
CLAIRE = Identity("Dupont", ("Claire", "Anne"), "1980-03-12", Sex.FEMALE, used_name="Moreau")


@pytest.mark.parametrize(
    ("nir", "key"),
    [
        # 97 − (n mod 97), worked by hand with long division; Corsica reads 2A as 19 and 2B as 18.
        ("1800375123456", 97 - 1800375123456 % 97),
        ("269054958815780"[:13], 80),  # INSEE's own example, 2 69 05 49 588 157 80
        ("255081416802538"[:13], 38),  # Assurance maladie's specimen card
        ("2990119005001", 97 - 2990119005001 % 97),
    ],
)
def test_the_key_is_97_minus_the_rest(nir: str, key: int) -> None:
    assert nir_key(nir) == key


def test_corsica_counts_as_19_and_18() -> None:
    assert nir_key("185012A004001") == nir_key("1850119004001")
    assert nir_key("185012B004001") == nir_key("1850118004001")


def test_a_typed_matricule_is_compacted_and_judged() -> None:
    typed = compact_ins("2 69 05 49 588 157 80")
    assert typed == "269054958815780"
    assert has_right_key(typed) is True
    assert has_right_key("269054958815781") is False
    assert has_right_key("2690549588157") is None
    assert compact_ins("1 85 01 2a 004 001") == "185012A004001"


@pytest.mark.parametrize(
    "text", ["", "12", "9800375123456", "18003751234567", "1800375abc456", "１800375123456", "2690549588157801"]
)
def test_another_shape_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        compact_ins(text)
    assert refusal.value.details["field"] == "ins"


def test_a_mask_shows_four_digits() -> None:
    assert masked_ins("269054958815780") == "2 •• •• •• ••• 157"


@pytest.mark.parametrize("text", ["1980-03-12", "1980-03-00", "1980-00-00", "2026-11-23", "2000-02-29"])
def test_dates_may_be_uncertain(text: str) -> None:
    assert check_birth_date(text, TODAY) == text
    assert is_uncertain(text) is text.endswith("00")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("12/03/1980", "shape"),
        ("1980-3-12", "shape"),
        ("1980-02-30", "impossible"),
        ("1980-13-01", "impossible"),
        ("1980-00-12", "impossible"),
        ("2026-11-24", "future"),
        ("1879-01-01", "too_old"),
        ("0000-01-01", "impossible"),
    ],
)
def test_impossible_dates_are_refused(text: str, reason: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check_birth_date(text, TODAY)
    assert refusal.value.details == {"field": "birth_date", "reason": reason}


@pytest.mark.parametrize(
    "name", ["Dupont", "d’Artagnan", "O'Brien", "Le Goff-Kerjean", "Müller", "Œuvrard", "N'Guyễn", "José María", "Li"]
)
def test_real_names_pass(name: str) -> None:
    assert clean_name(f"  {name} ", "birth_name") == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a" * 101, "too_long"),
        ("Du\u202epont", "characters"),
        ("Du\x00pont", "characters"),
        ("<b>", "characters"),
        ("--", "characters"),
        ("=cmd()", "characters"),
        ("Dupont1", "characters"),
    ],
)
def test_what_no_name_has_is_refused(name: str, reason: str) -> None:
    with pytest.raises(Invalid) as refusal:
        clean_name(name, "birth_name")
    assert refusal.value.details == {"field": "birth_name", "reason": reason}


def test_a_whole_identity_is_put_in_its_stored_form() -> None:
    typed = replace(CLAIRE, birth_name=" Dupont\u00a0 ", ins="2 69 05 49 588 157 80", used_name="")
    assert checked(typed, TODAY) == replace(CLAIRE, ins="269054958815780", used_name=None)
    for given in ((), ("a",) * 11):
        with pytest.raises(Invalid):
            checked(replace(CLAIRE, given_names=given), TODAY)


def test_an_identity_never_prints_itself() -> None:
    assert "Dupont" not in repr(CLAIRE)
    assert "1980" not in repr(CLAIRE)


# --- lunar dates, birth places, statuses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1950-02-31", "1950-20-12", "1950-13-00", "1950-99-31"])
def test_a_lunar_date_is_kept_as_the_card_has_it(text: str) -> None:
    assert check_birth_date(text, TODAY, is_lunar=True) == text
    with pytest.raises(Invalid):
        check_birth_date(text, TODAY)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1950-02-12", "not_lunar"),
        ("1950-00-00", "not_lunar"),
        ("1950-02-32", "impossible"),
        ("2027-02-31", "future"),
        ("1879-02-31", "too_old"),
    ],
)
def test_lunar_is_no_way_round_the_calendar(text: str, reason: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check_birth_date(text, TODAY, is_lunar=True)
    assert refusal.value.details == {"field": "birth_date", "reason": reason}


@pytest.mark.parametrize(("typed", "stored"), [("49007", "49007"), (" 2a004 ", "2A004"), ("99352", "99352")])
def test_a_birth_place_is_an_insee_code_and_a_label(typed: str, stored: str) -> None:
    who = checked(replace(CLAIRE, birth_place=typed, birth_place_label="  Paris 13e  (75) "), TODAY)
    assert (who.birth_place, who.birth_place_label) == (stored, "Paris 13e (75)")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"birth_place": "4900"}, "birth_place"),
        ({"birth_place": "2C004"}, "birth_place"),
        ({"birth_place_label": "<b>"}, "birth_place_label"),
        ({"birth_place_label": "x" * 101}, "birth_place_label"),
        ({"ins_oid": "1.2.3"}, "ins_oid"),
    ],
)
def test_other_places_and_registers_are_refused(wrong: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked(replace(CLAIRE, **wrong), TODAY)  # type: ignore[arg-type]  # texts all of them
    assert refusal.value.details["field"] == field


WHOLE = replace(CLAIRE, ins="269054958815780", ins_oid="1.2.250.1.213.1.4.8", birth_place="49007")


@pytest.mark.parametrize("status", IdentityStatus)
def test_a_whole_identity_may_have_any_status(status: IdentityStatus) -> None:
    assert checked(replace(WHOLE, status=status), TODAY).status is status


@pytest.mark.parametrize(
    ("lacking", "status", "reason"),
    [
        ({"birth_place": None}, IdentityStatus.VALIDATED, "status_place"),
        ({"birth_place": None}, IdentityStatus.QUALIFIED, "status_place"),
        ({"ins": None, "ins_oid": None}, IdentityStatus.RETRIEVED, "status_ins"),
        ({"ins": None, "ins_oid": None}, IdentityStatus.QUALIFIED, "status_ins"),
        ({"ins_oid": None}, IdentityStatus.RETRIEVED, "status_oid"),
        ({"ins": "269054958815781"}, IdentityStatus.QUALIFIED, "status_key"),
        ({"ins": "2690549588157"}, IdentityStatus.QUALIFIED, "status_key"),
    ],
)
def test_what_each_status_asks_for(lacking: dict[str, str | None], status: IdentityStatus, reason: str) -> None:
    who = replace(WHOLE, status=status, **lacking)  # type: ignore[arg-type]  # texts or nothing
    with pytest.raises(Invalid) as refusal:
        checked(who, TODAY)
    assert refusal.value.details["reason"] == reason
    assert checked(replace(who, status=IdentityStatus.PROVISIONAL), TODAY).status is IdentityStatus.PROVISIONAL


def test_a_wrong_key_is_a_warning_until_the_identity_is_qualified() -> None:
    wrong = replace(WHOLE, ins="269054958815781", status=IdentityStatus.RETRIEVED)
    assert checked(wrong, TODAY).ins == "269054958815781"
    corsican = replace(WHOLE, ins=f"185012A004001{nir_key('185012A004001'):02}", status=IdentityStatus.QUALIFIED)
    assert checked(corsican, TODAY).ins == corsican.ins


def test_the_log_is_told_which_traits_changed() -> None:
    assert changed(CLAIRE, CLAIRE) == ()
    assert changed(CLAIRE, replace(CLAIRE, used_name=None, birth_place="49007")) == ("birth_place", "used_name")
    assert is_strictly_same(CLAIRE, replace(CLAIRE, used_name=None, birth_place_label="Angers"))
    assert not is_strictly_same(CLAIRE, replace(CLAIRE, birth_place="49007"))
