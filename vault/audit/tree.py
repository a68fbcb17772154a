"""Owns the Merkle tree of RFC 6962 as pure functions: hashes, frontier, tiles, proofs. No I/O, no SQL, no event.

A *node* (level, index) is the root of the perfect subtree over leaves [index · 2^level, (index + 1) · 2^level). Tiles hold 256
nodes of every eighth level (C2SP tlog-tiles).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
HASH_BYTES = 32

EMPTY_ROOT = sha256(b"").digest()
"""RFC 6962 §2.1: the hash of an empty list."""

Node = Callable[[int, int], bytes]
"""Gives the hash of node (level, index)."""


class ProofRejected(Exception):
    """A proof does not lead from what it starts with to the root that was given."""


def leaf_hash(data: bytes) -> bytes:
    """RFC 6962 §2.1: SHA-256(0x00 ‖ leaf)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 §2.1: SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def fold(hashes: list[bytes]) -> bytes:
    """The root of a perfect subtree over 2^k hashes."""
    row = hashes
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]


@dataclass(frozen=True, slots=True)
class Tile:
    """256 sibling hashes of tree level ``8 * level``, from node ``256 * position`` on; written once, when full."""

    level: int
    position: int
    hashes: tuple[bytes, ...]


@dataclass(slots=True)
class Frontier:
    """The right edge of a tree: for every tile level, the hashes that fill no tile yet. Enough to append and for the root."""

    size: int = 0
    rows: list[list[bytes]] = field(default_factory=list)

    def copy(self) -> Frontier:
        """An independent frontier."""
        return Frontier(self.size, [list(row) for row in self.rows])

    def append(self, leaf: bytes) -> list[Tile]:
        """Add a leaf hash; gives the tiles that became full by it, lowest first."""
        full: list[Tile] = []
        value, position, level = leaf, self.size, 0
        self.size += 1
        while True:
            if level == len(self.rows):
                self.rows.append([])
            row = self.rows[level]
            row.append(value)
            if len(row) < TILE_WIDTH:
                return full
            full.append(Tile(level, position // TILE_WIDTH, tuple(row)))
            value, position, level = fold(row), position // TILE_WIDTH, level + 1
            row.clear()

    def root(self) -> bytes:
        """The root hash of the tree (RFC 6962 §2.1)."""
        if self.size == 0:
            return EMPTY_ROOT
        peaks: list[bytes] = []
        for row in reversed(self.rows):
            start = 0
            for bit in range(TILE_HEIGHT - 1, -1, -1):
                if len(row) >> bit & 1:
                    peaks.append(fold(row[start : start + (1 << bit)]))
                    start += 1 << bit
        return _join(peaks)


def _join(peaks: Iterable[bytes]) -> bytes:
    """The root over perfect subtrees given from left (largest) to right."""
    *rest, root = peaks
    for peak in reversed(rest):
        root = node_hash(peak, root)
    return root


def _split(width: int) -> int:
    """The largest power of two smaller than ``width`` (RFC 6962's k)."""
    return 1 << (width - 1).bit_length() - 1


def range_root(start: int, end: int, node: Node) -> bytes:
    """The hash over leaves [start, end); ``start`` is a multiple of a power of two not smaller than the largest subtree."""
    peaks = []
    while start < end:
        level = (end - start).bit_length() - 1
        peaks.append(node(level, start >> level))
        start += 1 << level
    return _join(peaks)


def root(size: int, node: Node) -> bytes:
    """The root of the tree over the first ``size`` leaves."""
    return range_root(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """RFC 6962 §2.1.1: the audit path of leaf ``index`` in the tree of ``size`` leaves, from the leaf's sibling upwards."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    start, end = 0, size
    path = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_root(middle, end, node))
            end = middle
        else:
            path.append(range_root(start, middle, node))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """RFC 6962 §2.1.2: that the tree of ``old`` leaves is a prefix of the tree of ``new`` leaves."""
    if not 0 <= old <= new:
        raise ValueError(f"{old} leaves are not a prefix of {new}")
    if old in {0, new}:
        return []
    start, end, known, whole = 0, new, old, True
    path = []
    while known != end:
        middle = start + _split(end - start)
        if known <= middle:
            path.append(range_root(middle, end, node))
            end = middle
        else:
            path.append(range_root(start, middle, node))
            start, whole = middle, False
    if not whole:
        path.append(range_root(start, end, node))
    return path[::-1]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: list[bytes], expected: bytes) -> None:
    """RFC 9162 §2.1.3.2 over the RFC 6962 tree. Raises ProofRejected."""
    if not 0 <= index < size:
        raise ProofRejected(f"leaf {index} is not in a tree of {size}")
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofRejected("the proof is too long")
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            value = node_hash(value, sibling)
        position >>= 1
        last >>= 1
    if last != 0 or value != expected:
        raise ProofRejected(f"leaf {index} is not under this root")


def verify_consistency(old: int, new: int, proof: list[bytes], old_root: bytes, new_root: bytes) -> None:
    """RFC 9162 §2.1.4.2 over the RFC 6962 tree. Raises ProofRejected."""
    if not 0 <= old <= new:
        raise ProofRejected(f"{old} leaves are not a prefix of {new}")
    if old in {0, new}:
        if proof or (old == new and old_root != new_root) or (old == 0 and old_root != EMPTY_ROOT):
            raise ProofRejected("two roots for one size")
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise ProofRejected("the proof is too short")
    first, last = old - 1, new - 1
    while first & 1:
        first >>= 1
        last >>= 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofRejected("the proof is too long")
        if first & 1 or first == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            after = node_hash(after, sibling)
        first >>= 1
        last >>= 1
    if last != 0 or before != old_root or after != new_root:
        raise ProofRejected(f"the tree of {new} leaves does not extend that of {old}")
