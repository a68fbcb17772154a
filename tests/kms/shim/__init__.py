"""A misbehaving PKCS#11 module before the real one: built with the system's C compiler, steered through shared memory."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kms import constants as ck
from kms.settings import KmsSettings

SOURCE = Path(__file__).with_name("shim.c")
FUNCTIONS = tuple(
    """
    C_Initialize C_Finalize C_GetInfo C_GetFunctionList C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList
    C_GetMechanismInfo C_InitToken C_InitPIN C_SetPIN C_OpenSession C_CloseSession C_CloseAllSessions C_GetSessionInfo
    C_GetOperationState C_SetOperationState C_Login C_Logout C_CreateObject C_CopyObject C_DestroyObject C_GetObjectSize
    C_GetAttributeValue C_SetAttributeValue C_FindObjectsInit C_FindObjects C_FindObjectsFinal C_EncryptInit C_Encrypt
    C_EncryptUpdate C_EncryptFinal C_DecryptInit C_Decrypt C_DecryptUpdate C_DecryptFinal C_DigestInit C_Digest C_DigestUpdate
    C_DigestKey C_DigestFinal C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit C_SignRecover C_VerifyInit C_Verify
    C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover C_DigestEncryptUpdate C_DecryptDigestUpdate
    C_SignEncryptUpdate C_DecryptVerifyUpdate C_GenerateKey C_GenerateKeyPair C_WrapKey C_UnwrapKey C_DeriveKey C_SeedRandom
    C_GenerateRandom
    """.split()  # noqa: SIM905  # sixty-five quoted names would fill a page
)
"""CK_FUNCTION_LIST of PKCS #11 v2.40, in order."""
EVERYTHING = 255
FIELDS = ("target", "every", "answer", "delay_ms", "hang", "swallow", "times", "matched", "inside", "most", "flags")
SIZE = 4 * (len(FIELDS) + 68)


class Shim:
    """The control block of a loaded shim."""

    def __init__(self, settings: KmsSettings, control: Path) -> None:
        self.settings = settings
        """Settings whose module is the shim."""
        self._file = control.open("r+b")
        self._memory = mmap.mmap(self._file.fileno(), SIZE)
        self.behave()

    def get(self, field: str) -> int:
        return int(struct.unpack_from("=I", self._memory, 4 * FIELDS.index(field))[0])

    def _set(self, field: str, value: int) -> None:
        struct.pack_into("=I", self._memory, 4 * FIELDS.index(field), value)

    def calls(self, function: str) -> int:
        """How often ``C_…`` was called."""
        return int(struct.unpack_from("=I", self._memory, 4 * (len(FIELDS) + FUNCTIONS.index(function)))[0])

    def behave(self) -> None:
        """Pass every call on; hanging ones go on too."""
        for field in FIELDS[:7]:
            self._set(field, 0)
        self._set("target", EVERYTHING)

    def misbehave(
        self,
        function: str = "",
        *,
        every: int = 0,
        answer: int = ck.CKR_GENERAL_ERROR,
        delay_ms: int = 0,
        hang: bool = False,
        swallow: bool = False,
        times: int = 0,
    ) -> None:
        """Fail each ``every``-th call of ``function`` (any, where it is empty), or slow it down, or let it hang."""
        self.behave()
        self._set("matched", 0)
        self._set("answer", answer)
        self._set("swallow", int(swallow))
        self._set("times", times)
        self._set("delay_ms", delay_ms)
        self._set("target", FUNCTIONS.index(function) if function else EVERYTHING)
        self._set("every", every)
        self._set("hang", int(hang))

    @contextmanager
    def hanging(self, function: str = "") -> Iterator[None]:
        """Calls hang inside the block, and come back after it."""
        self.misbehave(function, hang=True)
        try:
            yield
        finally:
            self.behave()

    def close(self) -> None:
        self.behave()
        self._memory.close()
        self._file.close()


def build(directory: Path) -> Path:
    """The compiled shim, or a skip where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler for the PKCS#11 fault shim")
    target = directory / "shim.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(target), str(SOURCE), "-ldl"], check=True)
    return target


def load(library: Path, real: KmsSettings, directory: Path) -> Shim:
    """A copy of the shim of its own (a library is loaded once a process) around ``real``'s module."""
    module, control = directory / "shim.so", directory / "control"
    shutil.copy(library, module)
    control.write_bytes(bytes(SIZE))
    os.environ["COFFRE_SHIM_MODULE"], os.environ["COFFRE_SHIM_CONTROL"] = str(real.module), str(control)
    return Shim(replace(real, module=module), control)
