"""The catalogue of document types."""

from __future__ import annotations

import pytest

from vault.errors import Invalid
from vault.records.documents.types import CATALOGUE, CLASS_LABELS, UNQUALIFIED, DocumentClass, document_type


def test_every_entry_is_complete_and_unique() -> None:
    assert len({kind.code for kind in CATALOGUE}) == len(CATALOGUE) == 22
    assert len({kind.fr for kind in CATALOGUE}) == len({kind.en for kind in CATALOGUE}) == len(CATALOGUE)
    assert set(CLASS_LABELS) == set(DocumentClass)
    assert {kind.code for kind in CATALOGUE if kind.is_administrative} == {"51851-4", "PIECE-IDENTITE", "ATTEST-DROITS-AM"}


def test_a_type_is_found_by_its_code() -> None:
    assert document_type("11502-2").label("fr_FR") == "Biologie (compte rendu)"
    assert document_type("11502-2").label("en") == "Laboratory report"
    assert document_type(UNQUALIFIED).group is DocumentClass.UNQUALIFIED


@pytest.mark.parametrize("code", ["", "11502-3", "../../etc", "a-qualifier"])
def test_an_unknown_code_is_refused(code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        document_type(code)
    assert refusal.value.details["reason"] == "unknown_type"
