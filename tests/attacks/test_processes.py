"""One vault served by several processes: each workplace finds its own, nothing is lost when one dies, the log is one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.attacks.caller import Caller
from tests.attacks.instance import Instance, events, served
from tests.demonstration import copy
from vault.demo.stage import Demo

pytestmark = [pytest.mark.hsm, pytest.mark.timeout(170)]

PROCESSES = 3
PATIENCE_S = 60


@pytest.fixture(scope="module")
def several(pristine: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    room = tmp_path_factory.mktemp("several")
    with served(room, copy(pristine, room), {"COFFRE_WEB_PROCESSES": str(PROCESSES)}) as instance:
        yield instance


def at(caller: Caller, number: int) -> Caller:
    """The same person at another workplace; neighbours belong to different processes."""
    return replace(caller, place=f"127.0.0.{1 + number}", cookies=dict(caller.cookies))


def workers(instance: Instance) -> list[int]:
    assert instance.process is not None
    main = instance.process.pid
    return [int(word) for word in Path(f"/proc/{main}/task/{main}/children").read_text(encoding="ascii").split()]


def has_left(instance: Instance, pid: int) -> bool:
    return pid not in workers(instance)


def awaited(is_so: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def test_every_workplace_is_served_and_the_log_is_one(several: Instance, paper: Callable[[str], bytes]) -> None:
    claire = several.sign_in("claire.martin")
    patient = claire.new_patient("Répartie")
    filed: dict[int, str] = {}
    content = {number: paper(f"poste {number}") for number in range(2 * PROCESSES)}

    def work(number: int) -> None:
        answer = at(claire, number).upload(patient, content[number])
        assert answer.status == 201, answer.body
        filed[number] = answer.json["id"]

    threads = [threading.Thread(target=work, args=(number,)) for number in content]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(filed) == len(content)
    for number, document in filed.items():  # what one process filed, the next one opens
        assert at(claire, number + 1).content(document).body == content[number]
    assert several.verified("audit")["ok"]
    assert several.verified("documents")["ok"]
    opened = [
        each for each in events(several.sign_in("nadia.roche"), "document.download") if each["document"] in filed.values()
    ]
    assert len(opened) == len(filed)


def test_what_is_remembered_of_a_workplace_is_found_by_each_of_its_connections(several: Instance) -> None:
    claire = several.sign_in("claire.martin")
    patient = claire.new_patient("Reprise")
    for number in range(PROCESSES):
        here, elsewhere = at(claire, number), at(claire, number + 1)
        body = b"%PDF-1.7\n" + os.urandom(3 * 1024 * 1024) + b"\n%%EOF"
        begun = here.call("POST", f"/api/v1/uploads?patient={patient}&type=11502-2", b"", {"Upload-Length": str(len(body))})
        assert begun.status == 201, (begun.status, begun.body)
        place, half = begun.headers["location"], len(body) // 2
        piece = {"Content-Type": "application/partial-upload"}
        first = here.call("PATCH", place, body[:half], {"Upload-Offset": "0", **piece})
        assert first.status == 200, (first.status, first.body)
        assert elsewhere.get(place).status == 404
        last = here.call("PATCH", place, body[half:], {"Upload-Offset": str(half), **piece})
        assert last.status == 201, (last.status, last.body)


def test_a_session_that_ended_has_ended_everywhere(several: Instance) -> None:
    paul = several.sign_in("paul.lemaire")
    for number in range(PROCESSES):
        assert at(paul, number).get("/api/v1/me").status == 200
    assert at(paul, 1).call("DELETE", "/api/v1/sessions/current").status == 204
    for number in range(PROCESSES):
        assert at(paul, number).get("/api/v1/me").status == 401


def test_the_numbers_for_monitoring_are_those_of_all(several: Instance) -> None:
    def counted() -> int:
        lines = several.caller().get("/metrics").text.splitlines()
        return sum(int(line.split()[-1]) for line in lines if line.startswith('coffre_requests_total{endpoint="status.alive"'))

    before = counted()
    for number in range(PROCESSES):
        assert at(several.caller(), number).get("/healthz").status == 200
    assert counted() == before + PROCESSES


@pytest.mark.alone
def test_one_that_dies_takes_nothing_with_it_and_comes_back(fresh: Instance, paper: Callable[[str], bytes]) -> None:
    fresh.settings["COFFRE_WEB_PROCESSES"] = str(PROCESSES)
    fresh.start()
    claire = fresh.sign_in("claire.martin")
    patient = claire.new_patient("Rescapée")
    for turn in range(PROCESSES):
        assert awaited(lambda: len(workers(fresh)) == PROCESSES)
        assert awaited(lambda: all(at(claire, number).get("/healthz").status == 200 for number in range(PROCESSES)))
        before = workers(fresh)
        os.kill(before[0], signal.SIGKILL)  # each in its turn: the oldest is another one each time
        answers = [at(claire, number).upload(patient, paper(f"{turn} {number}")).status for number in range(PROCESSES)]
        assert answers == [201] * PROCESSES  # who waits at the door of the dead one waits for its successor
        assert awaited(partial(has_left, fresh, before[0]))
    found = events(fresh.sign_in("nadia.roche"), "system.start", "system.stop", "system.unclean_start")
    assert [each["action"] for each in found].count("system.unclean_start") == PROCESSES
    fresh.stop()
    assert fresh.verified("audit")["ok"]
    assert fresh.verified("documents")["ok"]


@pytest.mark.alone
@pytest.mark.parametrize(("sign", "count"), [(signal.SIGHUP, PROCESSES), (signal.SIGTTIN, PROCESSES + 1)])
def test_signs_of_the_server_library_end_nothing(fresh: Instance, sign: signal.Signals, count: int) -> None:
    """SIGHUP, which a closed terminal sends too, replaces every process; SIGTTIN adds one: for a while two have one number."""
    fresh.settings["COFFRE_WEB_PROCESSES"] = str(PROCESSES)
    fresh.start()
    claire = fresh.sign_in("claire.martin")
    assert awaited(lambda: all(at(claire, number).get("/healthz").status == 200 for number in range(PROCESSES)))
    before = set(workers(fresh))
    assert fresh.process is not None
    fresh.process.send_signal(sign)
    assert awaited(lambda: len(set(workers(fresh)) - before) == count - (0 if sign is signal.SIGHUP else PROCESSES))
    assert awaited(lambda: len(workers(fresh)) == count)
    for number in range(2 * PROCESSES):
        assert at(claire, number).get("/api/v1/me").status == 200
    assert fresh.stop() == 0, fresh.words()[-3000:]
    assert "Traceback" not in fresh.words(), fresh.words()[-3000:]
    assert fresh.verified("audit")["ok"]
