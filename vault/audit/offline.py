# ruff: noqa: UP017, UP045, PTH123  # it runs on Python 3.9, on whatever computer the auditor has
"""Verifies an evidence bundle or a single-entry proof of a Coffre access log: alone, offline, with one public key.

    python3 coffre_verify.py journal-1234.zip --trust trust.txt [--since kept.checkpoint] [--json]

Needs Python 3.9 or later and nothing else; opens no network connection and writes no file. The trust file is the one that you
were given by another way than the bundle (``coffre audit trust``). Exit: 0 intact, 1 altered, 2 incomplete, 3 can't check.

This file owns the independent check and must not know, nor import, the program that wrote the log. Formats: docs/format.md.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import io
import json
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, BinaryIO, NamedTuple, NoReturn, Optional, cast

INTACT, ALTERED, INCOMPLETE, CANNOT = 0, 1, 2, 3
LINE_BYTES = 4 * 1024 * 1024
SMALL_BYTES = 4 * 1024 * 1024
READ_BYTES = 256 * 1024
GROUPS = ("actor", "subject", "client", "note")
MEMBERS = {"manifest.json", "entries.jsonl", "checkpoint", "checkpoints.jsonl", "trailer.json"}
FIELDS = {"index", "hash", "leaf", "proof", "fence", *GROUPS}
"""What a line may hold: what nothing proves has no place beside what is proven."""
PROOF_HEADER = "c2sp.org/tlog-proof@v1"

FAULTS = {
    "edited": (ALTERED, "une ligne a été modifiée", "an entry was edited"),
    "group": (ALTERED, "une partie d'une ligne a été remplacée", "a part of an entry was replaced"),
    "swapped": (ALTERED, "des lignes ont été échangées", "entries were swapped"),
    "rewritten": (ALTERED, "le journal a été réécrit", "the log was rewritten"),
    "unknown_key": (ALTERED, "le journal est signé par une clé inconnue", "the log is signed by an unknown key"),
    "signature": (ALTERED, "la signature du journal est fausse", "the signature of the log is false"),
    "request": (ALTERED, "l'export ne dit pas ce qui a été demandé", "the export misstates what was asked"),
    "rollback": (
        ALTERED,
        "le journal ne prolonge pas le point de contrôle gardé",
        "the log does not extend the kept checkpoint",
    ),
    "damaged": (ALTERED, "le fichier est endommagé", "the file is damaged"),
    "missing": (INCOMPLETE, "une ligne manque", "an entry is missing"),
    "withheld": (INCOMPLETE, "une ligne a été retenue", "an entry was withheld"),
    "truncated": (INCOMPLETE, "les dernières lignes manquent", "the last entries are missing"),
    "cut": (INCOMPLETE, "le fichier est coupé", "the file was cut"),
    "format": (CANNOT, "ce fichier n'est pas un export de preuve", "this file is not an evidence bundle"),
    "trust": (CANNOT, "le fichier de confiance est illisible", "the trust file can't be read"),
    "since": (CANNOT, "le point de contrôle gardé demande un export complet", "the kept checkpoint wants a whole export"),
}


class Fault(Exception):
    """The verdict is not good: ``kind`` is a key of FAULTS, ``index`` the first faulty entry where one can be named."""

    def __init__(self, kind: str, index: int | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.index = index


# --- ECDSA over P-256 (FIPS 186-5, SEC 2)

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
SPKI_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
Point = Optional[tuple[int, int]]


def _add(left: Point, right: Point) -> Point:
    if left is None:
        return right
    if right is None:
        return left
    if left[0] == right[0]:
        if (left[1] + right[1]) % P == 0:
            return None
        slope = (3 * left[0] * left[0] - 3) * pow(2 * left[1], -1, P) % P
    else:
        slope = (right[1] - left[1]) * pow(right[0] - left[0], -1, P) % P
    x = (slope * slope - left[0] - right[0]) % P
    return x, (slope * (left[0] - x) - left[1]) % P


def _times(factor: int, point: Point) -> Point:
    result: Point = None
    while factor:
        if factor & 1:
            result = _add(result, point)
        point = _add(point, point)
        factor >>= 1
    return result


def _der_integer(data: bytes, at: int) -> tuple[int, int]:
    if data[at] != 0x02 or data[at + 1] > 33:
        raise ValueError("not a DER integer")
    end = at + 2 + data[at + 1]
    return int.from_bytes(data[at + 2 : end], "big"), end


def ecdsa_verify(spki: bytes, message: bytes, der: bytes) -> bool:
    """Whether ``der`` is a signature of SHA-256(``message``) under a P-256 key given as SubjectPublicKeyInfo."""
    if len(spki) != 91 or not spki.startswith(SPKI_P256):
        return False
    x, y = int.from_bytes(spki[27:59], "big"), int.from_bytes(spki[59:], "big")
    if x >= P or y >= P or (y * y - x * x * x + 3 * x - B) % P:
        return False
    try:
        if der[0] != 0x30 or der[1] != len(der) - 2:
            return False
        r, at = _der_integer(der, 2)
        s, at = _der_integer(der, at)
    except (ValueError, IndexError):
        return False
    if at != len(der) or not (0 < r < N and 0 < s < N):
        return False
    inverse = pow(s, -1, N)
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    found = _add(_times(digest * inverse % N, G), _times(r * inverse % N, (x, y)))
    return found is not None and found[0] % N == r


# --- Ed25519 (RFC 8032 §5.1), on points (X, Y, Z, T) with x = X/Z, y = Y/Z, x·y = T/Z

Q = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, Q) % Q
SQRT_MINUS_1 = pow(2, (Q - 1) // 4, Q)
Extended = tuple[int, int, int, int]


def _ed_add(left: Extended, right: Extended) -> Extended:
    a = (left[1] - left[0]) * (right[1] - right[0]) % Q
    b = (left[1] + left[0]) * (right[1] + right[0]) % Q
    c, d = 2 * left[3] * right[3] * D % Q, 2 * left[2] * right[2] % Q
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % Q, g * h % Q, f * g % Q, e * h % Q


def _ed_times(factor: int, point: Extended) -> Extended:
    result = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            result = _ed_add(result, point)
        point = _ed_add(point, point)
        factor >>= 1
    return result


def _ed_point(data: bytes) -> Optional[Extended]:
    """§5.1.3; None for what is not the one encoding of a point."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= Q:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, Q) % Q
    x = pow(square, (Q + 3) // 8, Q)
    if (x * x - square) % Q:
        x = x * SQRT_MINUS_1 % Q
    if (x * x - square) % Q or (x == 0 and sign):
        return None
    x = Q - x if x & 1 != sign else x
    return x, y, 1, x * y % Q


ED_BASE = cast("Extended", _ed_point((4 * pow(5, -1, Q) % Q).to_bytes(32, "little")))


def ed25519_verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is that of ``message`` under 32 bytes of public key (§5.1.7)."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    key, commitment = _ed_point(public_key), _ed_point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % L
    left, right = _ed_times(s, ED_BASE), _ed_add(commitment, _ed_times(k, key))
    return (left[0] * right[2] - right[0] * left[2]) % Q == 0 and (left[1] * right[2] - right[1] * left[2]) % Q == 0


# --- signed notes and checkpoints (C2SP signed-note, tlog-checkpoint)

ED25519, ECDSA = b"\x01", b"\x02"


class Key(NamedTuple):
    """Who may sign: name, key id, signature type (ED25519 or ECDSA), public key as 32 bytes or as SubjectPublicKeyInfo."""

    name: str
    key_id: bytes
    kind: bytes
    public: bytes

    def verifies(self, text: bytes, signature: bytes) -> bool:
        return (ed25519_verify if self.kind == ED25519 else ecdsa_verify)(self.public, text, signature)


class Checkpoint(NamedTuple):
    """A signed tree head."""

    origin: str
    size: int
    root: bytes


def read_trust(text: str) -> list[Key]:
    """The verifier keys of a trust file: one a line, ``#`` starts a comment."""
    keys = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, key_id, material = line.strip().split("+", 2)
            raw = base64.b64decode(material, validate=True)
            identifier = bytes.fromhex(key_id)
        except ValueError:
            raise Fault("trust") from None
        named = {ED25519: name.encode() + b"\n" + raw, ECDSA: raw[1:]}.get(raw[:1])
        if named is None or identifier != hashlib.sha256(named).digest()[:4]:
            raise Fault("trust")
        keys.append(Key(name, identifier, raw[:1], raw[1:]))
    if not keys:
        raise Fault("trust")
    return keys


def open_checkpoint(note: str, trusted: list[Key]) -> Checkpoint:
    """A checkpoint that a trusted key signed. One good signature is enough; a bad one of a trusted key is a fault."""
    text, separator, block = note.rpartition("\n\n")
    if not separator or len(note) > 65536:
        raise Fault("format")
    text += "\n"
    signed = False
    for line in block.splitlines()[:16]:
        name, _, encoded = line[2:].partition(" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise Fault("signature") from None
        for key in trusted:
            if (key.name, key.key_id) == (name, raw[:4]) and line.startswith("\u2014 "):
                if not key.verifies(text.encode(), raw[4:]):
                    raise Fault("signature")
                signed = signed or text.startswith(key.name + "\n")
    if not signed:
        raise Fault("unknown_key")
    try:
        origin, size, root = text.split("\n")[:3]
        return Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
    except ValueError:
        raise Fault("format") from None


# --- the tree (RFC 6962)


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 §2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Range:
    """The roots of the perfect subtrees of a growing tree, largest first."""

    def __init__(self) -> None:
        self.size = 0
        self.peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        size = self.size
        while size & 1:
            leaf = node_hash(self.peaks.pop(), leaf)
            size >>= 1
        self.peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        if not self.peaks:
            return hashlib.sha256(b"").digest()
        value = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            value = node_hash(peak, value)
        return value


def is_included(index: int, size: int, leaf: bytes, proof: list[bytes], root: bytes) -> bool:
    """RFC 9162 §2.1.3.2."""
    if not 0 <= index < size:
        return False
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            value = node_hash(value, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and value == root


# --- entries


@dataclass
class Entry:
    """One entry as the bundle shows it."""

    index: int
    stated: bytes
    """The leaf hash that the file states."""
    computed: bytes
    """The hash of the leaf that the file shows."""
    leaf: dict[str, Any]
    texts: dict[str, str]
    """The JSON text of each group that is the committed one; it is read when somebody asks, which for most is never."""
    bad_group: bool
    proof: Optional[list[bytes]]
    is_fence: bool

    def group(self, name: str) -> dict[str, Any]:
        """What a group says; nothing where it is not shown."""
        text = self.texts.get(name)
        if text is None:
            return {}
        said = _object(text)
        if not isinstance(said, dict):
            raise Fault("damaged")
        return said

    def of(self, group: str, name: str) -> Any:
        return self.group(group).get(name)


_COMMITS = [(group, "c_" + group, b"vault-audit/v1\x00" + group.encode() + b"\x00") for group in GROUPS]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no name stands twice: another reader might believe the one that was not checked."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


_scan = json.JSONDecoder().raw_decode
_scan_once = json.JSONDecoder(object_pairs_hook=_once).raw_decode


def _object(text: str, scan: Callable[[str], tuple[Any, int]] = _scan) -> Any:
    """One JSON value and nothing else but a line's end. ``json.loads`` costs twice as much, five times an entry."""
    value, end = scan(text)
    if end != len(text) and text[end:] != "\n":
        raise ValueError("more than one value")
    return value


def read_entry(line: bytes) -> Entry:
    """One line of ``entries.jsonl``; a group that is not the committed one is marked, not believed."""
    decode, sha256 = binascii.a2b_base64, hashlib.sha256
    try:
        record = _object(line.decode(), _scan_once)
        if not FIELDS.issuperset(record):
            raise Fault("damaged")
        leaf = _object(record["leaf"])
        int(leaf["t"])  # every entry has a time
        texts, bad = {}, False
        for group, commits, prefix in _COMMITS:
            if group in record:
                salt, data = record[group]
                if decode(leaf[commits]) == sha256(prefix + decode(salt) + data.encode()).digest():
                    texts[group] = data
                else:
                    bad = True
        proof = record.get("proof")
        siblings = None if proof is None else [decode(each) for each in proof]
        computed = sha256(b"\x00" + record["leaf"].encode()).digest()
        is_fence = record.get("fence") == 1
        return Entry(int(record["index"]), decode(record["hash"]), computed, leaf, texts, bad, siblings, is_fence)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise Fault("damaged") from None


class Counters:
    """``n`` of every person and every patient goes up by one: who is missing leaves a hole, who is swapped comes back late."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.holes: dict[tuple[str, int], int] = {}
        self.swapped: int | None = None

    def add(self, entry: Entry) -> None:
        actor, subject = entry.group("actor"), entry.group("subject")
        if actor:
            who = "" if actor.get("kind") == "anonymous" else actor.get("ref")
            self._one(f"a {actor.get('kind')} {who}", actor, entry)
        if "patient" in subject:
            self._one(f"p {subject['patient']}", subject, entry)

    def _one(self, key: str, group: dict[str, Any], entry: Entry) -> None:
        n, expected = int(group.get("n", 0)), self.last.get(key, 0) + 1
        if n < expected and (key, n) in self.holes:
            first = self.holes.pop((key, n))
            self.swapped = first if self.swapped is None else min(first, self.swapped)
            return
        for hole in range(expected, min(n, expected + 64)):
            self.holes[key, hole] = entry.index
        self.last[key] = max(n, self.last.get(key, 0))

    def first(self) -> tuple[int, str] | None:
        found = [(index, "missing") for index in self.holes.values()]
        if self.swapped is not None:
            found.append((self.swapped, "swapped"))
        return min(found, default=None)


# --- bundles


@dataclass
class Verdict:
    """All is well: what was verified."""

    kind: str
    count: int
    first: int
    last: int
    size: int
    root: bytes
    notes: list[str]
    partial: int = 0
    """Entries that are not shown whole."""


class Bundle:
    """One evidence bundle, read once from front to back, in constant memory."""

    def __init__(self, file: BinaryIO, trusted: list[Key], since: Checkpoint | None) -> None:
        self.trusted = trusted
        self.since = since
        try:
            self.archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile:
            file.seek(0)
            raise Fault("cut" if file.read(4) == b"PK\x03\x04" else "format") from None
        names = self.archive.namelist()
        if len(names) != len(set(names)) or not MEMBERS.issuperset(names):
            raise Fault("damaged")
        self.manifest = self._json("manifest.json")
        self.trailer = self._json("trailer.json")
        if self.manifest.get("format") != "coffre-evidence/1":
            raise Fault("format")
        self.request: dict[str, Any] = self.manifest.get("request", {})
        self.kind = str(self.request.get("kind"))
        self.head = open_checkpoint(self._small("checkpoint").decode("utf-8", "replace"), trusted)
        self.count = 0
        self.first = self.last = 0
        self.notes: list[str] = []
        self.hole: int | None = None
        self.partial = 0
        self.reached: int | None = None
        self.hidden = 0

    def _small(self, name: str) -> bytes:
        try:
            with self.archive.open(name) as member:
                data = member.read(SMALL_BYTES + 1)
        except KeyError:
            raise Fault("cut") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError):
            raise Fault("damaged") from None
        if len(data) > SMALL_BYTES and name != "checkpoints.jsonl":
            raise Fault("format")
        return data

    def _json(self, name: str) -> dict[str, Any]:
        try:
            record = json.loads(self._small(name), object_pairs_hook=_once)
        except ValueError:
            raise Fault("damaged") from None
        if not isinstance(record, dict):
            raise Fault("format")
        return record

    def entries(self) -> Iterator[Entry]:
        digest = hashlib.sha256()
        try:
            with self.archive.open("entries.jsonl") as member:
                lines = io.BufferedReader(cast("Any", member), READ_BYTES)
                while True:
                    line = lines.readline(LINE_BYTES)
                    if not line:
                        break
                    digest.update(line)
                    entry = read_entry(line)
                    self.count += 1
                    self.partial += not entry.is_fence and len(entry.texts) < len(GROUPS)
                    self._time(entry)
                    yield entry
        except KeyError:
            raise Fault("cut") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError):
            raise Fault("damaged") from None
        self.digest = digest.hexdigest()

    def _time(self, entry: Entry) -> None:
        if not entry.is_fence:
            at = int(entry.leaf["t"])
            self.first, self.last = min(at, self.first or at), max(at, self.last)

    def verify(self) -> Verdict:
        """Raises Fault."""
        if self.kind == "whole":
            self._whole()
        elif self.kind in ("period", "patient", "actor", "selection"):
            if self.since is not None:
                raise Fault("since")
            self._part()
        else:
            raise Fault("format")
        if self.trailer.get("complete") is not True or self.trailer.get("count") != self.count:
            raise Fault("cut")
        if self.trailer.get("entries_sha256") != self.digest:
            raise Fault("damaged")
        return Verdict(self.kind, self.count, self.first, self.last, self.head.size, self.head.root, self.notes, self.partial)

    # a whole log: the root follows from the leaves

    def _whole(self) -> None:
        tree, counters = Range(), Counters()
        found: list[tuple[int, str]] = []
        older = self._older()
        roots: dict[int, bytes] = {}
        before = 0
        asked = False
        for entry in self.entries():
            if entry.index != tree.size:
                found.append((tree.size, "missing" if entry.index > tree.size else "swapped"))
                if (entry.index, "missing") in found:
                    found.append((entry.index, "swapped"))
                    found.remove((entry.index, "missing"))
            if entry.computed != entry.stated:
                found.append((tree.size, "edited"))
            elif entry.bad_group:
                found.append((tree.size, "group"))
            if int(entry.leaf.get("t", 0)) < before:
                found.append((tree.size - 1, "swapped"))
            before = int(entry.leaf.get("t", 0))
            del found[64:]
            counters.add(entry)
            asked = asked or self._asked(entry)
            tree.append(entry.stated)
            if tree.size in older or (self.since is not None and tree.size == self.since.size):
                roots[tree.size] = tree.root()
        if tree.size == self.head.size and tree.root() == self.head.root:
            self._exact(found, roots, asked=asked)
            return
        hole = counters.first()
        found += [hole] if hole is not None else []
        if found:
            index, kind = min(found)
            raise Fault(kind, index)
        if tree.size < self.head.size:
            good = self._agreed(older, roots)
            raise Fault("truncated", tree.size) if good == max(older, default=0) or not older else Fault("missing", good)
        raise Fault("rewritten", self._agreed(older, roots))

    def _exact(self, found: list[tuple[int, str]], roots: dict[int, bytes], *, asked: bool) -> None:
        """The stated hashes are the signed ones: what is left is exact."""
        if found:
            index, kind = min(found)
            raise Fault(kind, index)
        if not asked:
            raise Fault("request")
        if self.since is not None:
            mine = self.head.root if self.since.size == self.head.size else roots.get(self.since.size)
            if self.since.origin != self.head.origin or (self.since.size and mine != self.since.root):
                raise Fault("rollback", 0)

    def _older(self) -> dict[int, str]:
        """Earlier checkpoints by size, not believed before their signature is checked."""
        notes: dict[int, str] = {}
        for line in self._small("checkpoints.jsonl").splitlines():
            try:
                note = json.loads(line)
                notes[int(note.split("\n")[1])] = note
            except (ValueError, IndexError, AttributeError):
                continue
        return notes

    def _agreed(self, older: dict[int, str], roots: dict[int, bytes]) -> int:
        """The largest earlier checkpoint, signed, that the entries still agree with: the fault is after it."""
        for size in sorted(roots, reverse=True):
            try:
                if size in older and open_checkpoint(older[size], self.trusted).root == roots[size]:
                    return size
            except Fault:
                continue
        return 0

    # a part of the log: each entry is proven, counters and fences show that none is missing

    def _part(self) -> None:
        last = -1
        chain: list[tuple[Entry, int | None]] = []
        asked = False
        goes_on: int | None = None
        for entry in self.entries():
            if entry.index <= last:
                raise Fault("swapped", entry.index)
            if entry.computed != entry.stated:
                raise Fault("edited", entry.index)
            if entry.bad_group:
                raise Fault("group", entry.index)
            if entry.proof is None or not is_included(entry.index, self.head.size, entry.stated, entry.proof, self.head.root):
                raise Fault("edited", entry.index)
            last = entry.index
            asked = asked or self._asked(entry)
            if entry.index == self.manifest.get("export_index") and self.kind == "actor":
                goes_on = entry.of("note", "count")
            link = self._link(entry)
            if link is not None or self._is_hidden(entry):
                chain = self._chained(chain, entry, link)
        if not asked:
            raise Fault("request")
        if self.hole is not None:
            raise Fault("withheld", self.hole)
        self._ends(chain, goes_on)

    def _asked(self, entry: Entry) -> bool:
        """Whether this is the export's own entry, and commits to the request that the manifest states."""
        if entry.index != self.manifest.get("export_index") or entry.leaf.get("action") != "audit.export":
            return False
        text = json.dumps(self.request, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return bool(entry.of("note", "code") == "request " + hashlib.sha256(text.encode()).hexdigest())

    def _link(self, entry: Entry) -> int | None:
        """The counter by which completeness shows: the index itself for a period."""
        if self.kind == "period":
            is_outside = entry.index == self.manifest.get("export_index") and not self._is_within(entry)
            return None if is_outside else entry.index
        if (
            self.kind == "patient"
            and "reference" in self.request
            and entry.of("subject", "patient") == self.request["reference"]
        ):
            return int(entry.of("subject", "n"))
        if self.kind == "actor" and entry.of("actor", "ref") == self.request.get("actor"):
            return int(entry.of("actor", "n"))
        return None

    def _is_hidden(self, entry: Entry) -> bool:
        """Whether the group that carries the counter can no longer be read."""
        group = {"patient": "subject", "actor": "actor"}.get(self.kind)
        is_own = entry.index == self.manifest.get("export_index")
        return group is not None and not is_own and group not in entry.texts

    def _is_within(self, entry: Entry) -> bool:
        at = int(entry.leaf["t"])
        return int(self.request.get("since", 0)) <= at < int(self.request.get("until", 1 << 62))

    def _chained(self, chain: list[tuple[Entry, int | None]], entry: Entry, link: int | None) -> list[tuple[Entry, int | None]]:
        """First and last link; every link in between follows the one before it."""
        if not chain:
            starts = link == (0 if self.kind == "period" else 1)
            is_before = entry.is_fence and int(entry.leaf["t"]) < int(self.request.get("since", 0))
            if link is not None and not starts and not is_before:
                self._hole(entry.index)
            self.reached, self.hidden = (0 if link is None and not is_before else link), int(link is None and not is_before)
            return [(entry, link), (entry, link)]
        before, previous = chain[1]
        if link is None or previous is None:
            self._note("hidden")
            self._unseen(entry, link, is_between=not (self._is_after(entry) and self._is_after(before)))
        elif link != previous + 1 and not (self._is_after(entry) and self._is_after(before)):
            self._hole(entry.index)
        self.reached = self.reached if link is None else link
        return [chain[0], (entry, link)]

    def _unseen(self, entry: Entry, link: int | None, *, is_between: bool) -> None:
        """Entries whose counter can't be read stand for one number each, and for no more."""
        if link is None:
            self.hidden += 1
            return
        if is_between and self.reached is not None and link - self.reached - 1 > self.hidden:
            self._hole(entry.index)
        self.hidden = 0

    def _is_after(self, entry: Entry) -> bool:
        """Whether an entry stands behind the period that was asked."""
        return int(entry.leaf["t"]) >= int(self.request.get("until", 1 << 62))

    def _hole(self, index: int) -> None:
        """An entry was left out before ``index``; what is plainly altered is said first."""
        self.hole = index if self.hole is None else min(index, self.hole)

    def _ends(self, chain: list[tuple[Entry, int | None]], goes_on: int | None) -> None:
        """The last link is a fence after the period, or the end of the log as the export saw it."""
        if self.kind == "selection":
            self._note("selection")
            return
        if not chain:
            if goes_on or self.kind == "period":
                raise Fault("withheld")
            return
        entry, link = chain[1]
        own = self.manifest.get("export_index")
        if entry.is_fence and self._is_after(entry):
            return
        if self.kind == "period" and link != self.head.size - 1:
            raise Fault("withheld", entry.index + 1)
        if self.kind == "patient" and entry.index != own:
            raise Fault("withheld", entry.index + 1)
        if self.kind == "actor":
            reached = link if link is not None else None if self.reached is None else self.reached + self.hidden
            if reached is not None and (goes_on is None or reached < int(goes_on)):
                raise Fault("withheld", entry.index + 1)

    def _note(self, word: str) -> None:
        if word not in self.notes:
            self.notes.append(word)


# --- single proofs (C2SP tlog-proof)


def verify_proof(text: str, trusted: list[Key]) -> tuple[Verdict, Entry]:
    """One entry, proven to stand in a signed log. Raises Fault."""
    head, separator, note = text.partition("\n\n")
    lines = head.split("\n")
    if not separator or lines[0] != PROOF_HEADER or len(lines) < 3:
        raise Fault("format")
    checkpoint = open_checkpoint(note, trusted)
    try:
        extra = json.loads(base64.b64decode(lines[1].removeprefix("extra "), validate=True))
        index = int(lines[2].removeprefix("index "))
        proof = [base64.b64decode(line, validate=True) for line in lines[3:]]
    except ValueError:
        raise Fault("format") from None
    entry = read_entry(json.dumps({**extra, "index": index, "hash": ""}).encode())
    if entry.bad_group:
        raise Fault("group", index)
    if not is_included(index, checkpoint.size, entry.computed, proof, checkpoint.root):
        raise Fault("edited", index)
    at = int(entry.leaf["t"])
    return Verdict("entry", 1, at, at, checkpoint.size, checkpoint.root, []), entry


# --- words

GOOD = {
    "whole": (
        "Journal intact du {first} au {last}, {count} événements.",
        "Log intact from {first} to {last}, {count} entries.",
    ),
    "entry": ("Ligne authentique du {first}.", "Genuine entry of {first}."),
    "selection": (
        "{count} lignes authentiques du {first} au {last}. Une sélection ne prouve pas qu'il n'y en a pas d'autres.",
        "{count} genuine entries from {first} to {last}. A selection does not prove that there are no others.",
    ),
    "": (
        "Extrait intact et complet du {first} au {last}, {count} lignes.",
        "Extract intact and complete from {first} to {last}, {count} entries.",
    ),
}
PARTIAL = (
    "{partial} lignes ne sont pas montrées en entier : leur contenu a été effacé, a expiré ou a été retiré de ce fichier.",
    "{partial} entries are not shown whole: what they said was erased, has expired or was taken out of this file.",
)
HIDDEN = (
    "Certaines lignes ont été effacées ou ont expiré : la suite des numéros ne peut pas y être contrôlée.",
    "Some entries were erased or have expired: their numbering can't be checked.",
)


def moment(at: int) -> str:
    """Microseconds UTC as people read them."""
    return datetime.fromtimestamp(at // 1_000_000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def sentences(verdict: Verdict) -> list[str]:
    """The good verdict in French, then in English."""
    words = GOOD.get(verdict.kind, GOOD[""])
    facts = {"first": moment(verdict.first), "last": moment(verdict.last), "count": verdict.count}
    lines = [each.format(**facts) for each in words]
    lines += [each.format(partial=verdict.partial) for each in PARTIAL] if verdict.partial else []
    return lines + (list(HIDDEN) if "hidden" in verdict.notes else [])


def blame(fault: Fault) -> list[str]:
    """The bad verdict in French, then in English."""
    _, french, english = FAULTS[fault.kind]
    where = ("", "") if fault.index is None else (f" (ligne {fault.index})", f" (entry {fault.index})")
    start = {
        ALTERED: ("ALTÉRÉ", "ALTERED"),
        INCOMPLETE: ("INCOMPLET", "INCOMPLETE"),
        CANNOT: ("NON VÉRIFIABLE", "CANNOT CHECK"),
    }
    labels = start[FAULTS[fault.kind][0]]
    return [f"{labels[0]} : {french}{where[0]}.", f"{labels[1]}: {english}{where[1]}."]


def check(path: str, trust: str, since: str | None) -> Verdict:
    """Verify a bundle or a proof. Raises Fault, OSError."""
    with open(trust, encoding="utf-8") as file:
        trusted = read_trust(file.read())
    kept: Checkpoint | None = None
    if since is not None:
        with open(since, encoding="utf-8") as file:
            kept = open_checkpoint(file.read(), trusted)
    with open(path, "rb") as binary:
        try:
            return _judged(binary, trusted, kept)
        except (Fault, OSError):
            raise
        except Exception:  # noqa: BLE001  # whatever a hostile file makes fail, it is not intact: a verdict, not a traceback
            raise Fault("damaged") from None


def _judged(binary: BinaryIO, trusted: list[Key], kept: Checkpoint | None) -> Verdict:
    head = binary.read(len(PROOF_HEADER))
    binary.seek(0)
    if head == PROOF_HEADER.encode():
        return verify_proof(binary.read(SMALL_BYTES).decode("utf-8", "replace"), trusted)[0]
    return Bundle(binary, trusted, kept).verify()


def main(arguments: list[str] | None = None) -> NoReturn:
    """Check what the arguments name, say it in two languages, exit with the verdict."""
    parser = argparse.ArgumentParser(description="Verifies an evidence bundle or a proof of a Coffre access log, offline.")
    parser.add_argument("file", help="journal-*.zip or *.tlog-proof")
    parser.add_argument("--trust", required=True, help="the trust file, given by another way than the bundle")
    parser.add_argument("--since", help="a checkpoint that you kept earlier")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    asked = parser.parse_args(arguments)
    try:
        verdict = check(asked.file, asked.trust, asked.since)
    except Fault as fault:
        code, lines = FAULTS[fault.kind][0], blame(fault)
        record: dict[str, Any] = {"ok": False, "kind": fault.kind, "index": fault.index}
    except (OSError, UnicodeDecodeError) as error:
        code, lines, record = (
            CANNOT,
            [f"NON VÉRIFIABLE : {error}", f"CANNOT CHECK: {error}"],
            {"ok": False, "kind": "unreadable"},
        )
    else:
        code, lines = INTACT, sentences(verdict)
        record = {"ok": True, "kind": verdict.kind, "count": verdict.count, "size": verdict.size}
        record |= {"root": verdict.root.hex(), "partial": verdict.partial, "hidden": "hidden" in verdict.notes}
    sys.stdout.write(json.dumps(record) + "\n" if asked.json else "\n".join(lines) + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
