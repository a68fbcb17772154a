"""Owns every call into a PKCS#11 module, through python-pkcs11: one call in, an answer or CryptokiError out.

It must not know sessions' lives, keys' meanings, retries or threads. What python-pkcs11 has no door for goes straight to the
module's function table (kms/structures.py): initialising for threads, logging in on an open session; and so do the calls
of every minute (encrypt, decrypt, sign), for GCM with any IV, into memory that we can wipe.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pkcs11
from pkcs11 import KeyType, ObjectClass, PKCS11Error, _pkcs11

from kms import constants as ck
from kms.keys import Secret
from kms.structures import LARGEST_CALL, OVERHEAD, Frame, FunctionTable, GcmParameter, Template, keep_for_ever

OpenSession = Any
"""python-pkcs11's session, for one thread at a time."""
KeyObject = Any
"""A key as one session sees it: python-pkcs11 makes its classes at run time."""

NOTHING = pkcs11.MechanismFlag(0)
"""No capability by the library's choice; ours are written in the templates."""


class CryptokiError(Exception):
    """A function answered something else than CKR_OK."""

    def __init__(self, function: str, rv: int) -> None:
        super().__init__(f"{function}: {ck.rv_name(rv)}")
        self.function = function
        self.rv = rv


def _return_value(error: PKCS11Error) -> int:
    """The CKR_ code behind python-pkcs11's exception, which names it by its class or writes it in its message."""
    words = re.findall("[A-Z]+(?=[A-Z][a-z]|$)|[A-Z][a-z]+", type(error).__name__.replace("Recognised", "Recognized"))
    named = ck.rv_number("CKR_" + "_".join(words).upper())
    if named is not None:
        return named
    if found := re.search("0x[0-9a-f]+", str(error)):
        return int(found.group(), 16)
    return ck.CKR_CRYPTOKI_NOT_INITIALIZED if "not initialized" in str(error) else ck.CKR_VENDOR_DEFINED


@contextmanager
def _errors_of(function: str) -> Generator[None]:
    try:
        yield
    except PKCS11Error as error:
        raise CryptokiError(function, _return_value(error)) from error


class _Library(_pkcs11.lib):
    """python-pkcs11's library object, which would promise the module a single thread if we let it initialise."""

    def initialize(self) -> None:
        """Nothing: ``Cryptoki.initialize`` has done it."""

    def finalize(self) -> None:
        """Nothing: ``Cryptoki.finalize`` does it."""


def _typed(template: Template) -> dict[pkcs11.Attribute, Any]:
    return {pkcs11.Attribute(kind): value for kind, value in template.items()}


@dataclass(frozen=True, slots=True)
class Token:
    """A token in a slot."""

    handle: pkcs11.Token
    label: str
    serial: str
    description: str
    """Manufacturer, model and firmware."""
    is_initialized: bool


class Mechanism(NamedTuple):
    """A mechanism and its parameter."""

    number: int
    parameter: GcmParameter | None = None

    @classmethod
    def gcm(cls, number: int, iv: bytes, aad: bytes) -> Mechanism:
        """AES-GCM with a 128-bit tag (NIST SP 800-38D), an IV of any length; zeros ask some tokens to choose their own."""
        return cls(number, GcmParameter(iv, aad))

    @property
    def options(self) -> dict[str, Any]:
        """As python-pkcs11 takes it."""
        return {"mechanism": _mechanism(self.number), "mechanism_param": self.parameter and self.parameter.packed}


@cache
def _mechanism(number: int) -> pkcs11.Mechanism:
    """The enumeration's member, or one made up for a vendor's number, which the library only passes on."""
    try:
        return pkcs11.Mechanism(number)
    except ValueError:
        member = int.__new__(pkcs11.Mechanism, number)
        member._name_, member._value_ = f"VENDOR_{number:x}", number
        return member


def _ability(key: KeyObject, method: str, function: str) -> Callable[..., Any]:
    """A method that the library gives a key object only where the key's attributes allow the function."""
    found: Callable[..., Any] | None = getattr(key, method, None)
    if found is None:
        raise CryptokiError(function, ck.CKR_KEY_FUNCTION_NOT_PERMITTED)
    return found


class Cryptoki:
    """One loaded module. Every method may block, and raises CryptokiError; none keeps state between calls."""

    def __init__(self, path: Path) -> None:
        """Load the library without calling it; raises OSError where it isn't one, CryptokiError where it has no functions."""
        self._path = str(path)
        self._table = FunctionTable(path)
        if not self._table.is_usable:
            raise CryptokiError("C_GetFunctionList", ck.CKR_GENERAL_ERROR)
        self._library: _Library | None = None
        self._frames = threading.local()

    def _direct(self, function: str, rv: int) -> None:
        if rv:
            raise CryptokiError(function, rv)

    # --- the library and its slots ---

    def initialize(self, *, locking: bool, library_parameters: bytes | None = None) -> None:
        """C_Initialize; ``locking`` promises the module that several threads will call it (CKF_OS_LOCKING_OK)."""
        flags = ck.CKF_OS_LOCKING_OK if locking else 0
        self._direct("C_Initialize", self._table.initialize(flags, library_parameters))
        if self._library is None:
            with _errors_of("C_GetInfo"):
                self._library = keep_for_ever(_Library(self._path))

    def finalize(self) -> None:
        """C_Finalize: every session and handle of this process is worth nothing afterwards."""
        self._direct("C_Finalize", self._table.finalize())

    @property
    def _slots(self) -> _Library:
        if self._library is None:
            raise CryptokiError("C_GetSlotList", ck.CKR_CRYPTOKI_NOT_INITIALIZED)
        return self._library

    def library(self) -> str:
        """Manufacturer, description and version of the library."""
        library = self._slots
        major, minor = library.library_version
        return f"{library.manufacturer_id.strip()} {library.library_description.strip()} {major}.{minor}"

    def tokens(self) -> list[Token]:
        """The tokens present, whatever their state; a slot whose token vanishes while we look is left out."""
        with _errors_of("C_GetSlotList"):
            slots = self._slots.get_slots(token_present=True)
        found = []
        for slot in slots:
            try:
                with _errors_of("C_GetTokenInfo"):
                    token = slot.get_token()
            except CryptokiError as error:
                if error.rv in ck.TOKEN_ABSENT:
                    continue
                raise
            major, minor = token.firmware_version
            model = f"{token.manufacturer_id.strip()} {token.model.strip()} firmware {major}.{minor}"
            is_initialized = bool(token.flags & pkcs11.TokenFlag.TOKEN_INITIALIZED)
            found.append(Token(token, token.label, token.serial.decode("utf-8", "replace"), model, is_initialized))
        return found

    def has_mechanism(self, token: Token, mechanism: int) -> bool:
        """Whether the token can do a mechanism at all."""
        try:
            with _errors_of("C_GetMechanismInfo"):
                token.handle.slot.get_mechanism_info(_mechanism(mechanism))
        except CryptokiError as error:
            if error.rv == ck.CKR_MECHANISM_INVALID:
                return False
            raise
        return True

    # --- sessions ---

    def open_session(self, token: Token, *, writable: bool = False) -> OpenSession:
        """A session; never logs in by itself."""
        with _errors_of("C_OpenSession"):
            return token.handle.open(rw=writable)

    def close_session(self, session: OpenSession) -> None:
        """C_CloseSession, without the C_Logout that would log every session of the process out."""
        with _errors_of("C_CloseSession"):
            session.close()

    def login(self, session: OpenSession, pin: bytes | bytearray) -> None:
        """C_Login as the normal user, on a session that is open already: a refusal leaks none."""
        self._direct("C_Login", self._table.login(session.handle, pin))

    # --- objects ---

    def find(self, session: OpenSession, template: Template) -> list[KeyObject]:
        """The objects that match. An empty answer does not prove that there is none."""
        with _errors_of("C_FindObjects"):
            return list(session.get_objects(_typed(template)))

    def attribute(self, key: KeyObject, kind: int) -> Any:
        """One attribute. Raises CryptokiError (CKR_ATTRIBUTE_SENSITIVE) for what must not leave the token."""
        with _errors_of("C_GetAttributeValue"):
            return key[pkcs11.Attribute(kind)]

    def create_object(self, session: OpenSession, template: Template) -> KeyObject:
        """C_CreateObject."""
        with _errors_of("C_CreateObject"):
            return session.create_object(_typed(template))

    def destroy_object(self, key: KeyObject) -> None:
        """C_DestroyObject."""
        with _errors_of("C_DestroyObject"):
            key.destroy()

    def generate_key(self, session: OpenSession, mechanism: int, template: Template) -> KeyObject:
        """A 256-bit secret key with exactly the template's attributes: none of the library's defaults."""
        kind = KeyType(int(template[ck.CKA_KEY_TYPE]))
        with _errors_of("C_GenerateKey"):
            return session.generate_key(
                kind, 256, capabilities=NOTHING, mechanism=_mechanism(mechanism), template=_typed(template)
            )

    def generate_key_pair(
        self, session: OpenSession, mechanism: int, public: Template, private: Template
    ) -> tuple[KeyObject, KeyObject]:
        """A key pair on the curve of ``public``: public key, private key."""
        curve = {pkcs11.Attribute.EC_PARAMS: public[ck.CKA_EC_PARAMS]}
        with _errors_of("C_GenerateKeyPair"):
            domain = session.create_domain_parameters(KeyType(int(public[ck.CKA_KEY_TYPE])), curve, local=True)
            pair: tuple[KeyObject, KeyObject] = domain.generate_keypair(
                mechanism=_mechanism(mechanism),
                capabilities=NOTHING,
                public_template=_typed(public),
                private_template=_typed(private),
            )
            return pair

    # --- cryptography ---

    def encrypt(self, key: KeyObject, mechanism: Mechanism, plaintext: bytes | bytearray) -> bytes:
        """C_EncryptInit and C_Encrypt."""
        frame, session = self._frame(mechanism, plaintext), key.session.handle
        try:
            if rv := self._table.encrypt_init(session, frame.address, key.handle):
                raise CryptokiError("C_Encrypt", rv)
            if rv := self._table.encrypt(session, *frame.arguments):
                raise CryptokiError("C_Encrypt", rv)
            if mechanism.parameter is not None:
                mechanism.parameter.iv = frame.iv(len(mechanism.parameter.iv))
            return bytes(frame.output())
        finally:
            frame.wipe(0)

    def decrypt(self, key: KeyObject, mechanism: Mechanism, ciphertext: bytes) -> Secret:
        """C_DecryptInit and C_Decrypt, into memory of ours, which is wiped: the library would leave copies behind."""
        frame, session = self._frame(mechanism, ciphertext), key.session.handle
        try:
            if rv := self._table.decrypt_init(session, frame.address, key.handle):
                raise CryptokiError("C_Decrypt", rv)
            if rv := self._table.decrypt(session, *frame.arguments):
                raise CryptokiError("C_Decrypt", rv)
            return Secret(frame.output())
        finally:
            frame.wipe(len(ciphertext) + OVERHEAD)

    def sign(self, key: KeyObject, mechanism: Mechanism, data: bytes) -> bytes:
        """C_SignInit and C_Sign: a signature or a MAC."""
        frame = self._frame(mechanism, data)
        self._direct("C_Sign", self._table.sign_init(key.session.handle, frame.address, key.handle))
        self._direct("C_Sign", self._table.sign(key.session.handle, *frame.arguments))
        return bytes(frame.output())

    def _frame(self, mechanism: Mechanism, data: bytes | bytearray) -> Frame:
        """This thread's frame, laid out for a call; a larger one of its own for what tests and vectors bring."""
        parameter = mechanism.parameter
        room = len(data) + OVERHEAD
        if len(data) + room + (len(parameter.iv) + len(parameter.aad) if parameter else 0) > LARGEST_CALL:
            frame = Frame(2 * room + 1024 + (len(parameter.iv) + len(parameter.aad) if parameter else 0))
        else:
            try:
                frame = self._frames.mine
            except AttributeError:
                frame = self._frames.mine = Frame()
        frame.fill(mechanism.number, parameter, data, room)
        return frame

    def wrap_key(self, wrapping: KeyObject, mechanism: Mechanism, key: KeyObject) -> bytes:
        """C_WrapKey."""
        wrap = _ability(wrapping, "wrap_key", "C_WrapKey")
        with _errors_of("C_WrapKey"):
            return bytes(wrap(key, **mechanism.options))

    def unwrap_key(self, unwrapping: KeyObject, mechanism: Mechanism, wrapped: bytes, template: Template) -> KeyObject:
        """C_UnwrapKey into a session object."""
        kind, key_type = ObjectClass(int(template[ck.CKA_CLASS])), KeyType(int(template[ck.CKA_KEY_TYPE]))
        unwrap = _ability(unwrapping, "unwrap_key", "C_UnwrapKey")
        with _errors_of("C_UnwrapKey"):
            return unwrap(kind, key_type, wrapped, capabilities=NOTHING, template=_typed(template), **mechanism.options)

    def random(self, session: OpenSession, count: int) -> bytes:
        """C_GenerateRandom, ``count`` bytes."""
        with _errors_of("C_GenerateRandom"):
            return bytes(session.generate_random(count * 8))
