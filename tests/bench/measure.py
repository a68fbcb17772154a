"""Owns how a figure is taken: alternating, median, in one run; and how it is shown. It must not know what is measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

ROUNDS = 5
"""A B A B …: at least this many pairs (the machine is shared; single figures lie)."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    name: str
    ours: float
    unit: str
    beside: str = ""
    """What it stands side by side with."""
    theirs: float | None = None
    ratio: float | None = None
    target: str = ""
    holds: bool | None = None
    """Whether the target is met; None where there is none."""
    notes: dict[str, Any] = field(default_factory=dict)


Row = Callable[[], Iterator[Figure]]


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Pair:
    """Two ways of doing the same job, timed in turns."""

    ours_s: list[float]
    theirs_s: list[float]

    @property
    def ratio(self) -> float:
        """How fast ours is against theirs, as the median over pairs taken one after the other: 1.0 is as fast."""
        return statistics.median(b / a for a, b in zip(self.ours_s, self.theirs_s, strict=True))

    def rates(self, amount: float) -> tuple[float, float]:
        """Medians in units of ``amount`` a second."""
        return amount / statistics.median(self.ours_s), amount / statistics.median(self.theirs_s)


def alternate(ours: Callable[[], object], theirs: Callable[[], object], rounds: int = ROUNDS) -> Pair:
    """Time both in turns, after one round that warms both up and is not counted."""
    ours()
    theirs()
    times = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    return Pair([a for a, _ in times], [b for _, b in times])


def against(
    name: str, pair: Pair, amount: float, unit: str, beside: str, *, least: float | None = None, **notes: Any
) -> Figure:
    """A line for a pair; ``least`` is the smallest ratio that is good enough."""
    ours, theirs = pair.rates(amount)
    holds = None if least is None else pair.ratio >= least
    target = "" if least is None else f"≥ {least:g} ×"
    return Figure(name, ours, unit, beside, theirs, pair.ratio, target, holds, notes)


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(figures: list[tuple[str, Figure]]) -> Iterator[str]:
    """The figures as aligned lines; what falls short is marked."""
    yield f"{'row':<13} {'work':<44} {'here':>12} {'beside':>12} {'ratio':>7}  target"
    for row, figure in figures:
        theirs = "" if figure.theirs is None else f"{figure.theirs:,.1f}"
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        mark = {True: "", False: "  ← short", None: ""}[figure.holds]
        ours = f"{figure.ours:,.1f} {figure.unit}"
        yield f"{row:<13} {figure.name:<44} {ours:>14} {theirs:>10} {ratio:>7}  {figure.target}{mark}"
        if figure.beside:
            yield f"{'':<13}   beside {figure.beside}"


def as_json(figures: list[tuple[str, Figure]]) -> list[dict[str, Any]]:
    """The figures for var/bench.json."""
    return [{"row": row, **asdict(figure)} for row, figure in figures]
