"""Recipes: trees of lists that an edit changes little of."""

import random

import pytest
from blake3 import blake3

from thence.errors import DataDamaged
from thence.vault import recipe
from thence.vault.recipe import Item


def items(count: int, seed: int = 0) -> list[Item]:
    dice = random.Random(seed)
    return [Item(dice.randbytes(32), dice.randrange(1, 2**18)) for _ in range(count)]


def build(chunks: list[Item]) -> tuple[bytes, dict[bytes, bytes]]:
    lists: dict[bytes, bytes] = {}

    def put(node_id: bytes, node: bytes) -> None:
        assert blake3(node).digest() == node_id
        lists[node_id] = node

    return recipe.build(chunks, put), lists


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 255, 256, 257, 300, 5000, 40_000])
def test_chunks_come_back_in_order(count: int) -> None:
    chunks = items(count)
    top, lists = build(chunks)
    assert list(recipe.chunks_of(top, lists.__getitem__)) == chunks
    assert len(top) <= 1 + 256 * 40
    assert bool(lists) == (count > 256)


def test_the_bytes_of_a_node() -> None:
    top, _ = build([Item(b"a" * 32, 5), Item(b"b" * 32, 2**33)])
    assert top == b"\0" + b"a" * 32 + b"\5" + bytes(7) + b"b" * 32 + bytes(4) + b"\2" + bytes(3)


def test_lists_have_their_sizes_and_lengths() -> None:
    chunks = items(40_000)
    top, lists = build(chunks)
    level, above = recipe.parse(top)
    assert level == 2
    assert sum(item.length for item in above) == sum(item.length for item in chunks)
    for item in above:
        below_level, below = recipe.parse(lists[item.id])
        assert below_level == 1
        assert item.length == sum(entry.length for entry in below)
    sizes = [(len(node) - 1) // 40 for node in lists.values()]
    assert max(sizes) <= 256
    assert sorted(sizes)[3] >= 16  # all but the last on each level


@pytest.mark.parametrize("last", range(0, 256, 64))
def test_a_chunk_that_repeats_for_ever_does_not_loop(last: int) -> None:
    """All ids alike, and of the kind that ends a list: as a file of zeros may have."""
    chunks = [Item(bytes(31) + bytes([last]), 1000)] * 100_000
    top, lists = build(chunks)
    assert recipe.parse(top)[0] <= 3
    assert list(recipe.chunks_of(top, lists.__getitem__)) == chunks


def test_an_edit_changes_few_lists() -> None:
    chunks = items(40_000)
    for at in (0, 1, 19_999, 39_999):
        edited = [*chunks[:at], *items(2, seed=at + 1), *chunks[at + 1 :]]
        before, after = build(chunks)[1], build(edited)[1]
        new = sum(len(node) for node_id, node in after.items() if node_id not in before)
        assert new < 60_000, at


@pytest.mark.parametrize("node", [b"", b"\0x", b"\0" + bytes(39), b"\0" + bytes(41), b"\x09"])
def test_what_is_no_node_is_refused(node: bytes) -> None:
    with pytest.raises(DataDamaged):
        recipe.parse(node)


def test_lists_must_go_down_one_level_at_a_time() -> None:
    """So that a forged list that holds itself ends."""
    loop = b"\1" + bytes(32) + bytes(8)
    for below in (loop, b"\2", b""):
        lists = {bytes(32): below}
        with pytest.raises(DataDamaged):
            list(recipe.chunks_of(loop, lists.__getitem__))
