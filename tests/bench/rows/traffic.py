"""Documents over HTTP: the vault beside its plain twin."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator

from tests.bench.measure import ROUNDS, Figure, Pair, against, alternate, percentile
from tests.bench.sizes import sized
from tests.bench.stage import MIB, Paper, Stage, resident_mib, staged
from tests.bench.wire import Wire

LARGE = sized("LARGE_MIB", 256, 256) * MIB
HUGE = sized("HUGE_MIB", 256, 1024) * MIB
SCAN = 200_000
CLIENTS = 8
EACH = 25
"""Documents for each client in one round."""


def _sent(wire: Wire, path: str, paper: Paper) -> str:
    status, answer = wire.post(path, *paper.pieces())
    if status != 201:
        raise RuntimeError(f"{path}: {status} {answer}")
    return str(answer["id"])


def upload() -> Iterator[Figure]:
    """Target: ≥ 0.85 × the twin."""
    paper = Paper(LARGE)
    with staged() as stage:
        ours, theirs = stage.vault_wire(), stage.twin_wire()
        pair = alternate(lambda: _sent(ours, stage.vault_path, paper), lambda: _sent(theirs, "/documents", paper))
    yield against(f"upload {LARGE // MIB} MiB", pair, LARGE / MIB, "MiB/s", "plain twin", least=0.85)


def download() -> Iterator[Figure]:
    """Target: ≥ 0.7 × the twin, though the vault reads the document twice."""
    paper = Paper(LARGE)
    with staged() as stage:
        ours, theirs = stage.vault_wire(), stage.twin_wire()
        here = f"/api/v1/documents/{_sent(ours, stage.vault_path, paper)}/content"
        there = f"/documents/{_sent(theirs, '/documents', paper)}"
        pair = alternate(lambda: _got(ours, here, paper.size), lambda: _got(theirs, there, paper.size))
    yield against(f"download {LARGE // MIB} MiB", pair, LARGE / MIB, "MiB/s", "plain twin (send_file)", least=0.7)


def _got(wire: Wire, path: str, size: int, headers: str = "") -> None:
    status, found = wire.get(path, headers)
    if status not in {200, 206} or found != size:
        raise RuntimeError(f"{path}: {status}, {found} bytes")


def _crowd(make: Callable[[int], Wire], work: Callable[[Wire, int], object]) -> tuple[float, list[float]]:
    """``CLIENTS`` workplaces each doing ``work`` ``EACH`` times: seconds in all, seconds of each."""
    each: list[float] = []

    def client(number: int) -> None:
        wire = make(number)
        for turn in range(EACH):
            start = time.perf_counter()
            work(wire, number * EACH + turn)
            each.append(time.perf_counter() - start)
        wire.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(each) != CLIENTS * EACH:
        raise RuntimeError("a client failed")
    return time.perf_counter() - start, each


Crowd = Callable[[], tuple[float, list[float]]]


def _crowds(ours: Crowd, theirs: Crowd) -> tuple[Pair, list[float], list[float]]:
    ours()
    theirs()
    rounds = [(ours(), theirs()) for _ in range(ROUNDS)]
    pair = Pair([a[0] for a, _ in rounds], [b[0] for _, b in rounds])
    return pair, [s for a, _ in rounds for s in a[1]], [s for _, b in rounds for s in b[1]]


def upload_small() -> Iterator[Figure]:
    """Target: ≥ 0.7 × the twin's documents a second, p99 at most twice its."""
    paper = Paper(SCAN)
    with staged() as stage:
        pair, here, there = _crowds(
            lambda: _crowd(stage.vault_wire, lambda wire, _: _sent(wire, stage.vault_path, paper)),
            lambda: _crowd(stage.twin_wire, lambda wire, _: _sent(wire, "/documents", paper)),
        )
    yield against("200 KB scans, 8 clients", pair, CLIENTS * EACH, "doc/s", "plain twin", least=0.7)
    ours, theirs = percentile(here, 0.99) * 1000, percentile(there, 0.99) * 1000
    yield Figure("200 KB scans, 8 clients: p99", ours, "ms", "plain twin", theirs, ours / theirs, "≤ 2 ×", ours <= 2 * theirs)


def open_small() -> Iterator[Figure]:
    """Target: ≥ 0.7 × the twin with one durable insert; a document's first byte at most 5 ms later (median)."""
    paper = Paper(SCAN)
    count = CLIENTS * EACH * (ROUNDS + 1)
    with staged() as stage:
        wire, plain = stage.vault_wire(), stage.twin_wire()
        ids = iter([_sent(wire, stage.vault_path, paper) for _ in range(count)])
        there = f"/documents/{_sent(plain, '/documents', paper)}?noted=1"
        lock = threading.Lock()

        def fresh() -> str:
            with lock:
                return next(ids)

        pair, here, beside = _crowds(
            lambda: _crowd(stage.vault_wire, lambda wire, _: _got(wire, f"/api/v1/documents/{fresh()}/content", SCAN)),
            lambda: _crowd(stage.twin_wire, lambda wire, _: _got(wire, there, SCAN)),
        )
    yield against("open 200 KB, 8 clients", pair, CLIENTS * EACH, "doc/s", "plain twin with one durable insert", least=0.7)
    ours, theirs = statistics.median(here) * 1000, statistics.median(beside) * 1000
    yield Figure(
        "open 200 KB, 8 clients: median", ours, "ms", "plain twin", theirs, ours / theirs, "≤ 5 ms more", ours <= theirs + 5
    )


def range_() -> Iterator[Figure]:
    """Targets: ≤ 1.3 × the time in a small document, ≤ 3 ms more than the twin."""
    large, small = Paper(HUGE), Paper(MIB)
    piece = 64 * 1024
    dice = random.Random(1)
    with staged() as stage:
        wire, plain = stage.vault_wire(), stage.twin_wire()
        here = {paper.size: f"/api/v1/documents/{_sent(wire, stage.vault_path, paper)}/content" for paper in (large, small)}
        there = f"/documents/{_sent(plain, '/documents', large)}"

        def ask(wire: Wire, path: str, size: int) -> None:
            for _ in range(50):
                start = dice.randrange(size - piece)
                _got(wire, path, piece, f"Range: bytes={start}-{start + piece - 1}\r\n")

        sizes = alternate(lambda: ask(wire, here[large.size], large.size), lambda: ask(wire, here[small.size], small.size))
        beside = alternate(lambda: ask(wire, here[large.size], large.size), lambda: ask(plain, there, large.size))
    ours, theirs = (1000 / rate for rate in sizes.rates(50))
    yield Figure(
        f"64 KiB of {HUGE // MIB} MiB",
        ours,
        "ms",
        "64 KiB of 1 MiB",
        theirs,
        1 / sizes.ratio,
        "≤ 1.3 ×",
        1 / sizes.ratio <= 1.3,
    )
    ours, theirs = (1000 / rate for rate in beside.rates(50))
    yield Figure(
        f"64 KiB of {HUGE // MIB} MiB", ours, "ms", "plain twin", theirs, ours / theirs, "≤ 3 ms more", ours <= theirs + 3
    )


def memory() -> Iterator[Figure]:
    """Target: ≤ 32 MiB more than the idle process."""
    paper = Paper(HUGE)
    with staged() as stage:
        wire = stage.vault_wire()
        _got(wire, f"/api/v1/documents/{_sent(wire, stage.vault_path, Paper(8 * MIB))}/content", 8 * MIB)
        names: list[str] = []
        for name, work in (
            (f"upload {HUGE // MIB} MiB", lambda: names.append(_sent(wire, stage.vault_path, paper))),
            (f"download {HUGE // MIB} MiB", lambda: _got(wire, f"/api/v1/documents/{names[0]}/content", paper.size)),
        ):
            idle = resident_mib(stage.site.process.pid)
            more = _peak(stage, work) - idle
            yield Figure(
                f"{name}: resident memory above idle", more, "MiB", "the idle process", idle, None, "≤ 32 MiB", more <= 32
            )


def _peak(stage: Stage, work: Callable[[], object]) -> float:
    highest, done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.02):
            highest = max(highest, resident_mib(stage.site.process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return highest
