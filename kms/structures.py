"""Owns what python-pkcs11 has no door for: the module's function table, C_Initialize's arguments, GCM's parameter, wiping.

It must not know sessions, keys or errors' meanings. Field names follow PKCS #11 v2.40 without their Hungarian prefixes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import Structure, addressof, byref, c_char, c_ulong, c_void_p
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

Template = Mapping[int, Any]
"""Attribute type → value: bytes, bool, int or str."""

INITIALIZE, FINALIZE, LOGIN = 0, 1, 18
"""Positions in CK_FUNCTION_LIST, after its CK_VERSION (padded to a pointer)."""
USER = 1
"""CKU_USER."""
_BYTES_HEADER = bytes.__basicsize__ - 1
"""Where CPython keeps the first byte of a ``bytes`` object."""


class InitializeArgs(Structure):
    """CK_C_INITIALIZE_ARGS, with NSS's library parameters in the place that the standard keeps free."""

    _fields_ = (
        ("create_mutex", c_void_p),
        ("destroy_mutex", c_void_p),
        ("lock_mutex", c_void_p),
        ("unlock_mutex", c_void_p),
        ("flags", c_ulong),
        ("library_parameters", ctypes.c_char_p),
        ("reserved", c_void_p),
    )


class _GcmParams(Structure):
    """CK_GCM_PARAMS of v2.40 (with ulIvBits)."""

    _fields_ = (
        ("iv", c_void_p),
        ("iv_length", c_ulong),
        ("iv_bits", c_ulong),
        ("aad", c_void_p),
        ("aad_length", c_ulong),
        ("tag_bits", c_ulong),
    )


class GcmParameter:
    """A CK_GCM_PARAMS and the memory that it points to, kept alive with it. python-pkcs11 packs no IV over 12 bytes."""

    __slots__ = ("_aad", "_iv", "packed")

    def __init__(self, iv: bytes, aad: bytes) -> None:
        self._iv = (c_char * len(iv)).from_buffer_copy(iv)
        self._aad = (c_char * max(len(aad), 1)).from_buffer_copy(aad or b"\x00")
        self.packed = bytes(_GcmParams(addressof(self._iv), len(iv), len(iv) * 8, addressof(self._aad), len(aad), 128))

    @property
    def iv(self) -> bytes:
        """The IV after the call: what a token that chooses its own has written."""
        return self._iv.raw


class FunctionTable:
    """The three functions that we call by ourselves."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where ``path`` is no shared library."""
        self._library = ctypes.CDLL(str(path))
        table = c_void_p()
        entry = getattr(self._library, "C_GetFunctionList", None)
        self.is_usable = entry is not None and entry(byref(table)) == 0 and bool(table.value)
        if self.is_usable:
            self._initialize = self._function(table, INITIALIZE, c_void_p)
            self._finalize = self._function(table, FINALIZE, c_void_p)
            self._login = self._function(table, LOGIN, c_ulong, c_ulong, c_void_p, c_ulong)

    @staticmethod
    def _function(table: c_void_p, position: int, *arguments: type) -> ctypes._FuncPointer:
        size = ctypes.sizeof(c_void_p)
        pointer = c_void_p.from_address((table.value or 0) + size * (1 + position)).value
        return ctypes.CFUNCTYPE(c_ulong, *arguments)(pointer or 0)

    def initialize(self, flags: int, library_parameters: bytes | None) -> int:
        """C_Initialize; the CKR_ code."""
        arguments = InitializeArgs(flags=flags, library_parameters=library_parameters)
        return int(self._initialize(addressof(arguments)))

    def finalize(self) -> int:
        """C_Finalize; the CKR_ code."""
        return int(self._finalize(None))

    def login(self, session: int, pin: bytes | bytearray) -> int:
        """C_Login as the normal user; the CKR_ code. The copy of the PIN is wiped."""
        buffer = (c_char * len(pin)).from_buffer_copy(pin)
        try:
            return int(self._login(session, USER, addressof(buffer), len(pin)))
        finally:
            ctypes.memset(buffer, 0, len(pin))


def keep_for_ever(value: T) -> T:
    """Never free ``value``: python-pkcs11's library object can't be freed quietly while the interpreter ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
    return value


def wipe_bytes(value: bytes) -> None:
    """Overwrite a ``bytes`` object that nobody else holds (CPython; one byte and none are shared objects, left alone)."""
    if len(value) > 1:
        ctypes.memset(id(value) + _BYTES_HEADER, 0, len(value))
