"""Every operation of the API as its description lists it, by every role: the policy's matrix, seen from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Clock
from tests.web.conftest import PDF, Practice, open_practice
from vault.model import Role
from vault.people.policy import MATRIX, Act

ACTS: dict[tuple[str, str], Act | None] = {
    ("get", "/openapi.json"): None,
    ("get", "/errors/{code}"): None,
    ("post", "/sessions"): None,
    ("delete", "/sessions/current"): None,
    ("post", "/sessions/current/factor"): Act.OWN_ACCOUNT,
    ("get", "/me"): Act.OWN_ACCOUNT,
    ("post", "/patients"): Act.PATIENT_CREATE,
    ("get", "/patients/{patient}"): Act.PATIENT_VIEW,
    ("patch", "/patients/{patient}"): Act.PATIENT_UPDATE,
    ("post", "/patients/search"): Act.PATIENT_SEARCH,
    ("get", "/doubles"): Act.PATIENT_DOUBLES,
    ("post", "/doubles/dismiss"): Act.PATIENT_DOUBLES,
    ("get", "/patients/{patient}/compare/{other}"): Act.PATIENT_DOUBLES,
    ("get", "/patients/{patient}/merges"): Act.PATIENT_VIEW,
    ("post", "/patients/{patient}/merges"): Act.PATIENT_MERGE,
    ("post", "/merges/{merge}/undo"): Act.PATIENT_MERGE,
    ("post", "/documents"): Act.DOCUMENT_UPLOAD,
    ("get", "/documents"): Act.DOCUMENT_LIST,
    ("get", "/documents/{document}"): Act.DOCUMENT_LIST,
    ("get", "/documents/{document}/content"): Act.DOCUMENT_DOWNLOAD,
    ("get", "/documents/{document}/pages/{number}"): Act.DOCUMENT_VIEW,
    ("get", "/documents/{document}/pdf"): Act.DOCUMENT_DOWNLOAD,
    ("patch", "/documents/{document}/marks"): Act.DOCUMENT_INTEGRATE,
    ("get", "/documents/{document}/versions"): Act.DOCUMENT_LIST,
    ("post", "/documents/{document}/versions"): Act.DOCUMENT_REPLACE,
    ("post", "/documents/{document}/refile"): Act.DOCUMENT_REFILE,
    ("post", "/inbox"): Act.INBOX_USE,
    ("get", "/inbox"): Act.INBOX_USE,
    ("post", "/inbox/{draft}/file"): Act.INBOX_USE,
    ("get", "/quarantine"): Act.QUARANTINE_MANAGE,
    ("get", "/quarantine/{file}"): Act.QUARANTINE_MANAGE,
    ("post", "/quarantine/{file}/rescan"): Act.QUARANTINE_MANAGE,
    ("delete", "/quarantine/{file}"): Act.QUARANTINE_MANAGE,
    ("post", "/uploads"): Act.DOCUMENT_UPLOAD,
    ("get", "/uploads/{upload}"): Act.DOCUMENT_UPLOAD,
    ("patch", "/uploads/{upload}"): Act.DOCUMENT_UPLOAD,
    ("delete", "/uploads/{upload}"): Act.DOCUMENT_UPLOAD,
    ("post", "/audit/search"): Act.AUDIT_READ,
    ("post", "/audit/export"): Act.AUDIT_EXPORT,
    ("get", "/audit/checkpoint"): Act.AUDIT_VERIFY,
}
"""What each operation asks of the policy; None: open to all."""
BODIES: dict[tuple[str, str], dict[str, object]] = {
    ("post", "/patients"): {"birth_name": "Dupont", "given_names": ["Zoé"], "birth_date": "1980-03-12", "sex": "F"},
    ("patch", "/patients/{patient}"): {"used_name": "Moreau"},
    ("post", "/patients/search"): {"q": "dup"},
    ("post", "/doubles/dismiss"): {"one": "0" * 32, "other": "1" * 32},
    ("post", "/patients/{patient}/merges"): {"absorbed": "0" * 32, "reason": "double"},
    ("post", "/merges/{merge}/undo"): {"reason": "deux personnes"},
    ("patch", "/documents/{document}/marks"): {"urgent": True},
    ("post", "/documents/{document}/refile"): {"patient": "0" * 32, "reason": "mauvais dossier"},
    ("post", "/inbox/{draft}/file"): {"patient": "0" * 32, "type": "11502-2"},
    ("post", "/audit/search"): {},
    ("post", "/audit/export"): {"format": "csv"},
}
"""Well-formed requests, so that a refusal is the policy's and not the reader's."""
RAW = {("post", "/documents"), ("post", "/documents/{document}/versions"), ("post", "/inbox")}
QUERIES = {("post", "/documents"): "?patient={patient}&type=11502-2", ("get", "/documents"): "?patient={patient}"}
WHO = {role: f"the-{role.value}" for role in Role}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    """One person of each role, none of them treating Dr Claire's patient."""
    opened = open_practice(tmp_path_factory.mktemp("roles"), Clock(), staff=("claire",))
    for role, username in WHO.items():
        opened.hire(username, role)
    yield opened
    opened.vault.close()


@pytest.fixture(scope="module")
def foreign(house: Practice) -> dict[str, str]:
    """Ids of Dr Claire's patient and of a medical document of theirs."""
    patient = house.patient("claire").id
    document = house.program("claire").upload(patient, PDF).get_json()["id"]
    return {
        "patient": patient,
        "document": document,
        "number": "1",
        "draft": "0" * 32,
        "file": "0" * 32,
        "other": "0" * 32,
        "merge": "0" * 32,
        "upload": "0" * 32,
        "code": "not_found",
    }


def ask(house: Practice, role: Role, operation: tuple[str, str], ids: dict[str, str]) -> Any:
    """One well-formed request of somebody of that role."""
    method, path = operation
    place = (path + QUERIES.get(operation, "")).format(**ids)
    body: dict[str, Any] = {"data": PDF} if operation in RAW else {"json": BODIES[operation]} if operation in BODIES else {}
    return house.program(WHO[role]).ask(method.upper(), place, **body)


def described(house: Practice) -> set[tuple[str, str]]:
    paths = house.app.test_client().get("/api/v1/openapi.json").get_json()["paths"]
    return {
        (method, path.removeprefix("/api/v1"))
        for path, methods in paths.items()
        for method in methods
        if method != "parameters"
    }


def test_the_table_names_every_operation_that_the_description_lists(house: Practice) -> None:
    assert described(house) == set(ACTS)


@pytest.mark.parametrize("role", Role)
def test_what_a_role_never_does_is_forbidden_on_every_operation(house: Practice, foreign: dict[str, str], role: Role) -> None:
    unknown = dict.fromkeys(foreign, "0" * 32) | {"number": "1"}
    for operation, act in ACTS.items():
        if act is None or role in MATRIX[act]:
            continue
        for ids in (foreign, unknown):
            answer = ask(house, role, operation, ids)
            assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden"), (role, operation)


@pytest.mark.parametrize("role", [Role.CLINICIAN, Role.OWNER, Role.LOCUM])
def test_what_is_somebody_else_s_does_not_exist_for_a_carer(house: Practice, foreign: dict[str, str], role: Role) -> None:
    unknown = dict.fromkeys(foreign, "0" * 32) | {"number": "1"}
    for operation, act in ACTS.items():
        if act is None or "{document}" not in operation[1]:
            continue
        for ids in (foreign, unknown):
            answer = ask(house, role, operation, ids)
            assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found"), (role, operation)


def test_reception_sees_that_a_medical_document_exists_and_never_what_it_is(house: Practice, foreign: dict[str, str]) -> None:
    program = house.program(WHO[Role.RECEPTION])
    listed = program.ask("GET", f"/documents?patient={foreign['patient']}").get_json()["documents"]
    assert [each["id"] for each in listed] == [foreign["document"]]
    assert "sha256" not in listed[0] or not listed[0]["sha256"]
    for part in ("/content", "/pages/1"):
        assert program.ask("GET", f"/documents/{foreign['document']}{part}").status_code == 403


def test_nobody_is_let_in_by_a_token_that_is_none(house: Practice, foreign: dict[str, str]) -> None:
    client = house.app.test_client()
    for (method, path), act in ACTS.items():
        if act is None:
            continue
        answer = client.open(f"/api/v1{path.format(**foreign)}", method=method.upper(), headers={"Authorization": "Bearer x"})
        assert answer.status_code == 401, (method, path)
