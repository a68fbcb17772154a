"""Owns how large the jobs are: everyday sizes that run in minutes, or with ``--full`` those of the targets. It runs nothing."""

from __future__ import annotations

import os

FULL = "COFFRE_BENCH_FULL"
"""Set by ``--full`` before any row is imported."""


def is_full() -> bool:
    """Whether the sizes of the targets are wanted."""
    return os.environ.get(FULL) == "1"


def sized(name: str, everyday: int, full: int) -> int:
    """A size: what ``COFFRE_BENCH_<name>`` says, else the target's own with ``--full``, else the everyday one."""
    return int(os.environ.get(f"COFFRE_BENCH_{name}", full if is_full() else everyday))
