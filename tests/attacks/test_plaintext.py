"""A day full of marked words, then a search of all files and of the server's processes: plaintext has nowhere to hide."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.attacks.caller import Caller, multipart
from tests.attacks.instance import Instance
from tests.journeys.disk import search
from tests.journeys.papers import scan, unheard_of

pytestmark = [pytest.mark.hsm, pytest.mark.xdist_group("attacks"), pytest.mark.timeout(170)]

ARRIVAL_S = 30


def in_processes(pids: Iterable[int], words: Iterable[str]) -> list[str]:
    """Where a word stands in an open file, the arguments or the environment of a process."""
    wanted = [word.encode() for word in words]
    found = []
    for pid in pids:
        base = Path(f"/proc/{pid}")
        places = [base / "cmdline", base / "environ"]
        for link in (base / "fd").glob("*"):
            try:
                target = str(link.readlink())
            except OSError:
                continue  # closed meanwhile
            if target.startswith("/") and not target.startswith(("/dev/", "/proc/")):
                places.append(link)
        for place in places:
            try:
                content = place.read_bytes()
            except OSError:
                continue
            found += [f"{place}: {word!r}" for word in wanted if word in content]
    return found


def half_an_upload(installation: Instance, sophie: Caller, patient: str, token: str, marked: bytes) -> socket.socket:
    """A plain form of 5 MB that stops short of its end."""
    body, headers = multipart({"csrf_token": token, "type": "51851-4"}, "lent.pdf", marked)
    raw = socket.create_connection(("127.0.0.1", installation.port), timeout=20)
    cookies = "; ".join(f"{name}={value}" for name, value in sophie.cookies.items())
    head = f"POST /patients/{patient}/documents HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\n"
    raw.sendall(f"{head}Content-Length: {len(body)}\r\nContent-Type: {headers['Content-Type']}\r\n\r\n".encode() + body[:-5000])
    return raw


def test_nothing_in_clear_anywhere(fresh: Instance) -> None:
    fresh.start()
    birth_name, given_name, title, inside, typed = (
        unheard_of(prefix) for prefix in ("Quatremarre", "Zebulon", "Compterendu", "Diagnostic", "Recherchee")
    )
    words = [birth_name, given_name, title, inside, typed]
    sophie, claire = fresh.browse("sophie.garnier"), fresh.sign_in("claire.martin")
    patient = claire.new_patient(birth_name, given_name)
    marked = scan(inside, pages=1)
    large = b"%PDF-1.7\n" + (inside.encode() + b" ") * 250_000 + b"\n%%EOF"
    assert claire.upload(patient, marked, name=f"{title}.pdf").status == 201
    token = sophie.csrf(f"/patients/{patient}")
    body, headers = multipart({"csrf_token": token, "type": "51851-4"}, f"{title} 2.pdf", large)
    assert sophie.call("POST", f"/patients/{patient}/documents", body, headers).status == 303
    for document in claire.documents(patient):
        claire.content(document["id"])
        claire.get(f"/api/v1/documents/{document['id']}/pages/1")
    claire.post_json("/api/v1/patients/search", {"q": birth_name})
    claire.post_json("/api/v1/patients/search", {"q": typed})
    sophie.post_form("/patients/search", {"csrf_token": token, "q": typed})
    claire.upload(patient, b"<html>" + inside.encode(), name=f"{title}.html")
    claire.post_json("/api/v1/patients", {"birth_name": birth_name, "given_names": typed, "nonsense": inside})
    fresh.caller().post_json("/api/v1/sessions", {"username": typed, "password": inside, "code": "000000"})
    before = fresh.blobs()
    slow = half_an_upload(fresh, sophie, patient, token, large + secrets.token_bytes(8))
    until = time.monotonic() + ARRIVAL_S
    while not [path for name, path in fresh.blobs().items() if name not in before and path.stat().st_size > 1_000_000]:
        assert time.monotonic() < until, "nothing of the half upload is on the disk"
        time.sleep(0.1)
    secret = [account.password for account in fresh.demo.accounts] + [account.totp_secret for account in fresh.demo.accounts]
    pin = (fresh.demo.directory / "token" / "pin").read_text().strip()
    assert in_processes(fresh.pids(), [*words, *secret, pin]) == []
    assert len(fresh.pids()) >= 2
    kept = [fresh.demo.directory / "accounts.json", fresh.demo.directory / "token" / "pin"]
    searched = [*words, *secret, pin]
    assert search(fresh.room, searched, skip=kept) == []
    slow.close()
    fresh.stop()
    assert search(fresh.room, searched, skip=kept) == []
    assert search(Path("/dev/shm"), words) == []
