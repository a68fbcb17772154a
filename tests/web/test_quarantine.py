"""A file in quarantine, as senders and programs are told of it, and the page of those in charge; no other address knows it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests.servers.scanner import OddScanner
from tests.web.conftest import PDF, Browser, Practice
from vault.model import Role
from vault.settings import ScanSettings

HIT = b"stream: Win.Test-7 FOUND\0"
Open = Callable[..., Practice]


@contextmanager
def ward(open_another: Open, place: Path) -> Iterator[tuple[Practice, OddScanner]]:
    """A practice whose scanner finds something in everything, with an owner and a technical administrator."""
    with OddScanner(place / "s", reply=HIT) as scanner:
        practice = open_another(scan=ScanSettings(scanner.path))
        practice.hire("helene", Role.OWNER)
        practice.hire("thomas", Role.ADMIN)
        practice.hire("sophie", Role.RECEPTION)
        yield practice, scanner


def sent(browser: Browser, address: str) -> tuple[int, str]:
    """Send a file by a plain form, as a browser without script does."""
    data = {"csrf_token": browser.csrf("/account"), "file": FileStorage(io.BytesIO(PDF), "bilan.pdf")}
    boundary, body = encode_multipart(data)
    kind = f'multipart/form-data; boundary="{boundary}"'
    answer = browser.client.post(address, data=body, content_type=kind, follow_redirects=True)
    return answer.status_code, answer.get_data(as_text=True)


def pressed(browser: Browser, address: str) -> tuple[int, str]:
    answer = browser.client.post(address, data={"csrf_token": browser.csrf("/account")}, follow_redirects=True)
    return answer.status_code, answer.get_data(as_text=True)


def test_senders_and_programs_are_told_what_to_do(open_another: Open, tmp_path: Path) -> None:
    with ward(open_another, tmp_path) as (practice, _):
        patient = practice.patient()
        told = practice.program("claire").upload(patient.id)
        problem = told.get_json()
        assert (told.status_code, problem["code"], problem["reason"]) == (422, "quarantined", "Win.Test-7")
        assert len(problem["document"]) == 32
        assert "Win.Test-7" in problem["detail"]
        waiting = practice.program("sophie").ask("POST", "/inbox", data=PDF).get_json()
        assert (waiting["code"], waiting["document"]) == ("quarantined", problem["document"])
        status, page = sent(practice.browser("claire"), f"/patients/{patient.id}/documents")
        assert status == 422
        for words in ("Mis en quarantaine", "Win.Test-7", "nouvel exemplaire", "titulaire"):
            assert words in page
        assert "Ouvrir le document" not in page
        status, page = sent(practice.browser("sophie"), "/inbox")
        assert status == 200
        assert "Mis en quarantaine" in page
        assert practice.program("sophie").ask("GET", "/inbox").get_json()["drafts"] == []
        assert practice.events("document.quarantine") == ["success"] * 4
        assert practice.events("document.upload") == []
        assert practice.left_behind() == (1, 1, 1)


def test_the_page_of_those_in_charge(open_another: Open, tmp_path: Path) -> None:
    with ward(open_another, tmp_path) as (practice, scanner):
        owner, admin = practice.browser("helene"), practice.browser("thomas")
        assert "Rien n’est en quarantaine" in owner.client.get("/quarantine").get_data(as_text=True)
        place = practice.program("sophie").ask(
            "POST", "/inbox", data=PDF, headers={"Content-Disposition": 'attachment; filename="courrier.pdf"'}
        )
        document = place.get_json()["document"]
        for browser, is_named in ((owner, True), (admin, False)):
            page = browser.client.get("/quarantine").get_data(as_text=True)
            assert ("courrier.pdf" in page, "Win.Test-7" in page, "Dr Sophie" in page) == (is_named, True, True)
            assert "1 fichier infecté" in browser.client.get("/status").get_data(as_text=True)
            assert "Un fichier infecté a été mis en quarantaine" in browser.client.get("/account").get_data(as_text=True)
        assert "1 fichier que vous avez envoyé est en quarantaine" in practice.browser("sophie").client.get("/inbox").get_data(
            as_text=True
        )
        assert "Toujours infecté" in pressed(admin, f"/quarantine/{document}/rescan")[1]
        scanner.reply = b"nothing that means anything\0"
        status, page = pressed(owner, f"/quarantine/{document}/rescan")
        assert status == 503
        assert "Le fichier reste en quarantaine" in page
        scanner.reply = b"stream: OK\0"
        assert "Plus rien n’a été trouvé" in pressed(owner, f"/quarantine/{document}/rescan")[1]
        (draft,) = practice.program("sophie").ask("GET", "/inbox").get_json()["drafts"]
        assert (draft["id"], draft["file_name"]) == (document, "courrier.pdf")


def test_destroying_asks_first_and_leaves_nothing(open_another: Open, tmp_path: Path) -> None:
    with ward(open_another, tmp_path) as (practice, _):
        document = practice.program("sophie").ask("POST", "/inbox", data=PDF).get_json()["document"]
        owner = practice.browser("helene")
        assert "Éliminer ce fichier" in owner.client.get("/quarantine").get_data(as_text=True)
        assert owner.client.get(f"/quarantine/{document}/discard").status_code == 405
        assert "Fichier éliminé" in pressed(owner, f"/quarantine/{document}/discard")[1]
        assert practice.left_behind() == (0, 0, 0)
        assert pressed(owner, f"/quarantine/{document}/discard")[0] == 404


@pytest.mark.parametrize("username", ["sophie", "claire"])
def test_others_are_kept_out(open_another: Open, tmp_path: Path, username: str) -> None:
    with ward(open_another, tmp_path) as (practice, _):
        document = practice.program("sophie").ask("POST", "/inbox", data=PDF).get_json()["document"]
        browser = practice.browser(username)
        assert browser.client.get("/quarantine").status_code == 403
        for act in ("rescan", "discard"):
            assert pressed(browser, f"/quarantine/{document}/{act}")[0] == 403
        assert practice.left_behind() == (1, 1, 1)


def test_a_program_of_those_in_charge(open_another: Open, tmp_path: Path) -> None:
    """Every answer is held to its description by the client itself."""
    with ward(open_another, tmp_path) as (practice, scanner):
        owner, admin, sender = (practice.program(name) for name in ("helene", "thomas", "sophie"))
        assert owner.ask("GET", "/quarantine").get_json() == {"files": [], "more": False}
        name = {"Content-Disposition": 'attachment; filename="courrier.pdf"'}
        document = sender.ask("POST", "/inbox", data=PDF, headers=name).get_json()["document"]
        (listed,) = owner.ask("GET", "/quarantine").get_json()["files"]
        assert owner.ask("GET", f"/quarantine/{document}").get_json() == listed
        assert (listed["id"], listed["file_name"], listed["signature"]) == (document, "courrier.pdf", "Win.Test-7")
        masked = admin.ask("GET", f"/quarantine/{document}").get_json()
        assert masked == {**listed, "file_name": None, "is_masked": True}
        kept = admin.ask("POST", f"/quarantine/{document}/rescan")
        assert (kept.status_code, kept.get_json()) == (200, {"id": document, "is_released": False})
        scanner.reply = b"nothing that means anything\0"
        unclear = owner.ask("POST", f"/quarantine/{document}/rescan")
        problem = unclear.get_json()
        assert (unclear.status_code, problem["code"], problem["kept"]) == (503, "scanner_unavailable", "quarantine")
        assert "reste en quarantaine" in problem["detail"]
        scanner.reply = b"stream: OK\0"
        freed = owner.ask("POST", f"/quarantine/{document}/rescan").get_json()
        assert freed == {"id": document, "is_released": True}
        assert [draft["id"] for draft in sender.ask("GET", "/inbox").get_json()["drafts"]] == [document]
        for method, path in (("GET", ""), ("POST", "/rescan"), ("DELETE", "")):
            assert owner.ask(method, f"/quarantine/{document}{path}").status_code == 404
        assert practice.events("document.rescan") == [
            "granted", "failed", "granted", "failed", "granted", "denied",
        ]  # fmt: skip
        assert practice.events("document.release") == ["success"]


def test_a_program_destroys_and_is_told_what_waits_already(open_another: Open, tmp_path: Path) -> None:
    with ward(open_another, tmp_path) as (practice, scanner):
        admin, sender = practice.program("thomas"), practice.program("sophie")
        document = sender.ask("POST", "/inbox", data=PDF).get_json()["document"]
        scanner.reply = b"stream: OK\0"
        draft = sender.ask("POST", "/inbox", data=PDF).get_json()["id"]
        twin = admin.ask("POST", f"/quarantine/{document}/rescan")
        assert (twin.status_code, twin.get_json()["code"], twin.get_json()["document"]) == (409, "already_present", draft)
        assert "peut être éliminé" in twin.get_json()["detail"]
        answer = admin.ask("DELETE", f"/quarantine/{document}")
        assert (answer.status_code, answer.data) == (204, b"")
        assert admin.ask("DELETE", f"/quarantine/{document}").status_code == 404
        assert practice.events("document.delete") == ["success", "denied"]
        assert practice.left_behind() == (1, 1, 1)


UNKNOWN = "0" * 32
PLACE = re.compile(r"<(?:\w+:)?(\w+)>")


def addresses(practice: Practice, document: str, patient: str) -> list[tuple[str, str]]:
    """Every address that takes the id of a document or a draft, but the quarantine's own, with each of its methods."""

    known = {"document": document, "draft": document, "number": "1", "patient": patient}

    rules = [rule for rule in practice.app.url_map.iter_rules() if rule.arguments & {"document", "draft"}]
    kept = [rule for rule in rules if not rule.rule.startswith("/quarantine")]
    assert len(kept) > 20
    wanted = sorted((rule.rule, method) for rule in kept for method in (rule.methods or set()) - {"HEAD", "OPTIONS"})
    return [(method, PLACE.sub(lambda found: known.get(found[1], UNKNOWN), place)) for place, method in wanted]


def test_no_other_address_knows_it(open_another: Open, tmp_path: Path) -> None:
    with ward(open_another, tmp_path) as (practice, _):
        patient = practice.patient().id
        document = practice.program("claire").upload(patient).get_json()["document"]
        browser, program = practice.browser("claire"), practice.program("claire")
        token = browser.csrf("/account")
        for (method, address), (_, unknown) in zip(
            addresses(practice, document, patient), addresses(practice, UNKNOWN, patient), strict=True
        ):
            said = []
            for place in (address, unknown):
                if place.startswith("/api/v1"):
                    answer = program.ask(method, place.removeprefix("/api/v1"), json={"patient": patient, "type": "11502-2"})
                else:
                    form = {"csrf_token": token, "patient": patient, "type": "11502-2", "reason": "erreur"}
                    answer = browser.client.open(place, method=method, data=form if method == "POST" else None)
                said.append((answer.status_code, "Win.Test" in answer.get_data(as_text=True)))
            assert said[0] == said[1], (method, address)
            assert not said[0][1], (method, address)
        assert practice.left_behind() == (1, 1, 1)
        assert practice.events("document.view") + practice.events("document.download") == ["denied"] * len(
            practice.events("document.view") + practice.events("document.download")
        )
