"""Whoever opens their own file, or a colleague's, is asked about it: the alert stands in the auditor's queue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Clock
from tests.web.conftest import OFFICE, Practice, open_practice
from vault.audit.detect import Detector
from vault.model import Identity, PatientId, Role, Sex
from vault.records.patients.likeness import Likenesses
from vault.sealing.index import BlindIndex


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    """A doctor who is a patient too, a namesake, a receptionist and an auditor."""
    opened = open_practice(tmp_path_factory.mktemp("likeness"), Clock(), staff=("nadia",))
    for username, role in (
        ("camille.dupont", Role.CLINICIAN),
        ("zoé.dupont", Role.CLINICIAN),
        ("sophie.garnier", Role.RECEPTION),
    ):
        opened.hire(username, role)
    yield opened
    opened.vault.close()


def look(house: Practice, username: str, patient: PatientId) -> None:
    house.vault.patients.get(house.vault.people.sessions.actor(house.token(username), OFFICE), patient)


def raised(house: Practice) -> list[str]:
    """Who was asked about a relation so far, newest first."""
    house.vault.auditing.review.run()
    auditor = house.vault.people.sessions.actor(house.token("nadia"), OFFICE)
    names = house.vault.people.roster.display_names()
    alerts = [each.line for each in house.vault.auditing.alerts(auditor) if each.line.code == Detector.RELATION]
    return [names.get(line.person, line.person) for line in alerts]  # type: ignore[call-overload]  # ids are strings


def test_one_s_own_file_a_colleague_s_and_a_namesake_s_are_asked_about(house: Practice) -> None:
    patient = house.patient("camille.dupont", "Dupont").id
    stranger = house.patient("camille.dupont", "Lefèvre").id
    look(house, "sophie.garnier", stranger)
    assert raised(house) == []
    look(house, "camille.dupont", patient)
    assert raised(house) == ["Dr Camille.Dupont"]
    look(house, "sophie.garnier", patient)
    look(house, "zoé.dupont", patient)
    assert sorted(raised(house)) == ["Dr Camille.Dupont", "Dr Sophie.Garnier", "Dr Zoé.Dupont"]


def test_a_word_of_a_name_is_compared_in_any_order_and_spelling(house: Practice) -> None:
    actor = house.vault.people.sessions.actor(house.token("camille.dupont"), OFFICE)
    tenant = house.vault.installation.tenant
    identity = Identity("N’Guyen", ("Mai-Linh",), "1993-07-25", Sex.FEMALE)
    patient = house.vault.patients.create(actor, identity, anyway=True).id

    def found(*names: str) -> str | None:
        staff = {actor.person: "Dr Camille Dupont"} | {f"{number:032x}": name for number, name in enumerate(names)}
        likenesses = Likenesses(BlindIndex(house.keys, tenant), lambda _: staff)  # type: ignore[arg-type,return-value]  # ids
        with house.vault.db.read() as connection:
            return likenesses.of(connection, actor, patient)

    for name in ("Mai-Linh N’Guyen", "NGUYEN Mai", "Mme Linh Nguyen", "Pr. Maï Linh N'GUYEN"):
        assert found(name) == "colleague", name
    for name in ("Mai-Linh Dupont", "Jean Nguyen", "Nguyen", "Mai", ""):
        assert found(name) is None, name
