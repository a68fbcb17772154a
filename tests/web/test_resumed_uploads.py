"""Uploads that go on after a cut line, as programs and pages ask for them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.web.conftest import Practice, Program

PDF = b"%PDF-1.7\n" + b"%" * 700_000 + b"\n%%EOF"


def pdf(mark: str) -> bytes:
    """The same size, other bytes."""
    return PDF[:20] + mark.encode() + PDF[20 + len(mark) :]


def begin(program: Program, query: str, size: int = len(PDF), headers: Mapping[str, str] | None = None) -> Any:
    given = {"Upload-Length": str(size), "Content-Disposition": "attachment; filename=bilan.pdf"}
    return program.ask("POST", f"/uploads{query}", headers=given | dict(headers or {}))


def append(program: Program, upload: str, offset: int | str, body: bytes) -> Any:
    return program.ask("PATCH", f"/uploads/{upload}", headers={"Upload-Offset": str(offset)}, data=body)


def test_a_document_arrives_in_pieces(practice: Practice) -> None:
    program, patient = practice.program("claire"), practice.patient()
    content = pdf("pieces")
    begun = begin(program, f"?patient={patient.id}&type=11502-2&act_date=2026-03-12")
    assert begun.status_code == 201
    upload = begun.get_json()["id"]
    assert begun.headers["Location"] == f"/api/v1/uploads/{upload}"
    first = append(program, upload, 0, content[:300_000])
    assert (first.status_code, first.headers["Upload-Offset"], first.headers["Upload-Complete"]) == (200, "300000", "?0")
    stands = program.ask("HEAD", f"/uploads/{upload}")
    assert (stands.status_code, stands.headers["Upload-Offset"]) == (200, "300000")
    wrong = append(program, upload, 299_999, content[299_999:])
    assert (wrong.status_code, wrong.get_json()["code"], wrong.get_json()["offset"]) == (409, "conflict", 300_000)
    last = append(program, upload, 300_000, content[300_000:])
    assert last.status_code == 201
    document = last.get_json()
    assert (document["act_date"], document["file_name"]) == ("2026-03-12", "bilan.pdf")
    assert document["sha256"] == hashlib.sha256(content).hexdigest()
    assert last.headers["Location"] == f"/api/v1/documents/{document['id']}"
    again = append(program, upload, len(content), b"")
    assert (again.status_code, again.get_json()) == (201, document)
    assert program.ask("GET", f"/documents/{document['id']}/content").get_data() == content
    described = practice.app.test_client().get("/api/v1/openapi.json").get_json()
    for answer, path, method in (
        (begun, "/uploads", "post"),
        (first, "/uploads/{upload}", "patch"),
        (last, "/uploads/{upload}", "patch"),
    ):
        reply = described["paths"][path][method]["responses"][str(answer.status_code)]
        schema = reply["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": described["components"]}).validate(answer.get_json())


def test_without_a_patient_it_goes_into_the_inbox(practice: Practice) -> None:
    program, content = practice.program("sophie"), pdf("inbox")
    upload = begin(program, "").get_json()["id"]
    taken = append(program, upload, 0, content)
    assert taken.status_code == 201
    assert taken.headers["Location"] == f"/api/v1/inbox/{taken.get_json()['id']}"
    assert program.ask("GET", "/inbox").get_json()["drafts"][0]["id"] == taken.get_json()["id"]


def test_what_is_given_up_leaves_nothing(practice: Practice) -> None:
    program, patient = practice.program("claire"), practice.patient()
    before = practice.left_behind()
    upload = begin(program, f"?patient={patient.id}&type=11502-2").get_json()["id"]
    append(program, upload, 0, pdf("given up")[:600_000])
    assert program.ask("DELETE", f"/uploads/{upload}").status_code == 204
    assert practice.left_behind() == before
    assert append(program, upload, 600_000, b"%").status_code == 404


def test_a_colleague_can_neither_look_nor_append(practice: Practice) -> None:
    program, patient = practice.program("claire"), practice.patient()
    upload = begin(program, f"?patient={patient.id}&type=11502-2").get_json()["id"]
    sophie = practice.program("sophie")
    assert sophie.ask("GET", f"/uploads/{upload}").status_code == 404
    assert append(sophie, upload, 0, PDF).status_code == 404
    assert sophie.ask("DELETE", f"/uploads/{upload}").status_code == 404
    assert program.ask("DELETE", f"/uploads/{upload}").status_code == 204


REFUSED = {
    "no size": ("?patient={patient}&type=11502-2", {"Upload-Length": ""}, 422, "invalid"),
    "odd size": ("?patient={patient}&type=11502-2", {"Upload-Length": "١٢"}, 422, "invalid"),
    "negative": ("?patient={patient}&type=11502-2", {"Upload-Length": "-1"}, 422, "invalid"),
    "too large": ("?patient={patient}&type=11502-2", {"Upload-Length": str(1 << 40)}, 413, "too_large"),
    "empty": ("?patient={patient}&type=11502-2", {"Upload-Length": "0"}, 422, "empty_document"),
    "no type": ("?patient={patient}", {}, 422, "invalid"),
    "type without patient": ("?type=11502-2", {}, 422, "invalid"),
    "unknown type": ("?patient={patient}&type=x", {}, 422, "invalid"),
    "unknown patient": ("?patient=" + "0" * 32 + "&type=11502-2", {}, 404, "not_found"),
    "bad digest": ("?patient={patient}&type=11502-2", {"Repr-Digest": "sha-256=:AAAA:"}, 422, "invalid"),
    "slipped in": ("?patient={patient}&type=11502-2&role=owner", {}, 422, "invalid"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_become_a_document_is_refused_at_the_beginning(practice: Practice, name: str) -> None:
    query, headers, status, code = REFUSED[name]
    program, patient = practice.program("claire"), practice.patient()
    before = practice.left_behind()
    raw = {key: value.encode().decode("latin-1") for key, value in headers.items()}  # as WSGI hands bytes over
    answer = begin(program, query.format(patient=patient.id), headers=raw)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert practice.left_behind() == before


def test_bytes_that_are_no_document_or_too_many_are_refused(practice: Practice) -> None:
    program, patient = practice.program("claire"), practice.patient()
    before = practice.left_behind()
    for body, status in ((b"<html>" + bytes(600_000), 415), (PDF + b"%", 422)):
        upload = begin(program, f"?patient={patient.id}&type=11502-2", min(len(body), len(PDF))).get_json()["id"]
        assert append(program, upload, 0, body).status_code == status
        program.ask("DELETE", f"/uploads/{upload}")
    assert practice.left_behind() == before
