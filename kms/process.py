"""Owns what a process that holds keys forbids about itself. It must not know whose keys they are."""

from __future__ import annotations

import ctypes
import os
import resource

PR_SET_DUMPABLE = 4
"""prctl(2): 0 means no core dump, and no ptrace or /proc/PID/mem by other processes of the same user."""


def harden() -> None:
    """No core dump, no debugger of the same user, files for the owner alone. Call it first in every process with keys."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
