"""Filing: every bad input is a clear refusal, in the page and in the API, and leaves nothing behind."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests.web.conftest import PDF, Practice
from vault.errors import StorageFull
from vault.opening import Vault
from vault.records.documents.documents import Documents
from vault.records.documents.scanning import Scanner
from vault.settings import LimitSettings, ScanSettings
from vault.storage.blobs import BlobStore

ID = "0" * 32
HTML = b"<!doctype html><script>alert(1)</script>"
EXECUTABLE = b"MZ\x90\x00" + b"\x00" * 200


def digest(data: bytes, algorithm: str = "sha-256") -> str:
    return f"{algorithm}=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def test_a_document_is_filed_with_its_digest_and_its_place(practice: Practice) -> None:
    patient = practice.patient()
    name = "attachment; filename*=UTF-8''r%C3%A9sultat%20%E2%82%AC.pdf"
    answer = practice.program("claire").upload(patient.id, PDF, name=name, Repr_Digest=digest(PDF))
    assert answer.status_code == 201
    filed = answer.get_json()
    assert filed["sha256"] == hashlib.sha256(PDF).hexdigest()
    assert filed["file_name"] == "résultat €.pdf"
    assert filed["media_type"] == "application/pdf"
    assert answer.headers["Location"] == f"/api/v1/documents/{filed['id']}"
    assert answer.headers["Repr-Digest"] == digest(PDF)


@pytest.mark.parametrize(
    ("body", "options", "status", "code"),
    [
        (b"", {}, 422, "empty_document"),
        (HTML, {}, 415, "unsupported_type"),
        (EXECUTABLE, {}, 415, "unsupported_type"),
        (b"PK\x03\x04" + b"\x00" * 100, {}, 415, "unsupported_type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", {}, 415, "unsupported_type"),
        (PDF, {"Repr_Digest": digest(b"something else")}, 422, "digest_mismatch"),
        (PDF, {"Repr_Digest": "sha-256=:AAAA:"}, 422, "invalid"),
        (PDF, {"type": "unknown"}, 422, "invalid"),
        (PDF, {"type": ""}, 422, "invalid"),
        (PDF, {"name": "attachment; filename*=UTF-8''a%0d%0aX-Bad%3a%201.pdf"}, 422, "invalid"),
        (PDF, {"name": f"attachment; filename*=UTF-8''{'a' * 5000}.pdf"}, 422, "invalid"),
        (b"%PDF-1.4\n" + b"a" * (1024 * 1024), {}, 413, "too_large"),
    ],
)
def test_a_bad_deposit_is_refused_and_leaves_nothing(
    practice: Practice, body: bytes, options: dict[str, str], status: int, code: str
) -> None:
    patient, program = practice.patient(), practice.program("claire")
    before = practice.left_behind()
    answer = program.upload(patient.id, body, **options)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json()["incident"]
    assert practice.left_behind() == before


@pytest.mark.parametrize(
    ("query", "field", "begins"),
    [
        ("type=unknown", "type", "Type de document\u00a0: Choisissez"),
        ("type=11502-2&act_date=2999-01-01", "act_date", "Date de l’acte\u00a0: Cette date est impossible"),
        ("type=11502-2&act_date=2026-02-30", "act_date", "Date de l’acte\u00a0: Cette date n’existe pas"),
    ],
)
def test_a_refusal_names_the_field_and_says_why(practice: Practice, query: str, field: str, begins: str) -> None:
    answer = practice.program("claire").ask("POST", f"/documents?patient={practice.patient().id}&{query}", data=PDF)
    assert answer.status_code == 422
    assert answer.get_json()["field"] == field
    assert answer.get_json()["detail"].startswith(begins)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "CON", "=cmd()|x.pdf", 'a"b.pdf', "\u202egnp.exe", "😀.pdf", " ", "..", "a;b.pdf"]
)
def test_an_odd_name_is_kept_or_refused_and_always_comes_back(practice: Practice, name: str) -> None:
    from urllib.parse import quote

    patient, program = practice.patient(), practice.program("claire")
    body = PDF + name.encode()
    answer = program.upload(patient.id, body, name=f"attachment; filename*=UTF-8''{quote(name, safe='')}")
    assert answer.status_code in {201, 422}
    if answer.status_code == 201:
        back = program.ask("GET", f"/documents/{answer.get_json()['id']}/content")
        assert back.status_code == 200
        assert back.data == body
        header = back.headers["Content-Disposition"]
        assert header.startswith("attachment; ")
        assert header.isascii()
        assert not set("\r\n/\\") & set(header)


class Watched(io.RawIOBase):
    """A body that must not be read."""

    def read(self, size: int = -1) -> bytes:
        raise AssertionError("the body was read")

    def readinto(self, buffer: Any) -> int:
        raise AssertionError("the body was read")


def test_an_announced_size_over_the_limit_is_refused_before_a_byte_is_read(practice: Practice) -> None:
    patient = practice.patient()
    announced = {"wsgi.input": Watched(), "CONTENT_LENGTH": str(5 * 2**40)}
    answer = practice.program("claire").ask(
        "POST", f"/documents?patient={patient.id}&type=11502-2", environ_overrides=announced
    )
    assert answer.status_code == 413
    assert answer.get_json()["limit_bytes"] == 1024 * 1024


def test_a_body_cut_short_is_refused(practice: Practice) -> None:
    patient, before = practice.patient(), practice.left_behind()
    cut = {"wsgi.input": io.BytesIO(PDF[:20]), "CONTENT_LENGTH": str(len(PDF))}
    answer = practice.program("claire").ask("POST", f"/documents?patient={patient.id}&type=11502-2", environ_overrides=cut)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "incomplete_body")
    assert practice.left_behind() == before


@pytest.mark.parametrize("patient", [ID, "x", "A" * 32, "1" * 33])
def test_an_unknown_patient_is_not_found(practice: Practice, patient: str) -> None:
    answer = practice.program("claire").upload(patient)
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")


def test_the_same_bytes_twice_are_already_present(practice: Practice) -> None:
    patient, program = practice.patient(), practice.program("claire")
    first = program.upload(patient.id).get_json()["id"]
    again = program.upload(patient.id)
    assert (again.status_code, again.get_json()["code"]) == (409, "already_present")
    assert again.get_json()["document"] == first


@pytest.mark.parametrize("query", ["&role=owner", "&type=11502-2", "&sha256=00"])
def test_unknown_or_repeated_parameters_are_refused(practice: Practice, query: str) -> None:
    patient = practice.patient()
    answer = practice.program("claire").ask("POST", f"/documents?patient={patient.id}&type=11502-2{query}", data=PDF)
    assert answer.status_code == 422


def test_without_the_token_nothing_is_kept_and_the_answer_says_when_to_come_back(practice: Practice) -> None:
    patient, program, before = practice.patient(), practice.program("claire"), practice.left_behind()
    practice.vault.scopes.close()
    practice.keys.break_down()
    try:
        answer = program.upload(patient.id, PDF + b"%")
    finally:
        practice.keys.repair()
    assert (answer.status_code, answer.get_json()["code"]) == (503, "keys_unavailable")
    assert answer.headers["Retry-After"]
    assert practice.left_behind() == before


class FullStore:
    """A blob store on a disk without room."""

    def __init__(self, real: BlobStore) -> None:
        self._real = real

    def write(self, *_given: Any, **_named: Any) -> Any:
        raise StorageFull("no room")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_a_full_disk_is_507(open_another: Callable[..., Practice]) -> None:
    practice = open_another()
    patient, program = practice.patient(), practice.program("claire")
    vault: Vault = practice.vault
    full = Documents(
        db=vault.db, scopes=vault.scopes, keys=vault.keys, log=vault.log, tenant=vault.installation.tenant,
        relations=vault.people.relations, blobs=FullStore(vault.blobs), renderer=vault.renderer, limits=vault.settings.limits,
        clock=vault.clock, tickets=vault.patients._tickets, scanner=Scanner(ScanSettings()),
    )  # fmt: skip
    practice.app.extensions["coffre"] = replace(vault, documents=full)
    before = practice.left_behind()
    answer = program.upload(patient.id)
    assert (answer.status_code, answer.get_json()["code"]) == (507, "storage_full")
    assert practice.left_behind() == before


# --- the plain form


def form(practice: Practice, patient: str, *files: tuple[bytes, str], **fields: str) -> Any:
    browser = practice.browser("claire")
    data = {
        "csrf_token": browser.csrf("/patients"),
        **fields,
        "files": [FileStorage(io.BytesIO(body), name) for body, name in files],
    }
    boundary, body = encode_multipart(data)
    kind = f'multipart/form-data; boundary="{boundary}"'
    return browser.client.post(f"/patients/{patient}/documents", data=body, content_type=kind)


def test_the_plain_form_files_without_script(practice: Practice) -> None:
    patient = practice.patient()
    big = b"%PDF-1.4\n" + b"a" * 900_000
    answer = form(practice, patient.id, (big, "gros.pdf"), type="11502-2", act_date="12/03/2026")
    assert answer.status_code == 303
    document = answer.headers["Location"].partition("?")[0].rpartition("/")[2]
    described = practice.program("claire").ask("GET", f"/documents/{document}").get_json()
    assert described["act_date"] == "2026-03-12"
    assert described["size"] == len(big)


def test_the_plain_form_takes_several_files(practice: Practice) -> None:
    patient = practice.patient()
    answer = form(practice, patient.id, (PDF + b"1", "a.pdf"), (PDF + b"2", "b.pdf"), type="11502-2")
    assert answer.status_code == 303
    assert len(practice.program("claire").ask("GET", f"/documents?patient={patient.id}").get_json()["documents"]) == 2


def test_the_plain_form_refuses_a_page_in_a_pdf_s_clothes(practice: Practice) -> None:
    patient, before = practice.patient(), practice.left_behind()
    answer = form(practice, patient.id, (HTML, "bilan.pdf"), type="11502-2")
    assert answer.status_code == 415
    page = answer.get_data(as_text=True)
    assert "n’est pas accepté" in page
    assert "Incident" in page
    assert "bilan.pdf" not in page
    assert practice.left_behind() == before


def test_the_plain_form_without_a_file_or_a_token_is_refused(practice: Practice) -> None:
    patient, before = practice.patient(), practice.left_behind()
    assert form(practice, patient.id, (b"", ""), type="11502-2").status_code == 422
    browser = practice.browser("claire")
    data = {"type": "11502-2", "files": (io.BytesIO(PDF), "a.pdf")}
    answer = browser.client.post(f"/patients/{patient.id}/documents", data=data, content_type="multipart/form-data")
    assert answer.status_code == 400
    assert practice.left_behind() == before


def test_a_broken_form_is_refused(practice: Practice) -> None:
    patient = practice.patient()
    browser = practice.browser("claire")
    for body in (
        b"",
        b"--x\r\n",
        b"garbage",
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n%PDF-1.4',
    ):
        answer = browser.client.post(
            f"/patients/{patient.id}/documents", data=body, content_type="multipart/form-data; boundary=x"
        )
        assert 400 <= answer.status_code < 500
    answer = browser.client.post(f"/patients/{patient.id}/documents", data=b"x", content_type="multipart/form-data")
    assert answer.status_code == 400


def test_nothing_is_spooled_while_a_large_form_arrives(
    open_another: Callable[..., Practice], monkeypatch: pytest.MonkeyPatch
) -> None:
    practice = open_another(limits=LimitSettings(document_mib=8))
    spool = practice.room / "spool"
    spool.mkdir()
    monkeypatch.setenv("TMPDIR", str(spool))
    monkeypatch.setattr("tempfile.tempdir", None)
    patient = practice.patient()
    marker = b"%PDF-1.4\n" + b"CONFIDENTIEL " * 400_000
    seen: list[str] = []

    class Spying(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            seen.extend(path.name for path in spool.rglob("*"))
            return super().read(size)

    browser = practice.browser("claire")
    head = (
        f'--x\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{browser.csrf("/patients")}\r\n'
        '--x\r\nContent-Disposition: form-data; name="type"\r\n\r\n11502-2\r\n'
        '--x\r\nContent-Disposition: form-data; name="files"; filename="a.pdf"\r\nContent-Type: application/pdf\r\n\r\n'
    ).encode()
    body = head + marker + b"\r\n--x--\r\n"
    answer = browser.client.post(
        f"/patients/{patient.id}/documents",
        input_stream=Spying(body),
        content_length=len(body),
        content_type="multipart/form-data; boundary=x",
    )
    assert answer.status_code == 303
    assert seen == []
    assert not any(b"CONFIDENTIEL" in path.read_bytes() for path in practice.room.rglob("*") if path.is_file())
