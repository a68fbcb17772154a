"""What every KeyService promises, held on the fake and on a real token."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kms.canary import verifies, verifies_text
from kms.errors import KeyMissing, KeysUnavailable, UnknownSuite, UnwrapRejected
from kms.keys import KeyService, KeyUse, Mark, Purpose, Secret, WrappedKey
from kms.wrapped import join, take_apart

SECRET = bytes(range(32))
slow_fixture = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@slow_fixture
@given(secret=st.binary(min_size=16, max_size=64), context=st.binary(max_size=300))
def test_a_secret_comes_back_under_its_context(keys: KeyService, secret: bytes, context: bytes) -> None:
    wrapped = keys.wrap(secret, context=context)
    with keys.unwrap(wrapped, context=context) as opened:
        assert opened.view == secret
    assert wrapped.find(secret) == -1


def test_wrapping_twice_gives_different_bytes(keys: KeyService) -> None:
    assert keys.wrap(SECRET, context=b"a") != keys.wrap(SECRET, context=b"a")


@pytest.mark.parametrize("context", [b"", b"tenant-2", b"tenant-1 ", b"tenant-"])
def test_another_context_is_rejected(keys: KeyService, context: bytes) -> None:
    wrapped = keys.wrap(SECRET, context=b"tenant-1")
    with pytest.raises(UnwrapRejected):
        keys.unwrap(wrapped, context=context)


def test_no_flipped_bit_goes_unnoticed(keys: KeyService) -> None:
    wrapped = keys.wrap(SECRET, context=b"c")
    for position in range(len(wrapped)):
        forged = bytearray(wrapped)
        forged[position] ^= 1
        with pytest.raises((UnwrapRejected, UnknownSuite, KeyMissing)):
            keys.unwrap(WrappedKey(bytes(forged)), context=b"c")
    with keys.unwrap(wrapped, context=b"c") as opened:
        assert opened.view == SECRET


@pytest.mark.parametrize("cut", [0, 1, 11, 12, 30])
def test_a_cut_wrapped_key_is_refused(keys: KeyService, cut: int) -> None:
    wrapped = keys.wrap(SECRET, context=b"c")
    with pytest.raises((UnwrapRejected, UnknownSuite)):
        keys.unwrap(WrappedKey(wrapped[:cut]), context=b"c")
    with pytest.raises(UnwrapRejected):
        keys.unwrap(WrappedKey(wrapped + b"\x00"), context=b"c")


@pytest.mark.parametrize("size", [0, 15, 65, 1000])
def test_only_secrets_of_a_key_s_size_are_wrapped(keys: KeyService, size: int) -> None:
    with pytest.raises(ValueError, match="16 to 64"):
        keys.wrap(bytes(size), context=b"c")


def test_a_master_key_that_nobody_knows_is_missing(keys: KeyService) -> None:
    stranger = join(take_apart(keys.wrap(SECRET, context=b"c"))._replace(number=77))
    with pytest.raises(KeyMissing):
        keys.unwrap(stranger, context=b"c")


def test_many_secrets_are_opened_at_once_and_a_forged_one_costs_no_other(keys: KeyService) -> None:
    mine = [bytes([number]) * 32 for number in range(70)]
    items = [(keys.wrap(secret, context=b"%d" % number), b"%d" % number) for number, secret in enumerate(mine)]
    with keys.unwrap_many(items) as opened:
        assert [bytes(each.view) for each in opened if isinstance(each, Secret)] == mine
    assert {len(each) for each in opened if isinstance(each, Secret)} == {0}
    items[3] = items[3][0], b"another"
    items[69] = join(take_apart(items[69][0])._replace(number=77)), b"69"
    with keys.unwrap_many(items) as opened:
        assert [type(each) for each in opened if not isinstance(each, Secret)] == [UnwrapRejected, KeyMissing]
        assert isinstance(opened[3], UnwrapRejected)
        assert isinstance(opened[4], Secret)
        assert opened[4].view == mine[4]
    assert keys.unwrap_many([]) == []


def test_rewrap_leaves_a_current_key_alone(keys: KeyService) -> None:
    wrapped = keys.wrap(SECRET, context=b"c")
    assert keys.rewrap(wrapped, context=b"c") is wrapped
    assert keys.number_of(wrapped) == keys.active(KeyUse.MASTER)


def test_a_secret_is_redacted_and_wiped(keys: KeyService) -> None:
    secret = keys.unwrap(keys.wrap(SECRET, context=b"c"), context=b"c")
    assert SECRET.hex() not in repr(secret)
    view = secret.view
    with secret:
        pass
    assert bytes(view) in (b"", bytes(32))
    assert len(secret) == 0


def test_macs_depend_on_purpose_and_message_only(keys: KeyService) -> None:
    value = keys.mac(Purpose.SEARCH, b"dupont")
    assert len(value) == 32
    assert keys.mac(Purpose.SEARCH, b"dupont") == value
    assert keys.mac(Purpose.SEARCH, b"durand") != value
    assert keys.mac(Purpose.FINGERPRINT, b"dupont") != value
    assert len(keys.mac(Purpose.FINGERPRINT, b"")) == 32
    assert keys.macs(Purpose.SEARCH, [b"durand", b"dupont"])[1] == value
    assert keys.macs(Purpose.SEARCH, []) == []
    assert keys.mac(Purpose.SEARCH, b"dupont", number=keys.active(KeyUse.MAC)) == value
    assert keys.versions(KeyUse.MAC) == (1,)
    with pytest.raises(KeyMissing):
        keys.mac(Purpose.SEARCH, b"dupont", number=9)


def test_signatures_verify_under_the_public_key(keys: KeyService) -> None:
    digest = hashlib.sha256(b"a checkpoint").digest()
    signature = keys.sign(digest)
    assert signature.number == keys.active(KeyUse.AUDIT)
    assert verifies(keys.public_key(), digest, signature.raw)
    assert verifies(keys.public_key(signature.number), digest, signature.raw)
    assert not verifies(keys.public_key(), hashlib.sha256(b"another").digest(), signature.raw)
    with pytest.raises(ValueError, match="32 bytes"):
        keys.sign(b"short")
    with pytest.raises(KeyMissing):
        keys.public_key(99)


def test_texts_are_signed_with_ed25519_where_the_token_offers_it(keys: KeyService, request: pytest.FixtureRequest) -> None:
    signature = keys.sign_text(b"a checkpoint")
    if request.node.callspec.params["keys"] == "nss":
        assert signature is None, "NSS 3.87 has no EdDSA: P-256 alone"
        with pytest.raises(KeyMissing):
            keys.public_key(use=KeyUse.AUDIT_ED)
        return
    assert signature is not None
    public = keys.public_key(signature.number, KeyUse.AUDIT_ED)
    assert verifies_text(public, b"a checkpoint", signature.raw)
    assert not verifies_text(public, b"another", signature.raw)
    assert not verifies_text(keys.public_key(), b"a checkpoint", signature.raw)
    with pytest.raises(ValueError, match="4096"):
        keys.sign_text(bytes(4097))


def test_a_mark_only_rises(keys: KeyService, request: pytest.FixtureRequest) -> None:
    assert keys.mark() is None
    low, high, next_one = Mark(0, 10, b"a" * 32), Mark(0, 2**40, b"b" * 32), Mark(1, 3, b"c" * 32)
    if request.node.callspec.params["keys"] == "nss":
        assert keys.raise_mark(low) is None, "NSS stores no data objects"
        assert keys.raise_mark(high) is None
        assert keys.mark() is None
        return
    assert keys.raise_mark(low) == low
    assert keys.raise_mark(replace(low, value=b"x" * 32)) == low, "an equal one does not take its place"
    assert keys.raise_mark(high) == high
    assert keys.raise_mark(low) == high
    assert keys.raise_mark(next_one) == next_one
    assert keys.raise_mark(replace(high, size=2**41)) == next_one
    assert keys.mark() == next_one


def test_random_bytes_do_not_repeat(keys: KeyService) -> None:
    assert len({keys.random(32) for _ in range(50)}) == 50
    assert len(keys.random(7)) == 7


def test_health_says_that_it_answers(keys: KeyService) -> None:
    health = keys.health()
    assert health.ok
    assert health.code is None


def test_eight_threads_get_their_own_secrets(keys: KeyService) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        mine = bytes([number]) * 32
        for turn in range(40):
            context = b"%d/%d" % (number, turn)
            with keys.unwrap(keys.wrap(mine, context=context), context=context) as opened:
                if opened.view != mine:
                    wrong.append((number, turn))
            keys.mac(Purpose.SEARCH, context)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_closed_service_answers_no_more(keys: KeyService) -> None:
    wrapped = keys.wrap(SECRET, context=b"c")
    keys.close()
    keys.close()
    with pytest.raises(KeysUnavailable):
        keys.unwrap(wrapped, context=b"c")
    assert not keys.health().ok
