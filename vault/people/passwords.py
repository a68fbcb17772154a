"""Owns which passwords are accepted and how they are hashed. It must not know accounts, storage or sign-in.

Rules: CNIL deliberation 2022-100 (12 characters of 4 classes, 14 of 3, or a phrase of 7 words) and NIST SP 800-63B-4 §3.1.1
(blocklist, Unicode, paste, no forced renewal, no truncation). Hash: Argon2id (RFC 9106).
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import unicodedata
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION, Type
from zxcvbn import zxcvbn

from vault.errors import Busy, PasswordRefused

LONGEST = 1024
"""Characters after NFKC. Long enough for any phrase; a megabyte is refused before it is hashed."""
PHRASE_WORDS = 7
CONTEXT_LETTERS = 4
"""Shorter names (Ba, Lê) stand in too many innocent words to be refused."""
NOVEL_LETTERS = 6
"""What must remain when common words, years and runs are taken out."""
GUESSABLE = 1e8
"""zxcvbn's estimate of tries below which a password is as good as listed."""
_METER_READS = 72
"""zxcvbn reads no more than this; the rest can only make a password stronger."""
SALT_BYTES, TAG_BYTES = 16, 32
"""RFC 9106 §4: 128 bits of salt, 256 bits of result."""

_LEET = str.maketrans(
    {"@": "a", "4": "a", "3": "e", "€": "e", "1": "i", "!": "i", "0": "o", "5": "s", "$": "s", "7": "t", "8": "b"}
)
_LEET_L = str.maketrans(
    {"@": "a", "4": "a", "3": "e", "€": "e", "1": "l", "!": "l", "0": "o", "5": "s", "$": "s", "7": "t", "8": "b"}
)
_RUNS = ("0123456789", "abcdefghijklmnopqrstuvwxyz", "azertyuiopqsdfghjklmwxcvbn", "qwertyuiopasdfghjklzxcvbnm", "9876543210")


def normalise(password: str) -> str:
    """Unicode NFKC, so that the same keys give the same password on every keyboard. Raises PasswordRefused over the limit."""
    if len(password) > LONGEST:
        raise PasswordRefused("too long", reason="too_long", longest=LONGEST)
    normal = unicodedata.normalize("NFKC", password)
    if len(normal) > LONGEST:
        raise PasswordRefused("too long", reason="too_long", longest=LONGEST)
    return normal


@cache
def common_words() -> frozenset[str]:
    """The offline blocklist, French and English, already folded."""
    text = resources.files("vault.people").joinpath("common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(_plain(line) for line in text.split() if not line.startswith("#"))


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _readings(password: str) -> set[str]:
    """How a person would read the password: accents, case and leet folded, separators gone, also backwards."""
    plain = _plain(password)
    letters = {re.sub(r"[\W_]+", "", reading) for reading in (plain, plain.translate(_LEET), plain.translate(_LEET_L))}
    return letters | {reading[::-1] for reading in letters}


def words_of(names: Iterable[str]) -> frozenset[str]:
    """The words of names (user, practice, specialty, city) that a password may not be made of."""
    return frozenset(word for name in names for word in re.findall(r"[a-z0-9]+", _plain(name)) if len(word) >= CONTEXT_LETTERS)


def _classes(password: str) -> int:
    kinds = set()
    for character in password:
        if character.islower():
            kinds.add("lower")
        elif character.isupper():
            kinds.add("upper")
        elif character.isdecimal():
            kinds.add("digit")
        else:
            kinds.add("other")
    return len(kinds)


def is_phrase(password: str) -> bool:
    """Seven words or more, nearly all different."""
    words = [word for word in re.findall(r"[^\W\d_]+", password.casefold()) if len(word) >= 2]
    return len(words) >= PHRASE_WORDS and len(set(words)) >= PHRASE_WORDS - 1


def _novel(reading: str) -> int:
    """How many characters remain when common words, runs, years and repetitions are taken out of a reading."""
    rest = reading
    for word in sorted(common_words(), key=len, reverse=True):
        if len(word) >= CONTEXT_LETTERS:
            rest = rest.replace(word, " ")
    for run in _RUNS:
        for length in range(len(run), 3, -1):
            for start in range(len(run) - length + 1):
                rest = rest.replace(run[start : start + length], " ")
    rest = re.sub(r"(19|20)\d\d", " ", rest)
    rest = re.sub(r"(.)\1{2,}", r"\1", rest)
    return len(set(re.sub(r"[\W_]", "", rest)))


def check(password: str, context: Iterable[str] = ()) -> None:
    """Accept ``password`` for somebody whose names, practice and city are ``context``.

    Raises PasswordRefused with ``details['reason']``: ``too_long``, ``too_short``, ``too_simple``, ``context``, ``common``.
    """
    password = normalise(password)
    phrase = is_phrase(password)
    if not phrase:
        classes = _classes(password)
        if len(password) < 12:
            raise PasswordRefused("fewer than 12 characters", reason="too_short", shortest=12)
        if classes < 3 or (classes == 3 and len(password) < 14):
            raise PasswordRefused("too few kinds of characters for its length", reason="too_simple")
    readings = _readings(password)
    names = words_of(context)
    if any(name in reading for name in names for reading in readings) and not phrase:
        raise PasswordRefused("made of a name that belongs to you or the practice", reason="context")
    if min(map(_novel, readings)) < NOVEL_LETTERS or guesses(password, names) < GUESSABLE:
        raise PasswordRefused("too common", reason="common")


def guesses(password: str, context: Iterable[str] = ()) -> float:
    """Zxcvbn's estimate of how many tries a clever guesser needs."""
    return float(zxcvbn(normalise(password)[:_METER_READS] or " ", user_inputs=list(context))["guesses"])


def strength(password: str, context: Iterable[str] = ()) -> int:
    """0 (none) to 4 (strong), for the meter beside the field."""
    tries = guesses(password, context)
    return sum(tries >= bound for bound in (1e6, 1e8, 1e10, 1e13))


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What the meter beside the field says."""

    mark: int
    """0 (none) to 4 (strong); never above 1 where the password would be refused."""
    refusal: str | None
    """The reason of ``check``, where it would refuse."""


def appraise(password: str, context: Iterable[str] = ()) -> Appraisal:
    """Judge a password that is being typed; nothing is kept."""
    known = tuple(context)
    try:
        check(password, known)
    except PasswordRefused as refused:
        reason = str(refused.details["reason"])
        return Appraisal(0 if reason == "too_long" else min(1, strength(password, words_of(known))), reason)
    return Appraisal(max(2, strength(password, words_of(known))), None)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one Argon2id hash costs."""

    memory_kib: int
    passes: int
    lanes: int = 1


STANDARD = Cost(memory_kib=64 * 1024, passes=3)
"""Above OWASP's minimum (19 MiB, 2 passes): RFC 9106's second recommended choice with one lane."""


def _nobody(cost: Cost) -> str:
    """A hash (PHC string) that no password has and that costs as much to try: random bytes in the place of a result."""
    salt, tag = (b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (SALT_BYTES, TAG_BYTES))
    return f"$argon2id$v={ARGON2_VERSION}$m={cost.memory_kib},t={cost.passes},p={cost.lanes}${salt}${tag}"


class Hasher:
    """Argon2id with at most ``at_once`` hashes at a time, so that a storm of sign-ins leaves downloads fast."""

    def __init__(self, cost: Cost = STANDARD, at_once: int | None = None, wait_s: float = 20.0) -> None:
        self._argon2 = PasswordHasher(
            time_cost=cost.passes,
            memory_cost=cost.memory_kib,
            parallelism=cost.lanes,
            hash_len=TAG_BYTES,
            salt_len=SALT_BYTES,
            type=Type.ID,
        )
        self._slots = threading.BoundedSemaphore(at_once or max(1, (os.cpu_count() or 2) // 2))
        self._wait_s = wait_s
        self._nobody = _nobody(cost)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=self._wait_s):
            raise Busy("too many sign-ins at once", retry_after_s=5)
        try:
            yield
        finally:
            self._slots.release()

    def hash(self, password: str) -> str:
        """The encoded hash (PHC string) of an accepted password. Raises Busy."""
        normal = normalise(password)
        with self._slot():
            return self._argon2.hash(normal)

    def verify(self, encoded: str | None, password: str) -> bool:
        """Whether ``password`` is right; without a hash (unknown user) the same work is done and the answer is no.

        Raises Busy. A password over the limit is wrong, whoever asks.
        """
        try:
            normal = normalise(password)
        except PasswordRefused:
            normal = ""
        with self._slot():
            try:
                self._argon2.verify(encoded or self._nobody, normal)
            except (VerificationError, InvalidHashError):
                return False
        return encoded is not None

    def is_outdated(self, encoded: str) -> bool:
        """Whether the hash was made with other parameters and should be made again."""
        return self._argon2.check_needs_rehash(encoded)
