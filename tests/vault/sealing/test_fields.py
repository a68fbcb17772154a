from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from kms.keys import Secret
from vault.errors import Tampered
from vault.model import TenantId
from vault.sealing.binding import field_context
from vault.sealing.fields import OVERHEAD_BYTES, open_field, seal_field

TENANT = TenantId("0" * 32)
CONTEXT = field_context(TENANT, "patients", "identity", "1" * 32)
KEY = bytes(range(32))


@given(st.binary(max_size=300))
def test_what_was_sealed_opens(plaintext: bytes) -> None:
    sealed = seal_field(Secret(KEY), CONTEXT, plaintext)
    assert len(sealed) == len(plaintext) + OVERHEAD_BYTES
    assert open_field(Secret(KEY), CONTEXT, sealed) == plaintext


def test_the_same_value_never_looks_the_same() -> None:
    assert len({seal_field(Secret(KEY), CONTEXT, b"Martin") for _ in range(50)}) == 50


def test_every_flipped_bit_is_refused() -> None:
    sealed = seal_field(Secret(KEY), CONTEXT, b"Martin")
    for at in range(len(sealed)):
        for bit in range(8):
            forged = bytearray(sealed)
            forged[at] ^= 1 << bit
            with pytest.raises(Tampered):
                open_field(Secret(KEY), CONTEXT, bytes(forged))


def test_every_cut_and_extension_is_refused() -> None:
    sealed = seal_field(Secret(KEY), CONTEXT, b"Martin")
    for forged in [sealed[:length] for length in range(len(sealed))] + [sealed + b"\x00"]:
        with pytest.raises(Tampered):
            open_field(Secret(KEY), CONTEXT, forged)


@pytest.mark.parametrize(
    "elsewhere",
    [
        field_context(TENANT, "patients", "identity", "2" * 32),
        field_context(TENANT, "patients", "note", "1" * 32),
        field_context(TENANT, "people", "identity", "1" * 32),
        field_context(TenantId("f" * 32), "patients", "identity", "1" * 32),
    ],
    ids=["row", "column", "table", "tenant"],
)
def test_a_value_moved_elsewhere_is_refused(elsewhere: bytes) -> None:
    with pytest.raises(Tampered):
        open_field(Secret(KEY), elsewhere, seal_field(Secret(KEY), CONTEXT, b"Martin"))


def test_another_scope_key_is_refused() -> None:
    with pytest.raises(Tampered):
        open_field(Secret(os.urandom(32)), CONTEXT, seal_field(Secret(KEY), CONTEXT, b"Martin"))


def test_the_format_is_the_documented_one() -> None:
    """Opened here from nothing but docs/format.md and ``cryptography``."""
    sealed = seal_field(Secret(KEY), CONTEXT, b"Martin")
    field_key = HKDFExpand(SHA256(), 32, b"coffre/field-key/v1").derive(KEY)
    assert sealed[0] == 1
    assert AESGCM(field_key).decrypt(sealed[1:13], sealed[13:], b"\x01" + CONTEXT) == b"Martin"
