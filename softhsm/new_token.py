"""Makes a SoftHSM2 token with random PINs, for the demo and the tests; imported by nothing, standard library only.

It speaks PKCS#11 by itself: ``softhsm2-util`` takes PINs on its command line, where every user of the machine can read them.
"""
# ruff: noqa: INP001  # a script that runs before anything is installed, not a package

from __future__ import annotations

import argparse
import ctypes
import os
import secrets
import sys
from ctypes import addressof, byref, c_char, c_ubyte, c_ulong, c_void_p
from pathlib import Path

HERE = Path(__file__).resolve().parent
INITIALIZE, FINALIZE, SLOT_LIST, TOKEN_INFO = 0, 1, 4, 6
INIT_TOKEN, INIT_PIN, OPEN_SESSION, CLOSE_SESSION, LOGIN = 9, 10, 12, 13, 18
"""Positions in CK_FUNCTION_LIST (PKCS #11 v2.40)."""
READ_WRITE_SERIAL = 0x6
SECURITY_OFFICER = 0
INITIALIZED = 0x400


class Refused(Exception):
    """One sentence for the operator."""


class TokenInfo(ctypes.Structure):
    """CK_TOKEN_INFO up to its flags; the rest is room."""

    _fields_ = (
        ("label", c_char * 32),
        ("manufacturer", c_char * 32),
        ("model", c_char * 16),
        ("serial", c_char * 16),
        ("flags", c_ulong),
        ("rest", c_char * 256),
    )


class Module:
    """The functions of SoftHSM2 that a new token needs."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        table = c_void_p()
        if self._library.C_GetFunctionList(byref(table)) or not table.value:
            raise Refused(f"{path} is not a PKCS#11 module.")
        self._first = table.value + ctypes.sizeof(c_void_p)

    def call(self, position: int, kinds: tuple[type, ...], *values: object) -> None:
        """One function; anything but CKR_OK is refused with its number."""
        pointer = c_void_p.from_address(self._first + position * ctypes.sizeof(c_void_p)).value
        rv = ctypes.CFUNCTYPE(c_ulong, *kinds)(pointer or 0)(*values)
        if rv:
            raise Refused(f"SoftHSM2 refused (function {position}, CKR 0x{rv:x}).")

    def slots(self) -> list[tuple[int, str, bool]]:
        """Slot, label and whether it is initialised, for each slot."""
        kinds, count = (c_ubyte, c_void_p, c_void_p), c_ulong()
        self.call(SLOT_LIST, kinds, 1, None, addressof(count))
        numbers = (c_ulong * max(count.value, 1))()
        self.call(SLOT_LIST, kinds, 1, addressof(numbers), addressof(count))
        found = []
        for slot in numbers[: count.value]:
            info = TokenInfo()
            self.call(TOKEN_INFO, (c_ulong, c_void_p), slot, addressof(info))
            found.append((slot, info.label.decode().rstrip(), bool(info.flags & INITIALIZED)))
        return found

    def initialise_token(self, slot: int, label: str, so_pin: bytes) -> None:
        """C_InitToken."""
        padded = ctypes.create_string_buffer(label.encode().ljust(32), 32)
        self.call(INIT_TOKEN, (c_ulong, ctypes.c_char_p, c_ulong, c_void_p), slot, so_pin, len(so_pin), addressof(padded))

    def set_user_pin(self, slot: int, so_pin: bytes, pin: bytes) -> None:
        """C_InitPIN in a session of the security officer."""
        session = c_ulong()
        kinds = (c_ulong, c_ulong, c_void_p, c_void_p, c_void_p)
        self.call(OPEN_SESSION, kinds, slot, READ_WRITE_SERIAL, None, None, addressof(session))
        self.call(LOGIN, (c_ulong, c_ulong, ctypes.c_char_p, c_ulong), session, SECURITY_OFFICER, so_pin, len(so_pin))
        self.call(INIT_PIN, (c_ulong, ctypes.c_char_p, c_ulong), session, pin, len(pin))
        self.call(CLOSE_SESSION, (c_ulong,), session)


def write_secret(path: Path) -> bytes:
    """128 random bits as 32 hexadecimal digits in a new file of mode 0600; the same bytes are returned."""
    value = secrets.token_hex(16).encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    return value


def make_token(directory: Path, label: str, module_path: str) -> bool:
    """False where the token was there already. Raises Refused where only half of it is: nothing is overwritten."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    tokens, configuration, pin = directory / "tokens", directory / "softhsm2.conf", directory / "pin"
    if not configuration.exists():
        template = (HERE / "softhsm2.conf.in").read_text(encoding="utf-8")
        configuration.write_text(template.replace("@TOKENS@", str(tokens.resolve())), encoding="utf-8")
    tokens.mkdir(mode=0o700, exist_ok=True)
    os.environ["SOFTHSM2_CONF"] = str(configuration.resolve())
    module = Module(module_path)
    module.call(INITIALIZE, (c_void_p,), None)
    try:
        slots = module.slots()
        is_present = any(name == label and initialised for _, name, initialised in slots)
        if pin.exists() and is_present:
            return False
        if pin.exists() or is_present:
            raise Refused(f"{directory} holds a token without its PIN, or a PIN without its token: move it away first.")
        so_pin, free = write_secret(directory / "so-pin"), next(slot for slot, _, initialised in slots if not initialised)
        module.initialise_token(free, label, so_pin)
    finally:
        module.call(FINALIZE, (c_void_p,), None)
    set_pin(module, label, so_pin, write_secret(pin))
    return True


def set_pin(module: Module, label: str, so_pin: bytes, pin: bytes) -> None:
    """SoftHSM renumbers the slot of a new token, so look for it again."""
    module.call(INITIALIZE, (c_void_p,), None)
    try:
        slot = next(slot for slot, name, initialised in module.slots() if initialised and name == label)
        module.set_user_pin(slot, so_pin, pin)
    finally:
        module.call(FINALIZE, (c_void_p,), None)


def main() -> int:
    """Exit 0 done, 1 refused."""
    parser = argparse.ArgumentParser(
        description="Make a SoftHSM2 token with random PINs.", epilog="example: new-token.sh var/demo/token coffre"
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("label", nargs="?", default="coffre")
    arguments = parser.parse_args()
    if not 0 < len(arguments.label.encode()) <= 32:
        parser.error("a label has 1 to 32 bytes")
    os.umask(0o077)  # the configuration too: whoever may write it sends the vault to another token
    try:
        is_new = make_token(arguments.directory, arguments.label, os.environ["COFFRE_PKCS11_MODULE"])
    except (Refused, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"Token {arguments.label!r} {'made' if is_new else 'kept'} in {arguments.directory}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
