"""The high-water mark: over the key process's socket, and in a real token after a crash between writing and removing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from kms import constants as ck
from kms import marks
from kms.canary import verifies_text
from kms.journal import read
from kms.keys import KeyUse, Mark
from kms.sessions import Session
from kms.token import TokenKeys
from kms.wire import Operation, receive, send
from tests.kms.fake import FakeKeyService
from tests.kms.test_key_process import service, serving


def test_a_thief_of_the_web_process_can_t_lower_the_mark(tmp_path: Path) -> None:
    settings, token = service(tmp_path), FakeKeyService()
    with serving(settings, token) as keys:
        assert keys.mark() is None
        assert keys.raise_mark(Mark(0, 100, b"a" * 32)) == Mark(0, 100, b"a" * 32)
        for lower in (Mark(0, 99, b"b" * 32), Mark(0, 100, b"b" * 32)):
            assert keys.raise_mark(lower) == Mark(0, 100, b"a" * 32)
        assert keys.raise_mark(Mark(1, 5, b"c" * 32)) == Mark(1, 5, b"c" * 32)
        token.keeps_marks = False
        assert keys.raise_mark(Mark(2, 5, b"c" * 32)) is None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
            raw.connect(str(settings.socket))
            send(raw, Operation.RAISE_MARK, [b"", b"short"])
            assert receive(raw) is None, "nonsense loses its connection"
    told = [entry.what for _, entry in read(settings.journal) if entry.operation == "mark"]
    assert told == ["0/100->1/5", "1/5->2/5"], "a new generation is in the key process's own log"


def test_texts_are_signed_over_the_socket_too(tmp_path: Path) -> None:
    token = FakeKeyService()
    with serving(service(tmp_path), token) as keys:
        signature = keys.sign_text(b"x")
        assert signature is not None
        assert verifies_text(keys.public_key(1, KeyUse.AUDIT_ED), b"x", signature.raw)
        token.lose_edwards()
        assert keys.sign_text(b"x") is None


@pytest.mark.hsm
def test_of_several_marks_that_a_crash_left_the_highest_counts(token_keys: TokenKeys) -> None:
    def leave(session: Session) -> None:
        for size in (3, 9, 5):
            template = {
                ck.CKA_CLASS: ck.CKO_DATA,
                ck.CKA_TOKEN: True,
                ck.CKA_PRIVATE: True,
                ck.CKA_APPLICATION: marks.APPLICATION,
                ck.CKA_LABEL: f"{token_keys.prefix}/mark",
            }
            session.cryptoki.create_object(session.open, {**template, ck.CKA_VALUE: Mark(0, size, b"m" * 32).packed()})
            session.cryptoki.create_object(session.open, {**template, ck.CKA_VALUE: b"not a mark"})

    token_keys.pool.run(leave, writable=True)
    assert token_keys.mark() == Mark(0, 9, b"m" * 32)
    assert token_keys.raise_mark(Mark(0, 8, b"n" * 32)) == Mark(0, 9, b"m" * 32)
    assert token_keys.raise_mark(Mark(0, 10, b"n" * 32)) == Mark(0, 10, b"n" * 32)
    standing = token_keys.pool.run(lambda session: marks._standing(session, token_keys.prefix))
    assert [mark.size for mark, _ in standing] == [10]
