"""Owns what python-pkcs11 has no (good) door for: the module's function table, C_Initialize's arguments, one-shot calls.

It must not know sessions, keys or errors' meanings. Field names follow PKCS #11 v2.40 without their Hungarian prefixes.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from ctypes import Structure, addressof, byref, c_char, c_ulong, c_void_p
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

Template = Mapping[int, Any]
"""Attribute type → value: bytes, bool, int or str."""

INITIALIZE, FINALIZE, LOGIN = 0, 1, 18
ENCRYPT_INIT, ENCRYPT, DECRYPT_INIT, DECRYPT, SIGN_INIT, SIGN = 29, 30, 33, 34, 42, 43
"""Positions in CK_FUNCTION_LIST, after its CK_VERSION (padded to a pointer)."""
USER = 1
"""CKU_USER."""
_HEAD = struct.Struct("@LPLPLLPLLL")
"""CK_MECHANISM, CK_GCM_PARAMS (v2.40, with ulIvBits) and the output's length, one after another."""
_ULONG = struct.Struct("@L")
_PARAMETER, _LENGTH = 24, 72
"""Where the second and the third begin."""
_ROOM = 1024
"""Bytes of a frame: a wrapped key, its context and the secret need a third of that."""
LARGEST_CALL = _ROOM - _HEAD.size
OVERHEAD = 128
"""Bytes that an output may be longer than its input: a tag, an appended IV, a signature."""


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


class GcmParameter:
    """What a CK_GCM_PARAMS says; python-pkcs11 packs no IV over 12 bytes."""

    __slots__ = ("_memory", "aad", "iv")

    def __init__(self, iv: bytes, aad: bytes) -> None:
        self.iv = iv
        """After an encryption: what a token that chooses its own has written."""
        self.aad = aad
        self._memory: Frame | None = None

    @property
    def packed(self) -> bytes:
        """The structure as bytes, for calls that go through the library; valid as long as this object lives."""
        self._memory = Frame(_HEAD.size + len(self.iv) + len(self.aad))
        self._memory.fill(0, self, b"", 0)
        return bytes(self._memory.view[_PARAMETER:_LENGTH])


class Frame:
    """Memory for one call with its mechanism, parameter, input and output in one piece, used again by its thread."""

    __slots__ = ("_input", "_iv", "_output", "address", "view")

    def __init__(self, size: int = _ROOM) -> None:
        memory = bytearray(size)
        self.view = memoryview(memory)
        self.address = addressof(c_char.from_buffer(memory))
        self._iv = self._input = self._output = 0

    def fill(self, number: int, parameter: GcmParameter | None, data: bytes | bytearray, room: int) -> None:
        """Lay a mechanism, its parameter and the input down; leaves ``room`` bytes for the output."""
        place, view = self.address, self.view
        self._iv = _HEAD.size
        if parameter is None:
            self._input = self._iv
            _HEAD.pack_into(view, 0, number, 0, 0, 0, 0, 0, 0, 0, 0, room)
        else:
            iv, aad = parameter.iv, parameter.aad
            middle = self._iv + len(iv)
            self._input = middle + len(aad)
            _HEAD.pack_into(
                view, 0, number, place + _PARAMETER, _LENGTH - _PARAMETER,
                place + self._iv, len(iv), len(iv) * 8, place + middle, len(aad), 128, room,
            )  # fmt: skip
            view[self._iv : middle] = iv
            view[middle : self._input] = aad
        self._output = self._input + len(data)
        view[self._input : self._output] = data

    @property
    def arguments(self) -> tuple[int, int, int, int]:
        """Input, its length, output, where the output's length stands: as the one-shot functions take them."""
        place = self.address
        return place + self._input, self._output - self._input, place + self._output, place + _LENGTH

    def iv(self, length: int) -> bytes:
        """The IV after the call."""
        return bytes(self.view[self._iv : self._iv + length])

    def output(self) -> memoryview:
        """What the call gave; overwritten by ``wipe`` and by the next call."""
        (length,) = _ULONG.unpack_from(self.view, _LENGTH)
        return self.view[self._output : self._output + length]

    def wipe(self, room: int) -> None:
        """Overwrite input and output."""
        length = self._output - self._input + room
        self.view[self._input : self._input + length] = bytes(length)


class FunctionTable:
    """The functions that we call by ourselves."""

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
            begin, once = (c_ulong, c_void_p, c_ulong), (c_ulong, c_void_p, c_ulong, c_void_p, c_void_p)
            self.encrypt_init = self._function(table, ENCRYPT_INIT, *begin)
            self.encrypt = self._function(table, ENCRYPT, *once)
            self.decrypt_init = self._function(table, DECRYPT_INIT, *begin)
            self.decrypt = self._function(table, DECRYPT, *once)
            self.sign_init = self._function(table, SIGN_INIT, *begin)
            self.sign = self._function(table, SIGN, *once)

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
