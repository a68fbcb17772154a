"""The circumstances that the log notes of an access: what reviewers look for must be told, and nothing else."""

from __future__ import annotations

import pytest

from vault.people.policy import Relation
from vault.records.patients.access import flags


@pytest.mark.parametrize(
    ("relation", "is_outside"),
    [
        (Relation(has_grant=True), True),
        (Relation(has_breakglass=True), True),
        (Relation(has_grant=True, in_care_team=True), False),
        (Relation(has_breakglass=True, in_locum_window=True), False),
        (Relation(in_care_team=True), False),
        (Relation(is_own_upload=True), False),
        (Relation(is_handover=True), False),
    ],
)
def test_an_access_by_leave_alone_is_told_as_outside_the_care_team(relation: Relation, is_outside: bool) -> None:
    assert ("outside_team" in flags(relation)) is is_outside
