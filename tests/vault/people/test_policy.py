"""The whole matrix: every role, every act, every relation; and the page that prints it."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vault.people.roles_page import page
from vault.errors import Forbidden, NotFound, StepUpRequired
from vault.model import Actor, Micros, PersonId, Role
from vault.people.policy import (
    FRESH_FACTOR_S,
    LOG_REACH,
    MATRIX,
    NOBODY,
    STEP_UP,
    Act,
    DocumentClass,
    LogReach,
    Relation,
    authorise,
    decide,
    decide_role,
    rights,
)

CARERS = {Role.CLINICIAN, Role.LOCUM, Role.OWNER}
CONTENT = {Act.DOCUMENT_VIEW, Act.DOCUMENT_DOWNLOAD, Act.DOCUMENT_PRINT}
NEVER_CONTENT = {Role.AUDITOR, Role.DPO, Role.ADMIN}
FLAGS = (
    "in_care_team",
    "in_locum_window",
    "has_grant",
    "has_breakglass",
    "is_objected",
    "is_sensitive",
    "is_named",
    "is_own_upload",
)


def every_relation() -> list[Relation]:
    relations = []
    for values in itertools.product((False, True), repeat=len(FLAGS)):
        facts = replace(NOBODY, **dict(zip(FLAGS, values, strict=True)))  # type: ignore[arg-type]  # all flags are booleans
        for kind in (None, DocumentClass.ADMINISTRATIVE, DocumentClass.MEDICAL):
            relations += [replace(facts, document_class=kind, hours_since_integration=hours) for hours in (None, 1.0, 25.0)]
    return relations


RELATIONS = every_relation()


def allowed(role: Role, act: Act, relation: Relation) -> bool:
    try:
        decide(role, act, relation, is_fresh=True)
    except (Forbidden, NotFound):
        return False
    return True


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("act", Act)
def test_what_the_matrix_does_not_name_is_forbidden_whatever_the_relation(role: Role, act: Act) -> None:
    if role in MATRIX.get(act, {}):
        decide_role(role, act)
        return
    with pytest.raises(Forbidden):
        decide_role(role, act)
    for relation in RELATIONS:
        with pytest.raises(Forbidden):
            decide(role, act, relation, is_fresh=True)


def test_every_act_is_in_the_matrix() -> None:
    assert set(MATRIX) == set(Act)
    assert set(LOG_REACH) == set(Role)


@pytest.mark.parametrize("role", sorted(NEVER_CONTENT))
def test_auditor_dpo_and_technical_admin_never_reach_a_byte(role: Role) -> None:
    touching = [act for act in Act if act.value.startswith(("document.", "inbox.")) or act is Act.BREAK_GLASS]
    assert not [act for act in touching for relation in RELATIONS if allowed(role, act, relation)]
    assert not allowed(role, Act.PATIENT_SEARCH, NOBODY)


@pytest.mark.parametrize("role", sorted(CARERS))
@pytest.mark.parametrize("act", sorted(CONTENT))
def test_a_carer_opens_what_they_treat_and_nothing_else(role: Role, act: Act) -> None:
    for relation in RELATIONS:
        ties = relation.in_care_team or relation.in_locum_window or relation.has_grant
        treats = not relation.is_objected and (
            relation.has_breakglass or (relation.is_named if relation.is_sensitive else ties)
        )
        own = relation.is_own_upload and relation.hours_since_integration is None
        assert allowed(role, act, relation) is (treats or own), relation


@pytest.mark.parametrize("act", [Act.TEAM_CHANGE, Act.ACCESS_GRANT, Act.PATIENT_RESTRICT, Act.PATIENT_MERGE])
def test_leave_to_see_a_file_is_never_leave_to_make_it_last(act: Act) -> None:
    for relation in RELATIONS:
        follows = relation.in_care_team and not relation.is_objected and (relation.is_named or not relation.is_sensitive)
        for role in (Role.CLINICIAN, Role.OWNER):
            assert allowed(role, act, relation) is follows, relation
        assert not allowed(Role.LOCUM, act, relation)


@pytest.mark.parametrize("act", sorted(CONTENT))
def test_reception_opens_administrative_papers_handovers_and_own_recent_uploads(act: Act) -> None:
    for relation in RELATIONS:
        own = relation.is_own_upload and (relation.hours_since_integration is None or relation.hours_since_integration <= 24)
        expected = not relation.is_objected and (relation.document_class is DocumentClass.ADMINISTRATIVE or own)
        assert allowed(Role.RECEPTION, act, relation) is expected, relation
        assert allowed(Role.RECEPTION, act, replace(relation, is_handover=True)) is not relation.is_objected


def test_refusals_do_not_tell_a_carer_that_something_exists() -> None:
    with pytest.raises(NotFound):
        decide(Role.CLINICIAN, Act.DOCUMENT_VIEW, NOBODY)
    with pytest.raises(Forbidden):
        decide(Role.RECEPTION, Act.DOCUMENT_VIEW, NOBODY)


def test_export_erasure_roles_keys_and_factors_want_a_fresh_factor() -> None:
    """OWASP ASVS 5.0, 7.5: what can't be taken back, or gives rights, is asked for again."""
    erasing, exporting = {Act.PATIENT_ERASE, Act.DISPOSAL_APPROVE}, {Act.PATIENT_EXPORT, Act.AUDIT_EXPORT, Act.AUDIT_REVEAL}
    rights_given = {Act.PEOPLE_MANAGE, Act.ROLE_CHANGE, Act.POLICY_CHANGE, Act.BREAK_GLASS}
    keys, factors = {Act.KEYS_APPROVE, Act.KEYS_OPERATE}, {Act.FACTOR_RESET, Act.OWN_FACTORS}
    assert erasing | exporting | rights_given | keys | factors <= STEP_UP
    assert FRESH_FACTOR_S == 5 * 60


@pytest.mark.parametrize("act", sorted(STEP_UP))
def test_step_up_acts_want_a_fresh_factor_from_every_role(act: Act) -> None:
    treats = Relation(in_care_team=True)
    for role in MATRIX[act]:
        decide(role, act, treats, is_fresh=True)
        with pytest.raises(StepUpRequired):
            decide(role, act, treats)


def test_a_factor_is_fresh_for_five_minutes_and_never_from_the_future() -> None:
    def auditor(factor_at: int) -> Actor:
        return Actor(PersonId("b" * 32), "a", "A", Role.AUDITOR, "s", ("pwd", "otp"), Micros(factor_at))

    now = Micros(1_790_000_000_000_000)
    limit = FRESH_FACTOR_S * 1_000_000
    authorise(auditor(now), Act.AUDIT_EXPORT, now)
    authorise(auditor(now - limit), Act.AUDIT_EXPORT, now)
    for factor_at in (now - limit - 1, now + 1, 0):
        with pytest.raises(StepUpRequired):
            authorise(auditor(factor_at), Act.AUDIT_EXPORT, now)


def test_the_log_is_whole_for_those_who_audit_and_narrow_for_the_others() -> None:
    assert {role for role, reach in LOG_REACH.items() if reach is LogReach.EVERYTHING} == {Role.AUDITOR, Role.DPO}
    assert LOG_REACH[Role.ADMIN] is LogReach.TECHNICAL


def test_menus_offer_what_the_matrix_allows() -> None:
    for role, relation in itertools.product(Role, (NOBODY, Relation(in_care_team=True))):
        assert rights(role, relation) == {act for act in Act if allowed(role, act, relation)}


def test_the_printed_matrix_is_the_real_one() -> None:
    path = Path(__file__).parents[3] / "docs" / "roles.md"
    if os.environ.get("COFFRE_WRITE_DOCS"):
        path.write_text(page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == page(), "run `COFFRE_WRITE_DOCS=1 pytest tests/vault/people/test_policy.py`"
