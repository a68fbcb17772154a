"""Owns the stored part of the tree: full tiles in ``audit_tiles``, the right edge from ``audit_entries``.

It must not know events.
"""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Connection, insert, select

from vault.audit.tree import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH, Frontier, Tile, fold, leaf_hash, node_hash
from vault.audit.tree import root as tree_root
from vault.storage.schema import audit_entries, audit_tiles

TILES_KEPT = 64
"""Tiles that one pass over many proofs keeps, 16 KiB each with their inner nodes: a page of neighbours shares a few."""


FOLDED_KEPT = 512
"""Full tiles whose root is remembered, 4 MiB: every checkpoint looks at up to 255 of a level again."""


def size_of(connection: Connection) -> int:
    """How many entries the log holds."""
    column = audit_entries.c.position
    last = connection.execute(select(column).order_by(column.desc()).limit(1)).scalar_one_or_none()
    return 0 if last is None else last + 1


def store(connection: Connection, tiles: list[Tile]) -> None:
    """Write full tiles."""
    if tiles:
        rows = [{"level": tile.level, "position": tile.position, "hashes": b"".join(tile.hashes)} for tile in tiles]
        connection.execute(insert(audit_tiles), rows)


def split(hashes: bytes) -> list[bytes]:
    """The hashes of a stored tile."""
    return [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]


def frontier(connection: Connection, size: int) -> Frontier:
    """The right edge at ``size``, from the tiles below and the last leaves."""
    rows = [_leaves(connection, size - size % TILE_WIDTH, size)]
    while count := size >> TILE_HEIGHT * len(rows):
        rows.append(_roots(connection, len(rows) - 1, count - count % TILE_WIDTH, count))
    return Frontier(size, rows)


def _leaves(connection: Connection, start: int, end: int) -> list[bytes]:
    column = audit_entries.c.position
    query = select(audit_entries.c.leaf).where((column >= start) & (column < end)).order_by(column)
    return [leaf_hash(row.leaf) for row in connection.execute(query)]


@lru_cache(maxsize=FOLDED_KEPT)
def _folded(hashes: bytes) -> bytes:
    """The root of a full tile, by its very bytes: an altered tile is another one."""
    return fold(split(hashes))


def _roots(connection: Connection, level: int, start: int, end: int) -> list[bytes]:
    columns = audit_tiles.c
    query = select(columns.hashes).where((columns.level == level) & (columns.position >= start) & (columns.position < end))
    return [_folded(row.hashes) for row in connection.execute(query.order_by(columns.position))]


def extends(connection: Connection, size: int, earlier: int, root: bytes) -> bool:
    """Whether a tree of ``size`` leaves still begins with the ``earlier`` leaves whose root was ``root``."""
    return earlier <= size and tree_root(earlier, Nodes(connection, earlier)) == root


class Nodes:
    """``tree.Node`` over the stored tiles of a tree of ``size`` leaves; keeps what it has read, for many proofs in one pass."""

    def __init__(self, connection: Connection, size: int) -> None:
        self._connection = connection
        self._edge = [_pyramid(row) for row in frontier(connection, size).rows]
        self._size = size
        self._tiles: dict[tuple[int, int], list[list[bytes]]] = {}

    def __call__(self, level: int, index: int) -> bytes:
        """The hash of node (level, index)."""
        tile_level, height = divmod(level, TILE_HEIGHT)
        position, offset = divmod(index << height, TILE_WIDTH)
        return self._tile(tile_level, position)[height][offset >> height]

    def _tile(self, level: int, position: int) -> list[list[bytes]]:
        """The subtree hashes inside a tile, by height."""
        if position == (self._size >> TILE_HEIGHT * level) // TILE_WIDTH:
            return self._edge[level]
        key = level, position
        if key not in self._tiles:
            if len(self._tiles) >= TILES_KEPT:
                self._tiles.clear()
            columns = audit_tiles.c
            query = select(columns.hashes).where((columns.level == level) & (columns.position == position))
            self._tiles[key] = _pyramid(split(self._connection.execute(query).scalar_one()))
        return self._tiles[key]


def _pyramid(hashes: list[bytes]) -> list[list[bytes]]:
    rows = [hashes]
    while len(rows[-1]) > 1:
        row = rows[-1]
        rows.append([node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)])
    return rows
