"""kill -9 while documents arrive: the acknowledged are there and right, others whole or absent, and the next start is quick."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPException
from statistics import median

import pytest

from tests.attacks.caller import Caller
from tests.attacks.instance import Instance

pytestmark = [pytest.mark.hsm, pytest.mark.alone, pytest.mark.timeout(170)]

ROUNDS, MOST = 4, 8
SENDERS = 4
RECOVERY_S = 3.0
"""From the start after a kill to ready; half of it is used on two quiet cores."""
BUSY = 1.3
"""On a machine where any start takes longer, one after a kill may take so much more."""


def is_slow(usual: list[float], recoveries: list[float]) -> bool:
    return median(recoveries) >= max(RECOVERY_S, BUSY * median(usual))


def send(caller: Caller, patient: str, sent: dict[str, bytes], acknowledged: dict[str, str], over: threading.Event) -> None:
    """Deposit until the server dies."""
    while not over.is_set():
        content = b"%PDF-1.7\n" + secrets.token_bytes(secrets.choice((500, 60_000, 900_000))) + b"\n%%EOF"
        digest = hashlib.sha256(content).hexdigest()
        sent[digest] = content
        with suppress(OSError, HTTPException):
            answer = caller.upload(patient, content)
            if answer.status == 201:
                acknowledged[digest] = answer.json["id"]


def test_killed_while_documents_arrive(fresh: Instance) -> None:
    usual = [fresh.start()]
    claire = fresh.sign_in("claire.martin")
    patient = claire.new_patient("Survivante")
    sent: dict[str, bytes] = {}
    acknowledged: dict[str, str] = {}
    recoveries: list[float] = []
    for turn in range(MOST):
        if turn >= ROUNDS and not is_slow(usual, recoveries):
            break
        over = threading.Event()
        places = [replace(claire, place=f"127.0.0.{2 + number}") for number in range(SENDERS)]
        threads = [threading.Thread(target=send, args=(at, patient, sent, acknowledged, over), daemon=True) for at in places]
        for thread in threads:
            thread.start()
        time.sleep(0.7 + 0.13 * turn)
        fresh.kill()
        over.set()
        for thread in threads:
            thread.join()
        recoveries.append(fresh.start())
        if turn >= ROUNDS - 1 and is_slow(usual, recoveries):  # a busy machine, or a slow recovery: measured side by side
            fresh.stop()
            usual.append(fresh.start())
        listed = {each["sha256"]: each["id"] for each in claire.documents(patient)}
        assert set(acknowledged) <= set(listed), "a document that was acknowledged is lost"
        assert set(listed) <= set(sent), "a document that nobody sent"
        for digest, document in listed.items():
            assert claire.content(document).body == sent[digest]
        acknowledged |= listed
    assert len(acknowledged) >= ROUNDS
    assert not is_slow(usual, recoveries), (usual, recoveries)
    assert fresh.verified("documents")["ok"]
    assert fresh.verified("audit")["ok"]
    swept = fresh.coffre("documents", "sweep", "--json")
    assert swept.returncode == 0, swept.stderr
