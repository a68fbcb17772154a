"""What is accepted as a password, why the rest is refused, and how it is hashed."""

from __future__ import annotations

import secrets
import threading
import time
import unicodedata
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.errors import Busy, PasswordRefused
from vault.people.passwords import LONGEST, STANDARD, Cost, Hasher, appraise, check, is_phrase, normalise, strength
from vault.people.phrases import WORDS, phrase

CONTEXT = ("lmartin", "Dr Léa Martin-Dupont", "Cabinet des Tilleuls", "Angoulême", "cardiologue")
CHEAP = Cost(memory_kib=64, passes=1)


def refused(password: str) -> str:
    with pytest.raises(PasswordRefused) as refusal:
        check(password, CONTEXT)
    assert not password or password not in str(refusal.value)
    return str(refusal.value.details["reason"])


@pytest.mark.parametrize(
    "password",
    [
        "Mmdpeusbgd25a!",
        "vK7#pWq2!zRt",
        "Ombrelle Cerf 47 Vague",
        "girafe lampe moulin canot brume feutre clou",
        "le petit chat boit du lait dans la cuisine bleue",
        "Ж4хцъ-Щмыф8-Ѳъ",
        "grue-NEIGE-pavot-Hibou 3 lacets",
        "x" + "Wq7!" + "é" * 3 + "kZ9$mTr",
    ],
)
def test_good_ones_pass(password: str) -> None:
    check(password, CONTEXT)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", "too_short"),
        ("Ab1!Ab1!Ab1", "too_short"),
        ("kzpwqhvmtrsd", "too_simple"),
        ("Kzpwqhvm7trs", "too_simple"),
        ("kzpwqhvmtrsdkwpqz", "too_simple"),
        ("7491836250183", "too_simple"),
        ("Azerty123456!", "common"),
        ("LoulouLoulou1!", "common"),
        ("P@ssw0rd2026!!", "common"),
        ("M0tDeP@sse2025!", "common"),
        ("Bonjour123456!", "common"),
        ("Qwertyuiop123!", "common"),
        ("Abcdefghijk1!", "common"),
        ("Aaaaaaaaaaaa1!", "common"),
        ("Soleil-Printemps-2026", "common"),
        ("Docteur!Patient1", "common"),
        ("Tilleuls-kzq-94", "context"),
        ("T1ll3uls-kzq-94", "context"),
        ("ANGOULEME-kzq-94!", "context"),
        ("Ang0ulême-kzq-94", "context"),
        ("L.M.a.r.t.i.n.94!", "context"),
        ("nitraM-kzq-9471", "context"),
        ("M@rt1n!kzqwv94", "context"),
        ("Cardiologue!k94", "context"),
    ],
)
def test_bad_ones_are_refused_with_the_reason(password: str, reason: str) -> None:
    assert refused(password) == reason


def test_a_megabyte_is_refused_at_once() -> None:
    began = time.thread_time()
    assert refused("Aa1!" * 250_000) == "too_long"
    assert time.thread_time() - began < 0.5


def test_long_ones_are_accepted_whole() -> None:
    long = secrets.token_hex(64) + "Z!"
    assert len(long) >= 128
    check(long, CONTEXT)
    hasher = Hasher(CHEAP)
    encoded = hasher.hash(long)
    assert hasher.verify(encoded, long)
    assert not hasher.verify(encoded, long[:-1])
    assert not hasher.verify(encoded, long[:72])


def test_what_expands_under_normalisation_is_still_bounded() -> None:
    assert refused("\ufdfa" * (LONGEST - 1)) == "too_long"


@given(st.text(max_size=60))
def test_normal_form_does_not_depend_on_the_keyboard(text: str) -> None:
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(unicodedata.normalize("NFC", text))


def test_seven_different_words_are_a_phrase() -> None:
    assert is_phrase("un deux trois quatre cinq six sept")
    assert not is_phrase("deux deux deux deux deux deux deux")
    assert not is_phrase("six mots ne suffisent pas ici".replace(" ici", ""))


def test_made_up_phrases_pass_and_never_repeat() -> None:
    assert len(WORDS) == len(set(WORDS)) >= 512
    made = {phrase(secrets.token_bytes) for _ in range(100)}
    assert len(made) == 100
    for each in made:
        check(each, CONTEXT)


def test_words_of_a_phrase_are_drawn_evenly() -> None:
    counts, dice = dict.fromkeys(WORDS, 0), Random(20_260_921)
    for _ in range(4_000):
        for word in phrase(dice.randbytes).split("-"):
            counts[word] += 1
    expected = 4_000 * 7 / len(WORDS)
    assert max(counts.values()) < expected * 2
    assert min(counts.values()) > expected / 3


def test_the_meter_never_praises_what_the_rule_refuses() -> None:
    refused = ("azerty", "Angouleme!kzq-94", "a" * 2000, "Aa1!" * 20)
    assert all(appraise(each, CONTEXT).mark <= 1 and appraise(each, CONTEXT).refusal for each in refused)
    assert appraise("Moulin-Verre-92", CONTEXT).mark >= 2
    assert appraise("Moulin-Verre-92", CONTEXT).refusal is None


def test_meter_rises_with_strength() -> None:
    marks = [strength(each, CONTEXT) for each in ("azerty", "Chapeau1", "Chapeau-Vert8", "grue-NEIGE-pavot-Hibou 3 lacets")]
    assert marks == sorted(marks)
    assert (marks[0], marks[-1]) == (0, 4)
    assert strength("") == 0


def test_hashes_are_argon2id_above_the_recommended_minimum() -> None:
    encoded = Hasher(STANDARD).hash("whatever")
    assert encoded.startswith("$argon2id$v=19$m=65536,t=3,p=1$")


def test_wrong_unknown_and_damaged_are_all_no() -> None:
    hasher = Hasher(CHEAP)
    encoded = hasher.hash("right")
    assert hasher.verify(encoded, "right")
    assert not hasher.verify(encoded, "wrong")
    assert not hasher.verify(None, "right")
    assert not hasher.verify("$argon2id$nonsense", "right")
    assert not hasher.verify(encoded, "right" * 1_000_000)


def test_other_parameters_make_a_hash_outdated() -> None:
    hasher = Hasher(CHEAP)
    assert not hasher.is_outdated(hasher.hash("x"))
    assert Hasher(Cost(memory_kib=128, passes=1)).is_outdated(hasher.hash("x"))


def test_unknown_users_cost_the_same_hash() -> None:
    hasher = Hasher(Cost(memory_kib=8 * 1024, passes=2))
    encoded = hasher.hash("right")
    assert not hasher.is_outdated(hasher._nobody)
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(15):
        for known in (True, False):
            began = time.process_time()  # what else runs on the machine does not count
            hasher.verify(encoded if known else None, "wrong")
            times[known].append(time.process_time() - began)
    median = {key: sorted(each)[7] for key, each in times.items()}
    assert abs(median[True] - median[False]) < 0.35 * median[True]


def test_hashes_at_once_are_capped_and_waiting_is_bounded() -> None:
    hasher = Hasher(Cost(memory_kib=32 * 1024, passes=6), at_once=1, wait_s=0.01)
    refusals: list[Busy] = []
    together = threading.Barrier(4)

    def one() -> None:
        together.wait()
        try:
            hasher.hash("x")
        except Busy as busy:
            refusals.append(busy)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(refusals) <= 3
    assert refusals[0].details["retry_after_s"] == 5


def test_hashing_leaves_other_threads_running() -> None:
    hasher = Hasher(Cost(memory_kib=64 * 1024, passes=6), at_once=1)
    thread = threading.Thread(target=lambda: hasher.hash("x"))
    ticks = 0
    thread.start()
    while thread.is_alive():
        ticks += 1
        time.sleep(0.001)
    assert ticks > 5, "the hash kept the interpreter to itself"
