"""The Merkle tree against pymerkle, another implementation of RFC 6962."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from vault.audit import tree


def leaves(size: int) -> list[bytes]:
    return [f"entry {number}".encode() for number in range(size)]


def nodes(data: list[bytes]) -> tree.Node:
    def node(level: int, index: int) -> bytes:
        if level == 0:
            return tree.leaf_hash(data[index])
        return tree.node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    return node


def reference(data: list[bytes]) -> InmemoryTree:
    made = InmemoryTree(algorithm="sha256")
    for leaf in data:
        made.append_entry(leaf)
    return made


def test_known_roots_of_rfc_6962() -> None:
    # Test vectors of the certificate-transparency project for the empty tree and for the leaf "".
    assert tree.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert tree.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 255, 256, 257, 700])
def test_roots_equal_an_independent_implementation(size: int) -> None:
    data = leaves(size)
    frontier = tree.Frontier()
    for leaf in data:
        frontier.append(tree.leaf_hash(leaf))
    assert frontier.root() == tree.root(size, nodes(data)) == reference(data).get_root()


def test_tiles_hold_256_hashes_and_fold_into_the_next_level() -> None:
    frontier = tree.Frontier()
    full = [tile for number in range(65_536) for tile in frontier.append(tree.leaf_hash(str(number).encode()))]
    assert [(tile.level, tile.position) for tile in full if tile.level == 1] == [(1, 0)]
    assert len([tile for tile in full if tile.level == 0]) == 256
    assert full[-1].hashes[3] == tree.fold(list(next(t for t in full if (t.level, t.position) == (0, 3)).hashes))
    assert frontier.root() == tree.fold(list(full[-1].hashes))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_inclusion_proofs(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 120))
    index = data.draw(st.integers(0, size - 1))
    entries = leaves(size)
    node = nodes(entries)
    proof, root = tree.inclusion_proof(index, size, node), tree.root(size, node)
    tree.verify_inclusion(index, size, tree.leaf_hash(entries[index]), proof, root)
    theirs = reference(entries).prove_inclusion(index + 1)
    assert proof == theirs.path[1:]
    with pytest.raises(tree.ProofRejected):
        tree.verify_inclusion(index, size, tree.leaf_hash(b"other"), proof, root)
    with pytest.raises(tree.ProofRejected):
        tree.verify_inclusion(index, size, tree.leaf_hash(entries[index]), [*proof, root], root)
    if proof:
        with pytest.raises(tree.ProofRejected):
            tree.verify_inclusion(index, size, tree.leaf_hash(entries[index]), proof[:-1], root)
    with pytest.raises(tree.ProofRejected):
        tree.verify_inclusion(size, size, tree.leaf_hash(entries[index]), proof, root)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_consistency_proofs(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 120))
    old = data.draw(st.integers(0, new))
    entries = leaves(new)
    node = nodes(entries)
    proof = tree.consistency_proof(old, new, node)
    old_root, new_root = tree.root(old, node), tree.root(new, node)
    tree.verify_consistency(old, new, proof, old_root, new_root)
    forged = tree.leaf_hash(b"forged")
    with pytest.raises(tree.ProofRejected):
        tree.verify_consistency(old, new, proof, forged, new_root)
    if old:
        with pytest.raises(tree.ProofRejected):
            tree.verify_consistency(old, new, proof, old_root, forged)
    if proof:
        with pytest.raises(tree.ProofRejected):
            tree.verify_consistency(old, new, proof[:-1], old_root, new_root)
        with pytest.raises(tree.ProofRejected):
            tree.verify_consistency(old, new, [*proof, forged], old_root, new_root)


def test_proofs_outside_the_tree_are_refused() -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        tree.inclusion_proof(3, 3, nodes(leaves(3)))
    with pytest.raises(ValueError, match="not a prefix"):
        tree.consistency_proof(4, 3, nodes(leaves(3)))
