"""Owns how a process gives up what it does not need before it reads hostile bytes. It must not know documents.

Linux only where it matters: resource limits (setrlimit), an empty network namespace (unshare), no privileges to regain
(PR_SET_NO_NEW_PRIVS) and a seccomp filter that leaves computing, and nothing else. What a machine refuses to give is
reported, never pretended.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from errno import ENOSYS, EPERM

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWUSER = 0x1000_0000
_CLONE_NEWNET = 0x4000_0000
_CLONE_NEWIPC = 0x0800_0000
_NOBODY = 65_534

_ALLOW = 0x7FFF_0000
_KILL_PROCESS = 0x8000_0000
_REFUSE = 0x0005_0000
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ARCHITECTURE_OFFSET, _NUMBER_OFFSET, _FIRST_ARGUMENT_OFFSET = 4, 0, 16
_X32_BIT = 0x4000_0000

# What decoding needs once everything is loaded: memory, its own open descriptors, time, random numbers, leaving.
# Numbers from the kernel's syscall tables; (x86_64, aarch64).
_CALLS: dict[str, tuple[int, int]] = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "mremap": (25, 216), "madvise": (28, 233), "getpid": (39, 172), "exit": (60, 93), "gettimeofday": (96, 169),
    "getrusage": (98, 165), "sysinfo": (99, 179), "sigaltstack": (131, 132), "gettid": (186, 178), "futex": (202, 98),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "restart_syscall": (219, 128), "clock_gettime": (228, 113),
    "exit_group": (231, 94), "getrandom": (318, 278), "set_robust_list": (273, 99), "rseq": (334, 293),
}  # fmt: skip
_CLONE3 = 435
_CLONE = (56, 220)
_CLONE_THREAD = 0x0001_0000
_ARCHITECTURES = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may cost."""

    cpu_seconds: int = 10
    memory_bytes: int = 768 * 1024 * 1024
    """Address space beyond what the process has when it starts."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: object) -> bool:
    return int(_libc().prctl(option, argument, 0, 0, 0)) == 0


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def filter_program(machine: str) -> bytes | None:
    """The seccomp filter (classic BPF, seccomp(2)) of an architecture, or None where there is none written.

    Everything that is not listed fails with EPERM. ``clone`` may make threads (libde265 insists on one) but no process;
    ``clone3``, whose flags no filter can read, fails with ENOSYS, which makes the C library use ``clone``.
    """
    if machine not in _ARCHITECTURES:
        return None
    audit_architecture, column = _ARCHITECTURES[machine]
    allowed = sorted(numbers[column] for numbers in _CALLS.values())
    program = [
        _instruction(_LOAD_WORD, _ARCHITECTURE_OFFSET),
        _instruction(_JUMP_EQUAL, audit_architecture, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD_WORD, _NUMBER_OFFSET),
        _instruction(_JUMP_AT_LEAST, _X32_BIT, 0, 1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_JUMP_EQUAL, _CLONE3, 0, 1),
        _instruction(_RETURN, _REFUSE | ENOSYS),
    ]
    for number in allowed:
        program += [_instruction(_JUMP_EQUAL, number, 0, 1), _instruction(_RETURN, _ALLOW)]
    program += [
        _instruction(_JUMP_EQUAL, _CLONE[column], 0, 3),
        _instruction(_LOAD_WORD, _FIRST_ARGUMENT_OFFSET),
        _instruction(_JUMP_ANY_BIT, _CLONE_THREAD, 0, 1),
        _instruction(_RETURN, _ALLOW),
        _instruction(_RETURN, _REFUSE | EPERM),
    ]
    return b"".join(program)


def _filter_calls() -> bool:
    code = filter_program(platform.machine())
    if code is None or not _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        return False
    instructions = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(instructions, ctypes.c_void_p))
    return int(_libc().prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)) == 0


def _address_space() -> int:
    with open("/proc/self/statm", "rb") as status:  # noqa: PTH123  # before the filter; the kernel's own page count
        return int(status.read().split()[0]) * resource.getpagesize()


def enclose() -> dict[str, bool]:
    """For the warm parent, once everything is imported: no core dumps, no network, no root. Returns what was obtained."""
    _prctl(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    is_root = os.geteuid() == 0
    spaces = _CLONE_NEWNET | _CLONE_NEWIPC | (0 if is_root else _CLONE_NEWUSER)
    has_namespace = int(_libc().unshare(spaces)) == 0
    if is_root:
        is_root = not _become_nobody()
    return {"network_namespace": has_namespace, "unprivileged": not is_root}


def _become_nobody() -> bool:
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except PermissionError:
        return False
    _prctl(_PR_SET_DUMPABLE, 0)
    return True


def confine(limits: Limits) -> bool:
    """For the child, just before the first hostile byte; irrevocable. Returns whether the seccomp filter holds.

    Dies with its parent; CPU time, memory, files, processes and core dumps are limited.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    memory = _address_space() + limits.memory_bytes
    for what, bound in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
    ):
        resource.setrlimit(what, (bound, bound))
    if _filter_calls():
        return True
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # the filter lets threads pass, this does not
    return False


def probe() -> bool:
    """Fork a child, confine it, and see whether it can still open a file, a socket or a process: True where it can't."""
    pid = os.fork()
    if pid == 0:
        try:
            holds = confine(Limits())
            os._exit(0 if holds and all(_fails(act) for act in (_open_file, _open_socket, _open_process)) else 1)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _fails(act: Callable[[], object]) -> bool:
    try:
        act()
    except OSError:
        return True
    return False


def _open_file() -> object:
    return os.open("/proc/self/stat", os.O_RDONLY)


def _open_socket() -> object:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _open_process() -> object:
    return os.fork()
