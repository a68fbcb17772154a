"""The witness: signs what grew honestly, remembers, and never the other way round."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.vault.audit.conftest import Rig, viewed
from tests.vault.audit.test_evidence import rewrite
from vault.audit import note, offline
from vault.audit.events import Action
from vault.audit.search import Filters
from vault.audit.witness import Witness, ask, parse_cosigner, server
from vault.errors import Invalid, StorageUnavailable, Tampered


@pytest.fixture
def witness(rig: Rig, tmp_path: Path) -> Witness:
    rig.log.record_all([viewed(number) for number in range(10)])
    return Witness(tmp_path / "witness", "temoin.example/w1", rig.auditing.checkpoints.verifiers(), lambda: 1_790_000_000)


@pytest.fixture
def url(witness: Witness) -> Iterator[str]:
    listening = server(witness, ("127.0.0.1", 0))
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_address[1]}"
    listening.shutdown()
    listening.server_close()
    thread.join()


def body(old: int, text: str, proof: str = "") -> bytes:
    return f"old {old}\n{proof}\n{text}".encode()


def test_a_head_is_cosigned_and_so_is_its_extension(rig: Rig, witness: Witness, url: str) -> None:
    key = str(witness.cosigner)
    assert parse_cosigner(key) == witness.cosigner
    assert rig.auditing.witnessed() is None
    first = rig.auditing.cosign(rig.auditor(), url, key)
    assert first.count("\u2014 ") == 3, "P-256, Ed25519, and the witness"
    seen = rig.auditing.witnessed()
    assert seen is not None
    assert (seen.name, seen.size) == (witness.cosigner.name, int(first.splitlines()[1]))
    for _ in range(3):
        rig.log.record_all([viewed(number) for number in range(300)])
        assert rig.auditing.cosign(rig.auditor(), url, key).count("\u2014 ") == 3
    assert rig.auditing.verify(rig.auditor()).is_whole, "the installation's own signature still verifies"
    offline.open_checkpoint(first, offline.read_trust(rig.auditing.trust()))


def test_the_witness_remembers_over_a_restart_and_finds_a_rewritten_past(rig: Rig, witness: Witness, url: str) -> None:
    key = str(witness.cosigner)
    rig.auditing.cosign(rig.auditor(), url, key)
    again = Witness(witness._directory, "temoin.example/w1", rig.auditing.checkpoints.verifiers(), lambda: 0)
    assert str(again.cosigner) == key
    rewrite(rig)
    with pytest.raises(Tampered):
        rig.auditing.cosign(rig.auditor(), url, key)
    conflicts = rig.auditing.timeline(rig.auditor(), Filters(actions=(Action.LOG_WITNESS_CONFLICT,))).page.items
    assert len(conflicts) == 1


def test_what_a_witness_answers(rig: Rig, witness: Witness) -> None:
    head = rig.auditing.checkpoint(rig.auditor()).note
    assert witness.add_checkpoint(b"nonsense").status in {400, 404}
    assert witness.add_checkpoint(body(0, head.replace("coffre.invalid", "other.invalid"))).status == 404
    size = note.parse_checkpoint(note.split(head)[0]).size
    assert witness.add_checkpoint(body(0, head.replace(f"\n{size}\n", f"\n{size + 1}\n"))).status == 403
    assert witness.add_checkpoint(body(size + 1, head)).status == 400
    assert witness.add_checkpoint(body(3, head)).body == "0\n"
    assert witness.add_checkpoint(body(0, head, "AAAA\n")).status == 422
    assert witness.add_checkpoint(body(0, head)).status == 200
    conflict = witness.add_checkpoint(body(0, head))
    assert (conflict.status, conflict.body, conflict.content_type) == (409, f"{size}\n", "text/x.tlog.size")
    assert witness.add_checkpoint(body(size, head)).status == 200
    rig.log.record(viewed(1))
    later = rig.auditing.checkpoint(rig.auditor()).note
    assert witness.add_checkpoint(body(size, later)).status == 422, "without a proof"
    assert witness.add_checkpoint(b"old " + b"9" * 70_000).status == 400


def test_a_witness_that_is_away_or_somebody_else(rig: Rig, witness: Witness, url: str, tmp_path: Path) -> None:
    signed = rig.auditing.checkpoint(rig.auditor())
    other = Witness(tmp_path / "other", "temoin.example/w1", [], lambda: 0)
    with pytest.raises(Tampered):
        rig.auditing.cosign(rig.auditor(), url, str(other.cosigner))
    with pytest.raises(StorageUnavailable):
        ask("http://127.0.0.1:9", witness.cosigner, signed.note, lambda old: [])
    with pytest.raises(Invalid):
        ask("file:///etc/passwd", witness.cosigner, signed.note, lambda old: [])
    with pytest.raises(Invalid):
        parse_cosigner("a+b+c")


STRANGE = {
    "a page of somebody else": (b"HTTP/1.1 200 OK\r\n\r\n<html>\n <a href=x>y</a>\n\xe2\x80\x94 w abc\n", Tampered),
    "a size in other digits": (b"HTTP/1.1 409 Conflict\r\n\r\n\xc2\xb2\n", Tampered),
    "a size without end": (b"HTTP/1.1 409 Conflict\r\n\r\n" + b"9" * 5000, Tampered),
    "no HTTP": (b"220 mail.example ESMTP\r\n", StorageUnavailable),
    "half an answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nabc", Tampered),
}


@pytest.mark.parametrize("name", STRANGE)
def test_whatever_answers_in_the_place_of_a_witness_is_refused_in_words(rig: Rig, witness: Witness, name: str) -> None:
    said, kind = STRANGE[name]
    note = rig.auditing.checkpoint(rig.auditor()).note

    def answer(listener: socket.socket) -> None:
        with suppress(OSError):  # the test is over
            while True:
                peer, _address = listener.accept()
                with peer:
                    peer.sendall(said)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(65536):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        with pytest.raises(kind):
            ask(f"http://127.0.0.1:{listener.getsockname()[1]}", witness.cosigner, note, lambda _old: [])
